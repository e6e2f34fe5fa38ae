"""The robot model and its batched simulation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rwmu.errors import ConfigError, MissingExtraError
from rwmu.robots.anymal_d import anymal_d
from rwmu.robots.mjcf import ModelSettings
from rwmu.simulators.physics import Physics

ROBOT = anymal_d()
HOME = ROBOT.default_joint_pos.double().numpy()


def standing(num_envs: int = 2, settings: ModelSettings | None = None, envelope: bool = False) -> Physics:
    physics = Physics(ROBOT, num_envs, 1, settings or ModelSettings(), envelope, 4)
    pose = np.tile([0, 0, 0.6, 1, 0, 0, 0.0], (num_envs, 1))
    physics.place(np.arange(num_envs), pose, np.zeros((num_envs, 6)), np.tile(HOME, (num_envs, 1)))
    return physics


def test_it_stands_on_its_feet_at_the_default_posture() -> None:
    physics = standing()
    for _ in range(100):
        contacts = physics.advance(np.tile(HOME, (2, 1)))
    linear, angular, gravity = physics.base_motion()
    assert physics.qpos[0, 2] > 0.5
    assert np.abs(linear).max() < 0.02
    assert np.abs(angular).max() < 0.02
    np.testing.assert_allclose(gravity[0], [0, 0, -1], atol=0.05)
    assert contacts[-1, 0, -4:].all()  # feet
    assert not contacts[:, :, :5].any()  # base and thighs


def test_base_motion_is_in_the_base_frame() -> None:
    physics = standing(1)
    turn = np.array([[0, 0, 0.6, np.cos(np.pi / 4), 0, 0, np.sin(np.pi / 4)]])  # a quarter turn to the left
    physics.place(np.array([0]), turn, np.array([[0.0, 1.0, 0.5, 0.1, 0.2, 0.3]]), HOME[None])
    linear, angular, gravity = physics.base_motion()
    np.testing.assert_allclose(linear[0], [1.0, 0.0, 0.5], atol=1e-12)  # world +y is now forward
    np.testing.assert_allclose(angular[0], [0.1, 0.2, 0.3], atol=1e-12)
    np.testing.assert_allclose(gravity[0], [0, 0, -1], atol=1e-12)
    roll = np.array([[0, 0, 0.6, np.cos(np.pi / 4), np.sin(np.pi / 4), 0, 0]])  # a quarter roll to the right
    physics.place(np.array([0]), roll, np.zeros((1, 6)), HOME[None])
    np.testing.assert_allclose(physics.base_motion()[2][0], [0, -1, 0], atol=1e-12)


def test_the_envelope_takes_torque_away_from_fast_joints() -> None:
    """Swinging one knee far, the torque never exceeds what is left at the speed before the substep."""
    fastest = {}
    for envelope in (False, True):
        physics = standing(1, envelope=envelope)
        speeds = []
        for step in range(40):
            physics.advance((HOME + (2.0 if step % 20 < 10 else -2.0))[None])
            speeds.append(np.abs(physics.joint_vel).max())
        fastest[envelope] = max(speeds)
    assert fastest[True] < 0.8 * fastest[False]


def test_gains_and_friction_are_settings() -> None:
    soft = standing(1, ModelSettings(stiffness=20.0, friction=0.3))
    assert soft.model.actuator_gainprm[0, 0] == 20.0
    assert soft.model.geom_friction[0, 0] == 0.3
    for _ in range(50):
        soft.advance(HOME[None])
    assert soft.qpos[0, 2] < 0.45


@pytest.mark.parametrize("speed", [1e3, 1e12, np.nan])
def test_a_diverging_simulation_is_noticed_without_a_log_file(
    speed: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    physics = standing(3)
    physics.qvel[1, 6:] = speed
    physics.advance(np.tile(HOME, (3, 1)))
    assert physics.diverged().tolist() == [False, True, False]
    physics.place(np.array([1]), np.array([[0, 0, 0.6, 1, 0, 0, 0.0]]), np.zeros((1, 6)), HOME[None])
    physics.advance(np.tile(HOME, (3, 1)))
    assert not physics.diverged().any()
    np.testing.assert_array_equal(physics.joint_pos[1], standing_after_one_step(physics))
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def standing_after_one_step(like: Physics) -> Any:
    """Return the joints of an undisturbed simulation, one step after being placed."""
    fresh = standing(1)
    fresh.advance(HOME[None])
    assert fresh.model.nq == like.model.nq
    return fresh.joint_pos[0]


def test_without_mujoco_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[mujoco\]' in rwmu's folder"):
        standing()


@pytest.mark.parametrize(("num_envs", "num_threads"), [(0, 1), (4, 0), (-1, 1)])
def test_impossible_sizes_are_refused(num_envs: int, num_threads: int) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        Physics(ROBOT, num_envs, num_threads, ModelSettings(), False, 4)


def test_physics_needs_no_opengl() -> None:
    program = "import os; from rwmu.simulators.extra import import_mujoco; import_mujoco(); print(os.environ['MUJOCO_GL'])"
    surroundings = {"MUJOCO_GL": "none_such", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=surroundings, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "none_such"), done.stderr
