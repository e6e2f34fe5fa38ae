"""Returns of the deployed policies over weights, seeds and episodes, each penalty at its best weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    def of(cls, gathered: Gathered, model: str, penalty: str, data: str) -> Returns:
        """Collect them; weights that have been run for fewer seeds than others are on their way and left out."""
        found: dict[float, dict[int, list[float]]] = {}
        for weight in sorted(WEIGHTS[penalty]):
            results = gathered.there(policies(model, data, penalty, weight))
            if results:
                found[weight] = {result["seed"]: at(result, DETERMINISTIC) for result in results}
        most = max(map(len, found.values()), default=0)
        found = {weight: by_seed for weight, by_seed in found.items() if len(by_seed) == most}
        seeds = tuple(seed for seed in SEEDS if found and all(seed in by_seed for by_seed in found.values()))
        scores = np.array([[by_seed[seed] for seed in seeds] for by_seed in found.values()], dtype=np.float64)
        complete = set(found) == set(WEIGHTS[penalty]) and seeds == SEEDS
        return cls(tuple(found), seeds, scores, complete)

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
    def of(cls, seeds: int, episodes: int) -> Draws:
        """Draw."""
        places = np.concatenate([np.arange(seeds)[None], seed_draws(seeds)])
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
    ends = [side.scores.mean(axis=2)[best_place(side)] for side in (first, second)]
    each = (ends[0] - ends[1]) / np.abs(ends[1]) if relative else ends[0] - ends[1]
    return resampled(each.tolist(), float(found[0]), found[1:], first.scores.shape[2])


def pooled(pairs: Sequence[tuple[Returns, Returns]]) -> Estimate:
    """Return the mean over models of ``first - second``, each at its best weight; a draw of episodes serves all of them."""
    alike = [(one, other) for one, other in pairs if one.weights and other.weights]
    seeds = [seed for seed in SEEDS if alike and all(seed in side.seeds for pair in alike for side in pair)]
    if not seeds:
        return Estimate(None, reason="not run yet")
    kept = [(one.only(seeds), other.only(seeds)) for one, other in alike]
    draws = Draws.of(len(seeds), kept[0][0].scores.shape[2])
    found = np.mean([best(one, draws) - best(other, draws) for one, other in kept], axis=0)
    each = np.mean([np.array(difference(one, other).each) for one, other in kept], axis=0)
    return resampled(each.tolist(), float(found[0]), found[1:], kept[0][0].scores.shape[2])


def gain_over_clone(gathered: Gathered, model: str, data: str, penalty: str, weight: float) -> Estimate:
    """Return the return of a model's policies less that of the clones that they start from, paired by seed and episode."""
    results = gathered.there(policies(model, data, penalty, weight))
    pairs = [(at(result, DETERMINISTIC), at(result, CLONE)) for result in results]
    if not pairs or any(clone is None for _, clone in pairs):
        return Estimate(None, reason="not run yet")
    scores = np.array([np.array(own) - np.array(clone) for own, clone in pairs], dtype=np.float64)[None]
    gains = Returns((weight,), tuple(range(len(pairs))), scores, complete=False)
    draws = Draws.of(len(pairs), scores.shape[2])
    found = best(gains, draws)
    return resampled(scores[0].mean(axis=1).tolist(), float(found[0]), found[1:], scores.shape[2])


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
