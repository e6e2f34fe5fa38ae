"""Reward terms of mjlab's velocity task, as far as a state has what they need: pure functions, as those of ``rewards``.

Of mjlab's other terms, ``action_rate_l2`` and ``dof_pos_limits`` are in :mod:`rwmu.tasks.rewards`. Clearance, swing height and
slip of feet need where the feet are, ``angular_momentum`` masses, ``self_collisions`` and ``soft_landing`` forces: no state here
has these.

Where mjlab looks at another body than the base, ``chain`` names the joints from the base to that body, each with its axis; they
must turn about the axes of the bodies that they join, as those of a waist do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from rwmu.robots.symmetry import AXES


def track_linear_velocity(command: Tensor, base_lin_vel: Tensor, variance: float = 0.25) -> Tensor:
    """Reward the tracked velocity, whose vertical part should be 0: exp(-|error|^2 / variance), in 0..1."""
    planar = (command[..., :2] - base_lin_vel[..., :2]).square().sum(-1)
    return torch.exp(-(planar + base_lin_vel[..., 2].square()) / variance)


def track_angular_velocity(command: Tensor, base_ang_vel: Tensor, variance: float = 0.5) -> Tensor:
    """Reward the tracked yaw rate without roll and pitch: exp(-|error|^2 / variance), in 0..1."""
    yaw = (command[..., 2] - base_ang_vel[..., 2]).square()
    return torch.exp(-(yaw + base_ang_vel[..., :2].square().sum(-1)) / variance)


def upright(
    projected_gravity: Tensor,
    joint_pos: Tensor,
    default_joint_pos: Tensor,
    joint_names: Sequence[str],
    chain: Mapping[str, str],
    variance: float = 0.2,
) -> Tensor:
    """Reward a body that is level: exp(-sin^2 of its tilt / variance), in 0..1."""
    gravity = projected_gravity
    for joint, axis in chain.items():
        column = list(joint_names).index(joint)
        gravity = _seen_after_turning(gravity, axis, joint_pos[..., column] + default_joint_pos[column])
    return torch.exp(-gravity[..., :2].square().sum(-1) / variance)


def body_ang_vel(
    base_ang_vel: Tensor,
    projected_gravity: Tensor,
    joint_pos: Tensor,
    joint_vel: Tensor,
    default_joint_pos: Tensor,
    joint_names: Sequence[str],
    chain: Mapping[str, str],
) -> Tensor:
    """Square and sum a body's angular velocities about the world's horizontal axes, rad^2/s^2."""
    rate, gravity = base_ang_vel, projected_gravity
    for joint, axis in chain.items():
        column = list(joint_names).index(joint)
        angle = joint_pos[..., column] + default_joint_pos[column]
        rate, gravity = (_seen_after_turning(vector, axis, angle) for vector in (rate, gravity))
        rate = rate + joint_vel[..., column, None] * torch.eye(3, device=rate.device, dtype=rate.dtype)[AXES.index(axis)]
    return rate.square().sum(-1) - (rate * gravity).sum(-1).square()


def variable_posture(
    joint_pos: Tensor,
    command: Tensor,
    joint_names: Sequence[str],
    standing: Mapping[str, float],
    walking: Mapping[str, float],
    running: Mapping[str, float],
    walking_threshold: float = 0.05,
    running_threshold: float = 1.5,
) -> Tensor:
    """Reward joints near the default posture, the nearer the slower the command: exp(-mean (distance / deviation)^2), in 0..1.

    Args:
        standing, walking, running: regular expression of joints -> deviation (rad) at such commands. The first that matches counts.
        walking_threshold, running_threshold: from which sum of planar speed (m/s) and yaw rate (rad/s) on they count.
    """
    speed = torch.linalg.vector_norm(command[..., :2], dim=-1) + command[..., 2].abs()
    deviations = [_of_joints(tuple(joint_names), tuple(given.items())).to(joint_pos) for given in (standing, walking, running)]
    gait = (speed >= walking_threshold).long() + (speed >= running_threshold)
    return torch.exp(-(joint_pos / torch.stack(deviations)[gait]).square().mean(-1))


def _seen_after_turning(vector: Tensor, axis: str, angle: Tensor) -> Tensor:
    """Return vectors ``[..., 3]`` as a body sees them that has turned by ``angle [...]`` (rad) about an axis of the one before."""
    first, second = {"roll": (1, 2), "pitch": (2, 0), "yaw": (0, 1)}[axis]
    cos, sin = torch.cos(angle), torch.sin(angle)
    turned = list(vector.unbind(-1))
    turned[first] = cos * vector[..., first] + sin * vector[..., second]
    turned[second] = cos * vector[..., second] - sin * vector[..., first]
    return torch.stack(turned, dim=-1)


@lru_cache
def _of_joints(joints: tuple[str, ...], given: tuple[tuple[str, float], ...]) -> Tensor:
    """Return the value ``[A]`` of each joint, that of the first expression that matches its whole name."""
    values = [next((value for expression, value in given if re.fullmatch(expression, joint)), None) for joint in joints]
    if None in values:
        raise ValueError(f"no expression matches {joints[values.index(None)]}")
    return torch.tensor(values)
