"""Correlations of rows that were drawn several times, for all resamples at once: rows [..., N], weights [R, ..., N].

A row of weight w counts as w equal rows. With weights of 1 these are the correlations of
:mod:`rwmu.uncertainty.functional.ranking`, which they are tested against.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.uncertainty.functional.ranking import Relation


def weighted_ranks(values: Tensor, weights: Tensor) -> Tensor:
    """Return the rank of each row among the rows drawn, up to a constant: ``[R, ..., N]``; equal values share their mean rank."""
    ordered, order = values.double().sort(dim=-1)
    number = values.shape[-1]
    place = torch.arange(number).expand_as(ordered)
    changes = ordered[..., 1:] != ordered[..., :-1]
    edge = torch.ones_like(changes[..., :1])
    first = torch.where(torch.cat([edge, changes], dim=-1), place, 0).cummax(dim=-1).values
    last = torch.where(torch.cat([changes, edge], dim=-1), place, number).flip(-1).cummin(dim=-1).values.flip(-1)
    drawn = weights.gather(-1, order.expand_as(weights))
    upto = drawn.cumsum(dim=-1)
    before = (upto - drawn).gather(-1, first.expand_as(weights))
    middle = 0.5 * (before + upto.gather(-1, last.expand_as(weights)))
    return torch.zeros_like(middle).scatter(-1, order.expand_as(weights), middle)


def weighted_coefficient(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Return the linear correlation of rows ``[R, ..., N]``: ``[R, ...]``; nan where one does not vary."""
    total = weights.sum(dim=-1, keepdim=True)

    def centred(values: Tensor) -> Tensor:  # and of a size of 1, so that "does not vary" means the same in every unit
        values = values / values.abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
        return values - (weights * values).sum(dim=-1, keepdim=True) / total

    x, y = centred(x), centred(y)
    scale = ((weights * x * x).sum(dim=-1) * (weights * y * y).sum(dim=-1)).sqrt()
    # What centring leaves of a constant is rounding, not variation.
    return torch.where(scale > 1e-12, (weights * x * y).sum(dim=-1) / scale, torch.nan)


def _columns(relation: Relation, weights: Tensor, *columns: Tensor) -> list[Tensor]:
    if relation == "rank":
        return [weighted_ranks(values, weights) for values in columns]
    return [values.double().expand_as(weights) for values in columns]


def weighted_correlation(x: Tensor, y: Tensor, weights: Tensor, relation: Relation = "rank") -> Tensor:
    """Return the rank or linear correlation of rows ``[..., N]`` for each draw: ``[R, ...]``."""
    first, second = _columns(relation, weights, x, y)
    return weighted_coefficient(first, second, weights)


def weighted_within_step(x: Tensor, y: Tensor, weights: Tensor, relation: Relation = "rank") -> Tensor:
    """Return the mean over steps of each step's own correlation, weighed by its rows: rows ``[K, N]``, ``[R, K, N]`` -> ``[R]``."""
    step = weighted_correlation(x, y, weights, relation)  # [R, K]
    rows = torch.where(step.isnan(), 0.0, weights.sum(dim=-1))
    return (rows * step.nan_to_num()).sum(dim=-1) / rows.sum(dim=-1)


def weighted_partial(x: Tensor, y: Tensor, step: Tensor, weights: Tensor, relation: Relation = "rank") -> Tensor:
    """Return the first-order partial correlation given the step, of rows ``[N]``: ``[R]``."""
    columns = _columns(relation, weights, x, y, step)
    both, with_step, error_with_step = (weighted_coefficient(columns[i], columns[j], weights) for i, j in ((0, 1), (0, 2), (1, 2)))
    left = ((1.0 - with_step.square()) * (1.0 - error_with_step.square())).sqrt()
    return torch.where(left > 1e-6, (both - with_step * error_with_step) / left, torch.nan)
