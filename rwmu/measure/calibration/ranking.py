"""Does the disagreement rank the errors? At one step alone, over all steps, and beside what a mere step counter would do."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from rwmu.measure.calibration.cells import Cell, from_weights, median, nothing, of_rows, share, shortened
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.calibration.stretches import Stretches
from rwmu.uncertainty.functional import ranking, sparsification
from rwmu.uncertainty.functional.ranking import weighted_correlation, weighted_partial, weighted_within_step
from rwmu.uncertainty.metrics.ranking import REMOVED

EXPLODED = 10.0  # standard deviations: no state of any data is that far from its mean
ALEATORIC = {"aleatoric_rank": "mean", "aleatoric_largest_rank": "largest"}  # cell -> estimate
AT_STEP = ("rank", "linear", "ause", "ause_random", *ALEATORIC, "error", "exploded")
OVER_STEPS = ("overall", "within_step", "partial", "step_counter")
CELLS = (*AT_STEP, *(f"{depth}_{relation}" for depth in OVER_STEPS for relation in ranking.RELATIONS))
_RELATIONS: tuple[ranking.Relation, ...] = ("rank", "linear")
_STEPS = 16  # of 1..horizon, evenly spaced, that stand for all


def ranking_at(stretches: Stretches, horizon: int, settings: CalibrationSettings) -> dict[str, Cell]:
    """Return every cell of ``CELLS``."""
    uncertainty, error, episode = rows_at(stretches, horizon)
    valid = torch.ones_like(error, dtype=torch.bool)

    def area(order: sparsification.Order) -> Cell:
        return of_rows(lambda rows: sparsification.ause(uncertainty[rows], error[rows], valid[rows], order), episode, settings)

    cells: dict[str, Cell] = {relation: relation_at(uncertainty, error, episode, settings, relation) for relation in _RELATIONS}
    cells |= {"ause": area("uncertainty"), "ause_random": area("random")}
    cells |= _of_noise(stretches, horizon, settings) | errors_at(stretches, horizon, settings)
    return cells | _over_steps(stretches, horizon, settings)


def not_compared(stretches: Stretches, horizon: int, reason: str, settings: CalibrationSettings) -> dict[str, Cell]:
    """Return the cells where there is an error, but no disagreement to compare it with (nor a step counter beside it)."""
    return nothing(CELLS, reason, settings) | _of_noise(stretches, horizon, settings) | errors_at(stretches, horizon, settings)


def rows_at(stretches: Stretches, horizon: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return disagreement, error and episode of the rows at one step, ``[B']`` each."""
    rows = stretches.valid[horizon - 1]
    return stretches.disagreement[horizon - 1, rows].double(), stretches.error[horizon - 1, rows].double(), stretches.episode[rows]


def relation_at(
    first: Tensor, second: Tensor, episode: Tensor, settings: CalibrationSettings, relation: ranking.Relation = "rank"
) -> Cell:
    """Return the correlation of two columns ``[B]``."""
    whole = ranking.correlation(first, second, relation=relation)
    return from_weights(whole, partial(weighted_correlation, first, second, relation=relation), episode, settings)


def _of_noise(stretches: Stretches, horizon: int, settings: CalibrationSettings) -> dict[str, Cell]:
    """Return the rank correlation with the error of the noise that the members expect, which one member does too."""
    _, error, episode = rows_at(stretches, horizon)
    rows = stretches.valid[horizon - 1]
    expected = {name: stretches.aleatoric[estimate][horizon - 1, rows].double() for name, estimate in ALEATORIC.items()}
    return {name: relation_at(noise, error, episode, settings) for name, noise in expected.items()}


def errors_at(stretches: Stretches, horizon: int, settings: CalibrationSettings) -> dict[str, Cell]:
    """Return the median error, which a few dreams that explode do not move, and the share of dreams that do."""
    _, error, episode = rows_at(stretches, horizon)
    far = (error > EXPLODED).double()
    return {"error": median(error, episode, settings), "exploded": share(far, torch.ones_like(far), episode, settings)}


def _over_steps(stretches: Stretches, horizon: int, settings: CalibrationSettings) -> dict[str, Cell]:
    steps = torch.linspace(1, horizon, min(horizon, _STEPS)).round().long()
    uncertainty, error = (tensor[steps - 1].double() for tensor in (stretches.disagreement, stretches.error))  # [K, B]
    valid, episode = stretches.valid[steps - 1], stretches.episode
    counter = steps[:, None].expand_as(error).double()
    flat = uncertainty.flatten(), error.flatten(), counter.flatten()
    cells = {}
    for relation in _RELATIONS:
        wholes = {
            "overall": ranking.correlation(flat[0], flat[1], valid.flatten(), relation),
            "within_step": ranking.within_step_correlation(uncertainty, error, valid, relation),
            "partial": ranking.partial_correlation(*flat, valid.flatten(), relation),
            "step_counter": ranking.correlation(flat[2], flat[1], valid.flatten(), relation),
        }
        if horizon == 1:
            wholes["step_counter"] = wholes["step_counter"].missing("every row is of the same step")

        def drawn(weights: Tensor, depth: str, relation: ranking.Relation) -> Tensor:
            each = weights[:, None] * valid  # [R, K, B]
            if depth == "within_step":
                return weighted_within_step(uncertainty, error, each, relation)
            if depth == "partial":
                return weighted_partial(*flat, each.flatten(1), relation)
            first = flat[2] if depth == "step_counter" else flat[0]
            return weighted_correlation(first, flat[1], each.flatten(1), relation)

        for depth, whole in wholes.items():
            cells[f"{depth}_{relation}"] = from_weights(whole, partial(drawn, depth=depth, relation=relation), episode, settings)
    return cells


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
