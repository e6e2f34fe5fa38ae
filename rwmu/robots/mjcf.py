"""What the MuJoCo models of all robots have in common: options, floor, actuators, contact sensors, scenery."""

from __future__ import annotations

from dataclasses import dataclass

from rwmu.robots.robot import Motors, PerJoint, Robot
from rwmu.settings import Count, NotNegative, Positive, settings


@settings("simulator.model")
class ModelSettings:
    """Physical and numerical settings of a model.

    Attributes:
        stiffness, damping, effort_limit, armature, saturation_torque, velocity_limit: of every joint, in the units of
            :class:`~rwmu.robots.robot.Motors`; None for the robot's own.
        friction: sliding friction of the ground contact.
        timestep: physics step, s.
        iterations, line_search_iterations, tolerance: of the Newton solver; below 10 iterations it has not converged.
        impedance_ratio: of friction to normal constraints; larger slips less.
    """

    stiffness: Positive | None = None
    damping: NotNegative | None = None
    effort_limit: Positive | None = None
    armature: NotNegative | None = None
    saturation_torque: Positive | None = None
    velocity_limit: Positive | None = None
    friction: NotNegative = 0.8
    timestep: Positive = 0.005
    iterations: Count = 10
    line_search_iterations: Count = 20
    tolerance: Positive = 1e-6
    impedance_ratio: Positive = 10.0

    def motors(self, robot: Robot) -> Motors:
        """Return the robot's motors with what is set here in place of their own."""
        own = vars(robot.motors)
        return Motors(**{name: value if getattr(self, name) is None else getattr(self, name) for name, value in own.items()})


@dataclass(frozen=True)
class Link:
    """Mass (kg), centre of mass (m) and full inertia (xx yy zz xy xz yz, kg m^2) of a link, in its own frame."""

    mass: float
    com: tuple[float, float, float]
    inertia: tuple[float, float, float, float, float, float]

    def inertial(self, x_sign: int = 1, y_sign: int = 1) -> str:
        """Return the MJCF of the link, or of its mirror image in x, y or both."""
        xx, yy, zz, xy, xz, yz = self.inertia
        com = (x_sign * self.com[0], y_sign * self.com[1], self.com[2])
        inertia = (xx, yy, zz, x_sign * y_sign * xy, x_sign * xz, y_sign * yz)
        return f'<inertial pos="{numbers(*com)}" mass="{self.mass:.7g}" fullinertia="{numbers(*inertia)}"/>'


def numbers(*values: float) -> str:
    """Return numbers as MJCF writes them."""
    return " ".join(f"{value:.6g}" for value in values)


def model_xml(robot: Robot, model: ModelSettings | None = None, visual: bool = False) -> str:
    """Return the MJCF of a robot on a flat floor.

    Args:
        visual: add shapes, light and a floor texture for rendering.
    """
    model = model or ModelSettings()
    motors = model.motors(robot)
    lines = [f'<mujoco model="{robot.name}">', f"<!-- {robot.credit} -->"]
    lines += _options(model) + _defaults(model, motors) + (_scenery() if visual else [])
    lines.append("<worldbody>")
    if visual:
        lines.append('<light pos="0 0 6" dir="-.3 -.4 -1" type="directional" diffuse=".6 .6 .6" castshadow="false"/>')
    material = ' material="grid" rgba="1 1 1 1"' if visual else ""
    lines.append(f'<geom name="floor" type="plane" size="0 0 1" contype="1" conaffinity="0"{material}/>')
    lines += [_with_armature(line, robot, motors) for line in robot.bodies(visual)]
    lines += ["</worldbody>", "<actuator>", *_actuators(robot, motors), "</actuator>", "<sensor>"]
    lines += [
        f'<contact name="{geom}" geom1="{geom}" geom2="floor" num="1" data="force" reduce="netforce"/>'
        for geom in robot.contacts.names
    ]
    lines += ["</sensor>", "</mujoco>"]
    return "\n".join(lines) + "\n"


def _options(model: ModelSettings) -> list[str]:
    return [
        '<compiler angle="radian" autolimits="true"/>',
        f'<option timestep="{model.timestep}" integrator="implicitfast" solver="Newton" iterations="{model.iterations}"'
        f' ls_iterations="{model.line_search_iterations}" tolerance="{model.tolerance}" cone="pyramidal"'
        f' impratio="{model.impedance_ratio:g}"><flag eulerdamp="disable" island="disable"/></option>',
    ]


def _defaults(model: ModelSettings, motors: Motors) -> list[str]:
    """Return the defaults; what differs from joint to joint stands at the joints."""
    armature = "" if isinstance(motors.armature, tuple) else f' armature="{motors.armature}"'
    return [
        "<default>",
        f'<geom contype="0" conaffinity="1" condim="3" friction="{model.friction} 0.005 0.0001" solref="0.02 1"'
        ' solimp="0.9 0.95 0.001" rgba=".25 .25 .28 1"/>',
        '<default class="visual"><geom contype="0" conaffinity="0" rgba=".7 .15 .1 1" mass="0"/></default>',
        f'<joint{armature} damping="0" frictionloss="0"/>',
        f"<position{_gains(motors, None)}/>",
        "</default>",
    ]


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


def _scenery() -> list[str]:
    return [
        '<visual><global offwidth="960" offheight="640"/><quality offsamples="1"/>',
        '<headlight ambient=".5 .5 .5" diffuse=".5 .5 .5"/></visual>',
        "<asset>",
        '<texture type="skybox" builtin="gradient" rgb1="1 1 1" rgb2=".75 .82 .9" width="32" height="192"/>',
        '<texture name="grid" type="2d" builtin="checker" rgb1=".85 .87 .9" rgb2=".7 .74 .8" width="256" height="256"/>',
        '<material name="grid" texture="grid" texrepeat="20 20" reflectance="0"/></asset>',
    ]
