"""Policies of mjlab's own training, taken over: what observes and acts in mjlab's order becomes what observes and acts in ours.

A policy of mjlab's velocity task observes the velocity at the IMU, angular velocity, gravity, joint angles, joint speeds, its last
action, the command. Ours has the command before the joints, joints in the robot's order, and the velocity of the base's origin.
The one is a linear map of the other, so that it becomes part of the first layer, as a normaliser does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rwmu.errors import CheckpointError
from rwmu.policy.networks import STD_PARAM, Weights
from rwmu.robots.robot import Robot
from rwmu.tasks.velocity import observation_layout

_OBSERVED = ("base_lin_vel", "base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "last_action", "command")


def is_of_mjlab(infos: Mapping[str, Any], robot: Robot) -> bool:
    """Tell whether a checkpoint with these ``infos`` was trained by mjlab for its own task of the robot."""
    return robot.mjlab is not None and "env_state" in infos and "robot" not in infos


def taken_over(actor: Weights, robot: Robot, source: str) -> Weights:
    """Return the weights of a policy of ours that does what mjlab's does.

    Args:
        actor: of a plain network, its normaliser folded in. source: names it in errors.

    Raises:
        CheckpointError: it observes something else.
    """
    assert robot.mjlab is not None
    observed = observation_map(robot)
    first, last = ([key for key in actor if key.endswith(".weight")][place].removesuffix("weight") for place in (0, -1))
    found, wanted = (actor[f"{first}weight"].shape[1], len(actor[STD_PARAM])), (len(observed), robot.num_joints)
    if found != wanted:
        raise CheckpointError(
            f"{source} is of mjlab and maps {found[0]} observations to {found[1]} actions, but policies of mjlab's flat velocity "
            f"task map {wanted[0]} to {wanted[1]} on {robot.name}."
        )
    joints = torch.tensor([robot.mjlab.joints.index(name) for name in robot.joint_names])
    ours = dict(actor)
    ours[f"{first}weight"] = (actor[f"{first}weight"].double() @ observed).float()
    for key in (f"{last}weight", f"{last}bias", STD_PARAM):
        ours[key] = ours[key][joints]
    return ours


def observation_map(robot: Robot) -> Tensor:
    """Return the matrix ``[O, O]`` that makes mjlab's observation of ours, float64."""
    assert robot.mjlab is not None
    layout = observation_layout(robot)
    joints = [robot.joint_names.index(name) for name in robot.mjlab.joints]
    per_joint = {"joint_pos", "joint_vel", "last_action"}
    columns = torch.arange(layout.size)
    order = torch.cat([layout.part(columns, name)[joints if name in per_joint else slice(None)] for name in _OBSERVED])
    matrix = torch.eye(layout.size, dtype=torch.float64)[order]
    x, y, z = robot.mjlab.imu
    # Rows are those of the IMU's velocity: that of the origin, and the angular velocity times the way to the IMU.
    matrix[:3, layout["base_ang_vel"]] = torch.tensor([[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]], dtype=torch.float64)
    return matrix
