"""Rows that may be larger than memory: beyond half a gibibyte they go to nameless files, which are mapped into memory."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from rwmu.errors import DataError

IN_MEMORY = 2**29  # bytes


class GrowingRows:
    """Arrays by name that grow by blocks of rows.

    In memory, or, beyond half a gibibyte in all, in nameless files in ``folder`` (among temporary files where that is not for
    writing). The system keeps as much of a file in memory as there is room for. It goes with its array.

    Args:
        folder: None to stay in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._blocks: dict[str, list[NDArray[Any]]] = {}
        self._kinds: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._lengths: dict[str, int] = {}
        self._files: dict[str, IO[bytes]] = {}
        self._pending = 0  # bytes

    def __del__(self) -> None:
        for file in self._files.values():  # what is mapped stays
            with suppress(OSError):  # of a full disk, which has been told
                file.close()

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Add rows ``[T, ...]`` to each of the arrays.

        Raises:
            ValueError: they are of another type or shape than those before. DataError: there is no room on the disk.
        """
        for name, block in rows.items():
            kind = block.dtype, block.shape[1:]
            if self._kinds.setdefault(name, kind) != kind:
                raise ValueError(f"{name} is of {kind[0]} {kind[1]} after {self._kinds[name][0]} {self._kinds[name][1]}")
            self._blocks.setdefault(name, []).append(block)
            self._lengths[name] = self._lengths.get(name, 0) + len(block)
            self._pending += block.nbytes
        if self._folder is not None and self._pending > IN_MEMORY:
            self._write(self._folder)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays; nothing can be added to them."""
        if not self._files:
            return {name: np.concatenate(blocks) for name, blocks in self._blocks.items()}
        if self._folder is not None:
            self._write(self._folder)
        return {name: self._mapped(name, file) for name, file in self._files.items()}

    def _write(self, folder: Path) -> None:
        """Write what is in memory to files."""
        place = folder if os.access(folder, os.W_OK) else Path(tempfile.gettempdir())
        try:
            for name, blocks in self._blocks.items():
                if name not in self._files:
                    self._files[name] = tempfile.TemporaryFile(dir=place)  # noqa: SIM115
                for block in blocks:
                    self._files[name].write(np.ascontiguousarray(block).data)
                self._files[name].flush()
                blocks.clear()
        except OSError as error:
            size = self._pending / 2**30
            raise DataError(f"{place} has no room for {size:.1f} GiB more of rows ({error.strerror}); make room there.") from error
        self._pending = 0

    def _mapped(self, name: str, file: IO[bytes]) -> NDArray[Any]:
        dtype, columns = self._kinds[name]
        shape = (self._lengths[name], *columns)
        return np.memmap(file, dtype, "r+", shape=shape) if math.prod(shape) else np.zeros(shape, dtype)


def take_room(path: Path, size: int) -> None:
    """Take room on the disk for a file before a library fills it that crashes on a full one.

    Raises:
        OSError: there is none.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
