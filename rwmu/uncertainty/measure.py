"""What a measurement returns: numbers, or in place of each that cannot be given the reason in words.

**The one rule for what cannot be measured.** Whatever pools rows (every ``compute()`` of :mod:`rwmu.uncertainty.metrics`, and the
functions that they call) returns a :class:`Measure`. A cell that cannot be computed (one member, no fall, too few rows, something
that does not vary) carries a sentence there: never 0, never NaN. Reading such a cell as a number raises :class:`NotMeasured`;
printing or serialising it writes the sentence. Arguments that make no sense are a ``ValueError``, data that is not finite a
``DataError``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rwmu.errors import DataError, UserError


class NotMeasured(UserError):
    """Report that a number was asked for that could not be measured, with the reason."""


class Measure:
    """Cells of any shape, each a number or a reason; not a dataclass, so that torchmetrics hands it on untouched.

    Results are few and go to reports: they are kept as float64 on the CPU, wherever they were computed.

    Attributes:
        why: int64, the shape of the cells: 0 where there is a number, else 1 + the index of the reason.
        reasons: the distinct reasons.
    """

    def __init__(self, entries: Tensor, why: Tensor, reasons: tuple[str, ...]) -> None:
        if entries.shape != why.shape:
            raise ValueError(f"cells of shape {tuple(entries.shape)} with reasons of shape {tuple(why.shape)}")
        if not bool(torch.isfinite(entries[why == 0]).all()):
            raise ValueError("a cell that counts as measured is not finite: it lacks a reason")
        # What lies under a reason is never read; zero keeps NaN out of whatever copies the tensor.
        self._entries = torch.where(why == 0, entries.detach().double(), 0.0).cpu()
        self.why = why.cpu()
        self.reasons = reasons

    @classmethod
    def of(cls, entries: Tensor, *missing: tuple[Tensor, str]) -> Measure:
        """Return ``entries``, but a reason where a condition holds; the first that holds wins.

        Args:
            missing: pairs of a bool tensor that broadcasts to ``entries`` and a reason.
        """
        why = torch.zeros(entries.shape, dtype=torch.int64, device=entries.device)
        for index, (condition, _) in enumerate(missing):
            why = torch.where((why == 0) & condition, index + 1, why)
        return cls(entries, why, tuple(reason for _, reason in missing))

    @classmethod
    def missing(cls, reason: str, shape: tuple[int, ...] | torch.Size = ()) -> Measure:
        """Return cells none of which could be measured, all for one reason."""
        return cls(torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.int64), (reason,))

    @classmethod
    def stack(cls, measures: Sequence[Measure]) -> Measure:
        """Stack cells of one shape along a new first axis."""
        reasons = tuple(dict.fromkeys(reason for measure in measures for reason in measure.reasons))
        # The index of each reason of each measure among all of them; 0 stays "there is a number".
        tables = [torch.tensor([0, *(1 + reasons.index(reason) for reason in measure.reasons)]) for measure in measures]
        why = torch.stack([table[measure.why] for table, measure in zip(tables, measures, strict=True)])
        return cls(torch.stack([measure._entries for measure in measures]), why, reasons)

    @property
    def shape(self) -> torch.Size:
        """Return the shape of the cells."""
        return self._entries.shape

    @property
    def available(self) -> Tensor:
        """Return where there is a number, bool."""
        return self.why == 0

    def reason(self) -> str:
        """Return the reasons that occur, joined; empty where every cell is a number."""
        return "; ".join(self.reasons[int(index) - 1] for index in torch.unique(self.why) if index)

    def tensor(self) -> Tensor:
        """Return the numbers.

        Raises:
            NotMeasured: where any cell is none.
        """
        if not bool(self.available.all()):
            raise NotMeasured(f"Not measured: {self.reason()}.")
        return self._entries

    def filled(self, value: float) -> Tensor:
        """Return the numbers with ``value`` in place of the missing ones, for a figure's mask or a weighted sum."""
        return torch.where(self.available, self._entries, torch.full_like(self._entries, value))

    def plain(self) -> Any:
        """Return a number, or the reason, or nested lists of both: what belongs in a report or a JSON file."""
        return self._plain(self._entries.tolist(), self.why.tolist())

    def _plain(self, entries: Any, why: Any) -> Any:
        if isinstance(entries, list):
            return [self._plain(*pair) for pair in zip(entries, why, strict=True)]
        return f"not measured: {self.reasons[why - 1]}" if why else entries

    def __float__(self) -> float:
        return float(self.tensor())

    def __getitem__(self, index: Any) -> Measure:
        return Measure(self._entries[index], self.why[index], self.reasons)

    def __len__(self) -> int:
        return len(self._entries)

    def __str__(self) -> str:
        return str(self.plain())

    def __repr__(self) -> str:
        return f"Measure({self.plain()})"


def require_finite(**tensors: Tensor) -> None:
    """Refuse tensors that hold a NaN or an infinity, by name.

    Raises:
        DataError: if there is one.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            number = int((~torch.isfinite(tensor)).sum())
            raise DataError(
                f"'{name}' holds {number} values of {tensor.numel()} that are not finite, and no score can count them: "
                "leave those rows out with 'valid', and report how many they are."
            )


def require_positive(**tensors: Tensor) -> None:
    """Refuse standard deviations that are not above 0, by name.

    Raises:
        DataError: if there is one.
    """
    for name, tensor in tensors.items():
        if not bool((tensor > 0).all()):
            number = int((tensor <= 0).sum())
            raise DataError(
                f"'{name}' holds {number} values of {tensor.numel()} that are not above 0, and such a forecast has no density: "
                "give a positive standard deviation, or score samples."
            )
