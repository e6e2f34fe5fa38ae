"""Unitree Go1: joints, posture, gains, contacts, mirror and its mesh-free MuJoCo model.

Joint order is type by type (hip, thigh, calf), legs FL, RL, FR, RR.

Masses, inertias, offsets and limits come from Unitree's public description of the Go1 (Copyright 2016-2022 HangZhou YuShu
TECHNOLOGY CO., LTD., BSD-3-Clause, see NOTICE), feet merged into the calves. The calf's effort limit (35.55 N m, of its linkage)
is that of MuJoCo Menagerie's model. Collision shapes are primitives of our own, touching the floor only.

Two departures make the left-right mirror exact: the trunk's mass is centred in y (published: 2 mm to the left), and the right
calves are mirror images of the left ones (published: all four alike). The IMU (1 g) is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.robots.mjcf import Link, numbers
from rwmu.robots.robot import ContactGroups, Motors, Robot, legged_state

LEGS = ("FL", "RL", "FR", "RR")
JOINT_AXES = {"hip": "roll", "thigh": "pitch", "calf": "pitch"}
JOINTS = tuple(f"{leg}_{joint}_joint" for joint in JOINT_AXES for leg in LEGS)
RANGES = {"hip": (-1.047, 1.047), "thigh": (-0.663, 2.967), "calf": (-2.723, -0.838)}  # rad
BASE_HEIGHT = 0.4  # m

_FRONT = {"FL": 1, "RL": -1, "FR": 1, "RR": -1}
_LEFT = {"FL": 1, "RL": 1, "FR": -1, "RR": -1}
_LENGTH = 0.213  # m, of thigh and calf

_TRUNK = Link(5.204, (0.0223, 0.0, -0.0005), (0.0168352, 0.0656071, 0.0742721, 0.0, 0.000236795, 0.0))
_HIP = Link(0.591, (-0.00541, -0.00074, 6e-06), (0.000374268, 0.000635924, 0.000457647, 3.68444e-05, -9.86754e-07, -1.17289e-06))
_THIGH = Link(0.92, (-0.003468, -0.018947, -0.032736), (0.00585156, 0.00559616, 0.00107157, 1.78328e-06, 0.000328291, 2.14307e-05))
_CALF = Link(
    0.191, (0.00431134, 0.00089642, -0.150771), (0.00328762, 0.00330576, 4.15697e-05, 1.1028e-06, -0.00012883, -2.92778e-05)
)


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
        base_height=BASE_HEIGHT,
        bodies=_bodies,
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


def _bodies(visual: bool) -> list[str]:
    lines = [f'<body name="trunk" pos="0 0 {BASE_HEIGHT}"><freejoint name="root"/>', _TRUNK.inertial()]
    lines.append('<geom name="trunk" type="box" size="0.188 0.05 0.055" rgba=".2 .2 .22 1"/>')
    if visual:
        lines.append('<geom class="visual" type="box" size="0.05 0.06 0.045" pos="0.23 0 0" rgba=".75 .75 .78 1"/>')
    for leg in LEGS:
        lines += _leg(leg, visual)
    return [*lines, "</body>"]


def _leg(leg: str, visual: bool) -> list[str]:
    """Return the lines of one leg: hip, thigh, calf with its foot."""
    front, left = _FRONT[leg], _LEFT[leg]
    shape = f'<geom class="visual" type="capsule" size=".04" fromto="{numbers(0, -left * 0.02, 0, 0, left * 0.05, 0)}"/>'

    def joint(kind: str, axis: str) -> str:
        return f'<joint name="{leg}_{kind}_joint" axis="{axis}" range="{numbers(*RANGES[kind])}"/>'

    def capsule(part: str, radius: float) -> str:
        ends = numbers(0, 0, -0.02, 0, 0, 0.02 - _LENGTH)
        return f'<geom name="{leg}_{part}" type="capsule" size="{radius}" fromto="{ends}"/>'

    return [
        f'<body name="{leg}_hip" pos="{numbers(front * 0.1881, left * 0.04675, 0)}">',
        f"{joint('hip', '1 0 0')}{_HIP.inertial(front, left)}{shape if visual else ''}",
        f'<body name="{leg}_thigh" pos="{numbers(0, left * 0.08, 0)}">',
        f"{joint('thigh', '0 1 0')}{_THIGH.inertial(1, left)}{capsule('thigh', 0.02)}",
        f'<body name="{leg}_calf" pos="{numbers(0, 0, -_LENGTH)}">',
        f"{joint('calf', '0 1 0')}{_CALF.inertial(1, left)}{capsule('calf', 0.012)}",
        f'<geom name="{leg}_foot" type="sphere" size=".02" pos="{numbers(0, 0, -_LENGTH)}" rgba=".1 .1 .1 1"/>',
        "</body></body></body>",
    ]
