"""Ranking: does the uncertainty know where the errors are? Correlations, with the depth of a forecast held constant or not.

Both uncertainty and error grow with the step of a forecast, so a mere step counter correlates with the error. Three answers keep
that apart: overall, within a step, and partial given the step. Rows N are last.

Functions called ``weighted`` take how often each row counts, ``[R, ..., N]``, for R resamples at once, and give nan where there is
no correlation; the others take which rows count, ``valid [..., N]``, and say why.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rwmu.settings import choose
from rwmu.uncertainty.measure import Measure

Relation = Literal["rank", "linear"]
RELATIONS = ("rank", "linear")
NEEDED = 3  # two rows correlate perfectly whatever they hold
_UNEXPLAINED = 1e-12  # least share of variation that the step index must leave

Reason = tuple[Tensor, str]


def weighted_ranks(values: Tensor, weights: Tensor) -> Tensor:
    """Return how many of the rows drawn ``[R, ..., N]`` lie below each of ``values [..., N]``: ``[R, ..., N]`` float64.

    A row of weight w counts as w rows, equal values count half: for a row that is drawn once, that is its rank and a half.
    """
    ordered, order = values.double().sort(dim=-1, stable=True)
    place = torch.arange(values.shape[-1], device=values.device).expand_as(ordered)
    changes = ordered[..., 1:] != ordered[..., :-1]
    edge = torch.ones_like(ordered[..., :1], dtype=torch.bool)
    first = torch.where(torch.cat([edge, changes], dim=-1), place, 0).cummax(dim=-1).values
    is_last = torch.cat([changes, edge], dim=-1)
    last = torch.where(is_last, place, values.shape[-1]).flip(-1).cummin(dim=-1).values.flip(-1)
    drawn = weights.double().gather(-1, order.expand_as(weights))
    upto = drawn.cumsum(dim=-1)
    before = (upto - drawn).gather(-1, first.expand_as(weights))
    middle = 0.5 * (before + upto.gather(-1, last.expand_as(weights)))
    return torch.zeros_like(middle).scatter(-1, order.expand_as(weights), middle)


def varies(values: Tensor, valid: Tensor) -> Tensor:
    """Return whether any two valid rows of ``[..., N]`` differ: ``[...]`` bool."""
    largest = torch.where(valid, values, -torch.inf).amax(dim=-1)
    return largest > torch.where(valid, values, torch.inf).amin(dim=-1)


def _coefficient(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Return the linear correlation of rows ``[R, ..., N]``: ``[R, ...]``; values of rows that were not drawn must be finite."""
    total = weights.sum(dim=-1, keepdim=True).clamp(min=1.0)

    def centred(values: Tensor) -> Tensor:
        values = values - (weights * values).sum(dim=-1, keepdim=True) / total
        # Scaled to 1: squares of very small values would vanish.
        return values / values.abs().amax(dim=-1, keepdim=True).clamp(min=1e-300)

    known = varies(x, weights > 0) & varies(y, weights > 0)
    x, y = centred(x), centred(y)
    scale = ((weights * x * x).sum(dim=-1) * (weights * y * y).sum(dim=-1)).sqrt()
    return torch.where(known, ((weights * x * y).sum(dim=-1) / scale).clamp(-1.0, 1.0), torch.nan)


def _columns(relation: Relation, weights: Tensor, *columns: Tensor) -> list[Tensor]:
    choose("The relation", relation, RELATIONS)
    if relation == "rank":
        return [weighted_ranks(values, weights) for values in columns]
    return [values.double() for values in columns]


def weighted_correlation(x: Tensor, y: Tensor, weights: Tensor, relation: Relation = "rank") -> Tensor:
    """Return the rank (Spearman) or linear (Pearson) correlation of rows ``[..., N]``: ``[R, ...]``."""
    first, second = _columns(relation, weights, x, y)
    return _coefficient(first, second, weights)


def weighted_within_step(x: Tensor, y: Tensor, weights: Tensor, relation: Relation = "rank") -> Tensor:
    """Return the mean over steps of each step's own correlation, weighed by its rows: rows ``[..., K, N]`` -> ``[R, ...]``."""
    step = weighted_correlation(x, y, weights, relation)  # [R, ..., K]
    rows = torch.where(step.isnan(), 0.0, weights.sum(dim=-1))
    return (rows * step.nan_to_num()).sum(dim=-1) / rows.sum(dim=-1)


def weighted_partial(x: Tensor, y: Tensor, step: Tensor, weights: Tensor, relation: Relation = "rank") -> Tensor:
    """Return the correlation of rows ``[..., N]`` once the (rank or linear) effect of the step index is taken out: ``[R, ...]``.

    The first-order partial correlation (r_xy - r_xs r_ys) / sqrt((1 - r_xs^2) (1 - r_ys^2)); for ranks, of ranks.
    """
    columns = _columns(relation, weights, x, y, step)
    both, x_with_step, y_with_step = (_coefficient(columns[i], columns[j], weights) for i, j in ((0, 1), (0, 2), (1, 2)))
    left = (1.0 - x_with_step.square()) * (1.0 - y_with_step.square())
    return torch.where(left > _UNEXPLAINED, (both - x_with_step * y_with_step) / left.sqrt(), torch.nan).clamp(-1.0, 1.0)


def _reasons(uncertainty: Tensor, error: Tensor, valid: Tensor, needed: int) -> tuple[Reason, ...]:
    number = valid.sum(dim=-1)
    return (
        (number == 0, "no rows"),
        (number < needed, f"fewer rows than the {needed} needed"),
        (~varies(uncertainty, valid), "the uncertainty is the same in every row"),
        (~varies(error, valid), "the error is the same in every row"),
    )


def correlation(
    uncertainty: Tensor, error: Tensor, valid: Tensor | None = None, relation: Relation = "rank", needed: int = NEEDED
) -> Measure:
    """Return the correlation of ``[..., N]`` rows: ``[...]``.

    Args:
        valid: which rows count; None for all.
    """
    valid = torch.ones_like(error, dtype=torch.bool) if valid is None else valid
    uncertainty, error = (torch.where(valid, values, 0.0) for values in (uncertainty, error))
    found = weighted_correlation(uncertainty, error, valid.double(), relation)
    return Measure.of(found, *_reasons(uncertainty, error, valid, max(needed, NEEDED)))


def within_step_correlation(
    uncertainty: Tensor,
    error: Tensor,
    valid: Tensor,
    relation: Relation = "rank",
    weights: Tensor | None = None,
    needed: int = NEEDED,
) -> Measure:
    """Return the correlation of ``[..., K, N]`` rows with the depth held constant: each step's own, averaged: ``[...]``.

    Args:
        weights: ``[K]``; None weighs a step with its number of valid rows. Steps that have no correlation are left out.
    """
    step = correlation(uncertainty, error, valid, relation, needed)
    weight = (valid.sum(dim=-1) if weights is None else weights.expand(step.shape)).cpu().double() * step.available
    total = weight.sum(dim=-1)
    mean = (weight * step.filled(0.0)).sum(dim=-1) / torch.where(total > 0, total, torch.ones_like(total))
    return Measure.of(mean, (total <= 0, f"no step has a correlation ({step.reason() or 'all weights are 0'})"))


def partial_correlation(
    uncertainty: Tensor,
    error: Tensor,
    step: Tensor,
    valid: Tensor,
    relation: Relation = "rank",
    needed: int = NEEDED,
) -> Measure:
    """Return the correlation of ``[..., N]`` rows once the effect of the step index is taken out: ``[...]``.

    Args:
        step: the step index of each row, broadcast to ``[..., N]``.
    """
    uncertainty, error = (torch.where(valid, values, 0.0) for values in (uncertainty, error))
    step = step.expand(error.shape)
    partial = weighted_partial(uncertainty, error, step, valid.double(), relation)
    return Measure.of(
        partial,
        *_reasons(uncertainty, error, valid, max(needed, NEEDED + 1)),
        (~varies(step, valid), "every row is of the same step, so there is no step to take out"),
        (partial.isnan(), "the step index alone explains the uncertainty or the error"),
    )
