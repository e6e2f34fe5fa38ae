"""Cells: a number, its interval from resampling whole episodes, and how many of them; or the reason why there is none.

Every measured number that a page shows with its uncertainty is one, as plain values: ``Interval.plain()`` of
:mod:`rwmu.uncertainty.resampling`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from rwmu.uncertainty.baselines import TRIVIAL
from rwmu.uncertainty.functional.summary import mean, standard_error
from rwmu.uncertainty.measure import Measure
from rwmu.uncertainty.pairing import NORMAL
from rwmu.uncertainty.resampling import Interval, bootstrap, bootstrap_sums, places, trajectory_sums

Cell = dict[str, Any]
NO_KNOWN_STATES = "the states that the model was trained on are not at hand"


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
    sums = trajectory_sums(torch.stack([numerator.double(), denominator.double()], dim=1), episode)
    if float(sums[:, 1].sum()) <= 0.0:
        return missing(empty, how, len(sums))
    return from_sums(lambda total: total[:, 0] / total[:, 1], sums, how)


def of_rows(statistic: Callable[[Tensor], Measure | Tensor], episode: Tensor, how: Resampling) -> Cell:
    """Return the cell of a statistic of row indices ``[n]``; see :func:`rwmu.uncertainty.resampling.bootstrap`."""
    return bootstrap(statistic, episode, how.level, how.resamples, seed=how.seed).plain()


def median(values: Tensor, episode: Tensor, how: Resampling) -> Cell:
    """Return the cell of the median of ``[B]`` values."""
    values = values.double()
    return of_rows(lambda rows: values[rows].median(), episode, how)


@dataclass(frozen=True)
class Statistic:
    """A number of N trajectories.

    Attributes:
        whole: of all of them once, or why there is none.
        drawn: how often each trajectory counts ``[R, N]`` -> ``[R]``, nan where it is not defined.
    """

    whole: Measure
    drawn: Callable[[Tensor], Tensor]

    def less(self, other: Statistic) -> Statistic:
        """Return the difference of two that can be measured."""
        whole = Measure.of(self.whole.tensor() - other.whole.tensor())
        return Statistic(whole, lambda times: self.drawn(times) - other.drawn(times))


def of_weights(whole: Measure, weighted: Callable[[Tensor], Tensor], episode: Tensor) -> Statistic:
    """Return a statistic of rows ``[B]`` that count as often as their episode: weights ``[R, B]`` -> ``[R]``."""
    place, _ = places(episode)
    return Statistic(whole, lambda times: weighted(times[:, place]))


def from_draws(statistic: Statistic, number: int, how: Resampling) -> Cell:
    """Return the cell of a statistic of ``number`` trajectories, all resamples at once."""
    if not bool(statistic.whole.available.all()):
        return missing(statistic.whole.reason(), how, number)
    return from_sums(statistic.drawn, torch.eye(number, dtype=torch.float64), how)


def from_weights(whole: Measure, weighted: Callable[[Tensor], Tensor], episode: Tensor, how: Resampling) -> Cell:
    """Return the cell of :func:`of_weights`: a resampled statistic of ranks is that of rows weighted by counts."""
    return from_draws(of_weights(whole, weighted, episode), places(episode)[1], how)


def beside_trivial(statistics: Mapping[str, Statistic], number: int, how: Resampling) -> tuple[dict[str, Cell], dict[str, Cell]]:
    """Return the cell of each score's statistic, and by how much each score that is not trivial exceeds the best that is.

    The best one, named as ``best`` of the cell, is that of the highest number in all trajectories; the interval is of differences
    in the same draws of them. It is chosen by the trajectories that it is judged by, so their luck is on its side.
    """
    cells = {name: from_draws(statistic, number, how) for name, statistic in statistics.items()}
    known = [name for name in TRIVIAL if name in cells and cells[name]["value"] is not None]
    best = max(known, key=lambda name: float(cells[name]["value"]), default="")
    beyond: dict[str, Cell] = {}
    for name in (name for name in cells if name not in TRIVIAL):
        if not best or cells[name]["value"] is None:
            beyond[name] = missing(cells[name]["reason"] or "there is no trivial score to compare with", how, number)
        else:
            beyond[name] = from_draws(statistics[name].less(statistics[best]), number, how) | {"best": best}
    return cells | nothing((name for name in TRIVIAL if name not in cells), NO_KNOWN_STATES, how, number), beyond


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
