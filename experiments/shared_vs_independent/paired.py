"""Differences between two models on the same test episodes: seeds are paired, and so are the episodes of every resample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.shared_vs_independent.cells import SEEDS, ModelCell
from experiments.shared_vs_independent.gather import Gathered, at
from experiments.shared_vs_independent.robust import (
    ENDS,
    FEWEST_FALLS,
    FEWEST_SEEDS,
    RESAMPLES,
    Estimate,
    interquartile_mean,
    of_resampled,
)
from rwmu.uncertainty.functional.weighted import weighted_correlation, weighted_ranks

Measured = dict[str, Any]

FALL_ROWS_WITHIN = 25  # steps before a fall, of which a result has every row
_DRAWS_AT_ONCE = 128  # whose rows stay in the cache
DISAGREEMENT, NOISE = "disagreement", "noise"  # what may rank errors and foresee falls; noise as the members predict it


@dataclass(frozen=True)
class Statistic:
    """A number of a measurement whose episodes were drawn several times.

    Attributes:
        name: of the number; two of the same name are the same.
        of: measurement, how often each episode was drawn ``[R, N]`` -> ``[R]``.
        of_falls: whether it rests on the falls in the episodes.
    """

    name: str
    of: Callable[[Measured, Tensor], Tensor]
    of_falls: bool = False

    def __call__(self, measured: Measured, times: Tensor) -> Tensor:
        """Return ``[R]``."""
        return torch.cat([self.of(measured, some) for some in torch.split(times, _DRAWS_AT_ONCE)])


def difference(gathered: Gathered, first: str, second: str, data: str, tested_on: str, statistic: Statistic) -> Estimate:
    """Return ``first - second`` over the seeds that both have, with the interval over seeds and test episodes.

    Args:
        first, second: models. data: that they were trained on.
        statistic: of the measurements on ``tested_on``.
    """
    cells = [(ModelCell(first, data, seed), ModelCell(second, data, seed)) for seed in SEEDS]
    pairs = [pair for pair in cells if all(_measured(gathered, cell, tested_on) for cell in pair)]
    if not pairs:
        return Estimate(None, reason="not run yet")
    identities = [_identity(_measured(gathered, cell, tested_on)) for pair in pairs for cell in pair]
    if any(identity != identities[0] for identity in identities):
        return Estimate(None, reason="measured on different episodes or forecasts; measure again")
    drawn = [[drawn_values(gathered, cell, tested_on, statistic) for cell in pair] for pair in pairs]
    found = torch.stack([one - other for one, other in drawn])
    if not bool(torch.isfinite(found[:, 0]).all()):
        return Estimate(None, reason="not measured: no falls, or nothing that varies, in the test episodes")
    return _estimate(found, _measured(gathered, pairs[0][0], tested_on), statistic)


def disagreement_less_noise(
    gathered: Gathered, model: str, data: str, tested_on: str, statistic: Callable[[str], Statistic]
) -> Estimate:
    """Return a statistic of the disagreement less that of the predicted noise of the same models, with its interval.

    Args:
        statistic: of a score, ``DISAGREEMENT`` or ``NOISE``.
    """
    cells = [cell for cell in (ModelCell(model, data, seed) for seed in SEEDS) if NOISE in _falls(gathered, cell, tested_on)]
    if not cells:
        return Estimate(None, reason="not run yet")
    scores = statistic(DISAGREEMENT), statistic(NOISE)
    drawn = [[drawn_values(gathered, cell, tested_on, score) for score in scores] for cell in cells]
    found = torch.stack([own - noise for own, noise in drawn])
    if not bool(torch.isfinite(found[:, 0]).all()):
        return Estimate(None, reason="not measured: no falls, or nothing that varies, in the test episodes")
    return _estimate(found, _measured(gathered, cells[0], tested_on), scores[0])


def _estimate(found: Tensor, measured: Measured, statistic: Statistic) -> Estimate:
    """Return what all seeds ``[S, 1 + R]`` say together, the first column being of all episodes and the others of draws."""
    falls = int(measured["test"]["falls"]) if statistic.of_falls else None
    return of_resampled(found[:, 0].tolist(), np.asarray(found[:, 1:]), _episodes(measured), falls)


def _falls(gathered: Gathered, cell: ModelCell, tested_on: str) -> dict[str, Any]:
    found: dict[str, Any] = _measured(gathered, cell, tested_on).get("rows", {}).get("falls", {})
    return found


def level_of(gathered: Gathered, model: str, data: str, tested_on: str, statistic: Statistic) -> Estimate:
    """Return a statistic of one model, its interval drawn as those of differences are."""
    cells = [cell for cell in (ModelCell(model, data, seed) for seed in SEEDS) if _measured(gathered, cell, tested_on)]
    if not cells:
        return Estimate(None, reason="not run yet")
    found = torch.stack([drawn_values(gathered, cell, tested_on, statistic) for cell in cells])
    if not bool(torch.isfinite(found[:, 0]).all()):
        return Estimate(None, reason="not measured")
    estimate = _estimate(found, _measured(gathered, cells[0], tested_on), statistic)
    if estimate.low is not None or len(cells) >= FEWEST_SEEDS or (estimate.falls is not None and estimate.falls < FEWEST_FALLS):
        return estimate
    # Too few seeds to resample: the interval of the episodes alone.
    low, high = np.nanquantile(interquartile_mean(np.asarray(found[:, 1:]), axis=0), ENDS)
    return replace(estimate, low=float(low), high=float(high), reason="of episodes alone: too few seeds")


def drawn_values(gathered: Gathered, cell: ModelCell, tested_on: str, statistic: Statistic) -> Tensor:
    """Return a statistic of all test episodes, then of every draw of them, ``[1 + R]``; the same draws for the same episodes."""
    key = (cell.name, tested_on, statistic.name)
    if key not in gathered.drawn:
        measured = _measured(gathered, cell, tested_on)
        gathered.drawn[key] = statistic(measured, _draws(measured))
    found: Tensor = gathered.drawn[key]
    return found


def _measured(gathered: Gathered, cell: ModelCell, tested_on: str) -> Measured:
    """Return what a cell has measured on some data; empty where it has not."""
    result = gathered.of(cell)
    found = None if result is None else at(result, ("tested_on", tested_on))
    return found if found and found.get("rows") else {}


def _episodes(measured: Measured) -> int:
    rows = measured["rows"]
    return len({*rows["forecasts"]["episode"], *rows["falls"]["episode"]})


def _identity(measured: Measured) -> tuple[Any, ...]:
    """Return what must be the same of two measurements whose rows are paired."""
    rows = measured["rows"]
    return measured["test"].get("data_hash"), rows["forecasts"]["episode"], rows["falls"]["episode"], rows["falls"]["steps"]


def _draws(measured: Measured) -> Tensor:
    """Return how often each episode is drawn, ``[1 + R, N]``, first of all every episode once."""
    rows = measured["rows"]
    ids = sorted({*rows["forecasts"]["episode"], *rows["falls"]["episode"]})
    draws = torch.randint(len(ids), (RESAMPLES, len(ids)), generator=torch.Generator().manual_seed(0))
    drawn = torch.zeros(RESAMPLES, len(ids), dtype=torch.float64).scatter_add_(1, draws, torch.ones(draws.shape).double())
    times = torch.zeros(1 + RESAMPLES, 1 + max(ids), dtype=torch.float64)
    times[0, ids], times[1:, ids] = 1.0, drawn
    return times


# -- ranking ------------------------------------------------------------------------------------------------------------------


def _forecasts(measured: Measured, step: int, score: str) -> tuple[Tensor, Tensor, Tensor, list[str]]:
    """Return score, error ``[B]`` and episode of the forecasts that are known ``step`` steps ahead, and their levels."""
    rows = measured["rows"]["forecasts"]
    columns = rows["steps"][str(step)]
    known = [i for i, value in enumerate(columns["error"]) if value is not None]
    values = [torch.tensor([columns[name][i] for i in known], dtype=torch.float64) for name in (score, "error")]
    return values[0], values[1], torch.tensor([rows["episode"][i] for i in known]), [rows["level"][i] for i in known]


def rank_correlation(step: int, score: str = DISAGREEMENT) -> Statistic:
    """Return the rank correlation of a score with the error among the forecasts of ``step`` steps, all alike deep."""

    def statistic(measured: Measured, times: Tensor) -> Tensor:
        scored, error, episode, _ = _forecasts(measured, step, score)
        return weighted_correlation(scored, error, times[:, episode])

    return Statistic(f"rank_correlation {step} {score}", statistic)


def within_level(step: int, score: str = DISAGREEMENT) -> Statistic:
    """Return the same among the forecasts of one collecting policy, averaged over these, weighed by their forecasts.

    Telling a poor policy's episodes from a good one's is no merit here.
    """

    def statistic(measured: Measured, times: Tensor) -> Tensor:
        scored, error, episode, level = _forecasts(measured, step, score)
        total, rows = torch.zeros(len(times)).double(), torch.zeros(len(times)).double()
        for name in sorted(set(level)):
            own = torch.tensor([other == name for other in level])
            weights = times[:, episode[own]]
            found = weighted_correlation(scored[own], error[own], weights)
            number = torch.where(found.isnan(), 0.0, weights.sum(dim=1))
            total, rows = total + number * found.nan_to_num(), rows + number
        return total / rows

    return Statistic(f"within_level {step} {score}", statistic)


def within_episode(step: int, score: str = DISAGREEMENT) -> Statistic:
    """Return the share of pairs of forecasts of the same episode of which the one with the higher score has more error.

    0.5 is chance. What makes an episode hard as a whole, its policy, action noise and command, is no merit here.
    """

    def statistic(measured: Measured, times: Tensor) -> Tensor:
        scored, error, episode, _ = _forecasts(measured, step, score)
        right, pairs = torch.zeros(times.shape[1]).double(), torch.zeros(times.shape[1]).double()
        for own in torch.unique(episode):
            rows = episode == own
            first, second = torch.combinations(torch.arange(int(rows.sum()))).unbind(1)
            sign = [torch.sign(values[rows][first] - values[rows][second]) for values in (scored, error)]
            right[own], pairs[own] = (0.5 + 0.5 * sign[0] * sign[1]).sum(), len(first)
        return (times @ right) / (times @ pairs)

    return Statistic(f"within_episode {step} {score}", statistic)


# -- falls --------------------------------------------------------------------------------------------------------------------


def fall_area(within: int, score: str = DISAGREEMENT) -> Statistic:
    """Return the AUROC of a score for a fall within so many steps.

    All rows shortly before falls are in a result, but of the others an even sample; each of these counts for as many as it stands
    for.
    """

    def statistic(measured: Measured, times: Tensor) -> Tensor:
        rows = measured["rows"]["falls"]
        values, steps, episode = (torch.tensor(rows[name]) for name in (score, "steps", "episode"))
        positive, far = (steps >= 1) & (steps <= within), (steps < 0) | (steps > FALL_ROWS_WITHIN)
        stand_for = torch.where(far, rows_each_stands_for(measured, int(far.sum()), len(steps)), 1.0)
        weights = times[:, episode]
        before = weights * positive
        others = weights * stand_for * (~positive & (steps != 0))
        area = (before * weighted_ranks(values.double(), others)).sum(dim=1)
        return area / (before.sum(dim=1) * others.sum(dim=1))

    return Statistic(f"fall_area {within} {score}", statistic, of_falls=True)


def rows_each_stands_for(measured: Measured, far: int, kept: int) -> float:
    """Return how many rows of the test episodes each kept row far from a fall stands for."""
    test = measured["test"]
    predicted = float(test["rows"] - measured["history"] * test["episodes"])
    return max(1.0, (predicted - (kept - far)) / max(far, 1))
