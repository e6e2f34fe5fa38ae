"""Unitree Go1: joints, posture, gains, contacts, mirror and its mesh-free MuJoCo model.

Joint order is type by type (hip, thigh, calf), legs FL, RL, FR, RR.

Its bodies are ``assets/go1/bodies.xml``. Masses, inertias, offsets and limits come from Unitree's public description of the Go1
(Copyright 2016-2022 HangZhou YuShu TECHNOLOGY CO., LTD., BSD-3-Clause, see NOTICE), feet merged into the calves. The calf's effort
limit (35.55 N m, of its linkage) is that of MuJoCo Menagerie's model. Collision shapes are primitives of our own, touching the
floor only.

Two departures make the left-right mirror exact: the trunk's mass is centred in y (published: 2 mm to the left), and the right
calves are mirror images of the left ones (published: all four alike). The IMU (1 g) is left out.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from rwmu.robots.mjcf import ASSETS, bodies
from rwmu.robots.robot import ContactGroups, Motors, Robot, legged_state

LEGS = ("FL", "RL", "FR", "RR")
JOINT_AXES = {"hip": "roll", "thigh": "pitch", "calf": "pitch"}
JOINTS = tuple(f"{leg}_{joint}_joint" for joint in JOINT_AXES for leg in LEGS)
RANGES = {"hip": (-1.047, 1.047), "thigh": (-0.663, 2.967), "calf": (-2.723, -0.838)}  # rad

_FRONT = {"FL": 1, "RL": -1, "FR": 1, "RR": -1}
_LEFT = {"FL": 1, "RL": 1, "FR": -1, "RR": -1}


def go1() -> Robot:
    """Return the Go1."""
    default = _default_joint_pos()
    lower, upper = (torch.tensor([RANGES[_kind(joint)][end] for joint in JOINTS]) - default for end in (0, 1))
    return Robot(
        name="go1",
        joint_names=JOINTS,
        joint_axes=tuple(JOINT_AXES[_kind(joint)] for joint in JOINTS),
        state_layout=legged_state(len(JOINTS)),
        default_joint_pos=default,
        joint_lower=lower,
        joint_upper=upper,
        action_scale=torch.full((len(JOINTS),), 0.25),
        motors=Motors(
            stiffness=35.0,
            damping=0.8,
            effort_limit=_by_kind(23.7, 23.7, 35.55),
            armature=0.01,
            saturation_torque=_by_kind(23.7, 23.7, 35.55),
            velocity_limit=_by_kind(30.1, 30.1, 20.06),
        ),
        contacts=ContactGroups(
            feet=tuple(f"{leg}_foot" for leg in LEGS),
            undesired=tuple(f"{leg}_{part}" for part in ("thigh", "calf") for leg in LEGS),
            terminating=("trunk",),
        ),
        reflections={"left_right": {"FL": "FR", "RL": "RR"}},  # all knees point backwards: back to front it is another robot
        base_height=0.4,
        bodies=partial(bodies, ASSETS / "go1" / "bodies.xml"),
        credit="Inertias and offsets: Unitree's Go1 description, Copyright 2016-2022 HangZhou YuShu TECHNOLOGY, BSD-3-Clause.",
    )


def _kind(joint: str) -> str:
    return joint.split("_")[1]


def _by_kind(hip: float, thigh: float, calf: float) -> tuple[float, ...]:
    values = {"hip": hip, "thigh": thigh, "calf": calf}
    return tuple(values[_kind(joint)] for joint in JOINTS)


def _default_joint_pos() -> Tensor:
    hips, thighs = [0.1 * _LEFT[leg] for leg in LEGS], [0.8 if _FRONT[leg] > 0 else 1.0 for leg in LEGS]
    return torch.tensor([*hips, *thighs, *[-1.5] * len(LEGS)])
