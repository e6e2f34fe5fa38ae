"""Unitree Go1 as mjlab has it: joints and contacts are our Go1's, posture, motors, action scale and model are mjlab's own.

Figures are those of mjlab 1.6 (Apache-2.0).
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import torch

from rwmu.robots.go1 import JOINTS, go1
from rwmu.robots.mjlab_asset import MjlabAsset, drawn_bodies, gains, soft_limits
from rwmu.robots.robot import Motors, Robot

_ROTOR, _GEAR = 0.000111842, {"hip": 6.0, "thigh": 6.0, "calf": 9.0}  # inertia, kg m^2, and ratio
_EFFORT = {"hip": 23.7, "thigh": 23.7, "calf": 35.55}  # N m
_RANGES = {"hip": (-0.863, 0.863), "thigh": (-0.686, 4.501), "calf": (-2.818, -0.888)}  # rad
_POSTURE = {"L_hip": -0.1, "R_hip": 0.1, "thigh": 0.9, "calf": -1.8}  # rad
_MODEL_JOINTS = tuple(f"{leg}_{kind}_joint" for leg in ("FR", "FL", "RR", "RL") for kind in _GEAR)


def go1_mjlab() -> Robot:
    """Return mjlab's Go1."""
    kinds = [joint.split("_")[1] for joint in JOINTS]
    armature = tuple(_ROTOR * _GEAR[kind] ** 2 for kind in kinds)
    effort = tuple(_EFFORT[kind] for kind in kinds)
    stiffness, damping = zip(*map(gains, armature), strict=True)
    posture = torch.tensor(
        [_POSTURE.get(kind, _POSTURE.get(f"{joint[1]}_{kind}", 0.0)) for joint, kind in zip(JOINTS, kinds, strict=True)]
    )
    lower, upper = soft_limits([_RANGES[kind] for kind in kinds], posture)
    ours = go1()
    return dataclasses.replace(
        ours,
        name="go1_mjlab",
        default_joint_pos=posture,
        joint_lower=lower,
        joint_upper=upper,
        action_scale=0.25 * torch.tensor(effort) / torch.tensor(stiffness),
        # mjlab's motors give their largest torque at any speed.
        motors=Motors(stiffness, damping, effort, armature, saturation_torque=effort, velocity_limit=math.inf),
        contacts=dataclasses.replace(ours.contacts, terminating=("trunk", "head")),
        base_height=0.33,
        bodies=partial(drawn_bodies, "asset_zoo/robots/unitree_go1/xmls/go1.xml"),
        credit="Model and motors: mjlab's asset of the Unitree Go1.",
        mjlab=MjlabAsset("mjlab.asset_zoo.robots.get_go1_robot_cfg", _MODEL_JOINTS, imu=(-0.01592, -0.06659, -0.00617)),
    )
