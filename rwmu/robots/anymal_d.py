"""ANYmal D: joints, posture, gains, contacts, mirrors and its mesh-free MuJoCo model.

Joint order is Isaac Lab's: type by type (HAA, HFE, KFE), legs LF, LH, RF, RH.

Masses, inertias, offsets and hip limits come from the public ANYmal C simple description (Copyright 2020 ANYbotics AG,
BSD-3-Clause, see NOTICE), with fixed links merged into their parents. Collision shapes are primitives of our own: a box, four
thigh and four shank capsules, four foot spheres, touching the floor only. The hatch's published inertia is not positive definite;
its mass (0.142 kg) is added to the base.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.robots.mjcf import Link, numbers
from rwmu.robots.robot import ContactGroups, Motors, Robot, legged_state

LEGS = ("LF", "LH", "RF", "RH")
JOINT_AXES = {"HAA": "roll", "HFE": "pitch", "KFE": "pitch"}
JOINTS = tuple(f"{leg}_{joint}" for joint in JOINT_AXES for leg in LEGS)
STATE_LAYOUT = legged_state(len(JOINTS))
BASE_HEIGHT = 0.6  # m

_FRONT = {"LF": 1, "LH": -1, "RF": 1, "RH": -1}
_LEFT = {"LF": 1, "LH": 1, "RF": -1, "RH": -1}

_BASE = Link(26.37317, (-0.018518, -0.000179, 0.00814), (0.214008, 1.7799, 1.83226, 0.00822721, 0.0592186, -0.00116207))
# Hips and thighs come in two parts; a leg has the other leg's part on the diagonal, turned by half a turn about z.
_HIP_LF = Link(2.781, (0.056661, 0.017394, -0.000461), (0.00329553, 0.0049383, 0.00583295, -4.45346e-05, -9.79127e-05, 0.000135809))
_HIP_LH = Link(
    2.781, (-0.056763, 0.017394, -0.000461), (0.00329553, 0.00494012, 0.00583477, -4.50297e-05, -0.000100004, 0.000135809)
)
_THIGH_LF = Link(3.071, (-4.6e-05, 0.030815, -0.245696), (0.029904, 0.0295638, 0.00486108, -4.42919e-05, -9.448e-05, 0.00414243))
_THIGH_LH = Link(3.071, (-4.6e-05, 0.030815, -0.245696), (0.029904, 0.0295638, 0.00486108, -4.43959e-05, -0.000114794, 0.00414243))
_SHANK = Link(0.58842, (0.061253, 0.005462, -0.08066), (0.00881038, 0.0101611, 0.00154978, 5.35713e-05, 0.00181935, -2.26604e-05))


def anymal_d() -> Robot:
    """Return ANYmal D as Isaac Lab's flat velocity task describes it."""
    no_limit = torch.full((len(JOINTS),), torch.inf)  # the published task weighs dof_pos_limits with 0 and imposes none
    return Robot(
        name="anymal_d",
        joint_names=JOINTS,
        joint_axes=tuple(JOINT_AXES[joint.split("_")[1]] for joint in JOINTS),
        state_layout=STATE_LAYOUT,
        default_joint_pos=_default_joint_pos(),
        joint_lower=-no_limit,
        joint_upper=no_limit,
        action_scale=torch.full((len(JOINTS),), 0.5),
        # Isaac Lab's gains (40 and 5) cannot hold this model at zero action, because its own actuator is a network; these can.
        motors=Motors(stiffness=80.0, damping=2.0, effort_limit=80.0, armature=0.04, saturation_torque=120.0, velocity_limit=7.5),
        contacts=ContactGroups(
            feet=tuple(f"{leg}_foot" for leg in LEGS),
            undesired=tuple(f"{leg}_thigh" for leg in LEGS),
            terminating=("base",),
        ),
        # The mass is off-centre in x: a front-back mirror leaves the task as it is, but the dynamics only nearly.
        reflections={"left_right": {"LF": "RF", "LH": "RH"}, "front_back": {"LF": "LH", "RF": "RH"}},
        base_height=BASE_HEIGHT,
        bodies=_bodies,
        credit="Inertias and offsets: ANYmal C simple description, Copyright 2020 ANYbotics AG, BSD-3-Clause.",
        published_scale=_published_scale(),
    )


def _default_joint_pos() -> Tensor:
    front = torch.tensor([float(_FRONT[leg]) for leg in LEGS])
    return torch.cat([torch.zeros(4), 0.4 * front, -0.8 * front])


def _published_scale() -> tuple[Tensor, Tensor]:
    """Return mean and deviation ``[D]`` of the states in RWM's published configuration; set by hand, not fitted to data."""
    mean, std = torch.zeros(STATE_LAYOUT.size), torch.zeros(STATE_LAYOUT.size)
    mean[STATE_LAYOUT["projected_gravity"]] = torch.tensor([0.0, 0.0, -1.0])
    mean[STATE_LAYOUT["joint_torque"]] = torch.tensor([-2.0, -2.0, 2.0, 2.0, -6.0, 8.0, -6.0, 8.0, 12.0, -12.0, 12.0, -12.0])
    std[STATE_LAYOUT["base_lin_vel"]] = torch.tensor([0.5, 0.5, 0.1])
    std[STATE_LAYOUT["base_ang_vel"]] = torch.tensor([0.3, 0.3, 0.5])
    std[STATE_LAYOUT["projected_gravity"]] = torch.tensor([0.02, 0.02, 0.04])
    std[STATE_LAYOUT["joint_pos"]] = 0.15
    std[STATE_LAYOUT["joint_vel"]] = torch.tensor([1.0, 1.5, 2.5]).repeat_interleave(len(LEGS))
    std[STATE_LAYOUT["joint_torque"]] = 15.0
    return mean, std


def _bodies(visual: bool) -> list[str]:
    lines = [f'<body name="base" pos="0 0 {BASE_HEIGHT}"><freejoint name="root"/>', _BASE.inertial()]
    lines.append('<geom name="base" type="box" size="0.42 0.12 0.09" rgba=".75 .12 .1 1"/>')
    if visual:
        lines.append('<geom class="visual" type="box" size="0.29 0.16 0.08" rgba=".3 .3 .33 1"/>')
        lines.append('<geom class="visual" type="cylinder" size=".07 .06" pos="-.364 0 .13" rgba=".1 .1 .1 1"/>')
    for leg in LEGS:
        lines += _leg(leg, visual)
    return [*lines, "</body>"]


def _leg(leg: str, visual: bool) -> list[str]:
    """Return the lines of one leg: hip, thigh, shank with its foot."""
    front, left = _FRONT[leg], _LEFT[leg]
    lower, upper = (-0.72, 0.49) if left > 0 else (-0.49, 0.72)
    hip, thigh = (_HIP_LF, _THIGH_LF) if front == left else (_HIP_LH, _THIGH_LH)
    shank_ends = numbers(front * 0.08795, left * 0.01305, -0.04, front * 0.08795, left * 0.01305, -0.30)
    thigh_ends = numbers(0, left * 0.03, -0.02, 0, left * 0.03, -0.285)
    shown = _visual_geoms(front, left) if visual else ["", ""]
    return [
        f'<body name="{leg}_HIP" pos="{numbers(front * 0.2999, left * 0.104, 0)}">',
        f'<joint name="{leg}_HAA" axis="1 0 0" range="{lower} {upper}"/>{hip.inertial(left, left)}{shown[0]}',
        f'<body name="{leg}_THIGH" pos="{numbers(front * 0.0599, left * 0.08381, 0)}">',
        f'<joint name="{leg}_HFE" axis="0 1 0" range="-3.1416 3.1416"/>{thigh.inertial(left, left)}',
        f'<geom name="{leg}_thigh" type="capsule" size=".05" fromto="{thigh_ends}"/>',
        f'<body name="{leg}_SHANK" pos="{numbers(0, left * 0.1003, -0.285)}">',
        f'<joint name="{leg}_KFE" axis="0 1 0" range="-3.1416 3.1416"/>{_SHANK.inertial(front, left)}{shown[1]}',
        f'<geom name="{leg}_shank" type="capsule" size=".02" fromto="{shank_ends}"/>',
        f'<geom name="{leg}_foot" type="sphere" size=".03" pos="{numbers(front * 0.08795, left * 0.01305, -0.31547)}"'
        ' rgba=".1 .1 .1 1"/>',
        "</body></body></body>",
    ]


def _visual_geoms(front: int, left: int) -> list[str]:
    """Return the shapes of hip and knee that only a renderer sees."""
    hip = f'<geom class="visual" type="capsule" size=".045" fromto="{numbers(-front * 0.02, 0, 0, front * 0.0599, 0, 0)}"/>'
    knee = numbers(0, left * 0.02, 0, front * 0.08795, left * 0.015, -0.02)
    return [hip, f'<geom class="visual" type="capsule" size=".03" fromto="{knee}" rgba=".3 .3 .33 1"/>']
