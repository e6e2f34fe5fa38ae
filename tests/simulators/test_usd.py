"""Robots as USD: the same masses in the same places, every joint and foot by name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rwmu.errors import ConfigError
from rwmu.robots import robot_named
from rwmu.robots.mjcf import model_xml
from rwmu.simulators.extra import import_mujoco
from rwmu.simulators.usd import convert, robot_usd


def numbers(text: str, name: str) -> NDArray[np.float64]:
    found = re.search(rf"{name} = \(?([^)\n]*)\)?", text)
    assert found is not None, name
    return np.array([float(number) for number in found[1].split(",")])


def blocks(text: str, kind: str) -> dict[str, str]:
    """Return name -> text of all prims of a kind, up to the next one."""
    parts = re.split(r"\n    (?:    )?def ", text)
    return {part.split('"')[1]: part for part in parts if part.startswith(kind)}


def rotation(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.zeros(9)
    import_mujoco().mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


@pytest.mark.parametrize("name", ["anymal_d", "go1"])
def test_masses_and_inertias_are_those_of_the_model(name: str) -> None:
    """Mass, centre and inertia of the whole robot, feet taken off, are the base's block of MuJoCo's mass matrix."""
    mujoco, robot = import_mujoco(), robot_named(name)
    model: Any = mujoco.MjModel.from_xml_string(model_xml(robot))
    data = mujoco.MjData(model)
    data.qpos[:7] = (0, 0, 0, 1, 0, 0, 0)
    model.dof_armature[:] = 0.0
    mujoco.mj_forward(model, data)
    whole = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, whole)
    mass, moment, inertia = 0.0, np.zeros(3), np.zeros((3, 3))
    for body in blocks(robot_usd(robot), "Xform").values():
        own, at = numbers(body, "physics:mass")[0], numbers(body, "translate") + numbers(body, "physics:centerOfMass")
        axes = rotation(numbers(body, "physics:principalAxes"))
        mass, moment = mass + own, moment + own * at
        inertia += axes @ np.diag(numbers(body, "physics:diagonalInertia")) @ axes.T
        inertia += own * (at @ at * np.eye(3) - np.outer(at, at))
    assert mass == pytest.approx(whole[0, 0])
    assert whole[4, 2] == pytest.approx(-moment[0], abs=1e-6)
    assert inertia == pytest.approx(whole[3:6, 3:6], abs=1e-5)


@pytest.mark.parametrize("name", ["anymal_d", "go1"])
def test_joints_and_contacts_are_found_by_name(name: str) -> None:
    robot = robot_named(name)
    text = robot_usd(robot)
    joints, bodies = blocks(text, "PhysicsRevoluteJoint"), {body.lower() for body in blocks(text, "Xform")}
    assert set(joints) == set(robot.joint_names)
    axes = {joint: re.findall(r'physics:axis = "(.)"', part)[0] for joint, part in joints.items()}
    assert list(axes.values()).count("X") == 4
    assert {axes[joint] for joint, axis in zip(robot.joint_names, robot.joint_axes, strict=True) if axis == "roll"} == {"X"}
    assert {contact.lower() for contact in robot.contacts.names} <= bodies
    assert len(blocks(text, "PhysicsFixedJoint")) == 4


def test_what_usd_cannot_say_is_refused(tmp_path: Path) -> None:
    robot = robot_named("go1")

    def changed(old: str, new: str) -> Any:
        lines = [line.replace(old, new) for line in robot.bodies(False)]
        return replace(robot, bodies=lambda visual: lines)

    with pytest.raises(ConfigError, match="FL_hip_joint"):
        robot_usd(changed('<joint name="FL_hip_joint" axis="1 0 0"', '<joint name="FL_hip_joint" axis="1 1 0"'))
    with pytest.raises(ConfigError, match="trunk"):
        robot_usd(changed('<geom name="trunk" type="box"', '<geom name="trunk" type="ellipsoid"'))
    with pytest.raises(ConfigError, match="usda"):
        convert("go1", str(tmp_path / "go1.usd"))


def test_the_file_is_the_text_and_is_the_same_each_time(tmp_path: Path) -> None:
    convert("go1", str(tmp_path / "go1.usda"))
    assert (tmp_path / "go1.usda").read_text() == robot_usd(robot_named("go1"))
