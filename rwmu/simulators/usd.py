"""A robot's MuJoCo model as USD, without meshes: ``python -m rwmu.simulators.usd anymal_d anymal_d.usda``.

Isaac Lab's own robots are files of a server; this makes one of any robot that rwmu knows, as text, and needs no USD library.

- Bodies lie flat below the root, as in Isaac Lab's files, so that ``Robot/[^/]*`` finds them.
- Isaac Lab's contact sensors tell bodies apart, not shapes: a foot that shares its body with other shapes becomes a body of its
  own, held by a fixed joint. Mass, centre and inertia of the two together stay what they were.
- Gains, limits of torque and armature are not in the file: Isaac Lab's actuators bring them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rwmu.errors import ConfigError, convert_command, import_extra
from rwmu.files import write_text
from rwmu.robots import robot_called
from rwmu.robots.mjcf import model_xml
from rwmu.robots.robot import Robot

Floats = NDArray[np.float64]

FOOT_SHARE = 0.1  # of the mass of the body that a foot is taken from
_UNTURNED = np.array([1.0, 0.0, 0.0, 0.0])
_HEADER = """#usda 1.0
(
    defaultPrim = "{name}"
    metersPerUnit = 1
    kilogramsPerUnit = 1
    upAxis = "Z"
)
"""

GROUND = (
    _HEADER.format(name="ground")
    + """
def Xform "ground"
{
    def Plane "plane" (prepend apiSchemas = ["PhysicsCollisionAPI"])
    {
        uniform token axis = "Z"
        uniform token purpose = "guide"
    }
}
"""
)


@dataclass
class Body:
    """A rigid body; positions and rotations (w first) are of the robot at zero joint angles.

    Attributes:
        inertia: ``[3, 3]`` about the centre of mass ``com``, in the body's axes. geoms: numbers of the model's shapes.
        shift: of the shapes' positions, from the model's body to this one.
    """

    name: str
    position: Floats
    rotation: Floats
    mass: float
    com: Floats
    inertia: Floats
    geoms: list[int]
    shift: Floats = field(default_factory=lambda: np.zeros(3))


@dataclass
class Joint:
    """What holds two bodies together: about an axis (``X``, ``Y``, ``Z``) between limits (rad), or fast (no axis)."""

    name: str
    parent: str
    child: str
    in_parent: Floats
    in_child: Floats
    rotation: Floats
    axis: str | None = None
    limits: tuple[float, float] = (0.0, 0.0)


def robot_usd(robot: Robot) -> str:
    """Return the text of a robot's USD file.

    Raises:
        ConfigError: the model has what USD cannot say, such as a joint about a slanting axis.
    """
    mujoco = import_extra("mujoco", "A robot's USD is made from its MuJoCo model; install it with: pip install mujoco")
    model = mujoco.MjModel.from_xml_string(model_xml(robot))
    bodies, joints = _parts(mujoco, model, robot)
    inside = [_body_text(mujoco, model, body, root=index == 0) for index, body in enumerate(bodies)]
    held = "".join(_joint_text(robot.name, joint) for joint in joints)
    text = "".join(inside) + f'\n    def Scope "joints"\n    {{{held}    }}\n'
    return _HEADER.format(name=robot.name) + f'\ndef Xform "{robot.name}"\n{{{text}}}\n'


def _parts(mujoco: Any, model: Any, robot: Robot) -> tuple[list[Body], list[Joint]]:
    data = mujoco.MjData(model)
    data.qpos[:7] = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    mujoco.mj_kinematics(model, data)
    bodies, joints = [], []
    for index in range(1, model.nbody):
        name = model.body(index).name
        geoms = [geom for geom in range(model.ngeom) if model.geom_bodyid[geom] == index]
        centre, inertia = model.body_ipos[index].copy(), _full_inertia(mujoco, model, index)
        body = Body(name, data.xpos[index], data.xquat[index], float(model.body_mass[index]), centre, inertia, geoms)
        bodies.append(body)
        parent = model.body(model.body_parentid[index]).name
        joints += [_hinge(mujoco, model, joint, parent, name) for joint in _hinges(mujoco, model, index)]
        for geom in geoms:
            if model.geom(geom).name in robot.contacts.feet and len(geoms) > 1:
                foot, fixed = _split_off(mujoco, model, body, geom)
                bodies.append(foot)
                joints.append(fixed)
    return bodies, joints


def _split_off(mujoco: Any, model: Any, body: Body, geom: int) -> tuple[Body, Joint]:
    """Take a foot off its body, as a ball."""
    name, at = model.geom(geom).name, model.geom_pos[geom].copy()
    name = name.upper() if body.name.isupper() else name
    mass = FOOT_SHARE * body.mass
    ball = 0.4 * mass * float(model.geom_size[geom][0]) ** 2 * np.eye(3)
    rest = body.mass - mass
    about_origin = body.inertia + _of_point(body.mass, body.com) - _of_point(mass, at) - ball
    body.com = (body.mass * body.com - mass * at) / rest
    body.inertia, body.mass = about_origin - _of_point(rest, body.com), rest
    if np.linalg.eigvalsh(body.inertia).min() <= 0.0:
        raise ConfigError(f"The foot '{name}' cannot be taken off '{body.name}', whose inertia does not allow for its mass.")
    body.geoms.remove(geom)
    turned = np.zeros(3)
    mujoco.mju_rotVecQuat(turned, at, body.rotation)
    foot = Body(name, body.position + turned, body.rotation, mass, np.zeros(3), ball, [geom], -at)
    return foot, Joint(f"{name}_fixed", body.name, name, at, np.zeros(3), _UNTURNED)


def _hinges(mujoco: Any, model: Any, body: int) -> Iterator[int]:
    first, count = int(model.body_jntadr[body]), int(model.body_jntnum[body])
    for joint in range(first, first + count):
        if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE:
            yield joint
        elif model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_FREE:
            raise ConfigError(f"The joint '{model.joint(joint).name}' does not turn about an axis, as all of a robot's must.")


def _hinge(mujoco: Any, model: Any, joint: int, parent: str, child: str) -> Joint:
    name, axis, body = model.joint(joint).name, model.jnt_axis[joint], model.jnt_bodyid[joint]
    if not np.isclose(axis.max(), 1.0):
        raise ConfigError(f"The joint '{name}' turns about {axis.tolist()}, but USD knows the axes x, y and z only.")
    at, turned, rotation = model.jnt_pos[joint].copy(), np.zeros(3), model.body_quat[body].copy()
    mujoco.mju_rotVecQuat(turned, at, rotation)
    limited = bool(model.jnt_limited[joint])
    lower, upper = (float(limit) for limit in model.jnt_range[joint]) if limited else (-math.inf, math.inf)
    return Joint(name, parent, child, model.body_pos[body] + turned, at, rotation, "XYZ"[int(axis.argmax())], (lower, upper))


def _full_inertia(mujoco: Any, model: Any, body: int) -> Floats:
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.body_iquat[body])
    axes = rotation.reshape(3, 3)
    return np.asarray(axes @ np.diag(model.body_inertia[body]) @ axes.T)


def _of_point(mass: float, at: Floats) -> Floats:
    """Return the inertia about the origin of a point mass."""
    return np.asarray(mass * (at @ at * np.eye(3) - np.outer(at, at)))


# -- as text ------------------------------------------------------------------------------------------------------------------


def _tuple(values: Sequence[float] | Floats) -> str:
    return "(" + ", ".join(f"{float(value):.9g}" for value in values) + ")"


def _placed(position: Floats, rotation: Floats) -> str:
    order = '["xformOp:translate", "xformOp:orient"]'
    return (
        f"        double3 xformOp:translate = {_tuple(position)}\n        quatd xformOp:orient = {_tuple(rotation)}\n"
        f"        uniform token[] xformOpOrder = {order}\n"
    )


def _body_text(mujoco: Any, model: Any, body: Body, root: bool) -> str:
    moments, axes = np.linalg.eigh(body.inertia)
    axes[:, 0] *= np.sign(np.linalg.det(axes))
    principal = np.zeros(4)
    mujoco.mju_mat2Quat(principal, axes.flatten())
    schemas = ["PhysicsRigidBodyAPI", "PhysicsMassAPI", *(["PhysicsArticulationRootAPI"] if root else [])]
    named = ", ".join(f'"{schema}"' for schema in schemas)
    shapes = "".join(_shape_text(mujoco, model, geom, body.shift) for geom in body.geoms)
    return (
        f'\n    def Xform "{body.name}" (prepend apiSchemas = [{named}])\n    {{\n{_placed(body.position, body.rotation)}'
        f"        float physics:mass = {body.mass:.9g}\n        point3f physics:centerOfMass = {_tuple(body.com)}\n"
        f"        float3 physics:diagonalInertia = {_tuple(moments)}\n        quatf physics:principalAxes = {_tuple(principal)}\n"
        f"{shapes}    }}\n"
    )


def _shape_text(mujoco: Any, model: Any, geom: int, shift: Floats) -> str:
    name, size, scale = model.geom(geom).name, model.geom_size[geom], (1.0, 1.0, 1.0)
    kind, kinds = mujoco.mjtGeom(int(model.geom_type[geom])), mujoco.mjtGeom
    if kind == kinds.mjGEOM_BOX:
        shape, sizes, scale = "Cube", ["double size = 2"], size
    elif kind == kinds.mjGEOM_SPHERE:
        shape, sizes = "Sphere", [f"double radius = {size[0]:.9g}"]
    elif kind in (kinds.mjGEOM_CAPSULE, kinds.mjGEOM_CYLINDER):
        shape = "Capsule" if kind == kinds.mjGEOM_CAPSULE else "Cylinder"
        sizes = [f"double radius = {size[0]:.9g}", f"double height = {2.0 * size[1]:.9g}", 'uniform token axis = "Z"']
    else:
        raise ConfigError(f"The shape '{name}' is neither box, sphere, capsule nor cylinder; give the robot one of these.")
    lines = [
        *sizes,
        f"double3 xformOp:translate = {_tuple(model.geom_pos[geom] + shift)}",
        f"quatd xformOp:orient = {_tuple(model.geom_quat[geom])}",
        f"float3 xformOp:scale = {_tuple(scale)}",
        'uniform token[] xformOpOrder = ["xformOp:translate", "xformOp:orient", "xformOp:scale"]',
    ]
    inside = "".join(f"            {line}\n" for line in lines)
    return f'        def {shape} "{name}_shape" (prepend apiSchemas = ["PhysicsCollisionAPI"])\n        {{\n{inside}        }}\n'


def _joint_text(robot: str, joint: Joint) -> str:
    lines = [
        f"rel physics:body0 = </{robot}/{joint.parent}>",
        f"rel physics:body1 = </{robot}/{joint.child}>",
        f"point3f physics:localPos0 = {_tuple(joint.in_parent)}",
        f"quatf physics:localRot0 = {_tuple(joint.rotation)}",
        f"point3f physics:localPos1 = {_tuple(joint.in_child)}",
        f"quatf physics:localRot1 = {_tuple(_UNTURNED)}",
    ]
    kind, schemas = "PhysicsFixedJoint", ""
    if joint.axis is not None:
        kind, schemas = "PhysicsRevoluteJoint", ' (prepend apiSchemas = ["PhysicsDriveAPI:angular"])'
        lines.append(f'uniform token physics:axis = "{joint.axis}"')
        limits = zip(("lower", "upper"), joint.limits, strict=True)
        lines += [f"float physics:{end}Limit = {math.degrees(limit):.9g}" for end, limit in limits]
    inside = "".join(f"            {line}\n" for line in lines)
    return f'\n        def {kind} "{joint.name}"{schemas}\n        {{\n{inside}        }}\n'


def convert(source: str, target: str) -> str:
    """Write the USD of the robot called ``source`` to ``target``; return what to tell."""
    if not target.endswith(".usda"):
        raise ConfigError(f"USD is written as text: give a path that ends in .usda instead of {target}.")
    write_text(Path(target), robot_usd(robot_called(source)))
    return f"Written: {target}"


if __name__ == "__main__":
    convert_command(convert, "Write a robot's USD, without meshes, for Isaac Lab.")
