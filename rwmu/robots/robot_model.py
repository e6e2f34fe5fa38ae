"""Build the MuJoCo model of ANYmal D: mesh-free, from link inertias and offsets of ANYbotics' description.

Masses, inertias, offsets and hip limits come from the public ANYmal C simple description (Copyright 2020 ANYbotics AG,
BSD-3-Clause, see NOTICE), with fixed links merged into their parents. Collision shapes are primitives of our own: a box, four
thigh and four shank capsules, four foot spheres, touching the floor only. The hatch's published inertia is not positive definite;
its mass (0.142 kg) is added to the base. Run ``python -m rwmu.robots.robot_model`` to rewrite ``assets/anymal_d.xml``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

LEGS = ("LF", "LH", "RF", "RH")
JOINT_TYPES = ("HAA", "HFE", "KFE")
# Sensors of ground contact force, three columns each, in the order of the model's sensor data.
CONTACT_BODIES = ("base", *(f"{leg}_thigh" for leg in LEGS), *(f"{leg}_foot" for leg in LEGS))

_FRONT = {"LF": 1, "LH": -1, "RF": 1, "RH": -1}
_LEFT = {"LF": 1, "LH": 1, "RF": -1, "RH": -1}


@dataclass(frozen=True)
class _Link:
    """Mass (kg), centre of mass (m) and full inertia (xx yy zz xy xz yz, kg m^2) of a link, in its own frame."""

    mass: float
    com: tuple[float, float, float]
    inertia: tuple[float, float, float, float, float, float]


_BASE = _Link(26.37317, (-0.018518, -0.000179, 0.00814), (0.214008, 1.7799, 1.83226, 0.00822721, 0.0592186, -0.00116207))
# Hips and thighs come in two parts; a leg has the other leg's part on the diagonal, turned by half a turn about z.
_HIP_LF = _Link(
    2.781, (0.056661, 0.017394, -0.000461), (0.00329553, 0.0049383, 0.00583295, -4.45346e-05, -9.79127e-05, 0.000135809)
)
_HIP_LH = _Link(
    2.781, (-0.056763, 0.017394, -0.000461), (0.00329553, 0.00494012, 0.00583477, -4.50297e-05, -0.000100004, 0.000135809)
)
_THIGH_LF = _Link(3.071, (-4.6e-05, 0.030815, -0.245696), (0.029904, 0.0295638, 0.00486108, -4.42919e-05, -9.448e-05, 0.00414243))
_THIGH_LH = _Link(3.071, (-4.6e-05, 0.030815, -0.245696), (0.029904, 0.0295638, 0.00486108, -4.43959e-05, -0.000114794, 0.00414243))
_SHANK = _Link(0.58842, (0.061253, 0.005462, -0.08066), (0.00881038, 0.0101611, 0.00154978, 5.35713e-05, 0.00181935, -2.26604e-05))


@dataclass(frozen=True)
class ModelSettings:
    """Physical and numerical settings of the model.

    Attributes:
        stiffness, damping: PD gains of the joints, N m/rad and N m s/rad. 40/5 (facts of the task) cannot hold this model at zero
            action, because the task's own actuator is a network; 80/2 stands.
        effort_limit: largest joint torque, N m.
        armature: rotor inertia seen at the joint, kg m^2.
        friction: sliding friction of the ground contact.
        timestep: physics step, s.
        iterations, line_search_iterations, tolerance: of the Newton solver; below 10 iterations it has not converged.
        impedance_ratio: of friction to normal constraints; larger slips less.
        visual: add shapes, light and a floor texture for rendering.
    """

    stiffness: float = 80.0
    damping: float = 2.0
    effort_limit: float = 80.0
    armature: float = 0.04
    friction: float = 0.8
    timestep: float = 0.005
    iterations: int = 10
    line_search_iterations: int = 20
    tolerance: float = 1e-6
    impedance_ratio: float = 10.0
    visual: bool = False


def _numbers(*values: float) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def _inertial(link: _Link, x_sign: int = 1, y_sign: int = 1) -> str:
    xx, yy, zz, xy, xz, yz = link.inertia
    com = (x_sign * link.com[0], y_sign * link.com[1], link.com[2])
    inertia = (xx, yy, zz, x_sign * y_sign * xy, x_sign * xz, y_sign * yz)
    return f'<inertial pos="{_numbers(*com)}" mass="{link.mass:.7g}" fullinertia="{_numbers(*inertia)}"/>'


def _leg(leg: str, visual: bool) -> list[str]:
    """Return the lines of one leg: hip, thigh, shank with its foot."""
    front, left = _FRONT[leg], _LEFT[leg]
    lower, upper = (-0.72, 0.49) if left > 0 else (-0.49, 0.72)
    hip, thigh = (_HIP_LF, _THIGH_LF) if front == left else (_HIP_LH, _THIGH_LH)
    shank_ends = _numbers(front * 0.08795, left * 0.01305, -0.04, front * 0.08795, left * 0.01305, -0.30)
    thigh_ends = _numbers(0, left * 0.03, -0.02, 0, left * 0.03, -0.285)
    shown = _visual_geoms(front, left) if visual else ["", ""]
    return [
        f'<body name="{leg}_HIP" pos="{_numbers(front * 0.2999, left * 0.104, 0)}">',
        f'<joint name="{leg}_HAA" axis="1 0 0" range="{lower} {upper}"/>{_inertial(hip, left, left)}{shown[0]}',
        f'<body name="{leg}_THIGH" pos="{_numbers(front * 0.0599, left * 0.08381, 0)}">',
        f'<joint name="{leg}_HFE" axis="0 1 0" range="-3.1416 3.1416"/>{_inertial(thigh, left, left)}',
        f'<geom name="{leg}_thigh" type="capsule" size=".05" fromto="{thigh_ends}"/>',
        f'<body name="{leg}_SHANK" pos="{_numbers(0, left * 0.1003, -0.285)}">',
        f'<joint name="{leg}_KFE" axis="0 1 0" range="-3.1416 3.1416"/>{_inertial(_SHANK, front, left)}{shown[1]}',
        f'<geom name="{leg}_shank" type="capsule" size=".02" fromto="{shank_ends}"/>',
        f'<geom name="{leg}_foot" type="sphere" size=".03" pos="{_numbers(front * 0.08795, left * 0.01305, -0.31547)}"'
        ' rgba=".1 .1 .1 1"/>',
        "</body></body></body>",
    ]


def _visual_geoms(front: int, left: int) -> list[str]:
    """Return the shapes of hip and knee that only a renderer sees."""
    hip = f'<geom class="visual" type="capsule" size=".045" fromto="{_numbers(-front * 0.02, 0, 0, front * 0.0599, 0, 0)}"/>'
    knee = _numbers(0, left * 0.02, 0, front * 0.08795, left * 0.015, -0.02)
    return [hip, f'<geom class="visual" type="capsule" size=".03" fromto="{knee}" rgba=".3 .3 .33 1"/>']


def _options(settings: ModelSettings) -> list[str]:
    s = settings
    return [
        '<compiler angle="radian" autolimits="true"/>',
        f'<option timestep="{s.timestep}" integrator="implicitfast" solver="Newton" iterations="{s.iterations}"'
        f' ls_iterations="{s.line_search_iterations}" tolerance="{s.tolerance}" cone="pyramidal"'
        f' impratio="{s.impedance_ratio:g}"><flag eulerdamp="disable" island="disable"/></option>',
        "<default>",
        f'<geom contype="0" conaffinity="1" condim="3" friction="{s.friction} 0.005 0.0001" solref="0.02 1"'
        ' solimp="0.9 0.95 0.001" rgba=".25 .25 .28 1"/>',
        '<default class="visual"><geom contype="0" conaffinity="0" rgba=".7 .15 .1 1" mass="0"/></default>',
        f'<joint armature="{s.armature}" damping="0" frictionloss="0"/>',
        f'<position kp="{s.stiffness}" kv="{s.damping}" forcerange="{-s.effort_limit} {s.effort_limit}"/>',
        "</default>",
    ]


def _scenery() -> list[str]:
    return [
        '<visual><global offwidth="960" offheight="640"/><quality offsamples="1"/>',
        '<headlight ambient=".5 .5 .5" diffuse=".5 .5 .5"/></visual>',
        "<asset>",
        '<texture type="skybox" builtin="gradient" rgb1="1 1 1" rgb2=".75 .82 .9" width="32" height="192"/>',
        '<texture name="grid" type="2d" builtin="checker" rgb1=".85 .87 .9" rgb2=".7 .74 .8" width="256" height="256"/>',
        '<material name="grid" texture="grid" texrepeat="20 20" reflectance="0"/></asset>',
    ]


def build_xml(settings: ModelSettings | None = None) -> str:
    """Return the MJCF of the robot on a flat floor."""
    s = settings or ModelSettings()
    lines = ['<mujoco model="anymal_d">']
    lines.append("<!-- Inertias and offsets: ANYmal C simple description, Copyright 2020 ANYbotics AG, BSD-3-Clause. -->")
    lines += _options(s) + (_scenery() if s.visual else [])
    lines.append("<worldbody>")
    if s.visual:
        lines.append('<light pos="0 0 6" dir="-.3 -.4 -1" type="directional" diffuse=".6 .6 .6" castshadow="false"/>')
    material = ' material="grid" rgba="1 1 1 1"' if s.visual else ""
    lines.append(f'<geom name="floor" type="plane" size="0 0 1" contype="1" conaffinity="0"{material}/>')
    lines += ['<body name="base" pos="0 0 0.6"><freejoint name="root"/>', _inertial(_BASE)]
    lines.append('<geom name="base" type="box" size="0.42 0.12 0.09" rgba=".75 .12 .1 1"/>')
    if s.visual:
        lines.append('<geom class="visual" type="box" size="0.29 0.16 0.08" rgba=".3 .3 .33 1"/>')
        lines.append('<geom class="visual" type="cylinder" size=".07 .06" pos="-.364 0 .13" rgba=".1 .1 .1 1"/>')
    for leg in LEGS:
        lines += _leg(leg, s.visual)
    lines += ["</body></worldbody>", "<actuator>"]
    lines += [f'<position name="{leg}_{joint}" joint="{leg}_{joint}"/>' for joint in JOINT_TYPES for leg in LEGS]
    lines += ["</actuator>", "<sensor>"]
    lines += [
        f'<contact name="{body}" geom1="{body}" geom2="floor" num="1" data="force" reduce="netforce"/>' for body in CONTACT_BODIES
    ]
    lines += ["</sensor>", "</mujoco>"]
    return "\n".join(lines) + "\n"


def asset(name: str) -> Path:
    """Return the path of a file shipped in ``rwmu/robots/assets``."""
    return Path(str(files("rwmu.robots") / "assets" / name))


def model_xml(settings: ModelSettings | None = None) -> str:
    """Return the shipped model where the settings are the default ones, else a model built with them."""
    if settings is None or asdict(settings) == asdict(ModelSettings()):
        return asset("anymal_d.xml").read_text()
    return build_xml(settings)


if __name__ == "__main__":
    asset("anymal_d.xml").write_text(build_xml())
