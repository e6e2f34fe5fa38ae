"""Calibration: is the spread of the right scale? From the place of the truth in the forecast, and from the size of its errors.

The probability integral transform (PIT) of a truth is the forecast's probability of falling below it; of a calibrated forecast it
is uniform. Counting it in bins between levels is enough for every curve, error and area here, and counts may be added up over
batches and processes. Shapes are free; rows are pooled by the caller.

Sources: Kuleshov, Fenner and Ermon, ICML 2018 (arXiv:1807.00263); Chung, Char, Guo, Schneider and Neiswanger, "Uncertainty Toolbox"
(arXiv:2109.10254); Zhao, Ma and Ermon, "Individual calibration with randomized forecasting", ICML 2020; Levi, Gispan, Giladi and
Fetaya, "Evaluating and calibrating uncertainty prediction in regression tasks", Sensors 22 (2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy
import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.uncertainty.measure import Measure

Kind = Literal["interval", "quantile"]
Norm = Literal["mean_absolute", "root_mean_square", "maximum"]
LEVELS = tuple(index / 100 for index in range(1, 100))


def gaussian_pit(mean: Tensor, std: Tensor, truth: Tensor) -> Tensor:
    """Return the probability under N(mean, std^2) of less than the truth, float64."""
    result: Tensor = torch.special.ndtr((truth.double() - mean.double()) / std.double())
    return result


def sample_pit(samples: Tensor, truth: Tensor) -> Tensor:
    """Return the same of samples ``[S, ...]``, float64: (samples below + half of the equal ones + 1/2) / (S + 1).

    S samples leave S + 1 places for the truth, so levels finer than 1 / (S + 1) cannot be told apart.
    """
    below = (samples < truth).double().sum(dim=0) + 0.5 * (samples == truth).double().sum(dim=0)
    return (below + 0.5) / (samples.shape[0] + 1)


def ascending_levels(levels: Sequence[float]) -> Tensor:
    """Return levels as a float64 tensor ``[P]``.

    Raises:
        ConfigError: if they do not ascend within 0 and 1.
    """
    values = torch.as_tensor(levels, dtype=torch.float64).reshape(-1)
    if len(values) == 0 or bool((values.diff() <= 0).any()) or float(values[0]) < 0.0 or float(values[-1]) > 1.0:
        raise ConfigError(f"levels are {values.tolist()}, but must ascend strictly and lie between 0 and 1.")
    return values


def level_bin(pit: Tensor, levels: Tensor, kind: Kind = "interval") -> Tensor:
    """Return between which of the levels ``[P]`` each PIT falls: 0 up to the first, ... P above the last; int64.

    Args:
        kind: ``quantile`` asks whether the truth lies below the quantile of a level (Kuleshov et al. 2018), ``interval`` whether it
            lies in the central interval of that probability, where too high and too low do not cancel.

    Raises:
        ConfigError: if the kind is unknown.
    """
    if kind not in ("interval", "quantile"):
        raise ConfigError(f"kind is {kind!r}, but must be 'interval' or 'quantile'.")
    place = (2.0 * pit - 1.0).abs() if kind == "interval" else pit
    return torch.bucketize(place.contiguous(), levels.to(place.device, place.dtype))


def observed_fraction(histogram: Tensor) -> Tensor:
    """Return, of counts ``[P + 1, ...]`` between levels, the fraction up to each level ``[P, ...]``; 0 where nothing counts."""
    counts = histogram.double()
    return counts.cumsum(dim=0)[:-1] / counts.sum(dim=0).clamp(min=1.0)


def calibration_error(observed: Tensor, levels: Tensor, norm: Norm = "mean_absolute") -> Tensor:
    """Return how far observed fractions ``[P, ...]`` are from the levels ``[P]``: ``[...]``, a probability.

    Args:
        norm: ``mean_absolute``, ``root_mean_square`` (the root of Kuleshov et al. 2018, Eq. 9, with equal weights), ``maximum``.

    Raises:
        ConfigError: if the norm is unknown.
    """
    gap = (observed - levels.to(observed).reshape(-1, *[1] * (observed.ndim - 1))).abs()
    if norm == "mean_absolute":
        return gap.mean(dim=0)
    if norm == "root_mean_square":
        return gap.square().mean(dim=0).sqrt()
    if norm == "maximum":
        return gap.amax(dim=0)
    raise ConfigError(f"norm is {norm!r}, but must be 'mean_absolute', 'root_mean_square' or 'maximum'.")


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


def adversarial_group_calibration(
    histogram: Tensor,
    levels: Tensor,
    fractions: Sequence[float],
    norm: Norm = "mean_absolute",
    groups: int = 10,
    trials: int = 10,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return the calibration error of the worst of ``groups`` random groups of each size, averaged over trials (Zhao et al. 2020).

    A group's error depends only on how many of its rows fall between which levels. Rows drawn without replacement give counts of
    the multivariate hypergeometric distribution: the groups are drawn from the counts, and no row needs to be kept.

    Args:
        histogram: ``[P + 1]`` counts of one cell between the levels ``[P]``.
        fractions: ``[F]``, sizes of groups as parts of all rows; at least two rows a group.

    Returns:
        Mean over trials and its standard error, ``[F]`` each, float64.
    """
    counts = histogram.detach().cpu().to(torch.int64).numpy()
    generator = numpy.random.default_rng(seed)
    means, errors = [], []
    for fraction in fractions:
        size = min(max(round(fraction * int(counts.sum())), 2), int(counts.sum()))
        drawn = generator.multivariate_hypergeometric(counts, size, size=(trials, groups))
        observed = observed_fraction(torch.from_numpy(drawn).movedim(-1, 0))
        worst = calibration_error(observed, levels.cpu(), norm).amax(dim=-1)
        means.append(worst.mean())
        errors.append(worst.std() / math.sqrt(trials))
    return torch.stack(means), torch.stack(errors)


def variance_bins(variance: Tensor, squared_error: Tensor, valid: Tensor, num_bins: int) -> tuple[Tensor, Tensor]:
    """Return the root mean variance and the root mean squared error of bins of equally many rows, by ascending variance.

    Args:
        variance, squared_error, valid: ``[..., N]``; rows that are not valid do not count.
        num_bins: Q. Rows of equal variance are parted in the order they come.

    Returns:
        ``[..., Q]`` each, in the unit of the state; bins without a row are 0.
    """
    order = torch.where(valid, variance, torch.inf).argsort(dim=-1, stable=True)
    number = valid.sum(dim=-1, keepdim=True)
    place = torch.arange(variance.shape[-1], device=variance.device)
    # Sorting put the rows that do not count behind the others; they go to one bin more, which is dropped.
    target = torch.where(place < number, place * num_bins // number.clamp(min=1), num_bins)
    shape = (*variance.shape[:-1], num_bins + 1)
    count = variance.new_zeros(shape).scatter_add(-1, target, torch.ones_like(variance))[..., :-1].clamp(min=1.0)
    means = []
    for values in (variance, squared_error):
        values = torch.where(valid, values, torch.zeros_like(values)).gather(-1, order)
        means.append(values.new_zeros(shape).scatter_add(-1, target, values)[..., :-1] / count)
    return means[0].sqrt(), means[1].sqrt()


def ence(variance: Tensor, squared_error: Tensor, valid: Tensor, num_bins: int = 10) -> Measure:
    """Return the expected normalised calibration error of rows ``[..., N]``: ``[...]``, without unit (Levi et al. 2022).

    The mean over bins of |root mean variance - root mean squared error| / root mean variance; arguments as :func:`variance_bins`.
    """
    predicted, actual = variance_bins(variance.double(), squared_error.double(), valid, num_bins)
    result = ((predicted - actual).abs() / torch.where(predicted > 0, predicted, torch.ones_like(predicted))).mean(dim=-1)
    number = valid.sum(dim=-1)
    return Measure.of(
        result,
        (number == 0, "no rows"),
        (number < num_bins, f"fewer rows than the {num_bins} bins"),
        ((predicted <= 0).any(dim=-1), "a bin's predicted variance is 0"),
    )


def probability_bins(probability: Tensor, truth: Tensor, valid: Tensor, num_bins: int) -> Tensor:
    """Sum rows ``[..., N]`` in bins of equal width in probability: ``[3, ..., num_bins]``, predicted, observed and counted.

    Args:
        probability: of a head. truth: 0 or 1. valid: which rows count.
    """
    place = (probability * num_bins).long().clamp(max=num_bins - 1)
    empty = probability.new_zeros(*probability.shape[:-1], num_bins)
    columns = (probability, truth, torch.ones_like(probability))
    return torch.stack([empty.scatter_add(-1, place, torch.where(valid, values, 0.0)) for values in columns])


def binned_error(bins: Tensor) -> Tensor:
    """Return the expected calibration error ``[...]`` of sums ``[3, ..., num_bins]`` of :func:`probability_bins`; 0 for no row.

    Source: Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.
    """
    predicted, observed, count = bins
    error: Tensor = (predicted - observed).abs().sum(dim=-1) / count.sum(dim=-1).clamp(min=1.0)
    return error
