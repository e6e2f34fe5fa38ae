"""Streaming ranking: correlation of uncertainty with error, and sparsification.

Uncertainty and error are ``[K, B]`` (the scalar of a penalty), ``[K, B, D]`` or ``[E, K, B, D]``; the error may lack the member
axis. Ranks need all rows at once, so these hold rows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from rwmu.errors import ConfigError, DataError
from rwmu.settings import choose
from rwmu.uncertainty.functional import ranking, sparsification
from rwmu.uncertainty.measure import Measure
from rwmu.uncertainty.metrics.cells import RowMetric

Depth = Literal["overall", "within_step", "partial", "step_counter"]
REMOVED = tuple(index / 20 for index in range(20))
ONE_MEMBER = "one member: it cannot disagree, so there is no epistemic uncertainty to judge"


class ErrorMetric(RowMetric):
    """What metrics of uncertainty beside error hold."""

    columns = ("uncertainty", "error")

    def update(self, uncertainty: Tensor, error: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch.

        Raises:
            DataError: if an error is negative, or something that counts is not finite.
        """
        counts, uncertainty, error = self.aligned(valid, uncertainty=uncertainty, error=error)
        if not bool((error >= 0).all()):
            raise DataError("'error' holds negative values: give its absolute value, or its square.")
        self.store(counts, uncertainty, error)


class ErrorCorrelation(ErrorMetric):
    """Correlation of uncertainty with error, ``[*kept]``, from -1 to 1.

    Args:
        relation: ``rank`` (Spearman) or ``linear`` (Pearson).
        depth: ``overall`` pools the steps; ``within_step`` correlates at each step and averages; ``partial`` takes the step index
            out; ``step_counter`` correlates the mere step index with the error, the baseline to print beside the others.
        weights: of the steps ``[K]`` in the average within steps; None weighs with valid rows.
        needed: fewest rows of a correlation.
    """

    higher_is_better = True

    def __init__(
        self,
        steps: int,
        dims: int = 1,
        members: int = 1,
        keep: Collection[str] = (),
        relation: ranking.Relation = "rank",
        depth: Depth = "overall",
        weights: Sequence[float] | None = None,
        needed: int = ranking.NEEDED,
        **kwargs: Any,
    ) -> None:
        super().__init__(steps, dims, members, keep, **kwargs)
        choose("The relation", relation, ranking.RELATIONS)
        choose("The depth", depth, get_args(Depth))
        if depth != "overall" and "step" in self.keep:
            raise ConfigError(
                f"Within one step there is nothing to hold constant: keep 'step' with depth 'overall', not {depth!r}."
            )
        if weights is not None and (len(weights) != steps or min(weights) < 0):
            raise ConfigError(f"weights must be {steps} numbers of at least 0, one a step.")
        self.relation: ranking.Relation = relation
        self.depth: Depth = depth
        self.weights, self.needed = weights, needed

    def compute(self) -> Measure:
        """Return the correlation."""
        if self.depth == "within_step":
            return self._within_step()
        counts, uncertainty, error, step = self.stored(*self.keep)
        if self.depth == "partial":
            return ranking.partial_correlation(uncertainty, error, step, counts, self.relation, self.needed)
        if self.depth == "step_counter":
            uncertainty = step.double()
        return ranking.correlation(uncertainty, error, counts, self.relation, self.needed)

    def _within_step(self) -> Measure:
        rows = self.stored(*self.keep, "step")[:3]
        # The axis of steps lies between those of members and dimensions; the average is over the last but one.
        counts, uncertainty, error = (tensor.transpose(-3, -2) for tensor in rows) if "dim" in self.keep else rows
        weights = None if self.weights is None else torch.tensor(self.weights, dtype=torch.float64)
        return ranking.within_step_correlation(uncertainty, error, counts, self.relation, weights, self.needed)


class SparsificationMetric(ErrorMetric):
    """What is left of the error when rows are taken away.

    Args:
        norm: how remaining errors are pooled, ``mean`` or ``root_mean_square``.
    """

    def __init__(self, steps: int, *arguments: Any, norm: sparsification.ErrorNorm = "mean", **kwargs: Any) -> None:
        super().__init__(steps, *arguments, **kwargs)
        self.norm: sparsification.ErrorNorm = norm


class AUSE(SparsificationMetric):
    """Area under the sparsification error, ``[*kept]``: 0 where the uncertainty orders rows as their errors do.

    Args:
        order: ``uncertainty``, or ``random`` for the area that chance would have.
    """

    def __init__(self, steps: int, *arguments: Any, order: sparsification.Order = "uncertainty", **kwargs: Any) -> None:
        super().__init__(steps, *arguments, **kwargs)
        self.order: sparsification.Order = order

    def compute(self) -> Measure:
        """Return the area."""
        counts, uncertainty, error, _ = self.stored(*self.keep)
        return sparsification.ause(uncertainty, error, counts, self.order, self.norm)


class SparsificationCurve(SparsificationMetric):
    """Part of the error that is left when a fraction of the rows is removed, ``[3, *kept, P]``.

    First by uncertainty, then by the oracle, then at random (in expectation, 1 throughout with ``norm="mean"``).

    Args:
        removed: P fractions.
    """

    def __init__(self, steps: int, *arguments: Any, removed: Sequence[float] = REMOVED, **kwargs: Any) -> None:
        super().__init__(steps, *arguments, **kwargs)
        self.removed = tuple(removed)

    def compute(self) -> Measure:
        """Return the three curves."""
        counts, uncertainty, error, _ = self.stored(*self.keep)
        curve = partial(sparsification.sparsification_curve, uncertainty, error, counts, self.removed)
        return Measure.stack([curve(order, self.norm) for order in get_args(sparsification.Order)])
