"""Intervals by resampling whole independent trajectories, never rows.

Rows of one trajectory resemble each other, so resampling rows would give intervals far too narrow. Percentile bootstrap: Efron and
Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13; whole clusters: Davison and Hinkley, "Bootstrap Methods and their
Application" (1997), section 3.8. Percentile intervals of few trajectories are too narrow (Hesterberg 2015, arXiv:1411.5279): of a
mean of normal numbers, what says 95 % covers about 83 with 5, 89 with 10 and 91 with 20; below 20 an interval says so itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.uncertainty.measure import Measure

NEEDED = 5  # fewer trajectories can be drawn in too few ways for an interval
FEW = 20  # with fewer, an interval is too narrow to be taken at its word
RESAMPLES = 1000
_MOST_UNMEASURED = 0.1  # of the resamples, before there is no interval

Statistic = Callable[[Tensor], Measure | Tensor | float]


@dataclass(frozen=True)
class Interval:
    """A number, the interval around it, and how many independent trajectories it rests on; prints itself with that number.

    Attributes:
        value: the statistic of all rows; None where it cannot be measured.
        low, high: ends of the interval; None where there is none.
        level: probability of the interval.
        trajectories: how many independent ones.
        reason: why there is no value or no interval; empty where there are both.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    trajectories: int
    reason: str = ""

    @classmethod
    def missing(cls, reason: str, trajectories: int = 0, level: float = 0.95) -> Interval:
        """Return what could not be measured."""
        return cls(None, None, None, level, trajectories, reason)

    def __str__(self) -> str:
        count = f"{self.trajectories} independent trajector{'y' if self.trajectories == 1 else 'ies'}"
        if self.value is None:
            return f"not measured: {self.reason} ({count})"
        if self.low is None or self.high is None:
            return f"{self.value:.4g} (no interval: {self.reason}; {count})"
        caution = "; so few that it is too narrow" if self.trajectories < FEW else ""
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}] ({100 * self.level:g} %, {count}{caution})"

    def excludes(self, number: float) -> bool:
        """Return whether there is an interval, and ``number`` lies outside it."""
        return self.low is not None and self.high is not None and not self.low <= number <= self.high

    def plain(self) -> dict[str, Any]:
        """Return the fields and the sentence, for JSON."""
        return {**asdict(self), "text": str(self)}


def places(trajectory: Tensor) -> tuple[Tensor, int]:
    """Return the place ``[B]`` of each row's trajectory among the N distinct ones, and N."""
    ids, place = torch.unique(trajectory, return_inverse=True)
    return place, len(ids)


def trajectory_sums(values: Tensor, trajectory: Tensor) -> Tensor:
    """Sum rows ``[B, ...]`` over each trajectory: ``[N, ...]`` float64."""
    place, number = places(trajectory)
    return values.new_zeros((number, *values.shape[1:]), dtype=torch.float64).index_add_(0, place, values.double())


def clustered_mean(values: Tensor, trajectory: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of ``[B, ...]`` over B and its standard error over whole trajectories (infinite for fewer than two)."""
    values = values.double()
    mean = values.mean(0)
    sums = trajectory_sums(values - mean, trajectory)
    if len(sums) < 2:
        return mean, torch.full_like(mean, math.inf)
    scale = math.sqrt(len(sums) / (len(sums) - 1)) / len(values)
    return mean, sums.square().sum(0).sqrt() * scale


def resampled_rows(trajectory: Tensor, draws: Tensor) -> list[Tensor]:
    """Return the rows of each draw of whole trajectories, those drawn twice twice.

    Args:
        trajectory: ``[B]``, which trajectory each row comes from, any integers.
        draws: ``[R, N]`` int64, places of the drawn trajectories among the N distinct ones in ascending order.

    Returns:
        R tensors of row indices.
    """
    _, place, lengths = torch.unique(trajectory, return_inverse=True, return_counts=True)
    by_trajectory = place.argsort(stable=True)
    first = lengths.cumsum(0) - lengths
    rows = []
    for drawn in draws:
        length = lengths[drawn]
        begins = length.cumsum(0) - length
        within = torch.arange(int(length.sum()), device=length.device) - begins.repeat_interleave(length)
        rows.append(by_trajectory[first[drawn].repeat_interleave(length) + within])
    return rows


def _number(result: Measure | Tensor | float) -> float | None:
    if isinstance(result, Measure):
        return float(result) if bool(result.available.all()) else None
    value = float(result)
    return value if math.isfinite(value) else None  # an end of NaN would exclude every number


def bootstrap(
    statistic: Statistic,
    trajectory: Tensor,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return a statistic of rows and its percentile interval.

    Args:
        statistic: row indices ``[n]`` (with repetitions) -> a number or a :class:`Measure` of one cell; called once a resample.
        trajectory: ``[B]`` integers, which *independent* trajectory each row comes from.
        level: probability of the interval.

    Returns:
        An interval, or the reason why there is none: too few trajectories, or a statistic that more than a tenth of the resamples
        do not allow (a fall, say, that only one trajectory has).

    Raises:
        ConfigError: if ``level`` or ``resamples`` make no sense.
    """

    def drawn() -> list[float | None]:
        draws = _draws(number, resamples, seed)
        return [_number(statistic(rows)) for rows in resampled_rows(trajectory.cpu(), draws)]

    number = len(torch.unique(trajectory))
    return _interval(lambda: statistic(torch.arange(len(trajectory))), drawn, number, level, resamples)


def bootstrap_sums(
    statistic: Callable[[Tensor], Tensor],
    sums: Tensor,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return the interval of a statistic of sums, all resamples at once: the fast way for means, coverages and root mean squares.

    Args:
        statistic: totals ``[R, S]`` -> ``[R]``, say ``lambda t: (t[:, 0] / t[:, 1]).sqrt()``; what is not finite is unmeasured.
        sums: ``[N, S]``, of each trajectory.
        level, resamples, seed: as :func:`bootstrap`, which draws the same trajectories for the same seed.
    """
    sums = sums.detach().cpu().double()

    def drawn() -> list[float | None]:
        return [_number(value) for value in statistic(resampled_totals(sums, resamples, seed)).tolist()]

    return _interval(lambda: statistic(sums.sum(dim=0, keepdim=True)), drawn, len(sums), level, resamples)


def _interval(
    statistic: Callable[[], Measure | Tensor | float],
    drawn: Callable[[], list[float | None]],
    number: int,
    level: float,
    resamples: int,
) -> Interval:
    """Return the interval of a statistic of all of ``number`` trajectories, and of draws of them."""
    if not 0.0 < level < 1.0 or resamples < 1:
        raise ConfigError(f"level and resamples are {level} and {resamples}, but must be within 0 and 1, and at least 1.")
    if not number:
        return Interval.missing("no rows", 0, level)
    whole = statistic()
    value = _number(whole)
    if value is None:
        reason = whole.reason() if isinstance(whole, Measure) else "the statistic of these trajectories is not finite"
        return Interval.missing(reason, number, level)
    if number < NEEDED:
        return Interval(value, None, None, level, number, f"{NEEDED} independent trajectories are needed")
    found = drawn()
    measured = torch.tensor([result for result in found if result is not None], dtype=torch.float64)
    lost = len(found) - len(measured)
    if lost > _MOST_UNMEASURED * len(found):
        return Interval(value, None, None, level, number, f"{lost} of {len(found)} resamples could not be measured")
    ends = torch.quantile(measured, torch.tensor([(1.0 - level) / 2.0, (1.0 + level) / 2.0], dtype=torch.float64))
    return Interval(value, float(ends[0]), float(ends[1]), level, number)


def _draws(number: int, resamples: int, seed: int) -> Tensor:
    """Return places of the drawn trajectories, ``[R, N]``."""
    return torch.randint(number, (resamples, number), generator=torch.Generator().manual_seed(seed))


def resampled_totals(sums: Tensor, resamples: int = RESAMPLES, seed: int = 0) -> Tensor:
    """Return the totals ``[R, S]`` of resamples of whole trajectories, given the sums ``[N, S]`` of each."""
    draws = _draws(len(sums), resamples, seed)
    ones = torch.ones(draws.shape, dtype=torch.float64)
    times = torch.zeros(resamples, len(sums), dtype=torch.float64).scatter_add_(1, draws, ones)  # how often each is drawn
    return times @ sums
