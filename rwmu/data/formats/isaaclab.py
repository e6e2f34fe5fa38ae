"""Read and write the HDF5 files of Isaac Lab's recorder (``ActionStateRecorderManagerCfg``).

::

    /                        attribute: format_version (1: quaternions xyzw; 0 or none: wxyz)
    /data                    attributes: total, env_args (JSON: env_name, type, sim_args {dt, decimation, ...})
    /data/demo_N             attributes: num_samples (T), seed, success
        actions              [T, A]
        initial_state/articulation/robot/{root_pose, root_velocity, joint_position, joint_velocity}   [1, .]
        states/articulation/robot/...                                                                 [T, .], after each step

What becomes of it:

- Gravity and velocities are turned into the base's frame. ``root_velocity`` is that of the base's centre of mass: so is
  ``base_lin_vel`` in Isaac Lab's own observations, while rwmu's simulators give that of the frame's origin. ``base_com`` converts.
- The position relative to the environment's origin is no part of a state.
- The order of the joints follows the backend and is not in the file: say it in ``joint_names``, or in an attribute of that name
  (JSON) of ``/data``.
- Rewards, terminations, torques, contacts and commands are not recorded by Isaac Lab's terms. A recorder term of one's own adds
  them as ``rewards [T]`` and ``terminated [T]``, and everything that has a row for every state (``joint_torque``, ``undesired``,
  ``foot``, ``contact``, ``command``, ``extension``) as ``initial_state/extra/NAME`` and ``states/extra/NAME``.

Written files hold headings and positions of zero, which no Episodes know.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import h5py
import numpy as np
from pydantic import Field, InstanceOf

from rwmu.data.episodes import Episodes
from rwmu.data.formats.demos import OTHERS, environment, first_passes, steps, stored, values, write
from rwmu.data.formats.frames import gravity, rotations, to_base, upright
from rwmu.data.formats.hdf5 import reading_hdf5, text, writing_hdf5
from rwmu.data.formats.recordings import Array, Recording, join, led_to, seconds, whose
from rwmu.data.formats.registry import Format
from rwmu.errors import ConfigError
from rwmu.robots.robot import Robot
from rwmu.settings import Names, Positive, checked

Vector = Annotated[tuple[float, float, float], Field(strict=False)]

_XYZW = 1  # the format version from which on quaternions end in w
_ASSET = "robot"
_RECORDED = ("base_lin_vel", "base_ang_vel", "projected_gravity", "joint_pos", "joint_vel")  # by the recorder's own terms
_SUBSTEPS = 4  # of rwmu's and Isaac Lab's velocity tasks


@checked("")
def load(
    path: Path,
    robot: InstanceOf[Robot] | None = None,
    joint_names: Names | None = None,
    step_dt: Positive | None = None,
    base_com: Vector = (0.0, 0.0, 0.0),
) -> Episodes:
    """Read a recording.

    Args:
        joint_names: of the robot, in the order of the file. step_dt: of a control step, s; None for what the file says.
        base_com: the base's centre of mass in its frame, m, to get the velocity of the frame's origin.
    """
    source = f"The data file {path}"
    with reading_hdf5(path, "Isaac Lab's recorder") as file:
        data = file["data"]
        ours, sim = stored(data), environment(data).get("sim_args", {})
        own = whose(robot, ours.get("robot"), source)
        step = float(sim["dt"]) * int(sim["decimation"]) if {"dt", "decimation"} <= set(sim) else None
        named = json.loads(text(data.attrs["joint_names"])) if "joint_names" in data.attrs else None
        order, notes = joint_order(own, joint_names or named, source), list[str]()
        if not (joint_names or named):
            notes.append(f"The joints are taken to be in the order of '{own.name}', for the file does not name them.")
        if not any(base_com) and not ours:
            notes.append("base_lin_vel is that of the base's centre of mass; give base_com for that of its frame's origin.")
        w_last, com = int(file.attrs.get("format_version", 0)) >= _XYZW, np.asarray(base_com, dtype=np.float64)

        def rows_of(demo: h5py.Group) -> dict[str, Array]:
            return _state(demo, own, order, w_last, com) | _extra(demo)

        found, seconds_a_step = steps(data, rows_of, notes), seconds(step_dt, ours.get("step_dt", step), source)
        return join(found, own, seconds_a_step, source, path.parent, notes, ours)


def joint_order(robot: Robot, names: Sequence[str] | None, source: str) -> list[int]:
    """Return where each of the robot's joints stands in a file of joints in the order of ``names``.

    Raises:
        ConfigError: they are not the robot's.
    """
    if names is None:
        return list(range(robot.num_joints))
    if sorted(names) != sorted(robot.joint_names):
        odd = sorted(set(names) ^ set(robot.joint_names))
        raise ConfigError(
            f"{source} is given joint_names other than those of '{robot.name}'; mend {', '.join(odd) or 'what comes twice'}."
        )
    return [list(names).index(joint) for joint in robot.joint_names]


def _state(demo: h5py.Group, robot: Robot, order: list[int], w_last: bool, com: Array) -> dict[str, Array]:
    """Return the fields of the state ``[T + 1, X]``, and the actions in the robot's order."""
    assets = list(demo.get("states/articulation", [_ASSET]))
    asset = _ASSET if _ASSET in assets else assets[0]
    parts = [f"{part}/articulation/{asset}" for part in ("initial_state", "states")]
    pose, velocity, joint_pos, joint_vel = (
        np.concatenate([values(demo, f"{part}/{name}") for part in parts]).astype(np.float64)
        for name in ("root_pose", "root_velocity", "joint_position", "joint_velocity")
    )
    quaternion = pose[:, [6, 3, 4, 5]] if w_last else pose[:, 3:7]
    rotation = rotations(quaternion)
    linear, angular = to_base(rotation, velocity[:, :3]), to_base(rotation, velocity[:, 3:])
    action = demo["actions"][...]
    return {
        "base_lin_vel": linear - np.cross(angular, com),
        "base_ang_vel": angular,
        "projected_gravity": gravity(rotation),
        "joint_pos": joint_pos[:, order] - robot.default_joint_pos.numpy(),
        "joint_vel": joint_vel[:, order],
        "action": led_to(action)[:, order],
    }


def _extra(demo: h5py.Group) -> dict[str, Array]:
    """Return what a recorder term of one's own has added; what it did not record on the reset is zero there."""
    first = demo.get("initial_state/extra", {})
    found = {name: after[...] for name, after in demo.get("states/extra", {}).items()}
    return {
        name: np.concatenate([first[name][...] if name in first else np.zeros_like(values[:1]), values])
        for name, values in found.items()
    }


def save(episodes: Episodes, path: str | Path) -> None:
    """Write episodes as the recorder does, of format version 1; extras hold what it has no place for."""
    source = f"The data for {path}"
    robot = whose(None, episodes.attributes.get("robot"), source)
    step_dt = seconds(None, episodes.attributes.get("step_dt"), source)
    sim = {"dt": step_dt / _SUBSTEPS, "decimation": _SUBSTEPS, "render_interval": _SUBSTEPS, "num_envs": episodes.num_episodes}

    def add(demo: h5py.Group, recording: Recording) -> None:
        rows = recording.rows
        quaternion = upright(rows["projected_gravity"].astype(np.float64))
        turn = rotations(quaternion)
        velocity = [np.einsum("tij,tj->ti", turn, rows[name]) for name in ("base_lin_vel", "base_ang_vel")]
        states = {
            "root_pose": np.concatenate([np.zeros((len(turn), 3)), np.roll(quaternion, -1, axis=-1)], -1),
            "root_velocity": np.concatenate(velocity, -1),
            "joint_position": rows["joint_pos"] + robot.default_joint_pos.numpy(),
            "joint_velocity": rows["joint_vel"],
        }
        kept = {f"articulation/{_ASSET}/{name}": values.astype(np.float32) for name, values in states.items()}
        further = [field.name for field in robot.state_layout.fields if field.name not in _RECORDED]
        kept |= {f"extra/{name}": rows[name] for name in (*OTHERS, *further) if name in rows}
        for name, every in kept.items():
            demo.create_dataset(f"initial_state/{name}", data=every[:1])
            demo.create_dataset(f"states/{name}", data=every[1:])

    with writing_hdf5(Path(path), episodes, copies=2) as file:
        file.attrs["format_version"] = _XYZW
        write(file, episodes, {"env_name": "", "type": 2, "sim_args": sim}, add)
        file["data"].attrs["joint_names"] = json.dumps(list(robot.joint_names))


FORMAT = Format(
    "isaaclab",
    (),
    load,
    save,
    recognises=lambda path: first_passes(path, lambda demo: "initial_state" in demo or "states/articulation" in demo),
    lost="episodes without a step, and the last bits of states (poses are quaternions, joint positions absolute)",
)
