"""Does the disagreement rank the errors? At one step alone, over all steps, and beside what trivial scores would do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.calibration.stretches import Stretches
from rwmu.measure.cells import (
    Cell,
    Resampling,
    Statistic,
    beside_trivial,
    from_weights,
    median,
    missing,
    nothing,
    of_rows,
    of_weights,
    share,
    shortened,
)
from rwmu.uncertainty.baselines import TRIVIAL
from rwmu.uncertainty.functional import ranking, sparsification
from rwmu.uncertainty.functional.ranking import weighted_correlation, weighted_partial, weighted_within_step
from rwmu.uncertainty.measure import Measure
from rwmu.uncertainty.metrics.ranking import ONE_MEMBER, REMOVED

EXPLODED = 10.0  # standard deviations: no state of any data is that far from its mean
RANKS = {  # score -> the cell of its rank correlation with the error
    "disagreement": "rank",
    "noise_estimate": "aleatoric_rank",
    "noise_largest": "aleatoric_largest_rank",
    **{name: f"{name}_rank" for name in ("combined", "termination_head", *TRIVIAL)},
}
BEYOND = {"disagreement": "beyond_trivial", "noise_estimate": "aleatoric_beyond_trivial"}  # score -> the cell of what it has more
OVER_STEPS = ("overall_rank", "within_step_rank", "partial_rank", "step_counter_rank")
CELLS = (*RANKS.values(), *BEYOND.values(), "ause", "ause_random", "error", "exploded", *OVER_STEPS)
_STEPS = 16  # of 1..horizon, evenly spaced, that stand for all


def ranking_at(stretches: Stretches, horizon: int, num_members: int, settings: CalibrationSettings) -> dict[str, Cell]:
    """Return every cell of ``CELLS``; one member has errors and noise, but no disagreement to compare them with."""
    alone = errors_at(stretches, horizon, settings) | ranks_at(stretches, horizon, num_members, settings)
    if num_members == 1:
        return nothing(CELLS, ONE_MEMBER, settings) | alone
    uncertainty, error, episode = rows_at(stretches, horizon)
    valid = torch.ones_like(error, dtype=torch.bool)

    def area(order: sparsification.Order) -> Cell:
        return of_rows(lambda rows: sparsification.ause(uncertainty[rows], error[rows], valid[rows], order), episode, settings)

    return {"ause": area("uncertainty"), "ause_random": area("random")} | alone | _over_steps(stretches, horizon, settings)


def ranks_at(stretches: Stretches, horizon: int, num_members: int, settings: CalibrationSettings) -> dict[str, Cell]:
    """Return the cells of ``RANKS``, and those of ``BEYOND``: how much more that is than of the best trivial score."""
    uncertainty, error, episode = rows_at(stretches, horizon)
    place, rows = stretches.steps.index(horizon), stretches.valid[horizon - 1]
    scores = {"disagreement": uncertainty} | {name: score[place, rows] for name, score in stretches.beside.items()}
    if num_members == 1:
        scores = {name: score for name, score in scores.items() if name not in ("disagreement", "combined")}
    ranks, beyond = rank_all(scores, error, episode, settings)
    named = {cell: ranks.get(name) for name, cell in RANKS.items()} | {cell: beyond.get(name) for name, cell in BEYOND.items()}
    why = ONE_MEMBER if num_members == 1 else "no rows"
    return {cell: found or missing(why, settings, len(torch.unique(episode))) for cell, found in named.items()}


def rank_all(
    scores: Mapping[str, Tensor], error: Tensor, episode: Tensor, how: Resampling
) -> tuple[dict[str, Cell], dict[str, Cell]]:
    """Return each score's rank correlation with the error ``[B]``, and how much more that is than the best trivial one's."""

    def statistic(score: Tensor) -> Statistic:
        return of_weights(ranking.correlation(score, error), partial(weighted_correlation, score, error), episode)

    columns = {name: statistic(score.double()) for name, score in scores.items()} if len(error) else {}
    return beside_trivial(columns, len(torch.unique(episode)), how)


def rows_at(stretches: Stretches, horizon: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return disagreement, error and episode of the rows at one step, ``[B']`` each."""
    rows = stretches.valid[horizon - 1]
    return stretches.disagreement[horizon - 1, rows].double(), stretches.error[horizon - 1, rows].double(), stretches.episode[rows]


def rank_of(first: Tensor, second: Tensor, episode: Tensor, settings: CalibrationSettings) -> Cell:
    """Return the rank correlation of two columns ``[B]``."""
    return from_weights(ranking.correlation(first, second), partial(weighted_correlation, first, second), episode, settings)


def errors_at(stretches: Stretches, horizon: int, settings: CalibrationSettings) -> dict[str, Cell]:
    """Return the median error, which a few dreams that explode do not move, and the share of dreams that do."""
    _, error, episode = rows_at(stretches, horizon)
    far = (error > EXPLODED).double()
    return {"error": median(error, episode, settings), "exploded": share(far, torch.ones_like(far), episode, settings)}


def _over_steps(stretches: Stretches, horizon: int, settings: CalibrationSettings) -> dict[str, Cell]:
    steps = torch.linspace(1, horizon, min(horizon, _STEPS)).round().long()
    uncertainty, error = (tensor[steps - 1].double() for tensor in (stretches.disagreement, stretches.error))  # [K, B]
    valid = stretches.valid[steps - 1]
    counter = steps[:, None].expand_as(error).double()
    first, second, step, counted = uncertainty.flatten(), error.flatten(), counter.flatten(), valid.flatten()
    alone = ranking.correlation(step, second, counted)
    wholes = (
        ranking.correlation(first, second, counted),
        ranking.within_step_correlation(uncertainty, error, valid),
        ranking.partial_correlation(first, second, step, counted),
        alone.missing("every row is of the same step") if horizon == 1 else alone,
    )
    drawn = (  # of resamples that draw each row [R, K, B] so often
        lambda times: weighted_correlation(first, second, times.flatten(1)),
        lambda times: weighted_within_step(uncertainty, error, times),
        lambda times: weighted_partial(first, second, step, times.flatten(1)),
        lambda times: weighted_correlation(step, second, times.flatten(1)),
    )

    def cell(whole: Measure, of: Callable[[Tensor], Tensor]) -> Cell:
        return from_weights(whole, lambda weights: of(weights[:, None] * valid), stretches.episode, settings)

    return {name: cell(whole, of) for name, whole, of in zip(OVER_STEPS, wholes, drawn, strict=True)}


def points_at(stretches: Stretches, horizon: int) -> dict[str, list[float] | list[int]]:
    """Return disagreement, error and episode of every row at one step, to be drawn, or to pair two models by episode."""
    uncertainty, error, episode = rows_at(stretches, horizon)
    return {"disagreement": shortened(uncertainty), "error": shortened(error), "episode": episode.tolist()}


def sparsification_at(stretches: Stretches, horizon: int) -> dict[str, Any]:
    """Return the part of the error that is left over the part of the rows removed, to be drawn: also by the best trivial score."""
    uncertainty, error, _ = rows_at(stretches, horizon)
    valid, place = torch.ones_like(error, dtype=torch.bool), stretches.steps.index(horizon)
    trivial = {name: stretches.beside[name][place, stretches.valid[horizon - 1]] for name in TRIVIAL if name in stretches.beside}
    best = max(trivial, key=lambda name: float(ranking.correlation(trivial[name], error).filled(-1.0)))

    def curve(score: Tensor, order: sparsification.Order) -> Any:
        return sparsification.sparsification_curve(score, error, valid, REMOVED, order).plain()

    curves = {"uncertainty": curve(uncertainty, "uncertainty"), "oracle": curve(uncertainty, "oracle")}
    return {"removed": list(REMOVED), **curves, "trivial": curve(trivial[best], "uncertainty"), "best": best}
