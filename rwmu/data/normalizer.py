"""Scale states to zero mean and unit deviation; fitted on training episodes only, and saved with the model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any, Self

import torch
from torch import Tensor, nn

from rwmu.errors import CheckpointError, DataError
from rwmu.records import Window
from rwmu.robots.layout import StateLayout

_CHUNK_ROWS = 65536  # bounds the float64 copies
_RELATIVE_FLOOR = 1e-6  # a float32 column that varies less than this times its size is constant but for rounding


class Normalizer(nn.Module):
    """Map states to (state - mean) / std and back.

    Args:
        mean, std: ``[D]``, physical units.
        names: one a column, for messages.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor, names: Sequence[str] | None = None) -> None:
        super().__init__()
        self.names = list(names) if names is not None else [f"state[{i}]" for i in range(len(mean))]
        if not len(self.names) == len(mean) == len(std):
            raise DataError(
                f"A normaliser needs as many names ({len(self.names)}) and deviations ({len(std)}) as means ({len(mean)})."
            )
        for name, centre, deviation in zip(self.names, mean.tolist(), std.tolist(), strict=True):
            if not (math.isfinite(centre) and math.isfinite(deviation) and deviation > 0.0):
                raise DataError(f"The normaliser has mean {centre} and deviation {deviation} in column {name}.")
        self.register_buffer("mean", mean.detach().clone().float())
        self.register_buffer("std", std.detach().clone().float())

    @classmethod
    def fit(cls, states: Tensor, layout: StateLayout, rows: Tensor | None = None) -> Self:
        """Fit to ``states [R, D]``, or to the ``rows`` (int64) of them, in float64, a part at a time.

        Raises:
            DataError: naming the first column that does not vary.
        """
        number = len(states) if rows is None else len(rows)
        if number < 2:
            raise DataError(f"A normaliser cannot be fitted on {number} rows; collect more data.")
        if states.shape[-1] != layout.size:
            raise DataError(f"The states have {states.shape[-1]} columns, but the layout has {layout.size}.")
        mean = torch.stack([part.sum(0) for part in _parts(states, rows)]).sum(0) / number
        std = (torch.stack([(part - mean).square().sum(0) for part in _parts(states, rows)]).sum(0) / number).sqrt()
        constant = ~(std > _RELATIVE_FLOOR * mean.abs().clamp(min=_RELATIVE_FLOOR))
        if constant.any():
            column = int(constant.nonzero()[0])
            raise DataError(
                f"The state column {layout.names()[column]} never varies in the training episodes (it is always "
                f"{float(mean[column]):g}), so it cannot be normalised; check the sensor or collect more varied data."
            )
        return cls(mean.float(), std.float(), layout.names())

    def normalize(self, state: Tensor) -> Tensor:
        """Return ``[..., D]`` physical states as normalised ones."""
        return (state - self.mean.to(state.device)) / self.std.to(state.device)

    def denormalize(self, state: Tensor) -> Tensor:
        """Return ``[..., D]`` normalised states in physical units."""
        return state * self.std.to(state.device) + self.mean.to(state.device)

    def to_dict(self) -> dict[str, list[float] | list[str]]:
        """Return plain lists, exact, to be saved in a checkpoint."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist(), "names": list(self.names)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Rebuild from :meth:`to_dict`.

        Raises:
            CheckpointError: it is no such thing.
        """
        try:
            if not all(isinstance(name, str) for name in saved["names"]):
                raise TypeError("a name is no text")
            return cls(torch.tensor(list(saved["mean"])), torch.tensor(list(saved["std"])), list(saved["names"]))
        except (KeyError, TypeError, ValueError, RuntimeError, DataError) as error:
            raise CheckpointError(f"The normaliser of a checkpoint is damaged ({error}); use another checkpoint.") from None

    def assert_matches(self, other: Normalizer) -> None:
        """Raise :class:`CheckpointError`, naming what differs, unless ``other`` scales states as this one does."""
        for mine, theirs in zip_longest(self.names, other.names):
            if mine != theirs:
                raise CheckpointError(f"Two normalisers differ in their columns: one has '{mine}' where the other has '{theirs}'.")
        for what in ("mean", "std"):
            mine_values, their_values = getattr(self, what).cpu(), getattr(other, what).cpu()
            # Deviations set the scale: means of a symmetric robot are close to zero and differ by rounding between machines.
            far = (mine_values - their_values).abs() > 1e-5 * (self.std.cpu() + mine_values.abs())
            if far.any():
                i = int(far.nonzero()[0])
                raise CheckpointError(
                    f"Two normalisers differ: the {what} of {self.names[i]} is {float(mine_values[i]):g} in one and "
                    f"{float(their_values[i]):g} in the other; use a model with the data that it was trained on."
                )


def normalized(window: Window, of_state: Normalizer, of_extension: Normalizer | None) -> Window:
    """Return a window in normalised units; an extension as it is where there is no normaliser of it."""
    extension = window.extension
    if extension is not None and of_extension is not None:
        extension = of_extension.normalize(extension)
    return replace(window, state=of_state.normalize(window.state), extension=extension)


def _parts(states: Tensor, rows: Tensor | None) -> Iterator[Tensor]:
    """Return the states, or the ``rows`` of them, in float64, some at a time."""
    for begin in range(0, len(states if rows is None else rows), _CHUNK_ROWS):
        end = begin + _CHUNK_ROWS
        yield (states[begin:end] if rows is None else states[rows[begin:end]]).double()
