"""Interquartile means over seeds, and intervals (Agarwal et al. 2021, arXiv:2108.13264).

The interquartile mean is the mean of the middle half of the scores; of fewer than four it is the mean. All seeds of the study are
measured on the same test episodes and deployed from the same starts, and luck that all seeds share does not average out over them:
intervals here are of seeds *and* episodes. Luck that one seed has with one episode is then counted up to three times (Owen 2007,
doi:10.1214/07-AOAS122): with much of it, as in returns, such an interval is wider than it need be, never narrower.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rwmu.uncertainty.resampling import NEEDED

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

RESAMPLES = 2000
LEVEL = 0.95
NORMAL = 1.96  # half-width of the 95 % interval of a normal distribution, in standard deviations
STUDENT = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}  # the same of a mean of so many, their spread being estimated too
FEWEST_SEEDS = 5  # of fewer, resampling covers far less than it says: 75 % of nominally 95 with three, 90 with five (normal scores)
FEWEST_FALLS = NEEDED  # of fewer, an interval of their foresight says nothing: most draws repeat one or two of them
ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)  # quantiles of an interval
_MOST_LOST = 0.1  # of the resamples, before there is no interval


@dataclass(frozen=True)
class Estimate:
    """A number over seeds with its interval.

    Attributes:
        value: the interquartile mean; None where nothing is there.
        low, high: ends of the interval; None where there is none.
        each: every seed's number. episodes: independent test episodes behind each.
        reason: why the value or the interval is missing.
        falls: in these episodes, of numbers that rest on them.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    each: tuple[float, ...] = ()
    episodes: int | None = None
    reason: str = ""
    falls: int | None = None

    @property
    def seeds(self) -> int:
        """Return how many seeds there are."""
        return len(self.each)

    @property
    def few(self) -> bool:
        """Return whether it rests on too few seeds, or falls, for an interval that draws them."""
        return self.seeds < FEWEST_SEEDS or (self.falls is not None and self.falls < FEWEST_FALLS)

    def text(self, digits: int = 2) -> str:
        """Return the number and its interval, without one every seed's number or why it has none, or why there is no number."""
        if self.value is None:
            return self.reason or "not run yet"
        number = f"{self.value:.{digits}f}"
        if self.falls is not None and self.falls < FEWEST_FALLS:
            return f"{number} (no interval: {_falls(self.falls)})"
        if self.low is None or self.high is None:
            return f"{number} ({self.seeds} seed{'' if self.seeds == 1 else 's'}: {self.spread(digits)})"
        return f"{number} {self.ends_text(digits)}"

    @property
    def counts(self) -> str:
        """Return how many independent things an interval rests on, seeds × test episodes, and falls if it is of these."""
        found = f"{self.seeds} × {self.episodes}" if self.episodes else f"{self.seeds}"
        return found if self.falls is None else f"{found}, {_falls(self.falls)}"

    def counted(self, digits: int = 2) -> str:
        """Return the text, with what its interval rests on where it has one."""
        return self.text(digits) if self.low is None else f"{self.text(digits)} ({self.counts})"

    def ends_text(self, digits: int = 2) -> str:
        """Return the interval alone; empty where there is none."""
        return "" if self.low is None or self.high is None else f"[{self.low:.{digits}f}, {self.high:.{digits}f}]"

    def spread(self, digits: int = 2) -> str:
        """Return every seed's number."""
        return ", ".join(f"{value:.{digits}f}" for value in self.each)

    def plain(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


def _falls(number: int) -> str:
    return f"{number} fall{'' if number == 1 else 's'}"


def interquartile_mean(scores: Floats, axis: int = -1) -> Floats:
    """Return the mean of the middle half along an axis: a quarter of the number, rounded down, is cut from either end."""
    ordered = np.sort(np.moveaxis(scores, axis, -1), axis=-1)
    number = ordered.shape[-1]
    cut = number // 4
    return np.asarray(ordered[..., cut : number - cut].mean(axis=-1))


def combined(
    values: Sequence[float],
    ends: Sequence[tuple[float, float] | None],
    episodes: int | None = None,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate:
    """Return the interquartile mean of numbers that each have an interval of their own, from the episodes that all share.

    The interval's half-widths are the root of the sum of squares of two: the seeds' own ones, averaged (the same episodes for
    all, so they do not shrink with the number of seeds), and that of a mean over seeds by Student's t. With one seed it is that
    seed's interval, without any it is the spread over seeds alone.

    Args:
        values: of each seed. ends: low and high of each seed's interval over episodes; None where it has none.
        limits: that the quantity cannot exceed.
    """
    numbers = np.array(values, dtype=np.float64)
    if not len(numbers):
        return Estimate(None, reason="not run yet")
    if len(numbers) > max(STUDENT):
        raise ValueError(f"Student's quantiles are known for up to {max(STUDENT)} seeds, not for {len(numbers)}")
    value, seeds = float(interquartile_mean(numbers)), len(numbers)
    known = [(number - end[0], end[1] - number) for number, end in zip(values, ends, strict=True) if end is not None]
    below, above = (float(np.mean([pair[side] for pair in known])) if known else 0.0 for side in (0, 1))
    over_seeds = STUDENT[seeds] * float(numbers.std(ddof=1)) / math.sqrt(seeds) if seeds in STUDENT else 0.0
    if not known and seeds < min(STUDENT):
        return Estimate(value, each=tuple(values), episodes=episodes, reason="one seed, and no interval over episodes")
    low, high = value - math.hypot(below, over_seeds), value + math.hypot(above, over_seeds)
    return Estimate(value, max(low, limits[0]), min(high, limits[1]), tuple(values), episodes)


def seed_draws(seeds: int, resamples: int = RESAMPLES, seed: int = 0) -> Places:
    """Return places ``[R, S]`` of seeds drawn with replacement."""
    return np.random.default_rng(seed).integers(0, seeds, (resamples, seeds))


def resampled(each: Sequence[float], value: float, found: Floats, episodes: int, falls: int | None = None) -> Estimate:
    """Return a statistic with the percentile interval of its resamples; none with fewer seeds than ``FEWEST_SEEDS``.

    Args:
        each: every seed's number. value: the statistic of all of them. found: ``[R]``, of draws of seeds and episodes.
        falls: that the statistic rests on, in all episodes; with fewer than ``FEWEST_FALLS`` there is no interval. None for others.
    """
    bare = Estimate(value, each=tuple(each), episodes=episodes, falls=falls)
    if len(each) < FEWEST_SEEDS:
        return replace(bare, reason=f"an interval needs {FEWEST_SEEDS} seeds")
    if bare.few:
        return replace(bare, reason=f"an interval needs {FEWEST_FALLS} falls")
    finite = found[np.isfinite(found)]
    if len(found) - len(finite) > _MOST_LOST * len(found):
        return replace(bare, reason="too many resamples could not be measured")
    low, high = np.quantile(finite, ENDS)
    return replace(bare, low=float(low), high=float(high))


def of_resampled(each: Sequence[float], scores: Floats, episodes: int, falls: int | None = None) -> Estimate:
    """Return the interquartile mean over seeds, whose interval draws seeds and test episodes together.

    Args:
        each: every seed's number, of all episodes.
        scores: ``[S, R]``, every seed's number in R draws of the episodes, the same draws for every seed.
        falls: as of :func:`resampled`.
    """
    draws = scores.shape[1]
    places = seed_draws(len(each), draws)  # [R, S]
    found = interquartile_mean(scores[places, np.arange(draws)[:, None]])
    return resampled(each, float(interquartile_mean(np.array(each, dtype=np.float64))), found, episodes, falls)
