"""mjlab's reward terms: answers worked by hand, and the humanoid's task under its mirror."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rwmu.robots import robot_named
from rwmu.runs.configuration import compose_config, instantiate
from rwmu.tasks import mjlab_rewards as mjlab
from rwmu.tasks.velocity import VelocityTask

CHAIN = {"waist_yaw_joint": "yaw", "waist_roll_joint": "roll", "waist_pitch_joint": "pitch"}
NAMES = ("knee_joint", *CHAIN)
DEFAULT = torch.tensor([0.5, 0.0, 0.0, 0.1])


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def joints(yaw: float = 0.0, roll: float = 0.0, pitch: float = 0.0) -> dict[str, object]:
    """Return a waist at angles, its default posture included."""
    return {
        "joint_pos": row(0.3, yaw, roll, pitch - 0.1),
        "default_joint_pos": DEFAULT.double(),
        "joint_names": NAMES,
        "chain": CHAIN,
    }


def test_tracking_wants_no_velocity_across_what_is_commanded() -> None:
    command = row(0.5, 0.0, 0.2)
    assert mjlab.track_linear_velocity(command, row(0.5, 0.0, 0.0)).item() == 1.0
    assert mjlab.track_linear_velocity(command, row(0.2, 0.0, 0.4)).item() == pytest.approx(math.exp(-0.25 / 0.25))
    assert mjlab.track_angular_velocity(command, row(0.3, 0.4, 0.2)).item() == pytest.approx(math.exp(-0.25 / 0.5))


def test_a_torso_is_upright_where_the_waist_undoes_the_tilt_of_the_base() -> None:
    rolled = row(0.0, -math.sin(0.3), -math.cos(0.3))  # gravity, seen from a base that leans to its right by 0.3 rad
    assert mjlab.upright(rolled, **joints()).item() == pytest.approx(math.exp(-(math.sin(0.3) ** 2) / 0.2))  # type: ignore[arg-type]
    assert mjlab.upright(rolled, **joints(roll=-0.3)).item() == pytest.approx(1.0)  # type: ignore[arg-type]
    assert mjlab.upright(rolled, **joints(roll=0.3)).item() == pytest.approx(math.exp(-(math.sin(0.6) ** 2) / 0.2))  # type: ignore[arg-type]


def test_rates_of_a_body_are_the_bases_and_the_joints_and_turning_about_the_vertical_is_free() -> None:
    upright, still = row(0.0, 0.0, -1.0), row(0.0, 0.0, 0.0)

    def rate(base: Tensor, speeds: Tensor, gravity: Tensor = upright, **angles: float) -> float:
        return mjlab.body_ang_vel(base, gravity, joint_vel=speeds, **joints(**angles)).item()  # type: ignore[arg-type]

    assert rate(row(0.3, 0.4, 9.0), row(0.0, 0.0, 0.0, 0.0)) == pytest.approx(0.25)
    assert rate(still, row(7.0, 5.0, 0.6, 0.8)) == pytest.approx(1.0)
    assert rate(row(0.0, 0.6, 0.0), row(0.0, 0.0, 0.6, 0.0), yaw=math.pi / 2) == pytest.approx(1.44)  # roll is about y there
    assert rate(still, row(0.0, 0.8, 0.0, 0.0), gravity=row(-1.0, 0.0, 0.0)) == pytest.approx(0.64)  # lying


def test_the_posture_may_vary_more_the_faster_the_command() -> None:
    command = torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.4, 0.1], [1.0, 0.0, 0.5]])
    position = torch.tensor([[0.1, 0.2]]).expand(3, 2)
    deviations = {"standing": {".*": 0.1}, "walking": {"knee": 0.1, ".*": 0.2}, "running": {".*": 1.0}}
    found = mjlab.variable_posture(position, command, ("knee", "hip"), **deviations)
    assert found.tolist() == pytest.approx([math.exp(-2.5), math.exp(-1.0), math.exp(-0.025)])
    with pytest.raises(ValueError, match="hip"):
        mjlab.variable_posture(position, command, ("knee", "hip"), **(deviations | {"running": {"knee": 1.0}}))


@pytest.fixture(scope="module")
def humanoid() -> VelocityTask:
    task: VelocityTask = instantiate(compose_config("train", ["task=g1_flat"]).task)
    return task


def test_the_humanoids_rewards_are_invariant_under_its_mirror_and_it_falls_by_tilt(humanoid: VelocityTask) -> None:
    robot, seen = humanoid.robot, dict.fromkeys(humanoid.weights, 0.0)
    mirror = robot.mirrors["left_right"]
    plain, reflected = (humanoid.start(16, dtype=torch.float64) for _ in range(2))
    plain.command = torch.rand(16, 3, dtype=torch.float64) * (torch.arange(16) > 3)[:, None]
    reflected.command = mirror.command(plain.command)
    for seed in range(4):
        draw = torch.Generator().manual_seed(seed)
        state, action = (torch.randn(16, size, generator=draw, dtype=torch.float64) for size in (96, 29))
        contact = torch.rand(16, 10, generator=draw) > 0.5
        one = humanoid.reward(plain, state, action, contact)
        other = humanoid.reward(reflected, mirror.state(state), mirror.action(action), mirror.contact(contact))
        torch.testing.assert_close(other.total, one.total)
        seen = {name: seen[name] + float(one.terms[name].abs().sum()) for name in seen}
    assert all(total > 0.0 for total in seen.values())
    lying = torch.zeros(2, 96)
    lying[:, robot.state_layout["projected_gravity"]] = torch.tensor([[0.0, 0.93, -0.36], [0.0, 0.95, -0.32]])
    assert humanoid.terminate(lying, torch.zeros(2, dtype=torch.bool)).tolist() == [False, True]


def test_mjlabs_weights_are_those_of_its_task(humanoid: VelocityTask) -> None:
    weights = {"track_lin_vel_xy_exp": 2.0, "track_ang_vel_z_exp": 2.0, "upright": 1.0, "pose": 1.0, "body_ang_vel": -0.05}
    assert humanoid.weights == weights | {"dof_pos_limits": -1.0, "action_rate_l2": -0.1}
    assert humanoid.robot.describe() == robot_named("g1").describe()
