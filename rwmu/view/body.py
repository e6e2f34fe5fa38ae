"""The picture of a robot: the shapes of its MuJoCo model as triangles, and where its bodies are in a pose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rwmu.robots.mjcf import model_xml
from rwmu.robots.robot import Robot
from rwmu.simulators.extra import import_mujoco

Floats = NDArray[np.float64]
Faces = NDArray[np.int64]
_SIDES = 24  # of what is round
_SHOWN_GROUPS = 3  # of geoms: MuJoCo's own viewers hide those of group 3 and above


@dataclass(frozen=True)
class Shape:
    """Triangles of one colour that belong to a body.

    Attributes:
        body: its number. vertices: ``[V, 3]``, m, in its frame. faces: ``[F, 3]``, of vertices. colour: ``[3]``, 0 to 1.
    """

    body: int
    vertices: Floats
    faces: Faces
    colour: Floats


class Body:
    """A robot's shapes, and its kinematics.

    Attributes:
        shapes: of all bodies, one a body and colour. num_bodies: N; the world is not among them.
    """

    def __init__(self, robot: Robot) -> None:
        self._mujoco = import_mujoco()
        self._model = self._mujoco.MjModel.from_xml_string(model_xml(robot, visual=True))
        self._data = self._mujoco.MjData(self._model)
        joints = [int(self._model.joint(name).qposadr[0]) for name in robot.joint_names]
        self._columns = [*range(7), *joints]
        self.num_bodies = int(self._model.nbody) - 1
        self.shapes = self._joined()

    def place(self, poses: Floats) -> tuple[Floats, Floats]:
        """Return positions ``[B, N, 3]`` (m) and quaternions ``[B, N, 4]`` (w first) of the bodies in poses ``[B, 7 + A]``."""
        positions, quaternions = [], []
        for pose in poses:
            self._data.qpos[self._columns] = pose
            self._mujoco.mj_kinematics(self._model, self._data)
            positions.append(self._data.xpos[1:].copy())
            quaternions.append(self._data.xquat[1:].copy())
        return np.stack(positions), np.stack(quaternions)

    def outlines(self) -> dict[int, tuple[Floats, Faces]]:
        """Return body -> its triangles of all colours, for those bodies that have any."""
        parts: dict[int, list[tuple[Floats, Faces]]] = {}
        for shape in self.shapes:
            parts.setdefault(shape.body, []).append((shape.vertices, shape.faces))
        return {body: _concatenated(own) for body, own in parts.items()}

    def _joined(self) -> tuple[Shape, ...]:
        """Return the shapes of each body and colour as one."""
        found: dict[tuple[int, tuple[float, ...]], list[tuple[Floats, Faces]]] = {}
        for geom in range(self._model.ngeom):
            body = int(self._model.geom_bodyid[geom])
            if body == 0 or self._model.geom_group[geom] >= _SHOWN_GROUPS:
                continue
            colour = tuple(float(value) for value in self._colour(geom))
            found.setdefault((body - 1, colour), []).extend(self._triangles(geom))
        return tuple(Shape(body, *_concatenated(parts), np.array(rgb)) for (body, rgb), parts in found.items() if parts)

    def _colour(self, geom: int) -> Floats:
        material = int(self._model.geom_matid[geom])
        rgba = self._model.geom_rgba[geom] if material < 0 else self._model.mat_rgba[material]
        return np.asarray(rgba[:3], dtype=np.float64)

    def _triangles(self, geom: int) -> Iterator[tuple[Floats, Faces]]:
        """Yield the triangles of a geom in its body's frame; nothing for planes and other shapes without a surface of their own."""
        kind, size = self._mujoco.mjtGeom(int(self._model.geom_type[geom])), self._model.geom_size[geom]
        if kind == self._mujoco.mjtGeom.mjGEOM_MESH:
            vertices, faces = self._mesh(int(self._model.geom_dataid[geom]))
        elif kind == self._mujoco.mjtGeom.mjGEOM_BOX:
            vertices, faces = box(size)
        elif kind.name in _ROUND:
            vertices, faces = revolved(_profile(kind.name, size))
            if kind == self._mujoco.mjtGeom.mjGEOM_ELLIPSOID:
                vertices = vertices * size
        else:
            return
        turn = np.zeros(9)
        self._mujoco.mju_quat2Mat(turn, self._model.geom_quat[geom])
        yield vertices @ turn.reshape(3, 3).T + self._model.geom_pos[geom], faces

    def _mesh(self, mesh: int) -> tuple[Floats, Faces]:
        first, number = self._model.mesh_vertadr[mesh], self._model.mesh_vertnum[mesh]
        first_face, faces = self._model.mesh_faceadr[mesh], self._model.mesh_facenum[mesh]
        vertices = np.asarray(self._model.mesh_vert[first : first + number], dtype=np.float64)
        return vertices, np.asarray(self._model.mesh_face[first_face : first_face + faces], dtype=np.int64)


def box(half: Floats) -> tuple[Floats, Faces]:
    """Return a box of half sizes ``[3]``: a corner belongs to one side only, so that edges look sharp."""
    corners = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
    sides = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            side = np.empty((4, 3))
            side[:, axis], side[:, [(axis + 1) % 3, (axis + 2) % 3]] = sign, corners[:: int(sign)]
            sides.append(side)
    first = 4 * np.arange(6)[:, None]
    faces = np.concatenate([first + np.array(corner) for corner in ((0, 1, 2), (0, 2, 3))])
    return np.concatenate(sides) * half, faces


def revolved(profile: Floats) -> tuple[Floats, Faces]:
    """Return the surface that a profile ``[P, 2]`` of radius and height, from the bottom up, makes about the z axis."""
    angle = 2.0 * np.pi * np.arange(_SIDES) / _SIDES
    around = np.stack([np.cos(angle), np.sin(angle), np.ones(_SIDES)], axis=1)  # [S, 3]
    vertices = np.concatenate([around * (radius, radius, height) for radius, height in profile])
    side = np.arange(_SIDES)
    beside = (side + 1) % _SIDES
    ring = np.concatenate([np.stack([side, beside, beside + _SIDES], 1), np.stack([side, beside + _SIDES, side + _SIDES], 1)])
    return vertices, np.concatenate([ring + _SIDES * step for step in range(len(profile) - 1)])


def _rounded(radius: float, half_length: float) -> Floats:
    """Return the profile of a capsule; that of a sphere without length."""
    down, up = np.linspace(-0.5, 0.0, _SIDES // 4 + 1), np.linspace(0.0, 0.5, _SIDES // 4 + 1)
    lower = np.stack([np.cos(np.pi * down), np.sin(np.pi * down)], 1) * radius - (0.0, half_length)
    upper = np.stack([np.cos(np.pi * up), np.sin(np.pi * up)], 1) * radius + (0.0, half_length)
    return np.concatenate([lower, upper])


def _cylinder(radius: float, half: float) -> Floats:
    """Return the profile of a cylinder, its rims twice, so that they look sharp."""
    return np.array([(0.0, -half), (radius, -half), (radius, -half), (radius, half), (radius, half), (0.0, half)])


_ROUND = {"mjGEOM_SPHERE", "mjGEOM_CAPSULE", "mjGEOM_CYLINDER", "mjGEOM_ELLIPSOID"}


def _profile(kind: str, size: Floats) -> Floats:
    """Return the profile of a geom of one of the kinds of ``_ROUND``; an ellipsoid's is that of a unit sphere."""
    if kind == "mjGEOM_CYLINDER":
        return _cylinder(size[0], size[1])
    if kind == "mjGEOM_ELLIPSOID":
        return _rounded(1.0, 0.0)
    return _rounded(size[0], size[1] if kind == "mjGEOM_CAPSULE" else 0.0)


def _concatenated(parts: list[tuple[Floats, Faces]]) -> tuple[Floats, Faces]:
    """Return several surfaces as one."""
    first = np.cumsum([0, *(len(vertices) for vertices, _ in parts[:-1])])
    faces = np.concatenate([own + start for (_, own), start in zip(parts, first, strict=True)])
    return np.concatenate([vertices for vertices, _ in parts]), faces
