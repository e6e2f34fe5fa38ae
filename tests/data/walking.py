"""Recordings that obey kinematics: joints that swing, with falls and pushes, so that a splice shows and nothing else does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes, concatenate
from rwmu.robots.anymal_d import anymal_d
from rwmu.robots.robot import Robot

ROBOT = anymal_d()
STEP_DT = 0.02


def walking_episode(length: int, seed: int, falls: bool = False, robot: Robot = ROBOT) -> Episodes:
    """Return one episode of joints that swing at 2 Hz, each with its own amplitude and phase.

    Positions are the exact integral of the velocities; the torques, but for noise, are those of a spring and damper that draw the
    joints towards the actions (which do not move them); gravity points down, within some degrees. Feet touch the ground in half
    of the rows, thighs in a tenth. The base is pushed, by 1 m/s at
    once, every 50 rows; an episode that falls ends with the joints thrown about three times as fast, and tilted.
    """
    generator = torch.Generator().manual_seed(seed)
    layout, joints = robot.state_layout, robot.num_joints
    draw = partial(torch.rand, generator=generator, dtype=torch.float64)
    state = torch.randn(length, layout.size, generator=generator, dtype=torch.float64)
    rate = torch.full((length,), 2 * torch.pi * 2.0, dtype=torch.float64)
    if falls:
        rate[-10:] *= 3.0
    angle = STEP_DT * (rate.cumsum(0) - 0.5 * rate).unsqueeze(-1) + 2 * torch.pi * draw(joints)
    amplitude = 0.1 + 0.3 * draw(joints)
    state[:, layout["joint_pos"]] = amplitude * angle.sin() + 0.2 * (draw(joints) - 0.5)
    state[:, layout["joint_vel"]] = amplitude * rate.unsqueeze(-1) * angle.cos()
    state[:, layout["base_lin_vel"]] = 0.01 * state[:, layout["base_lin_vel"]]
    state[:, layout["base_lin_vel"].start] += (torch.arange(length) // 50) % 2
    action = torch.randn(length, joints, generator=generator)
    action[0] = 0.0
    tilt = 0.1 * state[:, layout["projected_gravity"]] - torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    state[:, layout["projected_gravity"]] = tilt / tilt.norm(dim=-1, keepdim=True)
    if falls:  # tilted by 53 degrees, neither upright nor lying
        state[-1, layout["projected_gravity"]] = torch.tensor([0.0, -0.8, -0.6], dtype=torch.float64)
    lag = robot.action_scale * action - state[:, layout["joint_pos"]]
    state[:, layout["joint_torque"]] += 40.0 * lag - 2.0 * state[:, layout["joint_vel"]]
    up = torch.full((robot.contact_layout.size,), 0.5)
    up[robot.contact_layout["undesired"]] = 0.9
    termination = torch.zeros(length, dtype=torch.bool)
    termination[-1] = falls
    return Episodes(
        state=state.float(),
        action=action,
        contact=draw(length, robot.contact_layout.size) > up,
        termination=termination,
        command=torch.zeros(length, 3),
        reward=torch.zeros(length),
        lengths=torch.tensor([length]),
        levels=["walk"],
        seeds=torch.tensor([seed]),
        attributes={"robot": robot.name, "layout": layout.describe(), "step_dt": STEP_DT},
    )


def walking_episodes(lengths: Sequence[int], falling: Sequence[int] = (), seed: int = 0) -> Episodes:
    """Return several, of which those numbered in ``falling`` end in a fall."""
    return concatenate([walking_episode(length, 100 * seed + i, i in falling) for i, length in enumerate(lengths)])


def table(episodes: Episodes) -> Tensor:
    """Return the rows ``[R, D + A + C + 1]`` of the published table."""
    flags = torch.cat([episodes.contact, episodes.termination.unsqueeze(-1)], dim=-1)
    return torch.cat([episodes.state, episodes.action, flags.float()], dim=-1)
