"""Unitree G1, the humanoid of 29 joints, as mjlab has it: joints, posture, gains, contacts and mirror; its model is mjlab's own.

Joint order is that of mjlab's model: legs, waist, arms, each left, then right. Posture, motors and action scales are those of mjlab
1.6 (Apache-2.0): each motor's rotor inertia, seen at the joint, gives its gains, and an action of 1 asks for a quarter of the
largest torque.

Left to right it is its own image, but for tenths of a millimetre and of a gram's place in waist, hands and feet.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from rwmu.robots.mjlab_asset import MjlabAsset, drawn_bodies, gains, soft_limits
from rwmu.robots.robot import ContactGroups, Motors, Robot, legged_state

SIDES = ("left", "right")
LEG = ("hip_pitch", "hip_roll", "hip_yaw", "knee", "ankle_pitch", "ankle_roll")
WAIST = ("waist_yaw", "waist_roll", "waist_pitch")
ARM = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist_roll", "wrist_pitch", "wrist_yaw")
_PARTS = (*(f"{side}_{part}" for side in SIDES for part in LEG), *WAIST, *(f"{side}_{part}" for side in SIDES for part in ARM))
JOINTS = tuple(f"{part}_joint" for part in _PARTS)

# Motor -> rotor inertia seen at the joint (kg m^2) and largest torque (N m). Two of the first drive waist and ankles.
_MOTORS = {
    "5020": (0.003609725, 25.0),
    "two 5020": (2 * 0.003609725, 2 * 25.0),
    "7520-14": (0.01017752004132231, 88.0),
    "7520-22": (0.025101925, 139.0),
    "4010": (0.00425, 5.0),
}
_MOTOR_OF = {
    **dict.fromkeys(("elbow", "shoulder_pitch", "shoulder_roll", "shoulder_yaw", "wrist_roll"), "5020"),
    **dict.fromkeys(("waist_roll", "waist_pitch", "ankle_pitch", "ankle_roll"), "two 5020"),
    **dict.fromkeys(("hip_pitch", "hip_yaw", "waist_yaw"), "7520-14"),
    **dict.fromkeys(("hip_roll", "knee"), "7520-22"),
    **dict.fromkeys(("wrist_pitch", "wrist_yaw"), "4010"),
}
_POSTURE = {"hip_pitch": -0.312, "knee": 0.669, "ankle_pitch": -0.363, "shoulder_pitch": 0.2, "elbow": 0.6}  # rad, knees bent
_SHOULDER_ROLL = {"left": 0.2, "right": -0.2}
_RANGES = {
    "hip_pitch": (-2.5307, 2.8798),
    "hip_roll": (-0.5236, 2.9671),  # of the left side, as all of them
    "hip_yaw": (-2.7576, 2.7576),
    "knee": (-0.087267, 2.8798),
    "ankle_pitch": (-0.87267, 0.5236),
    "ankle_roll": (-0.2618, 0.2618),
    "waist_yaw": (-2.618, 2.618),
    "waist_roll": (-0.52, 0.52),
    "waist_pitch": (-0.52, 0.52),
    "shoulder_pitch": (-3.0892, 2.6704),
    "shoulder_roll": (-1.5882, 2.2515),
    "shoulder_yaw": (-2.618, 2.618),
    "elbow": (-1.0472, 2.0944),
    "wrist_roll": (-1.97222, 1.97222),
    "wrist_pitch": (-1.61443, 1.61443),
    "wrist_yaw": (-1.61443, 1.61443),
}


def g1() -> Robot:
    """Return the G1."""
    armature, effort = zip(*(_MOTORS[_MOTOR_OF[_kind(part)]] for part in _PARTS), strict=True)
    stiffness, damping = zip(*map(gains, armature), strict=True)
    lower, upper = soft_limits(_ranges(), _default_joint_pos())
    return Robot(
        name="g1",
        joint_names=JOINTS,
        joint_axes=tuple(_axis(_kind(part)) for part in _PARTS),
        state_layout=legged_state(len(JOINTS)),
        default_joint_pos=_default_joint_pos(),
        joint_lower=lower,
        joint_upper=upper,
        action_scale=0.25 * torch.tensor(effort) / torch.tensor(stiffness),
        # mjlab's motors give their largest torque at any speed.
        motors=Motors(stiffness, damping, effort, armature, saturation_torque=effort, velocity_limit=math.inf),
        contacts=ContactGroups(
            feet=("left_foot", "right_foot"),
            undesired=tuple(f"{side}_{part}" for part in ("thigh", "shin", "elbow_yaw", "hand") for side in SIDES),
            terminating=("pelvis", "torso", "head"),
        ),
        reflections={"left_right": {"left": "right"}},
        base_height=0.76,
        bodies=partial(drawn_bodies, "asset_zoo/robots/unitree_g1/xmls/g1.xml"),
        credit="Model and motors: mjlab's asset of the Unitree G1.",
        start_spread=0.2,
        mjlab=MjlabAsset("mjlab.asset_zoo.robots.get_g1_robot_cfg", JOINTS, imu=(0.04525, 0.0, -0.08339)),
    )


def _kind(part: str) -> str:
    return part.removeprefix("left_").removeprefix("right_")


def _axis(kind: str) -> str:
    """Return what a joint turns about: knees and elbows bend about the pitch axis."""
    return kind.rpartition("_")[2] if "_" in kind else "pitch"


def _default_joint_pos() -> Tensor:
    rolls = {f"{side}_shoulder_roll": angle for side, angle in _SHOULDER_ROLL.items()}
    return torch.tensor([rolls.get(part, _POSTURE.get(_kind(part), 0.0)) for part in _PARTS])


def _ranges() -> list[tuple[float, float]]:
    """Return the range of each joint, rad; those of right roll and yaw joints are mirror images."""
    ranges = [_RANGES[_kind(part)] for part in _PARTS]
    turned = [part.startswith("right_") and _axis(_kind(part)) != "pitch" for part in _PARTS]
    return [(-high, -low) if turn else (low, high) for (low, high), turn in zip(ranges, turned, strict=True)]
