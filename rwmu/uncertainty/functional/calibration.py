"""Calibration: is the spread of the right scale? From how many intervals hold the truth, and from the size of the errors.

Everything is made of counts or sums over rows, which add up over draws of episodes.

Sources: Kuleshov, Fenner and Ermon, ICML 2018 (arXiv:1807.00263); Chung, Char, Guo, Schneider and Neiswanger, "Uncertainty Toolbox"
(arXiv:2109.10254); Levi, Gispan, Giladi and Fetaya, "Evaluating and calibrating uncertainty prediction in regression tasks",
Sensors 22 (2022).
"""

from __future__ import annotations

import torch
from torch import Tensor


def observed_fraction(histogram: Tensor) -> Tensor:
    """Return, of counts ``[P + 1, ...]`` between levels, the fraction up to each level ``[P, ...]``; 0 where nothing counts."""
    counts = histogram.double()
    return counts.cumsum(dim=0)[:-1] / counts.sum(dim=0).clamp(min=1.0)


def calibration_error(observed: Tensor, levels: Tensor) -> Tensor:
    """Return how far observed fractions ``[P, ...]`` are from the levels ``[P]`` on average: ``[...]``, a probability."""
    return (observed - levels.to(observed).reshape(-1, *[1] * (observed.ndim - 1))).abs().mean(dim=0)


def miscalibration_area(observed: Tensor, levels: Tensor) -> Tensor:
    """Return the area between the curve of observed fractions ``[P, ...]`` over levels ``[P]`` and the diagonal: ``[...]``.

    Straight lines join the points and (0, 0), (1, 1); at most 1/2 (Chung et al. 2021, "miscalibration area").
    """
    shape = (1, *observed.shape[1:])
    curve = torch.cat([observed.new_zeros(shape), observed, observed.new_ones(shape)])
    place = torch.cat([levels.new_zeros(1), levels, levels.new_ones(1)]).to(observed).reshape(-1, *[1] * (observed.ndim - 1))
    gap = curve - place
    left, right = gap[:-1], gap[1:]
    total = left.abs() + right.abs()
    # A line that crosses the diagonal leaves two triangles, of heights |left| and |right| over a base split in their ratio.
    crossing = (left.square() + right.square()) / torch.where(total > 0, total, torch.ones_like(total))
    mean_height = 0.5 * torch.where(left * right < 0, crossing, total)
    return (mean_height * place.diff(dim=0)).sum(dim=0)


def variance_bin(variance: Tensor, num_bins: int) -> Tensor:
    """Return the bin of each row ``[N]`` by ascending variance, bins of equally many rows, int64; equal ones in their order."""
    order = variance.argsort(stable=True)
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(variance)) * num_bins // len(variance))


def ence(variance: Tensor, squared_error: Tensor) -> Tensor:
    """Return the expected normalised calibration error ``[...]`` of each bin's sums ``[..., num_bins]``, without unit.

    The mean over bins of |root mean variance - root mean squared error| / root mean variance (Levi et al. 2022); what sums are
    divided by cancels. A bin without a row is left out.
    """
    predicted, actual = variance.sqrt(), squared_error.sqrt()
    return ((predicted - actual).abs() / predicted).nan_to_num().sum(dim=-1) / (predicted > 0).sum(dim=-1)


def probability_bins(probability: Tensor, truth: Tensor, num_bins: int) -> Tensor:
    """Sum rows ``[..., N]`` in bins of equal width in probability: ``[3, ..., num_bins]``, predicted, observed and counted.

    Args:
        probability: of a head. truth: 0 or 1.
    """
    place = (probability * num_bins).long().clamp(max=num_bins - 1)
    empty = probability.new_zeros(*probability.shape[:-1], num_bins)
    columns = (probability, truth, torch.ones_like(probability))
    return torch.stack([empty.scatter_add(-1, place, values) for values in columns])


def binned_error(bins: Tensor) -> Tensor:
    """Return the expected calibration error ``[...]`` of sums ``[3, ..., num_bins]`` of :func:`probability_bins`; 0 for no row.

    Source: Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.
    """
    predicted, observed, count = bins
    error: Tensor = (predicted - observed).abs().sum(dim=-1) / count.sum(dim=-1).clamp(min=1.0)
    return error
