"""Scores of Gaussian forecasts, elementwise: the smaller the better, in the unit of the state unless said otherwise.

Shapes are free: ``mean``, ``std`` and ``truth`` broadcast (a member axis in front of the forecasts, none at the truth).
Source: Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation", JASA 102 (2007), negated so that smaller
is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rwmu.errors import ConfigError


def gaussian_nll(mean: Tensor, std: Tensor, truth: Tensor) -> Tensor:
    """Return the negative log density of the truth under N(mean, std^2), in nats (the logarithmic score, section 4.1)."""
    return 0.5 * ((truth - mean) / std).square() + std.log() + 0.5 * math.log(2.0 * math.pi)


def gaussian_crps(mean: Tensor, std: Tensor, truth: Tensor) -> Tensor:
    """Return the continuous ranked probability score of N(mean, std^2), in the unit of the state (section 4.2, the normal case)."""
    z = (truth - mean) / std
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2.0 * math.pi)
    # erf(z / sqrt(2)) is 2 Phi(z) - 1.
    return std * (z * torch.erf(z / math.sqrt(2.0)) + 2.0 * density - 1.0 / math.sqrt(math.pi))


def half_widths(std: Tensor, levels: Sequence[float]) -> Tensor:
    """Return half the widths ``[L, ...]`` of the central intervals of Gaussians that should hold the truth with each probability.

    Raises:
        ConfigError: if a level does not lie strictly between 0 and 1.
    """
    level = torch.as_tensor(levels, dtype=torch.float64).reshape(-1)
    if len(level) == 0 or not bool(((level > 0) & (level < 1)).all()):
        raise ConfigError(f"levels are {level.tolist()}, but must be one or more probabilities strictly between 0 and 1.")
    factor = 2.0**0.5 * torch.erfinv(level)
    widths: Tensor = factor.to(std).reshape(-1, *[1] * std.ndim) * std
    return widths
