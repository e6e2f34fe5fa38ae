"""What a robot is to everything else: one record, which one file a robot returns.

A robot's file names its joints, geoms and motors, and brings the bodies of its MuJoCo model. Order counts in ``joint_names`` only:
everything with one column a joint follows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.files import json_ready
from rwmu.robots.layout import Field, StateLayout
from rwmu.robots.mjlab_asset import MjlabAsset
from rwmu.robots.symmetry import Mirror, mirrors_of

PerJoint = float | tuple[float, ...]


@dataclass(frozen=True)
class Motors:
    """The joints' position controllers and what limits them; each a number for all joints, or one a joint.

    Attributes:
        stiffness, damping: gains, N m/rad and N m s/rad. effort_limit: largest torque, N m.
        armature: rotor inertia seen at the joint, kg m^2.
        saturation_torque: torque at standstill before the effort limit cuts it, N m.
        velocity_limit: speed at which no torque is left, rad/s; between the two, torque falls linearly, as a DC motor's does.
    """

    stiffness: PerJoint
    damping: PerJoint
    effort_limit: PerJoint
    armature: PerJoint
    saturation_torque: PerJoint
    velocity_limit: PerJoint


@dataclass(frozen=True)
class ContactGroups:
    """Geoms of the model whose contact with the ground means something: feet are to touch it, terminating ones end the episode."""

    feet: tuple[str, ...]
    undesired: tuple[str, ...]
    terminating: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return all of them in the order of the model's sensors."""
        return (*self.terminating, *self.undesired, *self.feet)

    @property
    def observed(self) -> dict[str, tuple[str, ...]]:
        """Return the columns of the contacts by field."""
        return {"undesired": self.undesired, "foot": self.feet}


@dataclass(frozen=True)
class Robot:
    """What tasks, simulators and data need to know of a robot.

    Attributes:
        name: identifies the robot in datasets and checkpoints. joint_names: A names of the model's joints.
        joint_axes: what each joint turns about where the robot stands at zero angles: ``roll`` (forwards), ``pitch`` (to the left)
            or ``yaw`` (upwards); mirror images follow from it.
        state_layout: columns of the state by name.
        default_joint_pos: ``[A]``, rad.
        joint_lower, joint_upper: ``[A]``, soft limits relative to the default posture, rad; infinite where none are imposed.
        action_scale: ``[A]``; joint target = default + action_scale * action, rad.
        reflections: mirror (``left_right``, ``front_back``) -> the parts of names that change places, as ``{"LF": "RF"}``. Only
            those under which the robot is its own image, or nearly: data and policies are mirrored by them.
        base_height: of the base where an episode starts, m.
        bodies: returns the lines of MJCF of the robot's bodies, the base with a free joint named ``root`` first; its argument says
            whether shapes are wanted that only a renderer sees.
        credit: whose figures the model is made of.
        published_scale: mean and deviation ``[D]`` by which published world models of the robot scale states, None without any.
        start_spread: share of the spread of a simulator's starts (speeds, joint angles) that it stands up to.
        mjlab: where it is mjlab's own model that is simulated, and ``bodies`` are a picture only; else None.
    """

    name: str
    joint_names: tuple[str, ...]
    joint_axes: tuple[str, ...]
    state_layout: StateLayout
    default_joint_pos: Tensor
    joint_lower: Tensor
    joint_upper: Tensor
    action_scale: Tensor
    motors: Motors
    contacts: ContactGroups
    reflections: Mapping[str, Mapping[str, str]]
    base_height: float
    bodies: Callable[[bool], list[str]] = field(repr=False)
    credit: str = field(repr=False, default="")
    published_scale: tuple[Tensor, Tensor] | None = field(repr=False, default=None)
    start_spread: float = 1.0
    mjlab: MjlabAsset | None = field(repr=False, default=None)

    def __post_init__(self) -> None:
        per_joint = ("joint_axes", "default_joint_pos", "joint_lower", "joint_upper", "action_scale")
        lengths = {name: len(getattr(self, name)) for name in per_joint}
        lengths |= {f"motors.{name}": len(value) for name, value in vars(self.motors).items() if isinstance(value, tuple)}
        for name, length in lengths.items():
            if length != self.num_joints:
                raise ConfigError(f"The robot '{self.name}' has {self.num_joints} joints, but {length} values of {name}.")

    def check_model(self, joints: Iterable[str], geoms: Iterable[str]) -> None:
        """Refuse a model that lacks joints or geoms which this robot names.

        Raises:
            ConfigError: both lists.
        """
        for what, named, there in (("joints", self.joint_names, joints), ("contacts", self.contacts.names, geoms)):
            there = [name for name in there if name]
            expressions = {name: self.geoms_of(name) if what == "contacts" else re.escape(name) for name in named}
            if missing := [name for name in named if not any(re.fullmatch(expressions[name], other) for other in there)]:
                raise ConfigError(
                    f"The robot '{self.name}' names {what} that its model does not have: {', '.join(missing)}; it has "
                    f"{', '.join(there)}."
                )

    def geoms_of(self, contact: str) -> str:
        """Return the regular expression of the model's geoms that make up a contact: that of its name, if it is our model."""
        return re.escape(contact) if self.mjlab is None else self.mjlab.geoms_of(contact)

    @property
    def num_joints(self) -> int:
        """Return the number of joints, which is A."""
        return len(self.joint_names)

    def per_joint(self, value: PerJoint) -> tuple[float, ...]:
        """Return a quantity of the motors, one value a joint."""
        return value if isinstance(value, tuple) else (value,) * self.num_joints

    @cached_property
    def contact_layout(self) -> StateLayout:
        """Return the columns of the contacts: the undesired ones, then the feet."""
        return StateLayout(Field(name, len(geoms), "0/1") for name, geoms in self.contacts.observed.items())

    @cached_property
    def mirrors(self) -> dict[str, Mirror]:
        """Return the robot's symmetry group by name, the identity first."""
        return mirrors_of(self.reflections, self.joint_names, self.joint_axes, self.contacts.observed, self.state_layout)

    @property
    def policies(self) -> Path:
        """Return the folder of the robot's shipped behaviour policies; there may be none."""
        return Path(str(files("rwmu.robots") / "assets" / self.name / "policies"))

    def describe(self) -> dict[str, Any]:
        """Return what the robot is as plain values, its model aside."""
        left_out = ("bodies", "credit", "published_scale", "state_layout", "start_spread", "mjlab")
        names = [field.name for field in fields(self) if field.name not in left_out]
        plain = {name: getattr(self, name) for name in names}
        plain |= {"motors": vars(self.motors), "contacts": vars(self.contacts)}
        plain |= {} if self.start_spread == 1.0 else {"start_spread": self.start_spread}
        plain |= {} if self.mjlab is None else {"model": self.mjlab.entity}
        return dict(json_ready(plain)) | {"state_layout": self.state_layout.describe()}


def legged_state(num_joints: int) -> StateLayout:
    """Return the state of RWM's legged robots: base velocities and gravity in the base frame, joints relative to the default."""
    return StateLayout(
        [
            Field("base_lin_vel", 3, "m/s"),
            Field("base_ang_vel", 3, "rad/s"),
            Field("projected_gravity", 3, "1"),
            Field("joint_pos", num_joints, "rad"),
            Field("joint_vel", num_joints, "rad/s"),
            Field("joint_torque", num_joints, "N m"),
        ]
    )
