"""What the HDF5 files of Isaac Lab and robomimic have in common: ``/data/demo_N``, a step in each row of ``actions``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rwmu.data.episodes import EXTENSION, Episodes
from rwmu.data.formats.hdf5 import looks_like, text
from rwmu.data.formats.recordings import Array, Recording, led_to, progress, recordings
from rwmu.errors import DataError
from rwmu.files import json_ready

_OURS = "rwmu"  # an attribute of /data: the attributes of the Episodes that were written
OTHERS = ("contact", "command", EXTENSION)  # have a row for every state, without being a part of it
OF_STEPS = {"action": "actions", "reward": "rewards", "termination": "terminated"}


def first_passes(path: Path, test: Callable[[h5py.Group], bool]) -> bool:
    """Tell whether a file's first demonstration passes a test."""

    def passes(file: h5py.File) -> bool:
        first = next(iter(file["data"].values()), None) if "data" in file else None
        return isinstance(first, h5py.Group) and test(first)

    return looks_like(path, passes)


def stored(data: h5py.Group) -> dict[str, Any]:
    """Return the attributes of the Episodes that the file was written of, empty for other tools' files."""
    return dict(json.loads(text(data.attrs.get(_OURS, "{}"))))


def environment(data: h5py.Group) -> dict[str, Any]:
    """Return ``env_args``."""
    return dict(json.loads(text(data.attrs.get("env_args", "{}"))))


def values(demo: h5py.Group, name: str) -> Array:
    """Return a dataset of a demonstration.

    Raises:
        DataError: there is none of that name.
    """
    if name not in demo:
        raise DataError(f"The data file {demo.file.filename} has no {demo.name}/{name}; record it, or leave the demonstration out.")
    return np.asarray(demo[name])


def steps(
    data: h5py.Group, rows_of: Callable[[h5py.Group], dict[str, Array]], notes: list[str], chosen: Sequence[str] | None = None
) -> Iterator[Recording]:
    """Yield the demonstrations in the order of their numbers; those without a step are left out, which ``notes`` then say.

    Args:
        rows_of: returns the rows ``[T + 1, X]`` of a demonstration by name, but for what every file has by the step.
        chosen: names of demonstrations; None for all.
    """
    names = sorted(data if chosen is None else chosen, key=lambda name: int(name.rpartition("_")[2]))
    empty = [name for name in names if "actions" not in data[name] or not len(data[name]["actions"])]
    if empty:
        notes.append(f"{len(empty)} of {len(names)} demonstrations have no step and are left out.")
    for name in progress([name for name in names if name not in empty], "reading"):
        demo = data[name]
        rows = {field: led_to(demo[dataset][...]) for field, dataset in OF_STEPS.items() if dataset in demo} | rows_of(demo)
        lengths = {field: len(values) for field, values in rows.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(
                f"{name} of {data.file.filename} has arrays of different lengths ({lengths}); record all of them at every step."
            )
        seed = demo.attrs.get("seed")
        yield Recording(rows, text(demo.attrs.get("policy_level", "unknown")), None if seed is None else int(seed))


def write(file: h5py.File, episodes: Episodes, env_args: dict[str, Any], add: Callable[[h5py.Group, Recording], None]) -> None:
    """Write what all such files have; ``add`` puts a demonstration's own layout beside it."""
    data = file.create_group("data")
    data.attrs["total"] = episodes.num_rows - episodes.num_episodes
    data.attrs["env_args"] = json.dumps(env_args)
    data.attrs[_OURS] = json.dumps(json_ready(episodes.attributes))
    for i, recording in enumerate(recordings(episodes, "writing")):
        demo = data.create_group(f"demo_{i}")
        demo.attrs["num_samples"] = len(recording.rows["action"]) - 1
        demo.attrs["seed"] = recording.seed
        demo.attrs["policy_level"] = recording.level
        for field, dataset in OF_STEPS.items():
            demo.create_dataset(dataset, data=recording.rows[field][1:])
        add(demo, recording)
