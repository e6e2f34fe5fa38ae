"""Cells of the analysis: a number, its interval from resampling whole episodes, and how many of them; or the reason why not.

Statistics are written as functions of how often each episode was drawn, ``[R, N] -> [R]``, so that all resamples are computed at
once: a rank correlation of a resample is that of rows weighted by whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.uncertainty.measure import Measure
from rwmu.uncertainty.resampling import Interval, bootstrap_sums

Cell = dict[str, Any]


def missing(reason: str, level: float, trajectories: int = 0) -> Cell:
    """Return the cell of what could not be measured."""
    return Interval(None, None, None, level, trajectories, reason).plain()


def places(episode: Tensor) -> tuple[Tensor, int]:
    """Return the place ``[B]`` of each row's episode among the N distinct ones, and N."""
    ids, place = torch.unique(episode, return_inverse=True)
    return place, len(ids)


def sums_by_episode(values: Tensor, episode: Tensor) -> Tensor:
    """Sum rows ``[B, S]`` over each episode: ``[N, S]`` float64."""
    place, number = places(episode)
    return values.new_zeros((number, values.shape[1]), dtype=torch.float64).index_add_(0, place, values.double())


def from_sums(statistic: Callable[[Tensor], Tensor], sums: Tensor, settings: CalibrationSettings) -> Cell:
    """Return the cell of a statistic of sums ``[N, S]``; see :func:`rwmu.uncertainty.resampling.bootstrap_sums`."""
    return bootstrap_sums(statistic, sums, settings.level, settings.resamples, seed=settings.seed).plain()


def ratio_of_sums(numerator: Tensor, denominator: Tensor, episode: Tensor, settings: CalibrationSettings, empty: str) -> Cell:
    """Return the cell of the sum of one column ``[B]`` over that of another; ``empty`` says why where the latter is 0."""
    sums = sums_by_episode(torch.stack([numerator.double(), denominator.double()], dim=1), episode)
    if float(sums[:, 1].sum()) <= 0.0:
        return missing(empty, settings.level, len(sums))
    return from_sums(lambda total: total[:, 0] / total[:, 1], sums, settings)


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
    cell = from_sums(lambda times: statistic(times[:, place]), torch.eye(number, dtype=torch.float64), settings)
    return cell
