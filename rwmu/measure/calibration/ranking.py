"""Does the disagreement rank the errors? At one step alone, over all steps, and beside what a mere step counter would do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.calibration.stretches import Stretches
from rwmu.measure.cells import Cell, from_weights, median, missing, nothing, of_rows, share, shortened
from rwmu.uncertainty.functional import ranking, sparsification
from rwmu.uncertainty.functional.ranking import weighted_correlation, weighted_partial, weighted_within_step
from rwmu.uncertainty.measure import Measure
from rwmu.uncertainty.metrics.ranking import ONE_MEMBER, REMOVED

EXPLODED = 10.0  # standard deviations: no state of any data is that far from its mean
OF_NOISE = {"aleatoric_rank": "mean", "aleatoric_largest_rank": "largest"}  # cell -> estimate
OVER_STEPS = ("overall_rank", "within_step_rank", "partial_rank", "step_counter_rank")
CELLS = ("rank", "ause", "ause_random", *OF_NOISE, "error", "exploded", *OVER_STEPS)
_STEPS = 16  # of 1..horizon, evenly spaced, that stand for all


def ranking_at(stretches: Stretches, horizon: int, num_members: int, settings: CalibrationSettings) -> dict[str, Cell]:
    """Return every cell of ``CELLS``; one member has errors and noise, but no disagreement to compare them with."""
    alone = errors_at(stretches, horizon, settings)
    uncertainty, error, episode = rows_at(stretches, horizon)
    for name, estimate in OF_NOISE.items():
        noise = stretches.aleatoric[estimate][horizon - 1, stretches.valid[horizon - 1]].double()
        alone[name] = rank_of(noise, error, episode, settings)
    if num_members == 1:
        return nothing(CELLS, ONE_MEMBER, settings) | alone
    valid = torch.ones_like(error, dtype=torch.bool)

    def area(order: sparsification.Order) -> Cell:
        return of_rows(lambda rows: sparsification.ause(uncertainty[rows], error[rows], valid[rows], order), episode, settings)

    cells = {"rank": rank_of(uncertainty, error, episode, settings), "ause": area("uncertainty"), "ause_random": area("random")}
    return cells | alone | _over_steps(stretches, horizon, settings)


def shortly(stretches: Stretches, horizon: int, num_members: int, settings: CalibrationSettings) -> dict[str, Cell]:
    """Return the ``rank`` of the disagreement and that of the noise that the members expect, ``aleatoric_rank``, alone."""
    uncertainty, error, episode = rows_at(stretches, horizon)
    noise = stretches.aleatoric[OF_NOISE["aleatoric_rank"]][horizon - 1, stretches.valid[horizon - 1]].double()
    rank = missing(ONE_MEMBER, settings) if num_members == 1 else rank_of(uncertainty, error, episode, settings)
    return {"rank": rank, "aleatoric_rank": rank_of(noise, error, episode, settings)}


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
    """Return the part of the error that is left over the part of the rows removed, to be drawn."""
    uncertainty, error, _ = rows_at(stretches, horizon)
    valid = torch.ones_like(error, dtype=torch.bool)
    orders: tuple[sparsification.Order, ...] = ("uncertainty", "oracle")
    curves = {order: sparsification.sparsification_curve(uncertainty, error, valid, REMOVED, order).plain() for order in orders}
    return {"removed": list(REMOVED)} | curves
