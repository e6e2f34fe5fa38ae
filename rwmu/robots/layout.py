"""Name the columns of a vector; the only place where integer offsets of a state are written or computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from rwmu.errors import ConfigError


@dataclass(frozen=True)
class Field:
    """One named block of columns: ``size`` of them, measured in ``unit``."""

    name: str
    size: int
    unit: str


class StateLayout:
    """Map names to column slices of a vector.

    Args:
        fields: the blocks in their order.
    """

    def __init__(self, fields: Iterable[Field]) -> None:
        self.fields = tuple(fields)
        names = [field.name for field in self.fields]
        if len(set(names)) != len(names):
            raise ConfigError(f"The layout names a field twice: {names}.")
        self._slices: dict[str, slice] = {}
        start = 0
        for field in self.fields:
            self._slices[field.name] = slice(start, start + field.size)
            start += field.size
        self.size = start

    def __getitem__(self, name: str) -> slice:
        """Return the columns of the field ``name``."""
        try:
            return self._slices[name]
        except KeyError:
            raise KeyError(f"The layout has no field '{name}'; it has {list(self._slices)}.") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StateLayout) and self.fields == other.fields

    def __hash__(self) -> int:
        return hash(self.fields)

    def __repr__(self) -> str:
        return f"StateLayout({self.describe()})"

    def part(self, vector: Tensor, name: str) -> Tensor:
        """Return the field ``name`` of ``[..., size]`` vectors, as a view ``[..., field size]``."""
        return vector[..., self[name]]

    def names(self) -> list[str]:
        """Return one name a column: ``joint_pos[3]``, or the bare field name where the field has one column."""
        return [f.name if f.size == 1 else f"{f.name}[{i}]" for f in self.fields for i in range(f.size)]

    def describe(self) -> list[list[str | int]]:
        """Return the layout as plain lists ``[name, size, unit]``, to be saved in a checkpoint and compared."""
        return [[field.name, field.size, field.unit] for field in self.fields]

    @classmethod
    def from_description(cls, description: Iterable[Iterable[str | int]]) -> StateLayout:
        """Rebuild a layout from :meth:`describe`."""
        rows = [tuple(row) for row in description]
        return cls(Field(str(name), int(size), str(unit)) for name, size, unit in rows)
