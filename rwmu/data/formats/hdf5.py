"""Write and read episodes as HDF5 in the layout of Minari, the Farama Foundation's standard for offline data.

An episode has T + 1 observations and T actions, so the file leaves no doubt about action time: ``actions[t]`` was chosen at
``observations[t]`` and led to ``observations[t + 1]``.

::

    /                       attributes: total_episodes, total_steps, attributes (JSON), content_hash, complete
    /episode_0              attributes: id, seed, policy_level, total_steps (T)
        observations        [T + 1, D] float32
        actions             [T, A] float32
        rewards             [T] float32
        terminations        [T] bool
        truncations         [T] bool, true at the last step of an episode that did not terminate
        infos/contact       [T + 1, C] bool
        infos/command       [T + 1, 3] float32
        infos/extension     [T + 1, X] float32, only where the data have one
    /episode_1 ...
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from rwmu.data import large
from rwmu.data.episodes import EXTENSION, Episodes
from rwmu.data.fitness import UnfitDataError, audit
from rwmu.data.formats.recordings import progress
from rwmu.data.formats.registry import Format, existing, in_layout, writing
from rwmu.errors import DataError
from rwmu.robots.robot import Robot

_FOR_OLD_READERS = ("v110", "v110")  # h5py's "latest" writes what earlier versions of HDF5 cannot read
_OF_AN_EPISODE = 2**15  # bytes at the most, for the names of its datasets
# name in the file -> (array of Episodes, whether row 0 is stored)
_DATASETS = {
    "observations": ("state", True),
    "actions": ("action", False),
    "rewards": ("reward", False),
    "terminations": ("termination", False),
    "infos/contact": ("contact", True),
    "infos/command": ("command", True),
    "infos/extension": ("extension", True),
}


def save(episodes: Episodes, path: str | Path) -> None:
    """Write ``episodes`` to ``path``: whole or not at all, for a partial file never gets the name."""
    with writing_hdf5(Path(path), episodes) as file:
        _write(_as_read(episodes), file)


@contextmanager
def writing_hdf5(path: Path, episodes: Episodes, copies: int = 1) -> Iterator[h5py.File]:
    """Give an HDF5 file to be filled with episodes; it has its name once it is whole.

    On a full disk HDF5 crashes. So a small file is filled in memory, and a large one where its room has been taken.

    Args:
        copies: how often, at the most, a row is written.
    """
    rows = sum(getattr(episodes, name).nbytes for name in episodes.row_arrays)
    size = copies * rows + _OF_AN_EPISODE * (episodes.num_episodes + 100)
    with writing(path) as partial:
        if size <= large.IN_MEMORY:
            written = io.BytesIO()
            with h5py.File(written, "w", libver=_FOR_OLD_READERS) as file:
                yield file
            partial.write_bytes(written.getbuffer())
            return
        h5py.File(partial, "w", libver=_FOR_OLD_READERS).close()
        large.take_room(partial, size)
        with h5py.File(partial, "r+", libver=_FOR_OLD_READERS) as file:  # which gives back what it does not need
            yield file


def load(path: str | Path, robot: Robot | None = None) -> Episodes:
    """Read the episodes of a file written by :func:`save` and check them, against ``robot`` if one is given.

    Large ones are mapped into memory from a nameless copy beside the file, so that they may be larger than it.

    Raises:
        DataError: one sentence on why the file cannot be read, or its data are unfit (:func:`rwmu.data.fitness.audit`).
    """
    path = Path(path)
    with reading_hdf5(path, "rwmu.data.formats.hdf5") as file:
        _check_layout(file, path)
        episodes, stored_hash = _read(file, path), file.attrs.get("content_hash")
    audit(episodes, robot, f"The data file {path}")
    if stored_hash is not None and text(stored_hash) != episodes.content_hash():
        raise DataError(f"The data file {path} was altered: its data are not those that its stored hash names; give a whole copy.")
    return episodes


@contextmanager
def reading_hdf5(path: Path, layout: str) -> Iterator[h5py.File]:
    """Give an open HDF5 file to be read in the layout of that name; what goes wrong meanwhile is told in one sentence.

    Raises:
        DataError: the file is missing, locked, damaged, or of another layout.
    """
    path = existing(path)
    try:
        with in_layout(f"The data file {path}", layout), h5py.File(path, "r") as file:
            yield file
    except PermissionError as error:
        raise DataError(f"The data file {path} may not be read by you; change its permissions.") from error
    except BlockingIOError as error:
        raise DataError(f"The data file {path} is locked: another process is writing it; wait for it to end.") from error
    except OSError as error:
        why = "truncated or damaged" if h5py.is_hdf5(path) else "no HDF5 file, or damaged"
        raise DataError(f"The data file {path} is {why} ({error}); give a whole copy of it.") from error


def looks_like(path: Path, test: Callable[[h5py.File], bool]) -> bool:
    """Tell whether there is an HDF5 file that passes a test."""
    try:
        if not path.is_file() or not h5py.is_hdf5(path):
            return False
        with h5py.File(path, "r") as file:
            return test(file)
    except (LookupError, OSError, RuntimeError):  # damaged, or locked: whoever reads it says so
        return False


def is_ours(path: Path) -> bool:
    """Tell whether a file is of this layout."""
    return looks_like(path, lambda file: "complete" in file.attrs)


def _check_layout(file: h5py.File, path: Path) -> None:
    missing = [name for name in ("complete", "total_episodes", "attributes") if name not in file.attrs]
    if missing:
        raise DataError(
            f"The data file {path} is not in the layout of rwmu.data.formats.hdf5, for it has no attribute '{missing[0]}'; "
            "convert it, if another tool has written it."
        )
    if not file.attrs["complete"]:
        raise DataError(f"The data file {path} was not written to its end, so that episodes are missing; give a whole copy of it.")


def text(value: Any) -> str:
    """Return a string attribute, which other writers store as bytes of a fixed length."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _as_read(episodes: Episodes) -> Episodes:
    """Give first rows, which the file does not hold, the zeros that they are read as: -0 (of negated rewards) is another hash."""
    for name in ("action", "reward"):
        if torch.signbit(getattr(episodes, name)[episodes.offsets]).any():
            values = getattr(episodes, name).clone()
            values[episodes.offsets] = 0.0
            episodes = replace(episodes, **{name: values})
    return episodes


def _write(episodes: Episodes, file: h5py.File) -> None:
    file.attrs["complete"] = False
    file.attrs["total_episodes"] = episodes.num_episodes
    file.attrs["total_steps"] = episodes.num_rows - episodes.num_episodes
    file.attrs["attributes"] = json.dumps(dict(episodes.attributes))
    file.attrs["content_hash"] = replace(episodes).content_hash()  # of what is written, whatever its name was
    datasets = {name: kept for name, kept in _DATASETS.items() if kept[0] in episodes.row_arrays}
    arrays = {name: getattr(episodes, array).contiguous().numpy() for name, (array, _) in datasets.items()}
    bounds = list(zip(episodes.offsets.tolist(), episodes.lengths.tolist(), strict=True))
    for i, (offset, length) in enumerate(progress(bounds, "writing")):
        group = file.create_group(f"episode_{i}")
        group.attrs["id"] = i
        group.attrs["seed"] = int(episodes.seeds[i])
        group.attrs["policy_level"] = episodes.levels[i]
        group.attrs["total_steps"] = length - 1
        group.create_group("infos")
        for name, (_, with_first) in datasets.items():
            group.create_dataset(name, data=arrays[name][offset + (0 if with_first else 1) : offset + length])
        truncation = np.zeros(length - 1, dtype=bool)
        truncation[-1:] = not arrays["terminations"][offset + length - 1]
        group.create_dataset("truncations", data=truncation)
    file.attrs["complete"] = True


def _read(file: h5py.File, path: Path) -> Episodes:
    groups = [file[f"episode_{i}"] for i in range(int(file.attrs["total_episodes"]))]
    lengths = np.array([int(group.attrs["total_steps"]) + 1 for group in groups], dtype=np.int64)
    extended = bool(groups) and "infos/extension" in groups[0]
    datasets = {name: kept for name, kept in _DATASETS.items() if extended or kept[0] != EXTENSION}
    return Episodes(
        **{array: _read_rows(groups, name, lengths, with_first, path) for name, (array, with_first) in datasets.items()},
        lengths=torch.from_numpy(lengths),
        levels=[text(group.attrs["policy_level"]) for group in groups],
        seeds=torch.tensor([int(group.attrs["seed"]) for group in groups], dtype=torch.int64),
        attributes=dict(json.loads(text(file.attrs["attributes"]))),
    )


def _read_rows(groups: list[h5py.Group], name: str, lengths: np.ndarray[Any, Any], with_first: bool, path: Path) -> Tensor:
    """Join one dataset of all episodes, with a row of zeros in front of each where the file has none."""
    columns = groups[0][name].shape[1:] if groups else ()
    flags = name in ("terminations", "infos/contact")
    # h5py's low-level calls: a file has ten thousands of small datasets, and the high-level ones take three times as long.
    datasets = [h5py.h5d.open(group.id, name.encode()) for group in groups]
    for i, (dataset, length) in enumerate(zip(datasets, lengths.tolist(), strict=True)):  # before there is room for them
        wanted, found = (length - (not with_first), *columns), tuple(dataset.shape)
        if found != wanted:
            raise DataError(f"The data file {path} has {name} of shape {found} in episode {i}, not {wanted}.")
    rows, dtype = large.GrowingRows(path.parent), np.dtype(np.bool_ if flags else np.float32)
    rows.add({name: np.zeros((0, *columns), dtype)})
    every = list(zip(groups, datasets, lengths.tolist(), strict=True))
    for i, (group, dataset, length) in enumerate(progress(every, f"reading {name}")):
        part = np.zeros((length, *columns), dtype)
        known = part if with_first else part[1:]
        if flags and dataset.dtype != np.bool_:  # HDF5 would take any byte for a truth value
            values = group[name][...]
            odd = np.argwhere((values != 0) & (values != 1))
            if len(odd):
                where = f"{values[tuple(odd[0])]:g} in {name} of episode {i}, row {odd[0][0]}"
                raise UnfitDataError("flags", f"The data file {path} has the value {where}, where 0 or 1 is expected; write flags.")
            known[...] = values
        else:
            dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, known)
        rows.add({name: part})
    return torch.from_numpy(rows.arrays()[name])


FORMAT = Format("rwmu", (".h5", ".hdf5"), load, save, recognises=is_ours)
