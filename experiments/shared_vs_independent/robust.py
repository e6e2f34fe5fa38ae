"""Interquartile means over seeds and their bootstrap intervals (Agarwal et al. 2021, arXiv:2108.13264).

The interquartile mean is the mean of the middle half of the scores. Its interval resamples seeds with replacement within each
stratum (a model, a data set), so that every stratum keeps its share; where the scores themselves rest on test episodes that all
seeds have in common, every resample draws these anew too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95
FEWEST_SEEDS = 3  # of fewer, a resample tells next to nothing


@dataclass(frozen=True)
class Estimate:
    """A number over seeds with its interval.

    Attributes:
        value: the interquartile mean; None where nothing is there.
        low, high: ends of the interval; None where there are too few seeds.
        seeds: how many. episodes: independent test episodes of each seed's number, where that is known.
        reason: why the value or the interval is missing.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    seeds: int = 0
    episodes: int | None = None
    reason: str = ""

    def text(self, digits: int = 2) -> str:
        """Return the number and its interval, or why it is missing."""
        if self.value is None:
            return self.reason or "not run yet"
        number = f"{self.value:.{digits}f}"
        if self.low is None or self.high is None:
            return f"{number} ({self.seeds} seed{'' if self.seeds == 1 else 's'})"
        return f"{number} [{self.low:.{digits}f}, {self.high:.{digits}f}]"

    def plain(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


def interquartile_mean(scores: Floats) -> Floats:
    """Return the mean of the middle half of the last axis: a quarter, rounded down, is cut from either end."""
    ordered = np.sort(scores, axis=-1)
    number = ordered.shape[-1]
    cut = number // 4
    return np.asarray(ordered[..., cut : number - cut].mean(axis=-1))


def stratified_draws(sizes: Sequence[int], resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.int64]:
    """Return places ``[R, sum of sizes]`` drawn with replacement within each of consecutive strata."""
    generator = np.random.default_rng(seed)
    first, parts = 0, []
    for size in sizes:
        parts.append(generator.integers(first, first + size, (resamples, size)))
        first += size
    return np.concatenate(parts, axis=1)


def estimate(strata: Sequence[Sequence[float]], episodes: int | None = None) -> Estimate:
    """Return the interquartile mean of all scores and its interval, seeds resampled within each stratum."""
    scores = np.array([score for stratum in strata for score in stratum], dtype=np.float64)
    return of_statistic(lambda places: interquartile_mean(scores[places]), [len(stratum) for stratum in strata], episodes)


def of_statistic(
    statistic: Callable[[NDArray[np.int64]], Floats], sizes: Sequence[int], episodes: int | None = None, resamples: int = RESAMPLES
) -> Estimate:
    """Return a statistic of drawn seeds and its percentile interval.

    Args:
        statistic: places ``[R, S]`` of the seeds drawn, in consecutive strata -> ``[R]``.
        sizes: seeds of each stratum.
    """
    seeds = min(sizes, default=0)
    if not seeds:
        return Estimate(None, reason="not run yet")
    value = float(statistic(np.arange(sum(sizes))[None])[0])
    if seeds < FEWEST_SEEDS:
        return Estimate(value, seeds=seeds, episodes=episodes, reason=f"an interval needs {FEWEST_SEEDS} seeds")
    found = statistic(stratified_draws(sizes, resamples))
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), seeds, episodes)


def of_resampled(whole: Sequence[float], resampled: Floats, episodes: int) -> Estimate:
    """Return the interquartile mean over seeds, whose interval resamples seeds and test episodes.

    Args:
        whole: each seed's number, of all episodes.
        resampled: ``[S, R]``, each seed's number in R draws of the episodes, the same draw for every seed.
    """
    seeds = len(whole)
    value = float(interquartile_mean(np.array(whole, dtype=np.float64)))
    if seeds < FEWEST_SEEDS:
        return Estimate(value, seeds=seeds, episodes=episodes, reason=f"an interval needs {FEWEST_SEEDS} seeds")
    resamples = resampled.shape[1]
    places = stratified_draws([seeds], resamples)  # [R, S]
    found = interquartile_mean(resampled[places, np.arange(resamples)[:, None]])
    found = found[np.isfinite(found)]
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), seeds, episodes)
