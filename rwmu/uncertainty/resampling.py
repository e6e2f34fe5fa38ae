"""Intervals by resampling whole independent trajectories, never rows; paired where two models are compared.

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
    needed: int = NEEDED,
    seed: int = 0,
) -> Interval:
    """Return a statistic of rows and its percentile interval.

    Args:
        statistic: row indices ``[n]`` (with repetitions) -> a number or a :class:`Measure` of one cell; called once a resample.
        trajectory: ``[B]`` integers, which *independent* trajectory each row comes from.
        level: probability of the interval.
        needed: fewest trajectories of an interval.

    Returns:
        An interval, or the reason why there is none: too few trajectories, or a statistic that more than a tenth of the resamples
        do not allow (a fall, say, that only one trajectory has).

    Raises:
        ConfigError: if ``level`` or ``resamples`` make no sense.
    """
    if not 0.0 < level < 1.0 or resamples < 1:
        raise ConfigError(f"level and resamples are {level} and {resamples}, but must be within 0 and 1, and at least 1.")
    number = len(torch.unique(trajectory))
    if not number:
        return Interval(None, None, None, level, 0, "no rows")
    whole = statistic(torch.arange(len(trajectory)))
    value = _number(whole)
    if value is None:
        return Interval(None, None, None, level, number, whole.reason() if isinstance(whole, Measure) else "not measured")
    if number < max(needed, 2):
        return Interval(value, None, None, level, number, f"{max(needed, 2)} independent trajectories are needed")
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(number, (resamples, number), generator=generator)
    found = [_number(statistic(rows)) for rows in resampled_rows(trajectory.cpu(), draws)]
    return _percentiles(value, found, level, number)


def _percentiles(value: float, found: list[float | None], level: float, number: int) -> Interval:
    measured = torch.tensor([result for result in found if result is not None], dtype=torch.float64)
    lost = len(found) - len(measured)
    if lost > _MOST_UNMEASURED * len(found):
        reason = f"{lost} of {len(found)} resamples could not be measured"
        return Interval(value, None, None, level, number, reason)
    ends = torch.quantile(measured, torch.tensor([(1.0 - level) / 2.0, (1.0 + level) / 2.0], dtype=torch.float64))
    return Interval(value, float(ends[0]), float(ends[1]), level, number)


def paired_bootstrap(
    first: Statistic,
    second: Statistic,
    trajectory: Tensor,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    needed: int = NEEDED,
    seed: int = 0,
) -> Interval:
    """Return the first statistic less the second and its interval, both of the same trajectories in every resample.

    What makes a trajectory hard for both models cancels: two separate intervals may overlap where this one excludes 0.

    Args:
        first, second: statistics of two models on the *same rows*; others as :func:`bootstrap`.
    """

    def difference(rows: Tensor) -> Measure | float:
        results = [statistic(rows) for statistic in (first, second)]
        for result in results:
            if isinstance(result, Measure) and not bool(result.available.all()):
                return Measure.missing(result.reason())
        return float(results[0]) - float(results[1])

    return bootstrap(difference, trajectory, level, resamples, needed, seed)


def bootstrap_sums(
    statistic: Callable[[Tensor], Tensor],
    sums: Tensor,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    needed: int = NEEDED,
    seed: int = 0,
) -> Interval:
    """Return the interval of a statistic of sums, all resamples at once: the fast way for means, coverages and root mean squares.

    Args:
        statistic: totals ``[R, S]`` -> ``[R]``, say ``lambda t: (t[:, 0] / t[:, 1]).sqrt()``; what is not finite is unmeasured.
        sums: ``[N, S]``, of each trajectory.
        level, resamples, needed, seed: as :func:`bootstrap`, which draws the same trajectories for the same seed.

    Raises:
        ConfigError: if ``level`` or ``resamples`` make no sense.
    """
    if not 0.0 < level < 1.0 or resamples < 1:
        raise ConfigError(f"level and resamples are {level} and {resamples}, but must be within 0 and 1, and at least 1.")
    number = len(sums)
    if not number:
        return Interval(None, None, None, level, 0, "no rows")
    sums = sums.detach().cpu().double()
    whole = statistic(sums.sum(dim=0, keepdim=True))
    if not bool(torch.isfinite(whole).all()):
        return Interval(None, None, None, level, number, "the statistic of these trajectories is not finite")
    if number < max(needed, 2):
        return Interval(float(whole), None, None, level, number, f"{max(needed, 2)} independent trajectories are needed")
    draws = torch.randint(number, (resamples, number), generator=torch.Generator().manual_seed(seed))
    times = torch.zeros(resamples, number, dtype=torch.float64).scatter_add_(1, draws, torch.ones(draws.shape, dtype=torch.float64))
    values = statistic(times @ sums)
    found = [value if math.isfinite(value) else None for value in values.tolist()]
    return _percentiles(float(whole), found, level, number)
