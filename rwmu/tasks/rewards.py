"""Reward terms of the velocity task: pure functions ``[B, ...] -> [B]``, unweighted, not multiplied by the step duration.

A term's arguments are asked for by name: those that :class:`~rwmu.tasks.velocity.VelocityTask` knows (its docstring lists them) it
gives at every step, the others come from the configuration. Names, formulas and weights are those of Isaac Lab's flat velocity
task as RWM's imagined environment computes them. Velocities and gravity are in the base frame.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from rwmu.tasks.terms import Term


def track_lin_vel_xy_exp(command: Tensor, base_lin_vel: Tensor, variance: float = 0.25) -> Tensor:
    """Reward the tracked planar velocity: exp(-|command_xy - velocity_xy|^2 / variance), in 0..1."""
    return torch.exp(-(command[..., :2] - base_lin_vel[..., :2]).square().sum(-1) / variance)


def track_ang_vel_z_exp(command: Tensor, base_ang_vel: Tensor, variance: float = 0.25) -> Tensor:
    """Reward the tracked yaw rate: exp(-(command_yaw - yaw rate)^2 / variance), in 0..1."""
    return torch.exp(-(command[..., 2] - base_ang_vel[..., 2]).square() / variance)


def lin_vel_z_l2(base_lin_vel: Tensor) -> Tensor:
    """Square the vertical velocity, m^2/s^2."""
    return base_lin_vel[..., 2].square()


def ang_vel_xy_l2(base_ang_vel: Tensor) -> Tensor:
    """Square and sum the roll and pitch rates, rad^2/s^2."""
    return base_ang_vel[..., :2].square().sum(-1)


def dof_torques_l2(joint_torque: Tensor) -> Tensor:
    """Square and sum the joint torques, N^2 m^2."""
    return joint_torque.square().sum(-1)


def dof_acc_l2(joint_vel: Tensor, previous_joint_vel: Tensor, step_dt: float) -> Tensor:
    """Square and sum the joint accelerations, differences of *velocities* over one control step, rad^2/s^4.

    The published code subtracts joint positions here (a wrong slice); this is the corrected term.
    """
    return ((joint_vel - previous_joint_vel) / step_dt).square().sum(-1)


def action_rate_l2(action: Tensor, last_action: Tensor) -> Tensor:
    """Square and sum the change of the action."""
    return (action - last_action).square().sum(-1)


def feet_air_time(last_air_time_s: Tensor, contact_time_s: Tensor, command: Tensor, threshold_s: float, step_dt: float) -> Tensor:
    """Sum (last air time - threshold) over the feet that have just touched down, where a planar velocity is commanded.

    A foot has just touched down when its time in contact is one step. Seconds.
    """
    touched_down = (contact_time_s > 0.0) & (contact_time_s < step_dt + 1e-8)
    moving = torch.linalg.vector_norm(command[..., :2], dim=-1) > 0.1
    reward: Tensor = ((last_air_time_s - threshold_s) * touched_down).sum(-1) * moving
    return reward


def undesired_contacts(undesired: Tensor) -> Tensor:
    """Count the contacts that are not wanted."""
    return undesired.sum(-1)


def flat_orientation_l2(projected_gravity: Tensor) -> Tensor:
    """Square and sum the horizontal components of the gravity direction: sin^2 of the tilt."""
    return projected_gravity[..., :2].square().sum(-1)


def stand_still(joint_pos: Tensor, command: Tensor) -> Tensor:
    """Sum the joints' absolute distance from the default posture (rad) where nearly nothing is commanded."""
    distance: Tensor = joint_pos.abs().sum(-1) * (torch.linalg.vector_norm(command, dim=-1) < 0.05)
    return distance


def dof_pos_limits(joint_pos: Tensor, joint_lower: Tensor, joint_upper: Tensor) -> Tensor:
    """Sum how far the joints are outside their soft limits, rad; all relative to the default posture."""
    return ((joint_lower - joint_pos).clamp(min=0.0) + (joint_pos - joint_upper).clamp(min=0.0)).sum(-1)


ISAAC_LAB: dict[str, Term] = {
    "track_lin_vel_xy_exp": Term(track_lin_vel_xy_exp, 1.0),
    "track_ang_vel_z_exp": Term(track_ang_vel_z_exp, 0.5),
    "lin_vel_z_l2": Term(lin_vel_z_l2, -2.0),
    "ang_vel_xy_l2": Term(ang_vel_xy_l2, -0.05),
    "dof_torques_l2": Term(dof_torques_l2, -2.5e-5),
    "dof_acc_l2": Term(dof_acc_l2, -2.5e-7),
    "action_rate_l2": Term(action_rate_l2, -0.01),
    "feet_air_time": Term(partial(feet_air_time, threshold_s=0.5), 0.5),
    "undesired_contacts": Term(undesired_contacts, -1.0),
    "flat_orientation_l2": Term(flat_orientation_l2, -5.0),
    "stand_still": Term(stand_still, -1.0),
    "dof_pos_limits": Term(dof_pos_limits, 0.0),
}
