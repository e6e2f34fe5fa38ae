"""Ranking: does the uncertainty know where the errors are? Correlations, with the depth of a forecast held constant or not.

Both uncertainty and error grow with the step of a forecast, so a mere step counter correlates with the error. Three answers keep
that apart: overall, within a step, and partial given the step. Rows N are last; ``valid`` says which count.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.uncertainty.measure import Measure

Relation = Literal["rank", "linear"]
RELATIONS = ("rank", "linear")
NEEDED = 3  # two rows correlate perfectly whatever they hold


def ranks(values: Tensor, valid: Tensor) -> Tensor:
    """Return the ranks of ``[..., N]`` among the valid rows, from 0; equal values share their mean rank; float64."""
    ordered, order = torch.where(valid, values.double(), torch.inf).sort(dim=-1, stable=True)
    place = torch.arange(values.shape[-1], device=values.device).expand_as(ordered)
    changes = ordered[..., 1:] != ordered[..., :-1]
    edge = torch.ones_like(valid[..., :1])
    first = torch.where(torch.cat([edge, changes], dim=-1), place, 0).cummax(dim=-1).values
    is_last = torch.cat([changes, edge], dim=-1)
    last = torch.where(is_last, place, values.shape[-1]).flip(-1).cummin(dim=-1).values.flip(-1)
    return torch.zeros_like(ordered).scatter(-1, order, (first + last).double() / 2.0)


def varies(values: Tensor, valid: Tensor) -> Tensor:
    """Return whether any two valid rows of ``[..., N]`` differ: ``[...]`` bool."""
    largest = torch.where(valid, values, -torch.inf).amax(dim=-1)
    return largest > torch.where(valid, values, torch.inf).amin(dim=-1)


def _coefficient(x: Tensor, y: Tensor, valid: Tensor) -> Tensor:
    """Return the linear correlation of the valid rows; meaningless where one of them does not vary."""
    number = valid.sum(dim=-1, keepdim=True).clamp(min=1)
    x, y = (torch.where(valid, values.double(), 0.0) for values in (x, y))
    x = torch.where(valid, x - x.sum(dim=-1, keepdim=True) / number, 0.0)
    y = torch.where(valid, y - y.sum(dim=-1, keepdim=True) / number, 0.0)
    # Scaled to 1 first: squares of very small values would vanish.
    x, y = (values / values.abs().amax(dim=-1, keepdim=True).clamp(min=1e-300) for values in (x, y))
    scale = (x.square().sum(dim=-1) * y.square().sum(dim=-1)).sqrt()
    return ((x * y).sum(dim=-1) / torch.where(scale > 0, scale, torch.ones_like(scale))).clamp(-1.0, 1.0)


def _related(relation: Relation, valid: Tensor, *columns: Tensor) -> list[Tensor]:
    if relation not in RELATIONS:
        raise ConfigError(f"relation is {relation!r}, but must be 'rank' or 'linear'.")
    return [ranks(values, valid) if relation == "rank" else values.double() for values in columns]


def correlation(
    uncertainty: Tensor, error: Tensor, valid: Tensor | None = None, relation: Relation = "rank", needed: int = NEEDED
) -> Measure:
    """Return the rank (Spearman) or linear (Pearson) correlation of ``[..., N]`` rows: ``[...]``.

    Args:
        valid: which rows count; None for all.
    """
    valid = torch.ones_like(error, dtype=torch.bool) if valid is None else valid
    first, second = _related(relation, valid, uncertainty, error)
    number = valid.sum(dim=-1)
    return Measure.of(
        _coefficient(first, second, valid),
        (number == 0, "no rows"),
        (number < max(needed, NEEDED), f"fewer rows than the {max(needed, NEEDED)} needed"),
        (~varies(uncertainty, valid), "the uncertainty is the same in every row"),
        (~varies(error, valid), "the error is the same in every row"),
    )


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
    """Return the correlation of ``[..., N]`` rows once the (rank or linear) effect of the step index is taken out: ``[...]``.

    The first-order partial correlation (r_ue - r_us r_es) / sqrt((1 - r_us^2) (1 - r_es^2)); for ranks, of ranks.

    Args:
        step: the step index of each row, broadcast to ``[..., N]``.
    """
    step = step.expand(error.shape).double()
    columns = _related(relation, valid, uncertainty, error, step)
    both, with_step, error_with_step = (_coefficient(columns[i], columns[j], valid) for i, j in ((0, 1), (0, 2), (1, 2)))
    left = (1.0 - with_step.square()) * (1.0 - error_with_step.square())
    explained = left <= 1e-12
    partial = (both - with_step * error_with_step) / torch.where(explained, 1.0, left).sqrt()
    number, at_least = valid.sum(dim=-1), max(needed, NEEDED + 1)
    return Measure.of(
        partial.clamp(-1.0, 1.0),
        (number == 0, "no rows"),
        (number < at_least, f"fewer rows than the {at_least} needed"),
        (~varies(uncertainty, valid), "the uncertainty is the same in every row"),
        (~varies(error, valid), "the error is the same in every row"),
        (~varies(step, valid), "every row is of the same step, so there is no step to take out"),
        (explained, "the step index alone explains the uncertainty or the error"),
    )
