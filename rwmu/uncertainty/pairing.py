"""Methods compared over training seeds and test episodes, paired by both: robust means, differences, and their intervals.

The interquartile mean is the mean of the middle half of the seeds (Agarwal et al. 2021, arXiv:2108.13264). All seeds meet the same
test episodes, so luck with an episode does not average out over seeds: intervals here draw seeds *and* episodes. Luck that one seed
has with one episode then counts up to three times (Owen 2007, doi:10.1214/07-AOAS122). Where there is much of it, as in returns, an
interval is wider than it need be, never narrower.

Shapes: S seeds, N episodes, R draws, W options (such as weights of a penalty).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rwmu.uncertainty.resampling import NEEDED

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

RESAMPLES = 2000
LEVEL = 0.95
NORMAL = 1.96  # half-width of the 95 % interval of a normal distribution, in standard deviations
STUDENT = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}  # the same of a mean of so many, their spread being estimated too
FEWEST_SEEDS = 5  # of fewer, resampling covers far less than it says: 75 % of nominally 95 with three, 90 with five (normal scores)
FEWEST_FALLS = NEEDED  # of fewer, an interval of their foresight says nothing: most draws repeat one or two of them
NO_LIMITS = (-math.inf, math.inf)
ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)  # quantiles of an interval
_MOST_LOST = 0.1  # of the resamples, before there is no interval


@dataclass(frozen=True)
class Estimate:
    """A number over seeds with its interval.

    Attributes:
        value: the interquartile mean. low, high: ends of its interval; None where there is none.
        each: every seed's number. episodes: independent test episodes behind each.
        falls: in these episodes, of numbers that rest on them; None for others.
    """

    value: float
    low: float | None = None
    high: float | None = None
    each: tuple[float, ...] = ()
    episodes: int | None = None
    falls: int | None = None

    @property
    def few(self) -> bool:
        """Return whether it rests on too few seeds, or falls, for an interval that draws them."""
        return len(self.each) < FEWEST_SEEDS or (self.falls is not None and self.falls < FEWEST_FALLS)

    @property
    def counts(self) -> str:
        """Return how many independent things it rests on: seeds × test episodes, and falls if it is of these."""
        found = f"{len(self.each)} × {self.episodes}" if self.episodes else f"{len(self.each)}"
        return found if self.falls is None else f"{found}, {self.falls} falls"

    def text(self, digits: int = 2) -> str:
        """Return the number with its interval, or with every seed's number where there is none."""
        number = f"{self.value:.{digits}f}"
        if self.falls is not None and self.falls < FEWEST_FALLS:
            return f"{number} (no interval: {self.falls} falls)"
        if self.low is None or self.high is None:
            return f"{number} ({', '.join(f'{value:.{digits}f}' for value in self.each)})"
        return f"{number} [{self.low:.{digits}f}, {self.high:.{digits}f}]"

    def against(self, margin: float) -> str:
        """Return whether an advantage is ``within`` a margin for sure, ``beyond`` it for sure, or that is ``open``."""
        if self.low is None or self.high is None:
            return "open"
        if self.high <= margin:
            return "within"
        return "beyond" if self.low > margin else "open"


def interquartile_mean(scores: Floats) -> Floats:
    """Return the mean of the middle half of the last axis: a quarter of the number, rounded down, is cut from either end."""
    ordered = np.sort(scores, axis=-1)
    cut = ordered.shape[-1] // 4
    return np.asarray(ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1))


def combined(
    values: Sequence[float],
    ends: Sequence[tuple[float, float] | None],
    episodes: int | None = None,
    limits: tuple[float, float] = NO_LIMITS,
) -> Estimate:
    """Return the interquartile mean of seeds' numbers that each have an interval over the episodes that all share.

    The half-width is the root of the sum of squares of two: the seeds' own ones, averaged (the same episodes for all, so they do
    not shrink with the number of seeds), and that of a mean over seeds by Student's t.

    Args:
        values: of each seed. ends: low and high of each seed's interval over episodes; None where it has none.
        limits: that the quantity cannot exceed.

    Raises:
        ValueError: for more seeds than Student's quantiles are known for.
    """
    numbers = np.array(values, dtype=np.float64)
    if len(numbers) > max(STUDENT):
        raise ValueError(f"Student's quantiles are known for up to {max(STUDENT)} seeds, not for {len(numbers)}")
    value, seeds = float(interquartile_mean(numbers)), len(numbers)
    known = [(number - end[0], end[1] - number) for number, end in zip(values, ends, strict=True) if end is not None]
    if not known and seeds < min(STUDENT):
        return Estimate(value, each=tuple(values), episodes=episodes)
    below, above = (float(np.mean([pair[side] for pair in known])) if known else 0.0 for side in (0, 1))
    over_seeds = STUDENT[seeds] * float(numbers.std(ddof=1)) / math.sqrt(seeds) if seeds in STUDENT else 0.0
    low, high = value - math.hypot(below, over_seeds), value + math.hypot(above, over_seeds)
    return Estimate(value, max(low, limits[0]), min(high, limits[1]), tuple(values), episodes)


# -- draws of seeds and episodes -------------------------------------------------------------------------------------------------


def seed_draws(seeds: int, resamples: int = RESAMPLES) -> Places:
    """Return places ``[R, S]`` of seeds drawn with replacement."""
    return np.random.default_rng(0).integers(0, seeds, (resamples, seeds))


def episode_draws(ids: Sequence[int], resamples: int = RESAMPLES) -> Tensor:
    """Return how often each episode is drawn, ``[1 + R, 1 + largest id]`` float64, first of all every episode once.

    The same ids have the same draws, so that statistics of two models on the same episodes are paired.
    """
    distinct = sorted(set(ids))
    draws = torch.randint(len(distinct), (resamples, len(distinct)), generator=torch.Generator().manual_seed(0))
    drawn = torch.zeros(resamples, len(distinct), dtype=torch.float64).scatter_add_(1, draws, torch.ones(draws.shape).double())
    times = torch.zeros(1 + resamples, 1 + distinct[-1], dtype=torch.float64)
    times[0, distinct], times[1:, distinct] = 1.0, drawn
    return times


def _percentiles(each: Sequence[float], value: float, found: Floats, episodes: int, falls: int | None = None) -> Estimate:
    """Return a statistic with the percentile interval of its resamples ``[R]``; none with too few seeds or falls."""
    bare = Estimate(value, each=tuple(each), episodes=episodes, falls=falls)
    finite = found[np.isfinite(found)]
    if bare.few or len(found) - len(finite) > _MOST_LOST * len(found):
        return bare
    low, high = np.quantile(finite, ENDS)
    return replace(bare, low=float(low), high=float(high))


def over_seeds_and_episodes(scores: Floats, episodes: int, falls: int | None = None) -> Estimate:
    """Return the interquartile mean over seeds, whose interval draws seeds and test episodes together.

    Args:
        scores: ``[S, 1 + R]``, every seed's number of all episodes, then of R draws of them, the same draws for every seed.
        falls: that the number rests on, in all episodes; None for numbers that do not.
    """
    each, drawn = scores[:, 0], scores[:, 1:]
    draws = drawn.shape[1]
    found = interquartile_mean(drawn[seed_draws(len(each), draws), np.arange(draws)[:, None]])
    return _percentiles(each.tolist(), float(interquartile_mean(each)), found, episodes, falls)


# -- the best of several options, scores [W, S, N] -------------------------------------------------------------------------------


class _Draws(NamedTuple):
    """Draws of which the first is everything once: places of seeds ``[1 + R, S]``, times of episodes ``[1 + R, N]``."""

    places: Places
    times: Floats


@cache  # every difference asks for the same ones
def _draws(seeds: int, episodes: int, seeds_alone: bool) -> _Draws:
    places = np.concatenate([np.arange(seeds)[None], seed_draws(seeds)])
    if seeds_alone:
        return _Draws(places, np.ones((1 + RESAMPLES, episodes)))
    picks = np.random.default_rng(1).integers(0, episodes, (RESAMPLES, episodes))
    drawn = np.zeros((RESAMPLES, episodes))
    np.add.at(drawn, (np.arange(RESAMPLES)[:, None], picks), 1.0)
    return _Draws(places, np.concatenate([np.ones((1, episodes)), drawn]))


def _drawn(scores: Floats, draws: _Draws) -> Floats:
    """Return the interquartile mean over the drawn seeds of the mean over the drawn episodes, ``[W, 1 + R]``."""
    means = np.asarray(scores @ draws.times.T / draws.times.sum(axis=1))  # [W, S, 1 + R]
    return interquartile_mean(means[:, draws.places, np.arange(len(draws.places))[:, None]])


def best_option(scores: Floats) -> int:
    """Return the place of the option of the highest interquartile mean."""
    return int(interquartile_mean(scores.mean(axis=2)).argmax())


def best_difference(pairs: Sequence[tuple[Floats, Floats]], relative: bool = False, seeds_alone: bool = False) -> Estimate:
    """Return ``first - second``, each at its best option, averaged over pairs; a draw of seeds and episodes serves all of them.

    The best option is chosen anew in every draw. Against something that has nothing to choose, give one option alone: the best of
    several would lie above it by chance.

    Args:
        pairs: scores ``[W, S, N]`` of the same seeds and episodes. relative: to the second.
        seeds_alone: whether the interval draws seeds alone.
    """
    _, seeds, episodes = pairs[0][0].shape
    draws = _draws(seeds, episodes, seeds_alone)
    found, each = [], []
    for first, second in pairs:
        one, other = (_drawn(side, draws).max(axis=0) for side in (first, second))
        own, base = (side.mean(axis=2)[best_option(side)] for side in (first, second))
        found.append((one - other) / np.abs(other) if relative else one - other)
        each.append((own - base) / np.abs(base) if relative else own - base)
    all_draws = np.mean(found, axis=0)
    return _percentiles(np.mean(each, axis=0).tolist(), float(all_draws[0]), all_draws[1:], episodes)


def chosen_by_others(scores: Floats) -> list[float]:
    """Return each seed's mean score at the option that the other seeds would have chosen: a choice that is not its own judge."""
    means = scores.mean(axis=2)
    chosen = [int(interquartile_mean(np.delete(means, seed, axis=1)).argmax()) for seed in range(means.shape[1])]
    return [float(means[place, seed]) for seed, place in enumerate(chosen)]


def chosen_by_others_difference(pairs: Sequence[tuple[Floats, Floats]]) -> float:
    """Return the mean of ``first - second`` over pairs and seeds, each seed's options chosen by the other seeds."""
    return float(np.mean([np.mean(chosen_by_others(first)) - np.mean(chosen_by_others(second)) for first, second in pairs]))


def share_of_wins(scores: Floats) -> list[float]:
    """Return how often each option is the best one over draws of seeds and episodes, ``[W]``."""
    winners = _drawn(scores, _draws(scores.shape[1], scores.shape[2], False))[:, 1:].argmax(axis=0)
    return [float((winners == place).mean()) for place in range(len(scores))]
