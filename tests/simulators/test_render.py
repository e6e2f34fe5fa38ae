"""Filming: poses of one robot up to its fall, and a video only where the machine can draw."""

from __future__ import annotations

import logging
import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from rwmu.errors import ConfigError
from rwmu.robots.anymal_d import anymal_d
from rwmu.robots.go1 import go1
from rwmu.robots.robot import Robot
from rwmu.simulators import render
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.simulators.render import Film, film, save_video
from rwmu.tasks.velocity import VelocityTask

STILL = Film(np.zeros((2, 19)), np.zeros((2, 3)))


def stand(observation: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(observation), 12)


def test_film_gives_commands_in_turn_and_one_pose_a_step() -> None:
    env = MujocoEnv(VelocityTask(anymal_d(), observation_noise=0.0), 2)
    seen = []

    def watch(observation: torch.Tensor) -> torch.Tensor:
        seen.append(observation[1, 9:12].tolist())
        return stand(observation)

    poses, commands, _ = film(env, watch, 0.2, commands=((1.0, 0.0, 0.0), (0.0, 0.5, 0.0)), index=1)
    assert commands.tolist() == [[1.0, 0.0, 0.0]] * 5 + [[0.0, 0.5, 0.0]] * 5
    assert poses.shape == (10, 19)
    assert seen == [[1.0, 0.0, 0.0]] * 5 + [[0.0, 0.5, 0.0]] * 5
    assert (np.diff(poses[:, 2]) != 0).all()


def test_film_ends_with_a_fall() -> None:
    env = MujocoEnv(VelocityTask(anymal_d()), 1)
    env.physics.qpos[0, 2:7] = (0.2, 0.0, 1.0, 0.0, 0.0)  # on its back
    assert len(film(env, stand, 2.0).poses) < 20


def test_film_goes_on_beyond_the_tasks_time() -> None:
    env = MujocoEnv(VelocityTask(anymal_d(), episode_length_s=0.2), 1, auto_reset=False)
    poses, *_ = film(env, stand, 0.5)
    assert len(poses) == 25
    assert float(np.abs(np.diff(poses[:, :3], axis=0)).max()) < 0.05, "nobody puts the robot back where it began"


@pytest.mark.parametrize(("robot", "name"), [(anymal_d(), "robot.mp4"), (go1(), "robot.gif")], ids=["anymal_d", "go1"])
def test_a_video_is_written_whole_or_its_absence_explained(
    robot: Robot, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env = MujocoEnv(VelocityTask(robot), 1)
    path = tmp_path / "new" / name
    written = save_video(film(env, stand, 0.2), path, env.task.robot, size=(64, 48))
    if written is None:  # a machine without EGL and OSMesa
        assert "neither EGL nor OSMesa works" in caplog.text
        assert not path.exists()
    else:
        size, frames = shown(path)
        assert size == (64, 48)
        assert frames == 5
        assert list(path.parent.iterdir()) == [path]


def shown(path: Path) -> tuple[tuple[int, int], int]:
    """Return size and number of the pictures of a video."""
    if path.suffix == ".gif":
        with Image.open(path) as image:
            return image.size, image.n_frames
    told = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", path], capture_output=True, text=True).stderr
    found = re.search(r"Video: h264.* (\d+)x(\d+)", told)
    assert found is not None, told
    return (int(found[1]), int(found[2])), imageio_ffmpeg.count_frames_and_secs(str(path))[0]


def test_without_a_backend_it_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(render, "BACKENDS", ("no_such_backend",))
    with caplog.at_level(logging.WARNING):
        assert save_video(STILL, tmp_path / "robot.gif", anymal_d()) is None
    assert "no_such_backend" in caplog.text
    assert not (tmp_path / "robot.gif").exists()


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"robot\.avi"):
        save_video(STILL, tmp_path / "robot.avi", anymal_d())
