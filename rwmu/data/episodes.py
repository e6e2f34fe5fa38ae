"""Offline data in memory: the rows of all episodes, one behind another, with what is known of each episode."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rwmu.data.large import GrowingRows
from rwmu.errors import DataError
from rwmu.records import Window

_DTYPES = {
    "state": torch.float32,
    "action": torch.float32,
    "contact": torch.bool,
    "termination": torch.bool,
    "command": torch.float32,
    "reward": torch.float32,
    "extension": torch.float32,
    "lengths": torch.int64,
    "seeds": torch.int64,
}
ROW_ARRAYS = ("state", "action", "contact", "termination", "command", "reward")
EXTENSION = "extension"  # a further array of rows, of data that have it


@dataclass(frozen=True, eq=False)
class Episodes:
    """Episodes as flat tensors; :mod:`rwmu.records` states which action, command and reward stand in which row.

    R rows in all, N episodes. Row 0 of every episode holds the state after the reset, action 0 and reward 0.

    Attributes:
        state: ``[R, D]`` float32, physical units. action: ``[R, A]`` float32. contact: ``[R, C]`` bool.
        termination: ``[R]`` bool, whether the episode terminated on reaching the row; a time-out is no termination.
        command: ``[R, 3]`` float32. reward: ``[R]`` float32.
        lengths: ``[N]`` int64, rows of each episode. seeds: ``[N]`` int64.
        levels: N names of the policy that acted; ``mixed`` where it was switched.
        attributes: of the whole set, JSON-able: ``robot`` (name), ``layout`` (``StateLayout.describe()``), ``step_dt`` ...
        extension: ``[R, X]`` float32, other privileged quantities that are to be predicted but not fed back, or None.
    """

    state: Tensor
    action: Tensor
    contact: Tensor
    termination: Tensor
    command: Tensor
    reward: Tensor
    lengths: Tensor
    levels: Sequence[str]
    seeds: Tensor
    attributes: Mapping[str, Any] = field(default_factory=dict)
    extension: Tensor | None = None

    def __post_init__(self) -> None:
        num_rows, num_episodes = int(self.lengths.sum()), len(self.lengths)
        sizes = dict.fromkeys(self.row_arrays, num_rows) | dict.fromkeys(("lengths", "levels", "seeds"), num_episodes)
        for name, size in sizes.items():
            array: Any = getattr(self, name)
            dtype = getattr(array, "dtype", None)
            if dtype != _DTYPES.get(name):
                raise DataError(f"The episodes' '{name}' is of {dtype}, but {_DTYPES[name]} was expected.")
            if len(array) != size:
                raise DataError(f"{num_episodes} episodes of {num_rows} rows need {size} of '{name}', but there are {len(array)}.")
        if self.extension is not None and (self.extension.ndim != 2 or not self.extension.shape[1]):
            raise DataError(f"The episodes' 'extension' has shape {tuple(self.extension.shape)}, but needs rows and columns.")
        if len(self.lengths) and int(self.lengths.min()) < 1:
            raise DataError(f"Episode {int(self.lengths.argmin())} has no rows.")
        for name in ("action", "reward", "termination"):
            first = getattr(self, name)[self.offsets]
            if first.count_nonzero():
                raise DataError(f"The first row of an episode has a non-zero {name}, but nothing led to it; see rwmu/records.py.")

    @property
    def row_arrays(self) -> tuple[str, ...]:
        """Return the names of the arrays of rows that there are."""
        return ROW_ARRAYS if self.extension is None else (*ROW_ARRAYS, EXTENSION)

    @property
    def extension_dim(self) -> int:
        """Return X, 0 where there is no extension."""
        return 0 if self.extension is None else self.extension.shape[1]

    @property
    def num_rows(self) -> int:
        """Return R."""
        return len(self.state)

    @property
    def num_episodes(self) -> int:
        """Return N."""
        return len(self.lengths)

    @cached_property
    def offsets(self) -> Tensor:
        """Return the row at which each episode begins, ``[N]`` int64."""
        return self.lengths.cumsum(0) - self.lengths

    @cached_property
    def last_rows(self) -> Tensor:
        """Return the last row of each episode, ``[N]`` int64."""
        return self.offsets + self.lengths - 1

    @cached_property
    def episode_of_row(self) -> Tensor:
        """Return the episode that each row belongs to, ``[R]`` int64."""
        return torch.repeat_interleave(torch.arange(self.num_episodes), self.lengths)

    @property
    def unknown(self) -> frozenset[str]:
        """Return the names of the arrays that hold zeros because nobody knows them; see :mod:`rwmu.data.formats.csv`."""
        return frozenset(self.attributes.get("unknown", ()))

    def returns(self) -> Tensor:
        """Return the sum of the rewards of each episode, ``[N]`` float64."""
        return torch.zeros(self.num_episodes, dtype=torch.float64).index_add_(0, self.episode_of_row, self.reward.double())

    def rows_of(self, ids: Tensor) -> Tensor:
        """Return the rows of the episodes ``ids``, in their order, as int64 indices."""
        lengths = self.lengths[ids]
        shift = self.offsets[ids] - (lengths.cumsum(0) - lengths)
        return torch.repeat_interleave(shift, lengths) + torch.arange(int(lengths.sum()))

    def window(self, episode: int, length: int, first: int = 0) -> Window:
        """Return ``length`` rows of one episode from its row ``first`` on, ``[1, length, .]``, physical units.

        Raises:
            DataError: the episode is shorter.
        """
        if not 0 <= first <= int(self.lengths[episode]) - length:
            raise DataError(
                f"Episode {episode} has {int(self.lengths[episode])} rows, but {length} from row {first} on are wanted."
            )
        rows = int(self.offsets[episode]) + first + torch.arange(length).unsqueeze(0)
        flags = self.contact[rows].float(), self.termination[rows].float().unsqueeze(-1)
        return Window(self.state[rows], self.action[rows], *flags, None if self.extension is None else self.extension[rows])

    def select(self, ids: Tensor) -> Episodes:
        """Return a copy of the episodes ``ids`` (int64; an id may come twice), in their order."""
        rows = self.rows_of(ids)
        return Episodes(
            **{name: getattr(self, name)[rows] for name in self.row_arrays},
            lengths=self.lengths[ids],
            levels=[self.levels[i] for i in ids.tolist()],
            seeds=self.seeds[ids],
            attributes=dict(self.attributes),
        )

    def with_attributes(self, **attributes: Any) -> Episodes:
        """Return the same episodes with further attributes."""
        return replace(self, attributes={**self.attributes, **attributes})

    def content_hash(self) -> str:
        """Return the SHA-256 of all arrays and levels in a fixed order: it names the data, whatever file they lie in."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        digest = hashlib.sha256()
        for name in (*self.row_arrays, "lengths", "seeds"):
            array = getattr(self, name).contiguous().numpy()
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
            digest.update(array.data)
        digest.update(json.dumps(list(self.levels)).encode())
        return digest.hexdigest()


def concatenate(parts: Iterable[Episodes], folder: Path | None = None) -> Episodes:
    """Join sets of episodes of the same robot; the attributes are those of the first.

    Args:
        folder: where rows lie that are too many for memory; None to keep them there.
    """
    rows, first, levels = GrowingRows(folder), None, list[str]()
    for part in parts:
        first = part if first is None else first
        for key in ("robot", "layout", "step_dt", EXTENSION):
            values = [each.extension_dim if key == EXTENSION else each.attributes.get(key) for each in (first, part)]
            if values[0] != values[1]:
                raise DataError(f"Sets of episodes that differ in '{key}' cannot be joined: {values}.")
        rows.add({name: getattr(part, name).numpy() for name in (*part.row_arrays, "lengths", "seeds")})
        levels += part.levels
    if first is None:
        raise DataError("There are no episodes to join.")
    arrays = {name: torch.from_numpy(values) for name, values in rows.arrays().items()}
    return Episodes(**arrays, levels=levels, attributes=dict(first.attributes))
