"""Read and write datasets of Minari, the Farama Foundation's collection of offline data (the extra ``formats``, to write).

A dataset is a folder with ``data/metadata.json`` and ``data/main_data.hdf5``, by default ``~/.minari/datasets/ID``; the ID is the
path's last part. The HDF5 file of those written here is that of :mod:`rwmu.data.formats.hdf5`, so that nothing is lost.

Of others' datasets, observations are found by the names of the robot's fields (a ``Dict`` space), or are the whole state in its
order (a ``Box`` of its size). So are ``infos/contact``, ``infos/command`` and ``infos/extension``, and ``infos`` by the names of
fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pydantic import InstanceOf

from rwmu.data.episodes import EXTENSION, Episodes
from rwmu.data.formats import hdf5
from rwmu.data.formats.hdf5 import reading_hdf5
from rwmu.data.formats.recordings import Array, Recording, by_field, join, led_to, progress, seconds, whose
from rwmu.data.formats.registry import Format
from rwmu.errors import DataError, import_extra
from rwmu.files import read_json, writing_folder
from rwmu.robots.robot import Robot
from rwmu.settings import Positive, checked

_NEEDED = ("minari", "gymnasium.spaces", "minari.dataset.minari_storage")
_INFOS = ("contact", "command", EXTENSION)


@checked("")
def load(path: Path, robot: InstanceOf[Robot] | None = None, step_dt: Positive | None = None) -> Episodes:
    """Read a dataset's folder.

    Args:
        step_dt: s, of a dataset that was not written here.
    """
    folder, source = _data(path), f"The Minari dataset {path}"
    if folder is None:
        raise DataError(
            f"{path} is no Minari dataset, for it has no data/metadata.json; give a folder such as ~/.minari/datasets/ID."
        )
    metadata = read_json(folder / "metadata.json", "download it again")
    if metadata.get("data_format", "hdf5") != "hdf5":
        raise DataError(f"{source} is kept as {metadata['data_format']}; make one of data_format='hdf5' of it with minari.")
    file = folder / "main_data.hdf5"
    if hdf5.is_ours(file):
        return hdf5.load(file, robot)
    own = whose(robot, metadata.get("robot"), source)
    with reading_hdf5(file, "Minari") as opened:
        found = _recordings(opened, int(metadata["total_episodes"]), own, source)
        return join(found, own, seconds(step_dt, metadata.get("step_dt"), source), source, path.parent)


def _data(path: Path) -> Path | None:
    """Return the folder of a dataset's files, None where there is none."""
    return next((folder for folder in (path / "data", path) if (folder / "metadata.json").is_file()), None)


def _recordings(file: h5py.File, number: int, robot: Robot, source: str) -> Iterator[Recording]:
    for i in progress(range(number), "reading", number):
        group = file[f"episode_{i}"]
        observations = _observations(group["observations"], robot, source)
        rows = {"action": led_to(group["actions"][...]), "reward": led_to(group["rewards"][...])}
        rows |= {"termination": led_to(group["terminations"][...])} | observations
        infos = group.get("infos", {})
        names = (*_INFOS, *(field.name for layout in (robot.state_layout, robot.contact_layout) for field in layout.fields))
        length = len(rows["action"])
        whole = {name: infos[name][...] for name in names if name in infos and len(infos[name]) == length}
        seed = group.attrs.get("seed")
        yield Recording(whole | rows, seed=None if seed is None else int(seed))


def _observations(found: Any, robot: Robot, source: str) -> dict[str, Array]:
    if isinstance(found, h5py.Group):
        return {name: values[...] for name, values in found.items() if isinstance(values, h5py.Dataset)}
    if found.shape[1:] != (robot.state_layout.size,):
        wanted = f"{robot.state_layout.size} of the robot '{robot.name}', or a Dict space with the names of its fields"
        raise DataError(f"{source} has observations of shape {found.shape[1:]}, but needs the {wanted}.")
    return by_field(robot.state_layout, found[...])


def save(episodes: Episodes, path: str | Path) -> None:
    """Write a dataset's folder; Minari finds it by its ID where the path is ``$MINARI_DATASETS_PATH/ID``.

    Raises:
        MissingExtraError: Minari is not installed. UserError: the path is there already, or its last part no ID.
    """
    path = Path(path)
    otherwise = "To write Minari datasets minari is needed; install it with: pip install 'rwmu[formats]'"
    minari, spaces, storages = (import_extra(name, otherwise) for name in _NEEDED)
    if not re.fullmatch(r"[-_\w]+-v\d+", path.name):
        raise DataError(f"{path.name} is no ID of a Minari dataset; give a path that ends like walking-v0.")
    sizes = {"observation_space": episodes.state.shape[1], "action_space": episodes.action.shape[1]}
    boxes = {name: spaces.Box(-np.inf, np.inf, (size,), np.float32) for name, size in sizes.items()}
    with writing_folder(path) as folder:
        data = folder / "data"
        storage = storages.MinariStorage.new(data, **boxes, data_format="hdf5")
        hdf5.save(episodes, data / "main_data.hdf5")
        counts = {"total_episodes": episodes.num_episodes, "total_steps": episodes.num_rows - episodes.num_episodes}
        size = round((data / "main_data.hdf5").stat().st_size / 1e6, 1)
        storage.update_metadata({"dataset_id": path.name, "minari_version": minari.__version__, "dataset_size": size, **counts})


FORMAT = Format("minari", (), load, save, recognises=lambda path: _data(path) is not None)
