"""Film one simulated robot: record its poses, then draw them to a video, if the machine can draw.

Drawing happens in a process of its own, because a broken OpenGL installation may raise anything, or crash, as soon as MuJoCo is
imported. EGL is tried first, then OSMesa.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rwmu.errors import ConfigError, UserError
from rwmu.interfaces import Actor
from rwmu.robots.mjcf import model_xml
from rwmu.robots.robot import Robot
from rwmu.simulators.env import RobotEnv

BACKENDS = ("egl", "osmesa")
FORMATS = (".mp4", ".gif")
# Forwards, left turn, sideways, backwards with a right turn.
TOUR: tuple[tuple[float, float, float], ...] = ((1.0, 0.0, 0.0), (0.6, 0.0, 1.0), (0.0, 0.6, 0.0), (-0.7, 0.0, -0.6))
_PATIENCE_S = 300.0  # and another second a robot in a picture

_log = logging.getLogger(__name__)


class Film(NamedTuple):
    """What one robot did: poses ``[T, 7 + A]``, and the commands ``[T, 3]`` that it had (m/s, m/s, rad/s).

    ``dreams [T, E, 7 + A]``, poses of what was dreamt of it meanwhile, are drawn beside it.
    """

    poses: NDArray[np.float64]
    commands: NDArray[np.float64]
    dreams: NDArray[np.float64] | None = None


def film(
    env: RobotEnv, actor: Actor, duration_s: float, commands: Sequence[tuple[float, float, float]] | None = TOUR, index: int = 0
) -> Film:
    """Let an actor move and return what environment ``index`` did, a pose a control step, up to its first fall.

    Args:
        env: of ``auto_reset=False``, so that a time-out does not move the robot.
        commands: given one after another for equal times; None keeps the task's own.
    """
    num_steps = max(1, round(duration_s / env.task.step_dt))
    poses, commanded = [], []
    with torch.no_grad():
        for step in range(num_steps):
            if commands is not None:
                env.memory.command[index] = torch.tensor(commands[step * len(commands) // num_steps]).to(env.memory.command)
            poses.append(env.poses()[index])
            commanded.append(env.memory.command[index].double().cpu().numpy().copy())
            env.step(actor(env.get_observations()["policy"]))
            if bool(env.terminated[index]):
                break
    return Film(np.stack(poses), np.stack(commanded))


def save_video(
    recorded: Film,
    path: str | Path,
    robot: Robot,
    step_dt: float = 0.02,
    frames_per_s: float = 20.0,
    size: tuple[int, int] = (480, 320),
) -> Path | None:
    """Draw a film to an MP4 or an animated GIF; return its path, or None (and log why) where nothing can be drawn.

    Args:
        step_dt: time between two poses, s. frames_per_s: of the video; poses in between are left out.
        size: width and height, pixels, even; with dreams, of each of two pictures.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ConfigError(f"A video can only be written as {' or '.join(FORMATS)}, not as '{path.name}'.")
    stride = max(1, round(1.0 / (frames_per_s * step_dt)))
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise UserError(f"The video {path} cannot be written; give another path.")
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "poses.npz"
        stored: dict[str, Any] = {
            "poses": recorded.poses[::stride],
            "commands": recorded.commands[::stride],
            "size": np.array(size),
            "frame_s": stride * step_dt,
            "xml": model_xml(robot, visual=True),
            "joint_names": np.array(robot.joint_names),
            "base_height": robot.base_height,
        }
        if recorded.dreams is not None:
            stored["dreams"] = recorded.dreams[::stride]
        np.savez(frames, **stored)
        robots = 1 if recorded.dreams is None else 1 + recorded.dreams.shape[1]
        patience_s = _PATIENCE_S + robots * (len(recorded.poses) // stride)
        for backend in BACKENDS:
            failure = _draw_in_new_process(backend, frames, path, patience_s)
            if failure is None:
                return path
            failures.append(f"{backend}: {failure}")
    _log.warning("No video was rendered, because neither EGL nor OSMesa works here (%s).", "; ".join(failures))
    return None


def _draw_in_new_process(backend: str, frames: Path, path: Path, patience_s: float) -> str | None:
    """Run :mod:`rwmu.simulators.draw` with an OpenGL backend; return None, or the last line of what went wrong."""
    command = [sys.executable, "-m", "rwmu.simulators.draw", str(frames), str(path)]
    environment = os.environ | {"MUJOCO_GL": backend, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    if backend == "osmesa":
        environment["PYOPENGL_PLATFORM"] = "osmesa"
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=patience_s, check=False)
    except subprocess.TimeoutExpired:
        return f"no picture within {patience_s:g} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"
