"""Axes and signs of the base, and joint angles that are absolute."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rwmu.data.audit.kinematics import base_axes, correlations
from rwmu.data.episodes import Episodes
from tests.data.planted import CONTEXT, found, sound_episodes, with_state
from tests.data.test_audit_motors import noisy
from tests.data.walking import ROBOT, STEP_DT

X_AND_Y = torch.tensor([-1.0, -1.0, 1.0])


@pytest.mark.parametrize(
    ("name", "change", "axes"),
    [
        ("base_ang_vel", lambda rate: -rate, "-x, -y, -z"),
        ("base_ang_vel", lambda rate: rate.flip(-1), "z, y, x"),
        ("base_ang_vel", lambda rate: rate[:, [1, 0, 2]], "y, x, z"),
        ("projected_gravity", lambda gravity: gravity * X_AND_Y, "-x, -y, z"),
    ],
)
def test_other_axes_and_signs_are_found_and_named(
    name: str, change: Callable[[Tensor], Tensor], axes: str, simulated: Episodes
) -> None:
    finding = found(with_state(simulated, name, change))["base_axes"]
    assert finding.severity == "warning"
    assert finding.numbers["best_axes"] == axes
    assert finding.numbers["best_correlation"] > 0.95


def rolling(number: int = 1000) -> tuple[Tensor, Tensor]:
    """Return gravity and rates ``[S, 3]`` of a base that rolls by 0.3 rad and pitches by 0.2 rad, exact to second order."""
    time = STEP_DT * torch.arange(number, dtype=torch.float64)
    roll, pitch = 0.3 * torch.sin(6.0 * time), 0.2 * torch.sin(4.0 * time)
    gravity = torch.stack([pitch.sin(), -roll.sin() * pitch.cos(), -roll.cos() * pitch.cos()], dim=-1)
    turn = torch.gradient(gravity, spacing=STEP_DT, dim=0)[0]
    return gravity, torch.linalg.cross(turn, gravity)  # of dg/dt = -w x g, without a part along g


def base(gravity: Tensor, rate: Tensor) -> Episodes:
    episodes = sound_episodes(1, len(gravity))
    episodes = with_state(episodes, "projected_gravity", lambda _: gravity.float())
    return with_state(episodes, "base_ang_vel", lambda _: rate.float())


def test_rates_of_another_frame_fit_in_no_order() -> None:
    gravity, rate = rolling()
    assert base_axes(base(gravity, rate), CONTEXT) == []
    angle = 0.5 * STEP_DT * torch.arange(len(rate))  # the heading changes, so that the world's axes are not the base's
    turned = torch.stack(
        [
            angle.cos() * rate[:, 0] - angle.sin() * rate[:, 1],
            angle.sin() * rate[:, 0] + angle.cos() * rate[:, 1],
            rate[:, 2],
        ],
        dim=-1,
    )
    (finding,) = base_axes(base(gravity, turned), CONTEXT)
    assert finding.numbers["best_correlation"] < 0.7, "in no order"


def test_robots_that_hardly_turn_noise_and_few_rows_are_not_judged(simulated: Episodes) -> None:
    gravity, rate = rolling()
    still = torch.tensor([0.0, 0.0, -1.0]) + 0.005 * gravity
    assert base_axes(base(still, -0.005 * rate), CONTEXT) == []
    noise = torch.randn(rate.shape, generator=torch.Generator().manual_seed(0))
    assert base_axes(base(gravity, rate + 10.0 * noise), CONTEXT) == [], "right, but drowned"
    assert base_axes(base(gravity + noise, rate), CONTEXT) == []
    assert base_axes(base(gravity, -rate).select(torch.tensor([0, 0])), CONTEXT), "which shows that it is looked at"
    assert base_axes(base(gravity[:400], -rate[:400]), CONTEXT) == []
    assert "base_axes" not in found(noisy(simulated))


def test_a_turn_by_hand() -> None:
    """About x by 0.1 rad/s for one second, in one step: gravity (0, 0, -1) turns by (0, -0.1, 0), and by (0.1, 0, 0) about y."""
    gravity = torch.tensor([[[0.0, 0.0, -1.0], [0.0, -0.1, -1.0]]], dtype=torch.float64)
    rate = torch.tensor([[[0.1, 0.0, 0.0], [0.1, 0.0, 0.0]]], dtype=torch.float64)
    found_there = correlations(gravity, rate, torch.tensor([[0.0, -0.1, 0.0]], dtype=torch.float64), 1.0)
    assert len(found_there) == 48
    assert found_there[(0, 1.0), (1, 1.0), (2, 1.0)] == pytest.approx(1.0, abs=0.01)
    assert found_there[(0, -1.0), (1, 1.0), (2, 1.0)] == pytest.approx(-1.0, abs=0.01)
    assert found_there[(1, 1.0), (0, 1.0), (2, 1.0)] == pytest.approx(0.0, abs=0.01)


def test_absolute_joint_angles_are_found(simulated: Episodes) -> None:
    for episodes in (simulated, sound_episodes()):
        assert "absolute_joint_pos" not in found(episodes)
        finding = found(with_state(episodes, "joint_pos", lambda angle: angle + ROBOT.default_joint_pos))["absolute_joint_pos"]
        assert finding.severity == "warning"
        assert finding.numbers["share_of_default"] == pytest.approx(1.0, abs=0.35)


def test_a_crouching_robot_has_no_absolute_angles() -> None:
    crouch = with_state(sound_episodes(), "joint_pos", lambda angle: angle + 0.4 * ROBOT.default_joint_pos)
    assert "absolute_joint_pos" not in found(crouch)
