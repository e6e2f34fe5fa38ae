"""Shapes of robots as triangles, by their volumes, and where they are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from rwmu.robots import robot_named
from rwmu.view.body import Body, Faces, Floats, Shape, box, revolved

ROBOT = robot_named("anymal_d")


def volume(vertices: Floats, faces: Faces) -> float:
    """Return what triangles enclose: positive where they are seen from outside."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return float(np.einsum("fx,fx->", a, np.cross(b, c)) / 6.0)


def with_geom(geom: str, before: str = "") -> Shape:
    """Return the green shape that ANYmal has with a geom more."""

    def bodies(visual: bool) -> list[str]:
        first, *others = ROBOT.bodies(visual)
        return [before, first, f'<geom {geom} rgba="0 1 0 1" mass="0"/>', *others]

    [shape] = [shape for shape in Body(replace(ROBOT, bodies=bodies)).shapes if shape.colour.tolist() == [0.0, 1.0, 0.0]]
    return shape


@pytest.mark.parametrize(
    ("geom", "expected"),
    [
        ('type="box" size="1 2 3" pos="5 0 0"', 48.0),
        ('type="sphere" size="2"', 4.0 / 3.0 * math.pi * 8.0),
        ('type="capsule" size="1 2" euler="0.3 0.2 0.1"', math.pi * (4.0 / 3.0 + 4.0)),
        ('type="cylinder" size="2 1"', math.pi * 8.0),
        ('type="ellipsoid" size="1 2 3"', 4.0 / 3.0 * math.pi * 6.0),
        ('type="mesh" mesh="corner"', 1.0 / 6.0),
    ],
)
def test_geoms_are_closed_surfaces_seen_from_outside(geom: str, expected: float) -> None:
    mesh = '</worldbody><asset><mesh name="corner" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/></asset><worldbody>'
    shape = with_geom(geom, mesh)
    assert shape.body == 0
    assert volume(shape.vertices, shape.faces) == pytest.approx(expected, rel=0.05)


def test_a_shape_lies_where_its_geom_does() -> None:
    shape = with_geom('type="box" size="1 2 3" pos="5 0 0" euler="0 0 1.5707963"')
    np.testing.assert_allclose(shape.vertices.min(0), [3.0, -1.0, -3.0], atol=1e-5)
    np.testing.assert_allclose(shape.vertices.max(0), [7.0, 1.0, 3.0], atol=1e-5)


def test_boxes_and_profiles() -> None:
    assert volume(*box(np.array([0.5, 0.5, 0.5]))) == pytest.approx(1.0)
    cone = np.array([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
    assert volume(*revolved(cone)) == pytest.approx(math.pi / 3.0, rel=0.02)


@pytest.mark.parametrize("name", ["anymal_d", "go1"])
def test_every_robot_has_a_picture_that_stands_on_the_floor(name: str) -> None:
    robot = robot_named(name)
    body = Body(robot)
    pose = np.concatenate([[3.0, 0.0, robot.base_height, 1.0, 0.0, 0.0, 0.0], robot.default_joint_pos.numpy()])
    positions, quaternions = body.place(np.stack([pose, pose + np.eye(1, len(pose))[0]]))
    assert positions.shape == (2, body.num_bodies, 3)
    np.testing.assert_allclose(positions[1] - positions[0], np.tile([1.0, 0.0, 0.0], (body.num_bodies, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=-1), 1.0)
    feet = positions[0][:, 2].min()
    assert 0.0 < feet < robot.base_height
    outlines = body.outlines()
    assert sum(len(faces) for _, faces in outlines.values()) == sum(len(shape.faces) for shape in body.shapes)
    assert all(faces.max() < len(vertices) for vertices, faces in outlines.values())
