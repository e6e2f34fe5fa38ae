"""ANYmal D: joint order, default posture, limits, gains, state and observation layouts, mirrors.

Joint order is Isaac Lab's: type-major (HAA, HFE, KFE), legs LF, LH, RF, RH.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from rwmu.robots.layout import Field, StateLayout
from rwmu.robots.symmetry import Mirror, quadruped_mirrors

LEGS = ("LF", "LH", "RF", "RH")
JOINT_TYPES = ("HAA", "HFE", "KFE")
JOINTS = tuple(f"{leg}_{joint}" for joint in JOINT_TYPES for leg in LEGS)

STATE_LAYOUT = StateLayout(
    [
        Field("base_lin_vel", 3, "m/s"),
        Field("base_ang_vel", 3, "rad/s"),
        Field("projected_gravity", 3, "1"),
        Field("joint_pos", 12, "rad"),  # relative to the default posture
        Field("joint_vel", 12, "rad/s"),
        Field("joint_torque", 12, "N m"),
    ]
)
OBSERVATION_LAYOUT = StateLayout(
    [
        Field("base_lin_vel", 3, "m/s"),
        Field("base_ang_vel", 3, "rad/s"),
        Field("projected_gravity", 3, "1"),
        Field("command", 3, "m/s, m/s, rad/s"),
        Field("joint_pos", 12, "rad"),
        Field("joint_vel", 12, "rad/s"),
        Field("last_action", 12, "1"),
    ]
)
CONTACT_LAYOUT = StateLayout([Field("thigh", 4, "0/1"), Field("foot", 4, "0/1")])

# Half-widths of the uniform observation noise of Isaac Lab's task.
OBSERVATION_NOISE = {
    "base_lin_vel": 0.1,
    "base_ang_vel": 0.2,
    "projected_gravity": 0.05,
    "joint_pos": 0.01,
    "joint_vel": 1.5,
}

# Mirror signs of HAA, HFE, KFE.
_JOINT_SIGNS = {"left_right": (-1.0, 1.0, 1.0), "front_back": (1.0, -1.0, -1.0)}


def _default_joint_pos() -> Tensor:
    front = torch.tensor([1.0 if leg.endswith("F") else -1.0 for leg in LEGS])
    return torch.cat([torch.zeros(4), 0.4 * front, -0.8 * front])


@dataclass(frozen=True)
class Robot:
    """What the velocity task needs to know of a robot.

    Attributes:
        name: identifies the robot in datasets and checkpoints.
        state_layout, observation_layout, contact_layout: columns by name.
        default_joint_pos: ``[A]``, rad.
        joint_lower, joint_upper: ``[A]``, soft limits relative to the default posture, rad; infinite where none are imposed.
        action_scale: joint target = default + action_scale * action, rad.
        observation_noise: field -> half-width of uniform noise, in the field's unit.
        mirrors: the robot's symmetry group, by name, the identity first.
    """

    name: str
    state_layout: StateLayout
    observation_layout: StateLayout
    contact_layout: StateLayout
    default_joint_pos: Tensor
    joint_lower: Tensor
    joint_upper: Tensor
    action_scale: float
    observation_noise: dict[str, float]
    mirrors: dict[str, Mirror] = field(repr=False)

    @property
    def num_joints(self) -> int:
        """Return the number of joints, which is A."""
        return len(self.default_joint_pos)


def anymal_d() -> Robot:
    """Return ANYmal D as Isaac Lab's flat velocity task describes it."""
    no_limit = torch.full((len(JOINTS),), torch.inf)  # the published task weighs dof_pos_limits with 0 and imposes none
    return Robot(
        name="anymal_d",
        state_layout=STATE_LAYOUT,
        observation_layout=OBSERVATION_LAYOUT,
        contact_layout=CONTACT_LAYOUT,
        default_joint_pos=_default_joint_pos(),
        joint_lower=-no_limit,
        joint_upper=no_limit,
        action_scale=0.5,
        observation_noise=dict(OBSERVATION_NOISE),
        mirrors=quadruped_mirrors(STATE_LAYOUT, OBSERVATION_LAYOUT, LEGS, _JOINT_SIGNS, contact_groups=2),
    )
