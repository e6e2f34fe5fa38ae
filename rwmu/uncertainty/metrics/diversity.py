"""Streaming diversity of an ensemble: what members say apart, and how they err together; from sums over rows.

Here a cell is a step and a dimension and holds a matrix over pairs of members: ``[K, D, E, E]``. ``keep`` may name ``pair`` (the
result then has the matrix ``[E, E]`` as its last axes, else the mean over pairs of different members), ``step`` and ``dim``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from rwmu.errors import ConfigError
from rwmu.uncertainty.functional import diversity
from rwmu.uncertainty.measure import Measure, require_finite
from rwmu.uncertainty.metrics.cells import axes_to_keep, tell_apart


class PairMetric(Metric):
    """Sums of products of what pairs of members say.

    Args:
        members: E. steps: K. dims: D.
        keep: which of ``step``, ``dim``, ``pair`` the result keeps.
        kwargs: those of ``torchmetrics.Metric``.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better: bool | None = None
    axes: tuple[str, ...] = ("step", "dim", "pair")
    products: Tensor
    rows: Tensor

    def __init__(self, members: int, steps: int = 1, dims: int = 1, keep: Collection[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if min(members, steps, dims) < 1:
            raise ConfigError(f"members, steps and dims are {members}, {steps}, {dims}, but must be at least 1.")
        self.members, self.steps, self.dims = members, steps, dims
        self.keep = axes_to_keep(keep, self.axes)
        # Named after the class that defines the update: those that inherit one may share its sums.
        tell_apart(self, type(self).update.__qualname__)
        self.add_state("products", torch.zeros(steps, dims, members, members, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("rows", torch.zeros(steps, dtype=torch.float64), dist_reduce_fx="sum")

    def aligned(self, values: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return ``[E, K, B, D]`` of float64, 0 in rows that do not count, and which do ``[K, B]``.

        Raises:
            ValueError: if a shape does not fit.
            DataError: if what counts is not finite.
        """
        expected = (self.members, self.steps, self.dims)
        if values.ndim != 4 or (values.shape[0], values.shape[1], values.shape[3]) != expected:
            raise ValueError(f"{type(self).__name__} takes [E, K, B, D] with E, K, D = {expected}, not {tuple(values.shape)}")
        if valid is None:
            valid = torch.ones(values.shape[1:3], dtype=torch.bool, device=values.device)
        if valid.shape != values.shape[1:3]:
            raise ValueError(f"'valid' is {tuple(valid.shape)}, but must be [K, B] = {tuple(values.shape[1:3])}")
        values = torch.where(valid[None, :, :, None].bool(), values.double(), 0.0)
        require_finite(outputs=values)
        return values, valid.bool()

    def add(self, values: Tensor, valid: Tensor) -> None:
        """Add the products of ``[E, K, B, D]``."""
        self.products = self.products + diversity.gram(values)
        self.rows = self.rows + valid.double().sum(dim=1)

    def pooled(self, cells: Tensor) -> Tensor:
        """Sum ``[K, D, ...]`` over the axes that are not kept."""
        dropped = [place for place, name in enumerate(("step", "dim")) if name not in self.keep]
        return cells.sum(dim=dropped) if dropped else cells

    def count(self) -> Tensor:
        """Return how many numbers of each member were pooled, ``[*kept]``."""
        return self.pooled(self.rows[:, None].expand(self.steps, self.dims))

    def of_rows(self, result: Measure) -> Measure:
        """Return ``[*kept, ...]`` with "no rows" before any other reason where none was pooled."""
        none = (self.count() == 0).cpu()
        none = none[(..., *(None for _ in result.shape[none.ndim :]))]
        others = [(result.why == place, reason) for place, reason in enumerate(result.reasons, 1)]
        return Measure.of(result.filled(0.0), (none, "no rows"), *others)

    def pairs(self, matrix: Measure) -> Measure:
        """Return the matrix, or its mean over pairs."""
        if "pair" in self.keep:
            return self.of_rows(matrix)
        missing = (~matrix.available).any(dim=-1).any(dim=-1)
        return self.of_rows(Measure.of(diversity.pair_mean(matrix.filled(0.0)), (missing, matrix.reason())))


class OutputCosine(PairMetric):
    """Cosine between members' flattened outputs: near 1, the heads say the same. From -1 to 1."""

    higher_is_better = False

    def update(self, outputs: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch ``[E, K, B, D]``.

        Args:
            outputs: what the state heads say: the predicted change of the state (the mean less the state before), for the mean
                itself shares the state and has a cosine near 1 whatever the heads do.
            valid: ``[K, B]`` bool, which rows count.
        """
        self.add(*self.aligned(outputs, valid))

    def compute(self) -> Measure:
        """Return the cosine."""
        return self.pairs(diversity.cosine(self.pooled(self.products)))


class PairwiseDisagreement(PairMetric):
    """Root mean squared difference between members' outputs, in their (normalised) unit."""

    higher_is_better = None

    def update(self, outputs: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch ``[E, K, B, D]``; ``valid [K, B]`` says which rows count."""
        outputs, counts = self.aligned(outputs, valid)
        self.add(outputs - outputs.mean(dim=0), counts)

    def compute(self) -> Measure:
        """Return the root of the mean squared difference; over pairs, the mean of the roots."""
        return self.pairs(diversity.disagreement(self.pooled(self.products), self.count()))


class MemberErrorCorrelation(PairMetric):
    """Linear correlation between members' errors over rows, each step and dimension centred on its own mean error: from -1 to 1.

    So neither a bias that members share nor the growth of errors with the horizon counts as correlation.
    """

    higher_is_better = False
    sums: Tensor

    def __init__(self, members: int, steps: int = 1, dims: int = 1, keep: Collection[str] = (), **kwargs: Any) -> None:
        super().__init__(members, steps, dims, keep, **kwargs)
        self.add_state("sums", torch.zeros(steps, dims, members, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, truth: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch: means of members ``[E, K, B, D]``, truth ``[K, B, D]``; ``valid [K, B]`` says which rows count.

        Raises:
            ValueError: if a shape does not fit.
        """
        if outputs.shape[1:] != truth.shape:
            raise ValueError(f"outputs are {tuple(outputs.shape)}, but the truth is {tuple(truth.shape)}")
        errors, counts = self.aligned(outputs.double() - truth.double(), valid)
        self.add(errors, counts)
        self.sums = self.sums + errors.sum(dim=2).permute(1, 2, 0)

    def matrix(self) -> Measure:
        """Return the correlations ``[*kept, E, E]``."""
        number = self.rows.clamp(min=1.0)[:, None, None, None]
        squared_sums = self.sums[..., :, None] * self.sums[..., None, :] / number
        centred = self.products - squared_sums
        # What centring leaves of an error that never varies is rounding, not variation.
        own = self.products.diagonal(dim1=-1, dim2=-2)
        constant = centred.diagonal(dim1=-1, dim2=-2) <= 1e-12 * own
        centred = torch.where(constant[..., :, None] | constant[..., None, :], 0.0, centred)
        return diversity.error_correlation(self.pooled(centred), self.count())

    def compute(self) -> Measure:
        """Return the correlation."""
        return self.pairs(self.matrix())


class EffectiveMembers(MemberErrorCorrelation):
    """How many members of independent errors would average as well, ``[*kept]``: 1 for copies, E for independent ones."""

    higher_is_better = True
    axes = ("step", "dim")

    def compute(self) -> Measure:
        """Return the number, from the mean correlation over pairs."""
        return self.of_rows(diversity.effective_members(self.matrix()))
