"""Robots that mjlab brings, as far as they can be known without it: columns, mirrors, motors, and how their picture is made."""

from __future__ import annotations

import importlib.machinery
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from rwmu.errors import ConfigError, MissingExtraError
from rwmu.robots import robot_named
from rwmu.robots.mjlab_asset import MjlabAsset, drawn_bodies
from rwmu.robots.robot import Robot
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.tasks.velocity import VelocityTask, observation_layout

ROBOTS = {name: robot_named(name) for name in ("g1", "go1_mjlab")}
G1 = ROBOTS["g1"]
EVERY = pytest.mark.parametrize("robot", ROBOTS.values(), ids=ROBOTS)


def test_g1_has_29_joints_by_name_and_two_feet() -> None:
    sizes = (G1.num_joints, G1.state_layout.size, observation_layout(G1).size, G1.contact_layout.size)
    assert sizes == (29, 96, 99, 10)
    assert len(set(G1.joint_names)) == 29
    posture = dict(zip(G1.joint_names, G1.default_joint_pos.tolist(), strict=True))
    assert posture["left_knee_joint"] == posture["right_knee_joint"] == pytest.approx(0.669)
    assert posture["right_shoulder_roll_joint"] == pytest.approx(-0.2)
    assert G1.contacts.feet == ("left_foot", "right_foot")


@EVERY
def test_the_only_mirror_is_left_to_right_and_applied_twice_changes_nothing(robot: Robot) -> None:
    assert list(robot.mirrors) == ["identity", "left_right"]
    mirror = robot.mirrors["left_right"]
    images = {"state": robot.state_layout.size, "action": robot.num_joints, "contact": robot.contact_layout.size}
    for name, size in images.items():
        vector, image = torch.randn(5, size), getattr(mirror, name)
        assert torch.equal(image(image(vector)), vector)
        assert not torch.equal(image(vector), vector)


@EVERY
def test_posture_limits_and_motors_are_their_own_mirror_images(robot: Robot) -> None:
    mirror = robot.mirrors["left_right"].action
    assert torch.equal(mirror(robot.default_joint_pos), robot.default_joint_pos)
    turned = mirror.sign < 0
    low, high = mirror(robot.joint_lower), mirror(robot.joint_upper)
    torch.testing.assert_close(torch.where(turned, high, low), robot.joint_lower)
    torch.testing.assert_close(torch.where(turned, low, high), robot.joint_upper)
    assert (robot.joint_lower < 0.0).all()
    assert (robot.joint_upper > 0.0).all()
    for name in ("stiffness", "damping", "effort_limit", "armature"):
        values = torch.tensor(getattr(robot.motors, name))
        assert torch.equal(values[mirror.index], values), name


def test_g1_mirrors_axes_as_they_turn() -> None:
    """A knee's image bends alike, a roll or yaw joint's the other way; the waist is its own image."""
    mirrored = dict(zip(G1.joint_names, G1.mirrors["left_right"].action(torch.arange(1.0, 30.0)).tolist(), strict=True))
    assert mirrored["left_knee_joint"] == 1.0 + G1.joint_names.index("right_knee_joint")
    assert mirrored["left_hip_roll_joint"] == -1.0 - G1.joint_names.index("right_hip_roll_joint")
    assert mirrored["right_wrist_yaw_joint"] == -1.0 - G1.joint_names.index("left_wrist_yaw_joint")
    assert mirrored["waist_pitch_joint"] == 1.0 + G1.joint_names.index("waist_pitch_joint")
    assert mirrored["waist_roll_joint"] == -1.0 - G1.joint_names.index("waist_roll_joint")


@EVERY
def test_an_action_of_one_asks_for_a_quarter_of_the_largest_torque(robot: Robot) -> None:
    asked = robot.action_scale * torch.tensor(robot.motors.stiffness)
    torch.testing.assert_close(asked, 0.25 * torch.tensor(robot.motors.effort_limit))


@EVERY
def test_other_simulators_are_refused_with_the_one_that_has_its_model(robot: Robot) -> None:
    with pytest.raises(ConfigError, match="simulator=mjlab"):
        MujocoEnv(VelocityTask(robot), 1)


MJCF = """<mujoco>
<default><default class="r">
<default class="visual"><geom type="mesh"/></default>
<default class="collision"><geom type="capsule" group="3"/><default class="toe"><geom size="0.01"/></default></default>
</default></default>
<asset><mesh name="m" file="missing.stl"/></asset>
<worldbody><body name="base" childclass="r"><light pos="0 0 2"/><inertial pos="0 0 0" mass="2" diaginertia="1 1 1"/>
<freejoint name="floating"/><geom class="visual" mesh="m"/><site name="imu"/>
<geom name="base_collision" class="collision" size="0.1" fromto="0 0 0 0 0 1"/>
<body name="foot" pos="0 0 -1"><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/><joint name="knee" axis="0 1 0"/>
<geom name="foot1_collision" class="toe" fromto="0 0 0 1 0 0"/></body></body></worldbody></mujoco>"""


@pytest.fixture
def mjlab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a package that is said to be mjlab."""
    spec = importlib.machinery.ModuleSpec("mjlab", None)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr("rwmu.robots.mjlab_asset.find_spec", lambda _: spec)
    return tmp_path


def test_the_picture_of_a_robot_is_its_bodies_and_primitives_without_classes_and_meshes(mjlab: Path) -> None:
    (mjlab / "robot.xml").write_text(MJCF)
    lines = drawn_bodies("robot.xml", True)
    model: Any = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{''.join(lines)}</worldbody></mujoco>")
    assert [model.geom(i).name for i in range(model.ngeom)] == ["base_collision", "foot1_collision"]
    assert [model.joint(i).name for i in range(model.njnt)] == ["root", "knee"]
    np.testing.assert_allclose(model.geom("foot1_collision").size[:2], [0.01, 0.5])
    np.testing.assert_allclose(model.body_mass, [0.0, 2.0, 1.0])


def test_without_mjlab_its_robots_cannot_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rwmu.robots.mjlab_asset.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="mjlab"):
        drawn_bodies("robot.xml", True)


def test_a_contact_is_made_up_of_the_shapes_that_begin_with_its_name() -> None:
    geoms = ["FL_thigh_collision1", "FL_thigh_collision2", "FL_foot_collision", "trunk_collision"]
    ROBOTS["go1_mjlab"].check_model(
        ROBOTS["go1_mjlab"].joint_names,
        [
            *(
                f"{leg}_{part}"
                for leg in ("FL", "RL", "FR", "RR")
                for part in ("thigh_collision1", "calf_collision2", "foot_collision")
            ),
            *("trunk_collision", "head_collision"),
        ],
    )
    with pytest.raises(ConfigError, match=r"RL_foot.*FL_thigh_collision1"):
        ROBOTS["go1_mjlab"].check_model(ROBOTS["go1_mjlab"].joint_names, geoms)
    assert MjlabAsset("", (), (0.0, 0.0, 0.0)).geoms_of("left_foot") == r"left_foot\d*_collision\d*"
