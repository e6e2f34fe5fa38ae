"""The quantile of conformal prediction, for scores that come in independent trajectories."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def conformal_quantile(score: Tensor, trajectory: Tensor, level: float) -> float:
    """Return the finite-sample quantile of scores that come in trajectories.

    Each of the n trajectories weighs 1 / (n + 1), divided among its rows, and what is left is infinite: with one row each, the
    ceil((n + 1) level)-th smallest of split conformal prediction (Lei et al. 2018); with several, that of hierarchical conformal
    prediction (Lee, Barber and Willett 2023, arXiv:2306.06342).

    Args:
        score: ``[N]``. trajectory: ``[N]`` integers.

    Returns:
        The quantile; infinite where there are fewer than level / (1 - level) trajectories.
    """
    _, place, count = torch.unique(trajectory, return_inverse=True, return_counts=True)
    weight = 1.0 / (count[place].double() * (len(count) + 1))
    ordered, order = score.double().sort()
    reached = weight[order].cumsum(0) >= level - 1e-9  # the sum of rounded weights
    return float(ordered[reached][0]) if bool(reached.any()) else math.inf
