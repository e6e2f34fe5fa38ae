"""What the MuJoCo models of all robots have in common, ``assets/model.xml``: options, floor, actuators, contact sensors."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree

from pydantic import Field

from rwmu.errors import ConfigError
from rwmu.robots.robot import Motors, PerJoint, Robot
from rwmu.settings import Count, NotNegative, Positive, settings

ASSETS = Path(str(files("rwmu.robots") / "assets"))


@settings("simulator.motors")
class MotorSettings:
    """What is other than the robot's own motors, for every joint; None for the robot's, in the units of its ``Motors``."""

    stiffness: Positive | None = None
    damping: NotNegative | None = None
    effort_limit: Positive | None = None
    armature: NotNegative | None = None
    saturation_torque: Positive | None = None
    velocity_limit: Positive | None = None

    def motors(self, robot: Robot) -> Motors:
        """Return the robot's motors with what is set here in place of their own."""
        own = vars(robot.motors)
        return Motors(**{name: value if getattr(self, name) is None else getattr(self, name) for name, value in own.items()})


@settings("simulator.model")
class ModelSettings(MotorSettings):
    """Physical and numerical settings of a model, besides those of :class:`MotorSettings`.

    Attributes:
        friction: sliding friction of the ground contact. timestep: physics step, s.
        iterations, line_search_iterations, tolerance: of the Newton solver; below 10 iterations it has not converged.
        impedance_ratio: of friction to normal constraints; larger slips less.
    """

    friction: NotNegative = 0.8
    timestep: Annotated[float, Field(ge=1e-5, le=0.1)] = 0.005
    iterations: Count = 10
    line_search_iterations: Count = 20
    tolerance: Positive = 1e-6
    impedance_ratio: Positive = 10.0


def bodies(path: Path, visual: bool) -> list[str]:
    """Return the lines of a file of a robot's bodies; those of the class ``visual``, for a renderer, only if they are wanted."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines() if visual else re.sub(r'<geom class="visual"[^>]*/>', "", text).splitlines()
    return [line for line in lines if line]


def body_tree(robot: Robot) -> ElementTree.Element:
    """Return the MJCF of a robot's bodies, somewhere below one element, checked to have what the robot names.

    Raises:
        ConfigError: it lacks joints or geoms, or is no XML.
    """
    try:
        # The bodies may close their element and open another, to bring assets.
        tree = ElementTree.fromstring(f"<mujoco><worldbody>{''.join(robot.bodies(False))}</worldbody></mujoco>")
    except ElementTree.ParseError as error:
        raise ConfigError(f"The model of the robot '{robot.name}' is no XML ({error}); mend its bodies.") from None
    joints, geoms = ([found.get("name", "") for found in tree.iter(kind)] for kind in ("joint", "geom"))
    robot.check_model(joints, geoms)
    return tree


def model_xml(robot: Robot, model: ModelSettings | None = None, visual: bool = False) -> str:
    """Return the MJCF of a robot on a flat floor; what differs from joint to joint stands at the joints.

    Args:
        visual: add shapes, light and a floor texture for rendering.

    Raises:
        ConfigError: the model lacks joints or geoms that the robot names; or it is mjlab's, and not for rendering.
    """
    if robot.mjlab is not None and not visual:
        raise ConfigError(f"The robot '{robot.name}' has no model but mjlab's; give simulator=mjlab.")
    body_tree(robot)
    model = model or ModelSettings()
    motors = model.motors(robot)
    parts = {
        "robot": robot,
        "model": model,
        "armature": "" if isinstance(motors.armature, tuple) else f' armature="{motors.armature}"',
        "gains": _gains(motors, None),
        "scenery": (ASSETS / "scenery.xml").read_text(encoding="utf-8") if visual else "",
        "light": (ASSETS / "light.xml").read_text(encoding="utf-8") if visual else "",
        "material": ' material="grid" rgba="1 1 1 1"' if visual else "",
        "bodies": "\n".join(_with_armature(line, robot, motors) for line in robot.bodies(visual)),
        "actuators": "\n".join(_actuators(robot, motors)),
        "sensors": "\n".join(
            f'<contact name="{geom}" geom1="{geom}" geom2="floor" num="1" data="force" reduce="netforce"/>'
            for geom in (robot.contacts.names if robot.mjlab is None else ())
        ),
    }
    return (ASSETS / "model.xml").read_text(encoding="utf-8").format(**parts)


def _actuators(robot: Robot, motors: Motors) -> list[str]:
    return [f'<position name="{name}" joint="{name}"{_gains(motors, i)}/>' for i, name in enumerate(robot.joint_names)]


def _gains(motors: Motors, joint: int | None) -> str:
    """Return what is common to all joints (None), or what is a joint's own."""

    def value(given: PerJoint) -> float | None:
        if isinstance(given, tuple):
            return None if joint is None else given[joint]
        return given if joint is None else None

    kp, kv, force = value(motors.stiffness), value(motors.damping), value(motors.effort_limit)
    words = [f' kp="{kp}"' if kp is not None else "", f' kv="{kv}"' if kv is not None else ""]
    return "".join(words) + ("" if force is None else f' forcerange="{-force} {force}"')


def _with_armature(line: str, robot: Robot, motors: Motors) -> str:
    """Write a joint's own armature into the line that defines it."""
    if isinstance(motors.armature, tuple):
        for name, armature in zip(robot.joint_names, motors.armature, strict=True):
            line = line.replace(f'<joint name="{name}"', f'<joint name="{name}" armature="{armature}"')
    return line
