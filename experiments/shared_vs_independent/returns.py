"""Returns of the deployed policies over weights, seeds and episodes, each penalty at its best weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from experiments.shared_vs_independent.cells import SEEDS, WEIGHTS
from experiments.shared_vs_independent.gather import Gathered, at, number_at, policies
from experiments.shared_vs_independent.robust import RESAMPLES, Estimate, Floats, Places, interquartile_mean, resampled, seed_draws

DETERMINISTIC = ("episodes", "deterministic", "return")
CLONE = ("episodes", "clone", "return")
LEAST_TRACKING, MOST_FALLS = 0.6, 0.2  # a policy that does so walks: what the first loop had to reach


@dataclass(frozen=True)
class Returns:
    """What a model's policies with one penalty earned.

    Attributes:
        weights: those that have been run, ascending. seeds: those that have been run with every one of these.
        scores: ``[W, S, N]``, of N episodes; the same starts and commands for all.
        complete: whether these are all the weights and seeds of the protocol.
    """

    weights: tuple[float, ...]
    seeds: tuple[int, ...]
    scores: Floats
    complete: bool

    @classmethod
    def of(cls, gathered: Gathered, model: str, penalty: str, data: str, weight: float | None = None) -> Returns:
        """Collect them; weights that have been run for fewer seeds than others are on their way and left out.

        Args:
            weight: the only one to collect; None for all.
        """
        found: dict[float, dict[int, list[float]]] = {}
        for one in sorted(WEIGHTS[penalty]) if weight is None else (weight,):
            results = gathered.there(policies(model, data, penalty, one))
            if results:
                found[one] = {result["seed"]: at(result, DETERMINISTIC) for result in results}
        most = max(map(len, found.values()), default=0)
        found = {weight: by_seed for weight, by_seed in found.items() if len(by_seed) == most}
        seeds = tuple(seed for seed in SEEDS if found and all(seed in by_seed for by_seed in found.values()))
        scores = np.array([[by_seed[seed] for seed in seeds] for by_seed in found.values()], dtype=np.float64)
        complete = set(found) == set(WEIGHTS[penalty]) and seeds == SEEDS
        return cls(tuple(found), seeds, scores, complete)

    @classmethod
    def of_clones(cls, gathered: Gathered, data: str, model: str | None = None) -> Returns:
        """Collect what the clones earned that policies of some data (and model) start from: one a seed, and no weight to choose."""
        cells = gathered.clones(data, model)
        scores = [at(gathered.by_name[cell.name], CLONE) for cell in cells]
        if not cells or any(score is None for score in scores):
            return cls((), (), np.zeros((0, 0, 0)), complete=False)
        seeds = tuple(cell.model.seed for cell in cells)
        return cls((math.nan,), seeds, np.array([scores], dtype=np.float64), complete=seeds == SEEDS)

    def only(self, seeds: Sequence[int], weights: Sequence[float] | None = None) -> Returns:
        """Keep some seeds, and weights."""
        chosen = [i for i, weight in enumerate(self.weights) if weights is None or weight in weights]
        columns = [self.seeds.index(seed) for seed in seeds]
        kept = self.scores[np.ix_(chosen, columns)] if self.weights else self.scores
        return Returns(tuple(self.weights[i] for i in chosen), tuple(seeds), kept, self.complete)

    def means(self, times: Floats) -> Floats:
        """Return the mean return of each weight and seed, ``[W, S, R]``, episodes drawn ``times [R, N]`` often."""
        return np.asarray(self.scores @ times.T / times.sum(axis=1))


@dataclass(frozen=True)
class Draws:
    """Draws of seeds and episodes, the first of which is everything once.

    Attributes:
        places: ``[1 + R, S]``. times: ``[1 + R, N]``.
    """

    places: Places
    times: Floats

    @classmethod
    @cache  # every difference asks for the same ones
    def of(cls, seeds: int, episodes: int, seeds_alone: bool = False) -> Draws:
        """Draw; with ``seeds_alone`` every episode is in every draw once."""
        places = np.concatenate([np.arange(seeds)[None], seed_draws(seeds)])
        if seeds_alone:
            return cls(places, np.ones((1 + RESAMPLES, episodes)))
        picks = np.random.default_rng(1).integers(0, episodes, (RESAMPLES, episodes))
        drawn = np.zeros((RESAMPLES, episodes))
        np.add.at(drawn, (np.arange(RESAMPLES)[:, None], picks), 1.0)
        return cls(places, np.concatenate([np.ones((1, episodes)), drawn]))


def over_drawn_seeds(means: Floats, places: Places) -> Floats:
    """Return the interquartile mean over the seeds drawn: ``[W, S, R]`` and ``[R, S]`` -> ``[W, R]``."""
    drawn = means[:, places, np.arange(len(places))[:, None]]  # [W, R, S]
    return interquartile_mean(drawn)


def best(returns: Returns, draws: Draws) -> Floats:
    """Return the interquartile mean at the weight where it is highest, chosen anew for every draw: ``[1 + R]``."""
    return np.asarray(over_drawn_seeds(returns.means(draws.times), draws.places).max(axis=0))


def best_place(returns: Returns) -> int:
    """Return the place of the weight of the highest interquartile mean."""
    return int(interquartile_mean(returns.scores.mean(axis=2)).argmax())


def _at_best(returns: Returns) -> Floats:
    """Return every seed's mean return at the best weight, ``[S]``."""
    return np.asarray(returns.scores.mean(axis=2)[best_place(returns)])


def chosen_by_others(returns: Returns) -> list[float]:
    """Return each seed's mean return at the weight that the other seeds would have chosen: a choice that is not its own judge."""
    means = returns.scores.mean(axis=2)
    found = []
    for place in range(len(returns.seeds)):
        others = np.delete(means, place, axis=1)
        found.append(float(means[int(interquartile_mean(others).argmax()), place]))
    return found


def difference(first: Returns, second: Returns, relative: bool = False) -> Estimate:
    """Return ``first - second``, each at its best weight, over the seeds that both have; relative to the second if wanted."""
    seeds = [seed for seed in first.seeds if seed in second.seeds]
    if not seeds or not first.weights or not second.weights:
        return Estimate(None, reason="not run yet")
    first, second = first.only(seeds), second.only(seeds)
    draws = Draws.of(len(seeds), first.scores.shape[2])
    one, other = best(first, draws), best(second, draws)
    found = (one - other) / np.abs(other) if relative else one - other
    ends = [_at_best(side) for side in (first, second)]
    each = (ends[0] - ends[1]) / np.abs(ends[1]) if relative else ends[0] - ends[1]
    return resampled(each.tolist(), float(found[0]), found[1:], first.scores.shape[2])


def pooled(pairs: Sequence[tuple[Returns, Returns]], seeds_alone: bool = False) -> Estimate:
    """Return the mean over models of ``first - second``, each at its best weight; a draw of episodes serves all of them.

    Args:
        seeds_alone: whether the interval draws seeds alone.
    """
    alike = [(one, other) for one, other in pairs if one.weights and other.weights]
    seeds = [seed for seed in SEEDS if alike and all(seed in side.seeds for pair in alike for side in pair)]
    if not seeds:
        return Estimate(None, reason="not run yet")
    kept = [(one.only(seeds), other.only(seeds)) for one, other in alike]
    draws = Draws.of(len(seeds), kept[0][0].scores.shape[2], seeds_alone)
    found = np.mean([best(one, draws) - best(other, draws) for one, other in kept], axis=0)
    each = np.mean([_at_best(one) - _at_best(other) for one, other in kept], axis=0)
    return resampled(each.tolist(), float(found[0]), found[1:], kept[0][0].scores.shape[2])


def chosen_by_others_differ(pairs: Sequence[tuple[Returns, Returns]]) -> float | None:
    """Return the mean of ``first - second`` over models and seeds, each seed's weights chosen by the others; None for one seed."""
    found = []
    for first, second in pairs:
        seeds = [seed for seed in first.seeds if seed in second.seeds]
        if len(seeds) > 1 and first.weights and second.weights:
            one, other = (chosen_by_others(side.only(seeds)) for side in (first, second))
            found.append(np.mean(one) - np.mean(other))
    return float(np.mean(found)) if found else None


def gain_over_clone(gathered: Gathered, model: str, penalty: str, data: str, weight: float) -> Estimate:
    """Return what the policies of one weight earned more than the clones that they start from.

    Never of the best weight chosen anew in every draw: clones have nothing to choose, so its interval would lie above 0 by chance.
    """
    return difference(Returns.of(gathered, model, penalty, data, weight), Returns.of_clones(gathered, data, model))


def share_of_wins(returns: Returns) -> list[float]:
    """Return how often each weight is the best one over draws of seeds and episodes."""
    draws = Draws.of(len(returns.seeds), returns.scores.shape[2])
    winners = over_drawn_seeds(returns.means(draws.times), draws.places)[:, 1:].argmax(axis=0)
    return [float((winners == place).mean()) for place in range(len(returns.weights))]


def between_weights(returns: Returns, first: float, second: float) -> Estimate:
    """Return the return at one weight less that at another."""
    return difference(returns.only(returns.seeds, [first]), returns.only(returns.seeds, [second]))


def walked(result: dict[str, Any]) -> bool:
    """Return whether a deployed policy walks."""
    tracking, falls = (number_at(result, ("deployment", "deterministic", name)) for name in ("track_lin_vel_xy", "fall_fraction"))
    return tracking is not None and falls is not None and tracking.value >= LEAST_TRACKING and falls.value <= MOST_FALLS
