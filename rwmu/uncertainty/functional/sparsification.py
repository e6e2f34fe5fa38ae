"""Sparsification: what error is left when the most uncertain rows are taken away?

Source: Ilg et al., "Uncertainty estimates and multi-hypotheses networks for optical flow", ECCV 2018
(arXiv:1802.07095), section 5.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.uncertainty.functional.ranking import weighted_ranks
from rwmu.uncertainty.measure import Measure

Order = Literal["uncertainty", "oracle", "random"]
ErrorNorm = Literal["mean", "root_mean_square"]


def remaining_error(by: Tensor, error: Tensor, valid: Tensor, norm: ErrorNorm = "mean") -> Tensor:
    """Return the error of the rows that are left, when only the j of smallest ``by`` stay: ``[..., N]`` for j = 1, ... N.

    Rows of equal ``by`` count with their mean, so their order does not matter: an uncertainty that is the same in every row does as
    well as chance. Entries beyond the number of valid rows mean nothing.

    Args:
        by, error, valid: ``[..., N]``, errors at least 0.
        norm: how the errors of the rows left are pooled.

    Raises:
        ConfigError: if the norm is unknown.
    """
    if norm not in ("mean", "root_mean_square"):
        raise ConfigError(f"norm is {norm!r}, but must be 'mean' or 'root_mean_square'.")
    values = error.double() if norm == "mean" else error.double().square()
    values = torch.where(valid, values, torch.zeros_like(values))
    # Twice a rank is an integer that equal rows share, the key of their group; those that do not count come last.
    group = (2.0 * weighted_ranks(torch.where(valid, by, torch.inf), valid)).long()
    shape = (*values.shape[:-1], 2 * values.shape[-1] + 1)
    count = values.new_zeros(shape).scatter_add(-1, group, torch.ones_like(values)).gather(-1, group)
    shared = values.new_zeros(shape).scatter_add(-1, group, values).gather(-1, group) / count
    left = shared.gather(-1, group.argsort(dim=-1, stable=True)).cumsum(dim=-1)
    mean = left / torch.arange(1, values.shape[-1] + 1, device=values.device)
    return mean if norm == "mean" else mean.sqrt()


def _ordered(order: Order, uncertainty: Tensor, error: Tensor, valid: Tensor, norm: ErrorNorm) -> Tensor:
    """Return the remaining error of one order of removal, ``[..., N]``."""
    keys = {"uncertainty": uncertainty, "oracle": error, "random": torch.zeros_like(error)}
    if order not in keys:
        raise ConfigError(f"order is {order!r}, but must be 'uncertainty', 'oracle' or 'random'.")
    return remaining_error(keys[order], error, valid, norm)


def _whole(curve: Tensor, valid: Tensor) -> Tensor:
    """Return the error of all valid rows, ``[..., 1]``, which is the last that counts of a curve ``[..., N]``."""
    return curve.gather(-1, (valid.sum(dim=-1, keepdim=True) - 1).clamp(min=0))


def _reasons(error: Tensor, valid: Tensor) -> tuple[tuple[Tensor, str], ...]:
    number = valid.sum(dim=-1)
    largest = torch.where(valid, error, torch.zeros_like(error)).amax(dim=-1)
    return (number == 0, "no rows"), (number < 2, "fewer rows than the 2 needed"), (largest <= 0, "there is no error at all")


def sparsification_curve(
    uncertainty: Tensor,
    error: Tensor,
    valid: Tensor,
    removed: Sequence[float],
    order: Order = "uncertainty",
    norm: ErrorNorm = "mean",
) -> Measure:
    """Return what part of the error is left when a fraction of the rows is removed: ``[..., P]``, 1 where none is.

    Args:
        uncertainty, error, valid: ``[..., N]``.
        removed: P fractions from 0 up to less than 1.
        order: removed are the most uncertain rows, those of largest error (``oracle``), or any (``random``, in expectation).

    Raises:
        ConfigError: if a fraction lies outside.
    """
    fractions = torch.as_tensor(removed, dtype=torch.float64, device=error.device)
    if not bool(((fractions >= 0) & (fractions < 1)).all()):
        raise ConfigError(f"removed is {fractions.tolist()}, but must be fractions from 0 up to less than 1.")
    curve = _ordered(order, uncertainty, error, valid, norm)
    number = valid.sum(dim=-1, keepdim=True)
    # The margin keeps 0.7 of 10 rows at 3 rows left, not 4, whatever the rounding.
    left = torch.ceil((1.0 - fractions) * number - 1e-9).long().clamp(min=1)
    whole = _whole(curve, valid)
    part = curve.gather(-1, left - 1) / torch.where(whole > 0, whole, torch.ones_like(whole))
    return Measure.of(part, *((condition[..., None], reason) for condition, reason in _reasons(error, valid)))


def ause(uncertainty: Tensor, error: Tensor, valid: Tensor, order: Order = "uncertainty", norm: ErrorNorm = "mean") -> Measure:
    """Return the area under the sparsification error of rows ``[..., N]``: ``[...]``; 0 is the order of the errors.

    Between the curve of ``order`` and the oracle's, both as parts of the whole error, over the fraction removed by trapezoids up to
    the last row. ``order="random"`` gives the area that chance would have: the number to compare with.
    """
    curve = _ordered(order, uncertainty, error, valid, norm)
    oracle = _ordered("oracle", uncertainty, error, valid, norm)
    whole = _whole(oracle, valid)
    gap = (curve - oracle) / torch.where(whole > 0, whole, torch.ones_like(whole))
    number = valid.sum(dim=-1, keepdim=True)
    counts = torch.arange(1, error.shape[-1], device=error.device) < number
    area = torch.where(counts, 0.5 * (gap[..., 1:] + gap[..., :-1]), 0.0).sum(dim=-1) / number[..., 0].clamp(min=1)
    return Measure.of(area, *_reasons(error, valid))
