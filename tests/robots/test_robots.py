"""The robots themselves: their sizes and postures, and that each one's model is the robot that its file describes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.robots.anymal_d import JOINTS, STATE_LAYOUT, anymal_d
from rwmu.robots.go1 import go1
from rwmu.robots.mjcf import ModelSettings, model_xml
from rwmu.robots.robot import ContactGroups, Robot
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.simulators.physics import Physics
from rwmu.simulators.simulated import StartState
from rwmu.tasks.velocity import VelocityTask, observation_layout

ROBOTS = {"anymal_d": anymal_d(), "go1": go1()}
EVERY = pytest.mark.parametrize("robot", ROBOTS.values(), ids=ROBOTS)


def physics_of(robot: Robot, envelope: bool = True) -> Physics:
    return Physics(robot, 1, 1, ModelSettings(), envelope, 4)


def test_anymal_has_the_published_sizes() -> None:
    robot = ROBOTS["anymal_d"]
    sizes = (STATE_LAYOUT.size, observation_layout(robot).size, robot.contact_layout.size, robot.num_joints)
    assert sizes == (45, 48, 8, 12)
    assert STATE_LAYOUT["joint_torque"] == slice(33, 45)


def test_anymal_joints_are_type_major_and_bend_outwards_on_both_ends() -> None:
    posture = dict(zip(JOINTS, ROBOTS["anymal_d"].default_joint_pos.tolist(), strict=True))
    assert JOINTS[:5] == ("LF_HAA", "LH_HAA", "RF_HAA", "RH_HAA", "LF_HFE")
    assert posture["LF_HFE"] == pytest.approx(0.4)
    assert posture["RH_HFE"] == pytest.approx(-0.4)
    assert posture["RF_KFE"] == pytest.approx(-0.8)
    assert posture["LH_KFE"] == pytest.approx(0.8)


@pytest.mark.parametrize(("name", "mass"), [("anymal_d", 52.135), ("go1", 5.204 + 4 * (0.591 + 0.92 + 0.131 + 0.06))])
def test_the_model_weighs_what_was_published(name: str, mass: float) -> None:
    assert physics_of(ROBOTS[name]).model.body_mass.sum() == pytest.approx(mass, abs=1e-3)


@EVERY
def test_joints_and_actuators_have_the_robots_order_and_motors(robot: Robot) -> None:
    physics = physics_of(robot)
    model, motors = physics.model, robot.motors
    assert [model.actuator(i).name for i in range(model.nu)] == list(robot.joint_names)
    columns = [model.joint(name).qposadr[0] for name in robot.joint_names]
    physics.qpos[:, columns] = np.arange(robot.num_joints)
    np.testing.assert_array_equal(physics.joint_pos[0], np.arange(robot.num_joints))
    np.testing.assert_array_equal(model.actuator_gainprm[:, 0], np.broadcast_to(motors.stiffness, model.nu))
    np.testing.assert_array_equal(model.actuator_forcerange[:, 1], np.broadcast_to(motors.effort_limit, model.nu))
    degrees = [int(model.joint(name).dofadr[0]) for name in robot.joint_names]
    np.testing.assert_array_equal(model.dof_armature[degrees], np.broadcast_to(motors.armature, model.nu))


def test_every_setting_of_a_motor_may_differ_from_joint_to_joint() -> None:
    robot = ROBOTS["anymal_d"]
    values = tuple(0.01 * (1 + i) for i in range(robot.num_joints))
    own = dataclasses.replace(robot.motors, stiffness=values, damping=values, effort_limit=values, armature=values)
    model = physics_of(dataclasses.replace(robot, motors=own)).model
    np.testing.assert_array_equal(model.actuator_gainprm[:, 0], values)
    np.testing.assert_array_equal(-model.actuator_biasprm[:, 2], values)
    np.testing.assert_array_equal(model.actuator_forcerange[:, 1], values)
    np.testing.assert_array_equal([model.dof_armature[model.joint(name).dofadr[0]] for name in robot.joint_names], values)


def test_the_simulators_settings_take_the_place_of_the_robots() -> None:
    robot = ROBOTS["go1"]
    assert ModelSettings().motors(robot) == robot.motors
    changed = ModelSettings(effort_limit=11.0).motors(robot)
    assert changed == dataclasses.replace(robot.motors, effort_limit=11.0)
    assert 'forcerange="-11.0 11.0"' in model_xml(robot, ModelSettings(effort_limit=11.0))


def test_go1_stands_and_holds_its_weight_at_zero_action() -> None:
    env = MujocoEnv(VelocityTask(ROBOTS["go1"], observation_noise=0.0), 8, auto_reset=False)
    for _ in range(100):
        env.step(torch.zeros(8, 12))
        assert not env.terminated.any()
    layout = ROBOTS["go1"].contact_layout
    assert (env.poses()[:, 2] > 0.28).all(), "height of the trunk, m, of 0.32 with straight joints"
    assert (env.state[:, 8] < -0.99).all(), "tilt"
    assert layout.part(env.contact, "foot").all()
    assert not layout.part(env.contact, "undesired").any()
    assert env.state[:, :6].abs().max() < 0.2, "at rest, m/s and rad/s"


def test_go1_left_to_right_is_its_own_mirror_image() -> None:
    """Mirrored starts and mirrored actions give mirrored states and contacts."""
    task = VelocityTask(ROBOTS["go1"], observation_noise=0.0)
    mirror = task.robot.mirrors["left_right"]
    env, image = (MujocoEnv(task, 4, start=StartState(base_speed=0.0, joint_scale=(1.0, 1.0))) for _ in range(2))
    for one in (env, image):
        pose = np.zeros((4, 7))
        pose[:, 2], pose[:, 3] = 0.33, 1.0
        one.physics.place(np.arange(4), pose, np.zeros((4, 6)), np.tile(task.robot.default_joint_pos.double().numpy(), (4, 1)))
    touched = torch.zeros(12, dtype=torch.bool)
    for step in range(20):
        action = torch.randn(4, 12, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        env.step(action)
        image.step(mirror.action(action))
        torch.testing.assert_close(mirror.state(env.final_state), image.final_state, rtol=1e-6, atol=1e-6)
        assert torch.equal(mirror.contact(env.final_contact), image.final_contact)
        touched |= env.final_contact.any(0)
    assert touched[8:].all()
    assert env.final_state[:, :6].abs().max() > 0.05


def test_go1_starts_within_its_limits_and_has_no_front_back_mirror() -> None:
    robot = ROBOTS["go1"]
    assert list(robot.mirrors) == ["identity", "left_right"]
    assert (robot.joint_lower < 0.0).all()
    assert (robot.joint_upper > 0.0).all()
    image: Tensor = robot.mirrors["left_right"].action(robot.default_joint_pos)
    assert torch.equal(image, robot.default_joint_pos)
    assert (robot.contact_layout["undesired"], robot.contact_layout["foot"]) == (slice(0, 8), slice(8, 12))


def test_a_robot_whose_joints_do_not_add_up_is_refused() -> None:
    with pytest.raises(ConfigError, match="action_scale"):
        dataclasses.replace(ROBOTS["go1"], action_scale=torch.ones(3))
    with pytest.raises(ConfigError, match=r"motors\.stiffness"):
        dataclasses.replace(ROBOTS["go1"], motors=dataclasses.replace(ROBOTS["go1"].motors, stiffness=(1.0, 2.0)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"contacts": ContactGroups(feet=("FL_toe",), undesired=(), terminating=("trunk",))}, ("FL_toe", "FL_foot")),
        ({"joint_names": ("FL_knee", *go1().joint_names[1:])}, ("FL_knee", "FL_hip_joint")),
        ({"bodies": lambda visual: ["<body>"]}, ("no XML",)),
    ],
    ids=["contact", "joint", "xml"],
)
def test_a_model_that_lacks_what_its_robot_names_is_refused_with_both_lists(
    changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    robot = dataclasses.replace(go1(), **{"reflections": {}} | changes)
    with pytest.raises(ConfigError) as caught:
        model_xml(robot)
    assert not [word for word in words if word not in str(caught.value)]
