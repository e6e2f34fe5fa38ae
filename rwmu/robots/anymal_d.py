"""ANYmal D: joints, posture, gains, contacts, mirrors and its mesh-free MuJoCo model.

Joint order is Isaac Lab's: type by type (HAA, HFE, KFE), legs LF, LH, RF, RH.

Its bodies are ``assets/anymal_d/bodies.xml``. Masses, inertias, offsets and hip limits come from the public ANYmal C simple
description (Copyright 2020 ANYbotics AG, BSD-3-Clause, see NOTICE), with fixed links merged into their parents. Collision shapes
are primitives of our own, touching the floor only. The hatch's published inertia is not positive definite; its mass (0.142 kg) is
added to the base.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from rwmu.robots.mjcf import ASSETS, bodies
from rwmu.robots.robot import ContactGroups, Motors, Robot, legged_state

LEGS = ("LF", "LH", "RF", "RH")
JOINT_AXES = {"HAA": "roll", "HFE": "pitch", "KFE": "pitch"}
JOINTS = tuple(f"{leg}_{joint}" for joint in JOINT_AXES for leg in LEGS)
STATE_LAYOUT = legged_state(len(JOINTS))

_FRONT = {"LF": 1, "LH": -1, "RF": 1, "RH": -1}


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
        base_height=0.6,
        bodies=partial(bodies, ASSETS / "anymal_d" / "bodies.xml"),
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
