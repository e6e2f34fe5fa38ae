"""Streaming diversity of an ensemble: what members say apart, and how they err together; from sums over rows.

Here a cell holds a matrix over pairs of members. ``keep`` may name ``pair`` (the result then has the matrix ``[E, E]`` as its last
axes, else the mean over pairs of different members), ``step`` and ``dim``. All take outputs ``[E, K, B, D]``; ``valid [K, B]`` says
which rows count.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from rwmu.uncertainty.functional import diversity
from rwmu.uncertainty.measure import Measure
from rwmu.uncertainty.metrics.cells import NO_ROWS, SumMetric


class PairMetric(SumMetric):
    """Sums of products of what pairs of members say, ``[E, E, K, D]``.

    Args:
        members: E. steps: K. dims: D.
        keep: which of ``step``, ``dim``, ``pair`` the result keeps.
        kwargs: those of ``torchmetrics.Metric``.
    """

    higher_is_better: bool | None = None
    axes: tuple[str, ...] = ("step", "dim", "pair")

    def __init__(self, members: int, steps: int = 1, dims: int = 1, keep: Collection[str] = (), **kwargs: Any) -> None:
        # Those that inherit an update may share its sums.
        super().__init__(steps, dims, members, keep, (members,), (type(self).update.__qualname__,), **kwargs)

    def add_products(self, values: Tensor, counts: Tensor) -> None:
        """Add the products of ``[E, K, B, D]``, 0 in rows that do not count."""
        rows = values.double().permute(1, 3, 0, 2)
        self.add((rows @ rows.transpose(-1, -2)).permute(2, 3, 0, 1), counts)

    def pool(self, cells: Tensor) -> Tensor:
        """Sum ``[..., K, D]`` over the axes that are not kept."""
        dropped = [place - 2 for place, name in enumerate(("step", "dim")) if name not in self.keep]
        return cells.sum(dim=dropped) if dropped else cells

    def number(self) -> Tensor:
        """Return how many numbers of each member were pooled, ``[*kept]``."""
        return self.pool(self.rows[:, None].expand(self.steps, self.dims))

    def compute(self) -> Measure:
        """Return the matrix, or its mean over pairs."""
        matrix = self.matrix(self.total)
        if "pair" in self.keep:
            return self.of_rows(matrix)
        missing = (~matrix.available).flatten(-2).any(dim=-1)
        return self.of_rows(Measure.of(diversity.pair_mean(matrix.filled(0.0)), (missing, matrix.reason())))

    def matrix(self, products: Tensor) -> Measure:
        """Return a number for each pair, ``[*kept, E, E]``, from all products ``[E, E, K, D]``."""
        raise NotImplementedError

    def matrices(self, products: Tensor) -> Tensor:
        """Return pooled products as matrices, ``[*kept, E, E]``."""
        return self.pool(products).movedim((0, 1), (-2, -1))

    def of_rows(self, result: Measure) -> Measure:
        """Return ``[*kept, ...]`` with "no rows" before any other reason where none was pooled."""
        none = (self.number() == 0).cpu()
        none = none[(..., *(None for _ in result.shape[none.ndim :]))]
        others = [(result.why == place, reason) for place, reason in enumerate(result.reasons, 1)]
        return Measure.of(result.filled(0.0), (none, NO_ROWS), *others)


class OutputCosine(PairMetric):
    """Cosine between members' flattened outputs: near 1, the heads say the same. From -1 to 1."""

    higher_is_better = False

    def update(self, outputs: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            outputs: what the state heads say: the predicted change of the state (the mean less the state before), for the mean
                itself shares the state and has a cosine near 1 whatever the heads do.
            valid: which rows count.
        """
        counts, outputs = self.aligned(valid, outputs=outputs)
        self.add_products(torch.where(counts[None, :, :, None], outputs, 0.0), counts)

    def matrix(self, products: Tensor) -> Measure:
        """Return the cosine."""
        return diversity.cosine(self.matrices(products))


class PairwiseDisagreement(PairMetric):
    """Root mean squared difference between members' outputs, in their (normalised) unit; over pairs, the mean of the roots."""

    def update(self, outputs: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch."""
        counts, outputs = self.aligned(valid, outputs=outputs)
        outputs = outputs.double()
        self.add_products(outputs - outputs.mean(dim=0), counts)

    def matrix(self, products: Tensor) -> Measure:
        """Return the root of the mean squared difference."""
        return diversity.disagreement(self.matrices(products), self.number())


class MemberErrorCorrelation(PairMetric):
    """Linear correlation between members' errors over rows, each step and dimension centred on its own mean error: from -1 to 1.

    So neither a bias that members share nor the growth of errors with the horizon counts as correlation.
    """

    higher_is_better = False
    sums: Tensor

    def __init__(self, members: int, steps: int = 1, dims: int = 1, keep: Collection[str] = (), **kwargs: Any) -> None:
        super().__init__(members, steps, dims, keep, **kwargs)
        self.add_sums("sums", *self.cells)

    def update(self, outputs: Tensor, truth: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch: means of members, truth ``[K, B, D]``."""
        counts, outputs, truth = self.aligned(valid, outputs=outputs, truth=truth)
        errors = outputs.double() - truth.double()
        self.add_products(errors, counts)
        self.sums = self.sums + errors.sum(dim=2)

    def matrix(self, products: Tensor) -> Measure:
        """Return the correlations."""
        centred = products - self.sums[:, None] * self.sums[None] / self.rows.clamp(min=1.0)[:, None]
        # What centring leaves of an error that never varies is rounding, not variation.
        constant = centred.diagonal() <= 1e-12 * products.diagonal()  # [K, D, E]
        constant = constant.movedim(-1, 0)
        return diversity.error_correlation(
            self.matrices(torch.where(constant[:, None] | constant[None], 0.0, centred)), self.number()
        )


class EffectiveMembers(MemberErrorCorrelation):
    """How many members of independent errors would average as well, ``[*kept]``: 1 for copies, E for independent ones."""

    higher_is_better = True
    axes = ("step", "dim")

    def compute(self) -> Measure:
        """Return the number, from the mean correlation over pairs."""
        return self.of_rows(diversity.effective_members(self.matrix(self.total)))
