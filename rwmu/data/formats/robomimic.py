"""Read and write robomimic's HDF5 files.

::

    /data                    attributes: total, env_args (JSON: env_name, type, env_kwargs {control_freq})
    /data/demo_N             attributes: num_samples (T), model_file (of some)
        actions, rewards     [T, A], [T]
        dones                [T], 1 at the last step
        states               [T, .], the simulator's own; here the state before the step
        obs/FIELD            [T, .], before the step; next_obs/FIELD, after it
        terminated           [T] bool, only of files that are written here
    /mask/NAME               of some: the names of the demonstrations of a split, such as train and valid

Observations are found by the names of the robot's fields (and ``contact``, ``command``, ``extension``). ``dones`` does not tell
falls from time-outs, so that terminations are unknown unless ``terminated`` is there. Without ``next_obs`` the last state, and with
it the last step, of every demonstration is lost.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from pydantic import InstanceOf

from rwmu.data.episodes import Episodes
from rwmu.data.formats.demos import OF_STEPS, OTHERS, environment, first_passes, steps, stored, write
from rwmu.data.formats.hdf5 import reading_hdf5, text, writing_hdf5
from rwmu.data.formats.recordings import Array, Recording, join, led_to, seconds, whose
from rwmu.data.formats.registry import Format
from rwmu.robots.layout import StateLayout
from rwmu.robots.robot import Robot
from rwmu.settings import Positive, checked, choose


@checked("")
def load(path: Path, robot: InstanceOf[Robot] | None = None, step_dt: Positive | None = None, mask: str | None = None) -> Episodes:
    """Read demonstrations.

    Args:
        step_dt: s; None for what the file says. mask: name of a split of the file; None for all demonstrations.
    """
    source = f"The data file {path}"
    with reading_hdf5(path, "robomimic") as file:
        data, notes = file["data"], list[str]()
        ours, rate = stored(data), environment(data).get("env_kwargs", {}).get("control_freq")
        step = ours.get("step_dt", None if rate is None else 1.0 / float(rate))
        robot = whose(robot, ours.get("robot"), source)
        if any("next_obs" not in demo for demo in data.values()):
            notes.append("There is no next_obs, so the last step of every demonstration, whose end is unknown, is left out.")
        found = steps(data, _rows, notes, _masked(file, mask, notes))
        return join(found, robot, seconds(step_dt, step, source), source, path.parent, notes, ours)


def _masked(file: h5py.File, mask: str | None, notes: list[str]) -> list[str] | None:
    """Return the names of the demonstrations of a split, None for all."""
    masks = file.get("mask", {})
    if mask is not None:
        choose("mask", mask, masks)
        return [text(name) for name in masks[mask][...]]
    if masks:
        notes.append(f"All demonstrations are read, of all splits of the file ({', '.join(masks)}); give mask for those of one.")
    return None


def _rows(demo: h5py.Group) -> dict[str, Array]:
    """Return the rows of observations; where the last one is unknown, of one step less."""
    before, after = demo["obs"], demo.get("next_obs")
    if after is not None:
        return {name: np.concatenate([values[...], after[name][-1:]]) for name, values in before.items() if name in after}
    led = {name: led_to(demo[dataset][:-1]) for name, dataset in OF_STEPS.items() if dataset in demo}
    return {name: values[...] for name, values in before.items()} | led


def save(episodes: Episodes, path: str | Path) -> None:
    """Write episodes as demonstrations, each field an observation."""
    step_dt = seconds(None, episodes.attributes.get("step_dt"), f"The data for {path}")
    layout = StateLayout.from_description(episodes.attributes["layout"])
    names = (*(field.name for field in layout.fields), *OTHERS)

    def add(demo: h5py.Group, recording: Recording) -> None:
        rows = recording.rows
        done = np.zeros(len(rows["action"]) - 1, dtype=np.int64)
        done[-1:] = 1
        kept = {f"obs/{name}": rows[name][:-1] for name in names if name in rows}
        kept |= {f"next_obs/{name}": rows[name][1:] for name in names if name in rows}
        for name, values in (kept | {"states": rows["state"][:-1], "dones": done}).items():
            demo.create_dataset(name, data=values)

    with writing_hdf5(Path(path), episodes, copies=3) as file:
        write(file, episodes, {"env_name": "", "type": 2, "env_kwargs": {"control_freq": 1.0 / step_dt}}, add)


FORMAT = Format(
    "robomimic",
    (),
    load,
    save,
    recognises=lambda path: first_passes(path, lambda demo: isinstance(demo.get("obs"), h5py.Group)),
    lost="episodes without a step",
)
