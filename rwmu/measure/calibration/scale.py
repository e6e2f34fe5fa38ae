"""Is the spread of the right scale? Coverage, width, reliability and scores of one forecast at one step, with intervals."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rwmu.measure.calibration.recalibrated import LEVELS, NOMINAL, Fitted, Gaussians, half_widths
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.cells import Cell, from_sums, missing, nothing, share
from rwmu.uncertainty.functional import calibration, scores
from rwmu.uncertainty.resampling import places, trajectory_sums

_NAMES = {level: f"{1000 * level:.0f}".rstrip("0") for level in NOMINAL}  # 683, 95
INTERVAL_CELLS = tuple(f"{what}_{name}" for what in ("coverage", "width") for name in _NAMES.values())
CURVE_CELLS = ("calibration_error", "miscalibration_area")
DENSITY_CELLS = ("ence", "nll", "crps")
INFORMATIVE = "informative"
CELLS = (*INTERVAL_CELLS, INFORMATIVE, *CURVE_CELLS, *DENSITY_CELLS)
# An interval of 68.3 % that is wider says less than one around the data's mean, of the data's standard deviation to either side.
IGNORANT_WIDTH = 2.0
_BINS = 10  # of ENCE
NO_EPISODE = "no test episode lives to see this step"


def scale_at(
    forecasts: Gaussians, place: int, fitted: Fitted, settings: CalibrationSettings
) -> tuple[dict[str, Cell], dict[str, Any]]:
    """Return every cell of ``CELLS`` at the kept step ``place``, and the reliability curve there.

    Rows and dimensions are pooled; whole episodes are resampled.
    """
    rows = forecasts.valid[place]
    mean, std, truth = (tensor[place, rows].double() for tensor in (forecasts.mean, forecasts.std, forecasts.truth))
    error, episode = (truth - mean).abs(), forecasts.episode[rows]
    if not len(error):
        return nothing(CELLS, NO_EPISODE, settings), _no_curve(NO_EPISODE)
    fitted.check_unseen(episode, forecasts.data_hash)
    cells: dict[str, Cell] = {}
    for level in NOMINAL:
        cells |= _interval_cells(error, std, episode, place, fitted, level, settings)
    curve_cells, curve = _curve(error, std, episode, place, fitted, settings)
    if reason := fitted.why_not(place):
        density = nothing(DENSITY_CELLS, reason, settings, places(episode)[1])
    else:
        scaled = fitted.std(std, place)
        density = {
            "ence": _ence(scaled.square(), (truth - mean).square(), episode, settings),
            "nll": _mean(scores.gaussian_nll(mean, scaled, truth), episode, settings),
            "crps": _mean(scores.gaussian_crps(mean, scaled, truth), episode, settings),
        }
    return cells | curve_cells | density, curve


def coverage_by_dimension(forecasts: Gaussians, place: int, fitted: Fitted, level: float) -> list[float] | str:
    """Return the fraction of truths within the interval of ``level``, of each dimension by itself, or why that cannot be said."""
    reason, rows = fitted.why_not(place, level), forecasts.valid[place]
    if reason or not bool(rows.any()):
        return f"not measured: {reason or NO_EPISODE}"
    error = (forecasts.truth - forecasts.mean)[place, rows].abs()
    inside = (error <= fitted.half_width(forecasts.std[place, rows], place, level)).double()
    return list(inside.mean(dim=0).tolist())


def _no_curve(reason: str) -> dict[str, Any]:
    return {"expected": list(LEVELS), "observed": f"not measured: {reason}"}


def _interval_cells(
    error: Tensor, std: Tensor, episode: Tensor, place: int, fitted: Fitted, level: float, settings: CalibrationSettings
) -> dict[str, Cell]:
    names = [f"coverage_{_NAMES[level]}", f"width_{_NAMES[level]}", *([INFORMATIVE] if level == NOMINAL[0] else [])]
    if reason := fitted.why_not(place, level):
        return nothing(names, reason, settings, places(episode)[1])
    half = fitted.half_width(std, place, level)
    values = ((error <= half).double(), 2.0 * half, (2.0 * half < IGNORANT_WIDTH).double())
    return {name: _mean(value, episode, settings) for name, value in zip(names, values, strict=False)}


def _mean(values: Tensor, episode: Tensor, settings: CalibrationSettings) -> Cell:
    """Return the cell of the mean of ``[B, D]``."""
    return share(values.sum(dim=1), torch.full_like(values[:, 0], values.shape[1]), episode, settings)


def _histogram(inside: Tensor, episode: Tensor) -> Tensor:
    """Count, for each episode, the numbers between levels ``[N, P + 1]``, given which intervals hold the truth ``[P, B, D]``."""
    held = inside.double().sum(dim=2).T  # [B, P], how many dimensions each interval holds
    total = torch.full_like(held[:, :1], inside.shape[2])
    # Intervals of conformal levels are fitted apart, but their factors never decrease, so they are nested.
    counts = torch.cat([held, total], dim=1).diff(dim=1, prepend=torch.zeros_like(total))
    return trajectory_sums(counts, episode)


def _curve(
    error: Tensor, std: Tensor, episode: Tensor, place: int, fitted: Fitted, settings: CalibrationSettings
) -> tuple[dict[str, Cell], dict[str, Any]]:
    reasons = [reason for level in LEVELS if (reason := fitted.why_not(place, level))]
    if reasons:
        return nothing(CURVE_CELLS, reasons[0], settings, places(episode)[1]), _no_curve(reasons[0])
    if fitted.method == "conformal":
        half = torch.stack([fitted.half_width(std, place, level) for level in LEVELS])
    else:
        half = half_widths(fitted.std(std, place), LEVELS)
    counts = _histogram(error <= half, episode)
    levels = torch.tensor(LEVELS, dtype=torch.float64)

    observed = calibration.observed_fraction(counts.sum(dim=0)[:, None])[:, 0]
    cells = {}
    for name, function in zip(CURVE_CELLS, (calibration.calibration_error, calibration.miscalibration_area), strict=True):

        def of(total: Tensor, function: Any = function) -> Any:
            return function(calibration.observed_fraction(total.T), levels)

        cells[name] = from_sums(of, counts, settings)
    return cells, {"expected": list(LEVELS), "observed": observed.tolist()}


def _ence(variance: Tensor, squared_error: Tensor, episode: Tensor, settings: CalibrationSettings) -> Cell:
    """Return the expected normalised calibration error; its bins are those of all rows, in every resample."""
    flat = variance.flatten(), squared_error.flatten()
    whole = calibration.ence(*flat, torch.ones_like(flat[0], dtype=torch.bool), _BINS)
    if not bool(whole.available.all()):
        return missing(whole.reason(), settings, places(episode)[1])
    order, number = flat[0].argsort(stable=True), len(flat[0])
    bins = torch.empty_like(order).scatter_(0, order, torch.arange(number) * _BINS // number)
    place, episodes = places(episode)
    key = place.repeat_interleave(variance.shape[1]) * _BINS + bins
    sums = [torch.zeros(episodes * _BINS, dtype=torch.float64).index_add_(0, key, values).view(episodes, _BINS) for values in flat]

    def error(total: Tensor) -> Tensor:
        predicted, actual = (part.sqrt() for part in torch.split(total, _BINS, dim=1))
        # The counts of a bin cancel. A bin that a resample leaves empty is left out.
        return ((predicted - actual).abs() / predicted).nan_to_num().sum(dim=1) / (predicted > 0).sum(dim=1)

    return from_sums(error, torch.cat(sums, dim=1), settings)
