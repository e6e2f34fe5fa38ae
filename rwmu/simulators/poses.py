"""Where a robot is that knows only how fast it moves: rows of states as poses, to be looked at.

Heading and place are integrated from the base's velocities; the tilt is read off gravity, and so does not drift.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rwmu.robots.robot import Robot

Floats = NDArray[np.float64]


def starting_pose(state: Floats, robot: Robot) -> Floats:
    """Return the pose ``[7 + A]`` of a first row ``[D]``: at the origin, at its starting height, heading along x."""
    base = np.array([0.0, 0.0, robot.base_height, 1.0, 0.0, 0.0, 0.0])
    return np.asarray(moved(np.concatenate([base, np.zeros(robot.num_joints)])[None], state[None], robot, 0.0)[0])


def moved(pose: Floats, state: Floats, robot: Robot, step_dt: float) -> Floats:
    """Return the poses of B robots one step later.

    Args:
        pose: ``[B, 7 + A]`` before: base position (m), quaternion (w first), joint angles (rad).
        state: ``[B, D]``, physical units, the row that the step reaches. step_dt: s.
    """
    layout = robot.state_layout
    linear, angular, gravity = (state[:, layout[name]] for name in ("base_lin_vel", "base_ang_vel", "projected_gravity"))
    turned = _product(pose[:, 3:7], _turn(step_dt * angular))
    up = rotated(turned, -gravity / np.linalg.norm(gravity, axis=1, keepdims=True))  # near the world's z
    upright = np.stack([1.0 + up[:, 2], up[:, 1], -up[:, 0], np.zeros(len(up))], axis=1)  # the shortest turn of it to there
    quaternion = _unit(_product(_unit(upright), turned))
    position = pose[:, :3] + step_dt * rotated(quaternion, linear)
    joints = state[:, layout["joint_pos"]] + robot.default_joint_pos.double().numpy()
    return np.concatenate([position, quaternion, joints], axis=1)


def rotated(quaternion: Floats, vector: Floats) -> Floats:
    """Return vectors ``[B, 3]`` turned by unit quaternions ``[B, 4]``, w first."""
    axis = quaternion[:, 1:]
    doubled = 2.0 * np.cross(axis, vector)
    return np.asarray(vector + quaternion[:, :1] * doubled + np.cross(axis, doubled))


def _turn(vector: Floats) -> Floats:
    """Return the quaternions ``[B, 4]`` of turns about ``[B, 3]``, by its length in rad."""
    angle = np.linalg.norm(vector, axis=1, keepdims=True)
    return np.concatenate([np.cos(0.5 * angle), 0.5 * np.sinc(0.5 * angle / np.pi) * vector], axis=1)


def _product(left: Floats, right: Floats) -> Floats:
    """Return Hamilton's product of quaternions ``[B, 4]``: the right turn first."""
    scalar = left[:, :1] * right[:, :1] - np.sum(left[:, 1:] * right[:, 1:], axis=1, keepdims=True)
    vector = left[:, :1] * right[:, 1:] + right[:, :1] * left[:, 1:] + np.cross(left[:, 1:], right[:, 1:])
    return np.concatenate([scalar, vector], axis=1)


def _unit(quaternion: Floats) -> Floats:
    return np.asarray(quaternion / np.maximum(np.linalg.norm(quaternion, axis=1, keepdims=True), 1e-9))
