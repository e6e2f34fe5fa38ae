"""Exact inference: the same bits in any company, and close to the network that it was rounded from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rwmu.errors import CheckpointError, ConfigError
from rwmu.robots.anymal_d import anymal_d
from rwmu.robots.go1 import go1
from rwmu.simulators.actors import ExactActor, policy_levels
from rwmu.tasks.velocity import VelocityTask

ANYMAL, GO1 = VelocityTask(anymal_d()), VelocityTask(go1())
NEWCOMER = VelocityTask(dataclasses.replace(go1(), name="newcomer"))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(48, 128), nn.ELU(), nn.Linear(128, 128), nn.ELU(), nn.Linear(128, 12))


def rounded(net: nn.Sequential, std: float = 0.4) -> ExactActor:
    state = {f"mlp.{name}": value for name, value in net.state_dict().items()}
    return ExactActor.from_rsl_rl(state | {"distribution.log_std_param": torch.full((12,), std).log()})


def test_it_is_close_to_the_network_it_was_rounded_from() -> None:
    net, observation = network(), 2.0 * torch.randn(200, 48)
    with torch.no_grad():
        expected = net(observation)
    assert (rounded(net)(observation) - expected).abs().max() < 0.01
    assert rounded(net).std == pytest.approx(np.full(12, 0.4), abs=2**-12)


def test_every_row_is_the_same_in_any_company_and_any_order_of_summation() -> None:
    actor = rounded(network())
    observation = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)
    everyone = actor.mean(observation)
    for row in (0, 17, 63):
        np.testing.assert_array_equal(actor.mean(observation[row : row + 1])[0], everyone[row])
    order = np.random.default_rng(1).permutation(48)
    weight, bias = actor.layers[0]
    shuffled = ExactActor(((weight[order], bias), *actor.layers[1:]), actor.std)
    np.testing.assert_array_equal(shuffled.mean(observation[:, order]), everyone)


def test_it_survives_a_file_to_the_last_bit(tmp_path: Path) -> None:
    actor = rounded(network())
    actor.save(tmp_path / "actor.npz")
    again = ExactActor.load(tmp_path / "actor.npz")
    observation = np.random.default_rng(0).normal(size=(8, 48))
    np.testing.assert_array_equal(again.mean(observation), actor.mean(observation))
    np.testing.assert_array_equal(again.std, actor.std)


def test_absurd_observations_give_finite_actions() -> None:
    actor = rounded(network())
    assert np.isfinite(actor.mean(np.array([[1e30] * 48, [-np.inf] * 48]))).all()


def test_weights_that_do_not_fit_the_grid_are_refused() -> None:
    net = network()
    with torch.no_grad():
        net[2].weight[0, 0] = 9.0
    with pytest.raises(CheckpointError, match=r"9\.00"):
        rounded(net)


@pytest.mark.parametrize("task", [ANYMAL, GO1])
def test_the_shipped_levels_are_small_and_rise_in_quality(task: VelocityTask) -> None:
    levels = policy_levels(task)
    assert levels.names == ["random", "stand", "poor", "medium", "good", "expert"]
    assert sum(file.stat().st_size for file in task.robot.policies.iterdir()) < 500_000
    tracking = [row["track_lin_vel_xy"] for row in levels.table[2:]]
    assert tracking == sorted(tracking)
    assert levels.table[-1]["return"] == max(row["return"] for row in levels.table)
    for name in levels.names:
        action = levels.actor(name)(torch.zeros(3, 48))
        assert action.shape == (3, 12)
        assert action.dtype == torch.float32


def test_a_robot_without_shipped_policies_has_two_that_hold_the_default_posture() -> None:
    levels = policy_levels(NEWCOMER)
    assert levels.names == ["random", "stand"]
    for name in levels.names:
        assert not levels.actor(name)(torch.randn(3, 48)).any()
    assert levels.actor("random").std.min() > 10 * levels.actor("stand").std.max() > 0.0


def test_content_hashes_tell_policies_apart() -> None:
    actors = [policy_levels(task).actor(name) for task in (ANYMAL, NEWCOMER) for name in policy_levels(task).names]
    assert len({actor.content_hash() for actor in actors}) == len(actors)
    assert policy_levels(ANYMAL).actor("expert").content_hash() == policy_levels(ANYMAL).actor("expert").content_hash()


@pytest.mark.parametrize(("task", "robot"), [(ANYMAL, "anymal_d"), (NEWCOMER, "newcomer")])
def test_an_unknown_level_is_named_with_the_known_ones(task: VelocityTask, robot: str) -> None:
    with pytest.raises(ConfigError) as error:
        policy_levels(task).actor("pro")
    assert all(word in str(error.value) for word in ("'pro'", robot, "random, stand"))
