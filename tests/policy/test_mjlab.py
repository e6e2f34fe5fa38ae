"""Policies of mjlab's training act alike when they are taken over, whatever the order of joints and where the IMU is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rsl_rl.models import MLPModel
from tensordict import TensorDict
from torch import Tensor

from rwmu.errors import CheckpointError
from rwmu.policy.rsl_rl import load_actor
from rwmu.robots import robot_named
from rwmu.robots.robot import Robot
from rwmu.tasks.velocity import VelocityTask

MJLABS = {"env_state": {"common_step_counter": 48}}  # what its runner writes under infos


def mjlab_actor(observations: int, actions: int) -> MLPModel:
    """Return an actor as mjlab's runner makes it, of random weights and a normaliser that has seen something."""
    torch.manual_seed(0)
    rows = TensorDict({"actor": 2.0 + 3.0 * torch.randn(64, observations)}, batch_size=[64])
    noise = {"class_name": "GaussianDistribution", "init_std": 1.0, "std_type": "scalar"}
    model = MLPModel(
        rows, {"actor": ["actor"]}, "actor", actions, hidden_dims=[24, 16], obs_normalization=True, distribution_cfg=noise
    )
    model.update_normalization(rows)
    with torch.no_grad():
        model.distribution.std_param.copy_(torch.linspace(0.1, 1.0, actions))
    return model.eval()


def saved(path: Path, model: MLPModel, infos: dict[str, Any]) -> Path:
    torch.save({"actor_state_dict": model.state_dict(), "critic_state_dict": {}, "iter": 2, "infos": infos}, path)
    return path


def as_mjlab_observes(robot: Robot, state: Tensor, command: Tensor, action: Tensor) -> Tensor:
    """Return mjlab's observation of states, written out: the IMU's velocity, joints in its model's order, the command last."""
    assert robot.mjlab is not None
    layout, order = robot.state_layout, [robot.joint_names.index(name) for name in robot.mjlab.joints]
    velocity, rate, gravity = (layout.part(state, name) for name in ("base_lin_vel", "base_ang_vel", "projected_gravity"))
    at_imu = velocity + torch.linalg.cross(rate, torch.tensor(robot.mjlab.imu).expand_as(rate))
    joints = [layout.part(state, name)[:, order] for name in ("joint_pos", "joint_vel")]
    return torch.cat([at_imu, rate, gravity, *joints, action[:, order], command], dim=1)


@pytest.mark.parametrize("name", ["go1_mjlab", "g1"])
def test_it_acts_as_it_did_in_mjlab(name: str, tmp_path: Path) -> None:
    robot = robot_named(name)
    task = VelocityTask(robot)
    original = mjlab_actor(task.num_observations, robot.num_joints)
    policy = load_actor(saved(tmp_path / "model.pt", original, MJLABS), robot)
    state, command, action = (torch.randn(9, size) for size in (robot.state_layout.size, 3, robot.num_joints))
    seen = TensorDict({"actor": as_mjlab_observes(robot, state, command, action)}, batch_size=[9])
    expected = dict(zip(robot.mjlab.joints, original(seen).T, strict=True))  # type: ignore[union-attr]
    acted = dict(zip(robot.joint_names, policy(task.observe(state, command, action)).T, strict=True))
    for joint in robot.joint_names:
        torch.testing.assert_close(acted[joint], expected[joint], rtol=1e-4, atol=1e-4)
    deviations = dict(zip(robot.mjlab.joints, torch.linspace(0.1, 1.0, robot.num_joints), strict=True))  # type: ignore[union-attr]
    assert policy.std.tolist() == pytest.approx([float(deviations[joint]) for joint in robot.joint_names])


def test_a_policy_of_ours_is_left_as_it_is_and_one_of_another_task_is_refused(tmp_path: Path) -> None:
    robot = robot_named("go1_mjlab")
    model, observation = mjlab_actor(48, 12), torch.randn(3, 48)
    ours = load_actor(saved(tmp_path / "ours.pt", model, {"robot": "go1_mjlab"}), robot)
    expected = model(TensorDict({"actor": observation}, batch_size=[3]))
    torch.testing.assert_close(ours(observation), expected, rtol=1e-4, atol=1e-4)
    rough = saved(tmp_path / "rough.pt", mjlab_actor(48 + 187, 12), MJLABS)
    with pytest.raises(CheckpointError, match="235"):
        load_actor(rough, robot)
