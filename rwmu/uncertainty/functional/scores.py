"""Scores of single forecasts, elementwise: the smaller the better, in the unit of the state unless said otherwise.

Shapes are free: ``mean``, ``std`` and ``truth`` broadcast (a member axis in front of the forecasts, none at the truth); samples S
come first. Source: Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation", JASA 102 (2007), negated so
that smaller is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from rwmu.errors import ConfigError

Estimator = Literal["fair", "plain"]
ESTIMATORS = ("fair", "plain")


def gaussian_nll(mean: Tensor, std: Tensor, truth: Tensor) -> Tensor:
    """Return the negative log density of the truth under N(mean, std^2), in nats (the logarithmic score, section 4.1)."""
    return 0.5 * ((truth - mean) / std).square() + std.log() + 0.5 * math.log(2.0 * math.pi)


def gaussian_crps(mean: Tensor, std: Tensor, truth: Tensor) -> Tensor:
    """Return the continuous ranked probability score of N(mean, std^2), in the unit of the state (section 4.2, the normal case)."""
    z = (truth - mean) / std
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2.0 * math.pi)
    # erf(z / sqrt(2)) is 2 Phi(z) - 1.
    return std * (z * torch.erf(z / math.sqrt(2.0)) + 2.0 * density - 1.0 / math.sqrt(math.pi))


def sample_crps(samples: Tensor, truth: Tensor, estimator: Estimator = "fair") -> Tensor:
    """Return the continuous ranked probability score of samples ``[S, ...]`` of the forecast, in the unit of the state.

    Args:
        estimator: ``plain`` scores the samples as if they were the whole forecast (Eq. 21 with their empirical distribution);
            ``fair`` is unbiased for the distribution that they were drawn from, whatever S (Ferro, QJRMS 140, 2014).

    Raises:
        ConfigError: if ``fair`` is given one sample.
    """
    number = samples.shape[0]
    pairs = _pairs(number, estimator)
    ordered = samples.sort(dim=0).values
    # The sum over ordered pairs of |x_i - x_j| weighs the r-th smallest of S with 2 (2 r - S - 1).
    weight = 2.0 * (2.0 * torch.arange(1, number + 1, dtype=samples.dtype, device=samples.device) - number - 1.0)
    spread: Tensor = torch.tensordot(weight, ordered, dims=([0], [0]))
    return (samples - truth).abs().mean(dim=0) - spread / (2.0 * pairs)


def energy_score(samples: Tensor, truth: Tensor, estimator: Estimator = "fair") -> Tensor:
    """Return the energy score of samples ``[S, ..., D]`` of a whole state: ``[...]``, one number for all D dimensions together.

    The multivariate CRPS (Eq. 22 with beta = 1, Euclidean norm): dimensions must share a unit, as in normalised state space.

    Args:
        estimator: as :func:`sample_crps`.

    Raises:
        ConfigError: if ``fair`` is given one sample.
    """
    number = samples.shape[0]
    pairs = _pairs(number, estimator)
    distance: Tensor = torch.linalg.vector_norm(samples - truth, dim=-1).mean(dim=0)
    spread = torch.zeros_like(distance)
    # A loop over samples, each against those after it: all pairs at once would need S times the memory of the samples.
    for index in range(number - 1):
        spread = spread + torch.linalg.vector_norm(samples[index + 1 :] - samples[index], dim=-1).sum(dim=0)
    return distance - spread / pairs


def _pairs(number: int, estimator: Estimator) -> int:
    """Return by how many ordered pairs the spread of ``number`` samples is divided."""
    if estimator not in ESTIMATORS:
        raise ConfigError(f"estimator is {estimator!r}, but must be one of {', '.join(ESTIMATORS)}.")
    if estimator == "plain":
        return number * number
    if number < 2:
        raise ConfigError("The fair estimator compares samples with each other and has one: draw two or more, or take 'plain'.")
    return number * (number - 1)


def as_levels(levels: Sequence[float] | Tensor, like: Tensor | None = None) -> Tensor:
    """Return probabilities as a tensor ``[L]``.

    Raises:
        ConfigError: if one does not lie strictly between 0 and 1.
    """
    values = torch.as_tensor(levels, dtype=torch.float64 if like is None else like.dtype).reshape(-1)
    if len(values) == 0 or not bool(((values > 0) & (values < 1)).all()):
        raise ConfigError(f"levels are {values.tolist()}, but must be one or more probabilities strictly between 0 and 1.")
    return values if like is None else values.to(like.device)


def gaussian_interval(mean: Tensor, std: Tensor, levels: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return the ends ``[L, ...]`` of the central intervals of N(mean, std^2) that should hold the truth with each probability."""
    level = as_levels(levels, mean)
    half_width = math.sqrt(2.0) * torch.erfinv(level).reshape(-1, *[1] * max(mean.ndim, std.ndim)) * std
    return mean - half_width, mean + half_width


def sample_interval(samples: Tensor, levels: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return the ends ``[L, ...]`` of the central intervals of samples ``[S, ...]``, by interpolated order statistics.

    The r-th smallest of S stands at probability r / (S + 1), where a further draw falls below it: without bias whatever the
    distribution. Levels above (S - 1) / (S + 1) cannot be reached and get the range of the samples.
    """
    level = as_levels(levels, samples)
    number = samples.shape[0]
    ordered = samples.sort(dim=0).values
    ends = []
    for probability in ((1.0 - level) / 2.0, (1.0 + level) / 2.0):
        place = (probability * (number + 1) - 1.0).clamp(0.0, number - 1.0)
        below = place.floor().long()
        above = (below + 1).clamp(max=number - 1)
        fraction = (place - below).reshape(-1, *[1] * (samples.ndim - 1))
        ends.append(torch.lerp(ordered[below], ordered[above], fraction.to(samples.dtype)))
    return ends[0], ends[1]


def inside(lower: Tensor, upper: Tensor, truth: Tensor) -> Tensor:
    """Return where the truth lies in the interval, its ends included; bool."""
    return (lower <= truth) & (truth <= upper)


def interval_score(lower: Tensor, upper: Tensor, truth: Tensor, levels: Sequence[float]) -> Tensor:
    """Return the interval score ``[L, ...]`` of central intervals ``[L, ...]`` (Eq. 43), in the unit of the state.

    Their width, and 2 / (1 - level) times the distance of a truth that lies outside.
    """
    level = as_levels(levels, lower).reshape(-1, *[1] * (lower.ndim - 1))
    outside = (lower - truth).clamp(min=0.0) + (truth - upper).clamp(min=0.0)
    return upper - lower + 2.0 / (1.0 - level) * outside
