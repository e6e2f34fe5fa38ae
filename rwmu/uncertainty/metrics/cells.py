"""What every metric shares: the shapes it takes, the axes it keeps, and sums or rows that any number of processes may add up.

A *cell* is one member, one step of the forecast and one state dimension: ``[E, K, D]``. A :class:`SumMetric` holds sums of each
cell; a :class:`RowMetric`, which must order rows, holds the rows. ``keep`` names the axes of the result; over the others, rows are
pooled (so a step with twice as many valid rows counts twice), never means averaged. Every state is a float64 sum or a
concatenation, so that torchmetrics reduces it over processes, and ``merge_state`` over parts, to exactly what one metric would
hold: in the order of the processes, and also where one of them saw no row.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from rwmu.errors import ConfigError
from rwmu.uncertainty.measure import Measure, require_finite

AXES = ("member", "step", "dim")
NO_ROWS = "no rows"
_SHARED = ("truth", "error")  # what all members may have in common; whatever else is given must have its member axis


class CellMetric(Metric):
    """The shapes of a metric of forecasts; subclasses say what they hold and compute.

    Args:
        steps: K. dims: D. members: E of the forecasts, 1 where they have no member axis.
        keep: which of ``axes`` the result keeps, in their order.
        kwargs: those of ``torchmetrics.Metric``.

    Raises:
        ConfigError: if a size is below 1, or an axis unknown.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better: bool | None = False
    axes: tuple[str, ...] = AXES

    def __init__(self, steps: int, dims: int = 1, members: int = 1, keep: Collection[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if min(steps, dims, members) < 1:
            raise ConfigError(f"steps, dims and members are {steps}, {dims}, {members}, but must be at least 1.")
        if isinstance(keep, str) or not set(keep) <= set(self.axes):
            raise ConfigError(f"keep is {keep!r}, but must be a list of names of axes out of {', '.join(self.axes)}.")
        self.steps, self.dims, self.members = steps, dims, members
        self.keep = tuple(name for name in self.axes if name in keep)

    @property
    def cells(self) -> tuple[int, int, int]:
        """Return E, K, D."""
        return self.members, self.steps, self.dims

    def forecast(self, name: str, values: Tensor) -> Tensor:
        """Return ``[K, B]``, ``[K, B, D]`` or ``[E, K, B, D]`` as ``[E, K, B, D]`` (E is 1 without a member axis).

        Raises:
            ValueError: if the shape does not fit.
        """
        full = values
        if full.ndim == 2 and self.dims == 1:
            full = full[..., None]
        if full.ndim == 3:
            full = full[None]
        members, steps, dims = self.cells
        allowed = (1, members) if name in _SHARED else (members,)
        if full.ndim != 4 or full.shape[0] not in allowed or full.shape[1] != steps or full.shape[3] != dims:
            raise ValueError(
                f"{type(self).__name__} takes '{name}' as [E, K, B, D] = [{members}, {steps}, B, {dims}]"
                f"{', E left out' if 1 in allowed else ''}, not {tuple(values.shape)}"
            )
        return full

    def which_count(self, valid: Tensor | None, batch: int, device: torch.device) -> Tensor:
        """Return which rows count, ``[K, B]`` bool; all where ``valid`` is None.

        Raises:
            ValueError: if the shape does not fit.
        """
        if valid is None:
            return torch.ones(self.steps, batch, dtype=torch.bool, device=device)
        if valid.shape != (self.steps, batch):
            raise ValueError(f"'valid' is {tuple(valid.shape)}, but must be [K, B] = {(self.steps, batch)}")
        return valid.bool()

    def aligned(self, valid: Tensor | None, **values: Tensor) -> tuple[Tensor, ...]:
        """Return ``valid [K, B]`` and every tensor as ``[E, K, B, D]`` (E or 1), with 1 in place of what does not count.

        Raises:
            ValueError: if a shape does not fit.
            DataError: if what counts is not finite.
        """
        full = [self.forecast(name, tensor) for name, tensor in values.items()]
        batches = {tensor.shape[2] for tensor in full}
        if len(batches) != 1:
            raise ValueError(f"{', '.join(values)} have batches of {sorted(batches)} rows")
        counts = self.which_count(valid, batches.pop(), full[0].device)
        if valid is not None:
            # Whatever stands in rows that do not count must not spoil a sum: 0 times infinity is no number.
            full = [torch.where(counts[None, :, :, None], tensor, torch.ones_like(tensor)) for tensor in full]
        require_finite(**dict(zip(values, full, strict=True)))
        return counts, *full


class SumMetric(CellMetric):
    """A metric that holds sums of each cell, ``[*leading, E, K, D]``, and of how many rows they are, ``[K]``.

    Args:
        leading: sizes of axes before those of the cells.
        sums_of: what the sums depend on; by default, the class. Metrics of the same may share one update in a ``MetricCollection``.
    """

    total: Tensor
    rows: Tensor

    def __init__(
        self,
        steps: int,
        dims: int = 1,
        members: int = 1,
        keep: Collection[str] = (),
        leading: tuple[int, ...] = (),
        sums_of: tuple[object, ...] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(steps, dims, members, keep, **kwargs)
        # A collection takes metrics for one if their states have the same names and values after the first batch. Sums of different
        # things may well be equal then, if only because no row of that batch counts: an empty state tells them apart by its name.
        self.add_sums(f"sums_{zlib.crc32(repr(sums_of or type(self).__name__).encode()):08x}", 0)
        self.add_sums("total", *leading, *self.cells)
        self.add_sums("rows", steps)

    def add_sums(self, name: str, *shape: int) -> None:
        """Hold a state that processes and parts add up."""
        self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def add(self, sums: Tensor, counts: Tensor) -> None:
        """Add sums ``[*leading, E, K, D]`` of the rows ``[K, B]`` that count."""
        self.total = self.total + sums
        self.rows = self.rows + counts.double().sum(dim=1)

    def add_rows(self, values: Tensor, counts: Tensor) -> None:
        """Add values ``[*leading, E, K, B, D]`` of the rows ``[K, B]`` that count."""
        self.add(torch.where(counts[:, :, None], values.double(), 0.0).sum(dim=-2), counts)

    def pool(self, cells: Tensor) -> Tensor:
        """Sum ``[..., E, K, D]`` over the axes that are not kept."""
        dropped = [index - 3 for index, name in enumerate(AXES) if name not in self.keep]
        return cells.sum(dim=dropped) if dropped else cells

    def number(self) -> Tensor:
        """Return how many rows were pooled, ``[*kept]``."""
        return self.pool(self.rows[None, :, None].expand(self.cells))

    def compute(self) -> Measure:
        """Return the result of the kept cells."""
        number = self.number()
        return Measure.of(self.result(self.pool(self.total), number.clamp(min=1.0)), (number == 0, NO_ROWS))

    def result(self, total: Tensor, number: Tensor) -> Tensor:
        """Return what comes of pooled sums ``[*leading, *kept]`` of so many rows ``[*kept]``: by default, their mean."""
        return total / number


class RowMetric(CellMetric):
    """A metric that must see all rows at once: columns ``[N, E, K, D]`` and which rows count ``[N, K]``, of batches and processes.

    Each column has one dtype and one shape of a row from the start, so that a process that saw no row has its empty part of it, and
    none of them waits for a collective call that another never makes. Memory grows with the rows.
    """

    columns: ClassVar[tuple[str, ...]] = ()
    counts: list[Tensor]

    def __init__(self, steps: int, dims: int = 1, members: int = 1, keep: Collection[str] = (), **kwargs: Any) -> None:
        super().__init__(steps, dims, members, keep, **kwargs)
        for name in ("counts", *self.columns):
            self.add_state(name, [], dist_reduce_fx="cat")

    def _blank(self, name: str, number: int) -> Tensor:
        row, dtype = ((self.steps,), torch.bool) if name == "counts" else (self.cells, torch.float64)
        return torch.zeros(number, *row, dtype=dtype, device=self.device)

    def sync(self, *arguments: Any, **settings: Any) -> None:
        """Gather the columns of all processes, as ``torchmetrics.Metric.sync``.

        For a process without rows, torchmetrics would send one empty float32 axis, and gathers only what has one dtype and as many
        axes everywhere: it gets an empty part of the column instead.
        """
        for name in ("counts", *self.columns):
            held = getattr(self, name)
            if isinstance(held, list) and not held:
                held.append(self._blank(name, 0))
        super().sync(*arguments, **settings)

    def store(self, counts: Tensor, *columns: Tensor) -> None:
        """Keep columns ``[E, K, B, D]`` (E or 1) of a batch whose rows ``[K, B]`` count."""
        self.counts.append(counts.T.contiguous())
        for name, values in zip(self.columns, columns, strict=True):
            getattr(self, name).append(values.double().expand(self.members, -1, -1, -1).permute(2, 0, 1, 3).contiguous())

    def stored(self, *apart: str) -> tuple[Tensor, ...]:
        """Return which rows count and every column as ``[*apart axes, rows]``: what is not apart is pooled.

        The step index of each row follows last.
        """
        parts = {name: getattr(self, name) for name in ("counts", *self.columns)}
        # Functions of rows want one, if only one that does not count.
        held = [dim_zero_cat(part) if len(part) else self._blank(name, 0) for name, part in parts.items()]
        if not len(held[0]):
            held = [self._blank(name, 1) for name in parts]
        shape = (len(held[0]), *self.cells)
        index = torch.arange(self.steps, device=held[0].device)[None, None, :, None].expand(shape)
        full = [held[0][:, None, :, None].expand(shape), *held[1:], index]
        front = [1 + place for place, name in enumerate(AXES) if name in apart]
        behind = [place for place in range(4) if place not in front]
        sizes = [shape[place] for place in front]
        return tuple(tensor.permute(*front, *behind).reshape(*sizes, -1) for tensor in full)
