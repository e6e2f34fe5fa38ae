"""Cells: a number, its interval from resampling whole episodes, and how many of them; or the reason why there is none.

Every measured number that a page shows with its uncertainty is one, as plain values: ``Interval.plain()`` of
:mod:`rwmu.uncertainty.resampling`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from rwmu.uncertainty.functional.summary import mean, standard_error
from rwmu.uncertainty.measure import Measure
from rwmu.uncertainty.pairing import NORMAL
from rwmu.uncertainty.resampling import Interval, bootstrap, bootstrap_sums, places, ratio_of_sums

Cell = dict[str, Any]


class Resampling(Protocol):
    """How intervals are made: their probability, how many resamples of whole episodes, and the seed of these."""

    @property
    def level(self) -> float: ...  # noqa: D102
    @property
    def resamples(self) -> int: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


def missing(reason: str, how: Resampling, trajectories: int = 0) -> Cell:
    """Return the cell of what could not be measured."""
    return Interval.missing(reason, trajectories, how.level).plain()


def nothing(names: Iterable[str], reason: str, how: Resampling, trajectories: int = 0) -> dict[str, Cell]:
    """Return cells that could not be measured, all for one reason."""
    return {name: missing(reason, how, trajectories) for name in names}


def from_sums(statistic: Callable[[Tensor], Tensor], sums: Tensor, how: Resampling) -> Cell:
    """Return the cell of a statistic of sums ``[N, S]``; see :func:`rwmu.uncertainty.resampling.bootstrap_sums`."""
    return bootstrap_sums(statistic, sums, how.level, how.resamples, seed=how.seed).plain()


def share(numerator: Tensor, denominator: Tensor, episode: Tensor, how: Resampling, empty: str = "no rows") -> Cell:
    """Return the cell of the sum of one column ``[B]`` over that of another; ``empty`` says why where the latter is 0."""
    return ratio_of_sums(numerator, denominator, episode, empty, how.level, how.resamples, how.seed).plain()


def of_rows(statistic: Callable[[Tensor], Measure | Tensor], episode: Tensor, how: Resampling) -> Cell:
    """Return the cell of a statistic of row indices ``[n]``; see :func:`rwmu.uncertainty.resampling.bootstrap`."""
    return bootstrap(statistic, episode, how.level, how.resamples, seed=how.seed).plain()


def median(values: Tensor, episode: Tensor, how: Resampling) -> Cell:
    """Return the cell of the median of ``[B]`` values."""
    values = values.double()
    return of_rows(lambda rows: values[rows].median(), episode, how)


def from_weights(whole: Measure, statistic: Callable[[Tensor], Tensor], episode: Tensor, how: Resampling) -> Cell:
    """Return the cell of a statistic of weighted rows: all resamples at once, for one of ranks is that of rows weighted by counts.

    Args:
        whole: the number of all rows, or why there is none.
        statistic: weights of the rows ``[R, B]`` -> ``[R]``, nan where it is not defined.
        episode: ``[B]``, which episode each row is of.
    """
    place, number = places(episode)
    if not bool(whole.available.all()):
        return missing(whole.reason(), how, number)
    return from_sums(lambda times: statistic(times[:, place]), torch.eye(number, dtype=torch.float64), how)


def of_episodes(values: Tensor) -> Cell:
    """Return the cell of the mean of ``[N]`` values of independent episodes, with the interval of a normal distribution."""
    value, half = mean(values), NORMAL * standard_error(values)
    if not len(values) or value != value:
        return Interval.missing("no episodes").plain()
    if half != half:
        return Interval(value, None, None, 0.95, len(values), "2 independent trajectories are needed").plain()
    return Interval(value, value - half, value + half, 0.95, len(values)).plain()


def shortened(values: Tensor) -> list[float]:
    """Return numbers that are only drawn, or ranked, in six digits."""
    return [float(f"{value:.6g}") for value in values.tolist()]
