"""Cells of the analysis: a number, its interval from resampling whole episodes, and how many of them; or the reason why not.

Statistics are written as functions of how often each episode was drawn, ``[R, N] -> [R]``, so that all resamples are computed at
once: a rank correlation of a resample is that of rows weighted by whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.uncertainty.measure import Measure
from rwmu.uncertainty.resampling import Interval, bootstrap, bootstrap_sums, places, ratio_of_sums

Cell = dict[str, Any]


def missing(reason: str, level: float, trajectories: int = 0) -> Cell:
    """Return the cell of what could not be measured."""
    return Interval.missing(reason, trajectories, level).plain()


def nothing(names: Iterable[str], reason: str, settings: CalibrationSettings, trajectories: int = 0) -> dict[str, Cell]:
    """Return cells that could not be measured, all for one reason."""
    return {name: missing(reason, settings.level, trajectories) for name in names}


def from_sums(statistic: Callable[[Tensor], Tensor], sums: Tensor, settings: CalibrationSettings) -> Cell:
    """Return the cell of a statistic of sums ``[N, S]``; see :func:`rwmu.uncertainty.resampling.bootstrap_sums`."""
    return bootstrap_sums(statistic, sums, settings.level, settings.resamples, seed=settings.seed).plain()


def share(numerator: Tensor, denominator: Tensor, episode: Tensor, settings: CalibrationSettings, empty: str = "no rows") -> Cell:
    """Return the cell of the sum of one column ``[B]`` over that of another; ``empty`` says why where the latter is 0."""
    arguments = (numerator, denominator, episode, empty, settings.level, settings.resamples, settings.seed)
    return ratio_of_sums(*arguments).plain()


def of_rows(statistic: Callable[[Tensor], Measure | Tensor], episode: Tensor, settings: CalibrationSettings) -> Cell:
    """Return the cell of a statistic of row indices ``[n]``; see :func:`rwmu.uncertainty.resampling.bootstrap`."""
    return bootstrap(statistic, episode, settings.level, settings.resamples, seed=settings.seed).plain()


def median(values: Tensor, episode: Tensor, settings: CalibrationSettings) -> Cell:
    """Return the cell of the median of ``[B]`` values."""
    values = values.double()
    return of_rows(lambda rows: values[rows].median(), episode, settings)


def from_weights(whole: Measure, statistic: Callable[[Tensor], Tensor], episode: Tensor, settings: CalibrationSettings) -> Cell:
    """Return the cell of a statistic of weighted rows.

    Args:
        whole: the number of all rows, or why there is none.
        statistic: weights of the rows ``[R, B]`` -> ``[R]``, nan where it is not defined.
        episode: ``[B]``, which episode each row is of.
    """
    place, number = places(episode)
    if not bool(whole.available.all()):
        return missing(whole.reason(), settings.level, number)
    return from_sums(lambda times: statistic(times[:, place]), torch.eye(number, dtype=torch.float64), settings)


def shortened(values: Tensor) -> list[float]:
    """Return numbers that are only drawn, or ranked, in six digits."""
    return [float(f"{value:.6g}") for value in values.tolist()]
