"""Poses from velocities, against motions worked out by hand and against MuJoCo's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rwmu.robots.anymal_d import anymal_d
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.simulators.poses import moved, rotated, starting_pose
from tests.fakes import quiet_task

ROBOT = anymal_d()


def row(linear: tuple[float, ...] = (0.0, 0.0, 0.0), angular: tuple[float, ...] = (0.0, 0.0, 0.0)) -> np.ndarray:
    state = np.zeros(ROBOT.state_layout.size)
    state[ROBOT.state_layout["base_lin_vel"]], state[ROBOT.state_layout["base_ang_vel"]] = linear, angular
    state[ROBOT.state_layout["projected_gravity"]] = (0.0, 0.0, -1.0)
    return state


def test_a_robot_walks_along_a_circle() -> None:
    state = row(linear=(1.0, 0.0, 0.0), angular=(0.0, 0.0, 0.5))
    pose = starting_pose(state, ROBOT)[None]
    for _ in range(200):
        pose = moved(pose, state[None], ROBOT, 0.005)
    np.testing.assert_allclose(pose[0, :2], [2.0 * np.sin(0.5), 2.0 * (1.0 - np.cos(0.5))], atol=5e-3)
    np.testing.assert_allclose(pose[0, 3:7], [np.cos(0.25), 0.0, 0.0, np.sin(0.25)], atol=1e-9)
    np.testing.assert_allclose(pose[0, 7:], ROBOT.default_joint_pos.numpy(), atol=1e-6)


@pytest.mark.parametrize("gravity", [(0.6, 0.0, -0.8), (0.0, -0.6, -0.8), (0.48, 0.6, -0.64)])
def test_the_tilt_is_that_of_gravity(gravity: tuple[float, ...]) -> None:
    state = row()
    state[ROBOT.state_layout["projected_gravity"]] = gravity
    pose = starting_pose(state, ROBOT)
    down = rotated(pose[None, 3:7] * (1.0, -1.0, -1.0, -1.0), np.array([[0.0, 0.0, -1.0]]))
    np.testing.assert_allclose(down[0], gravity, atol=1e-9)


def test_it_stays_with_the_simulator() -> None:
    env = MujocoEnv(quiet_task(), 3, seed=1, auto_reset=False)
    pose = env.poses()
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        env.step(0.3 * torch.randn(3, 12, generator=generator))
        pose = moved(pose, env.final_state.double().numpy(), ROBOT, 0.02)
    true = env.poses()
    np.testing.assert_allclose(pose[:, :3], true[:, :3], atol=0.02)
    sign = np.sign((pose[:, 3:7] * true[:, 3:7]).sum(1, keepdims=True))
    np.testing.assert_allclose(sign * pose[:, 3:7], true[:, 3:7], atol=0.02)
    np.testing.assert_allclose(pose[:, 7:], true[:, 7:], atol=1e-5)


def test_a_push_changes_the_velocity_of_some() -> None:
    env = MujocoEnv(quiet_task(), 2, seed=0)
    before = env.physics.qvel[:, :3].copy()
    env.push(torch.tensor([[0.5, -0.25]]), torch.tensor([1]))
    np.testing.assert_allclose(env.physics.qvel[:, :3] - before, [[0.0, 0.0, 0.0], [0.5, -0.25, 0.0]], atol=1e-12)
    speed = ROBOT.state_layout.part(env.state, "base_lin_vel").norm(dim=1)
    np.testing.assert_allclose(speed, np.linalg.norm(env.physics.qvel[:, :3], axis=1), rtol=1e-5)
