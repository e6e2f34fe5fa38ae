"""Dreams of a task of Isaac Lab's terms: what rows tell is computed, what they do not is predicted, and both ends and pays."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from rwmu.data.normalizer import Normalizer
from rwmu.data.replay import repaid
from rwmu.errors import CheckpointError, ConfigError, DataError
from rwmu.robots.anymal_d import anymal_d
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.tasks.lab import LabTask
from rwmu.tasks.lab_terms import LabTerms
from tests.fakes import KnownDynamics, random_episodes
from tests.imagination.dreams import BATCH, actions, build
from tests.tasks import fake_lab
from tests.tasks.fake_lab import TermCfg

HEIGHT = {"height": TermCfg(fake_lab.base_height_l2, -3.0, {"target_height": 0.5})}


def lab_task(extra: dict[str, TermCfg] | None = None, ends: dict[str, TermCfg] | None = None, **arguments: Any) -> LabTask:
    lab = LabTerms("Fake-Lab", fake_lab.rewards() | (extra or {}), fake_lab.terminations() if ends is None else ends)
    return LabTask(anymal_d(), lab, observation_noise=0.0, **arguments)


class Told(KnownDynamics):
    """Member e predicts an extension of ``e``."""

    def step(self, carry: Any, state: torch.Tensor, action: torch.Tensor) -> Any:
        carry, prediction = super().step(carry, state, action)
        members = torch.arange(self.num_members, dtype=state.dtype).view(-1, 1, 1)
        return carry, replace(prediction, extension=members.expand(-1, action.shape[-2], 1))


def test_a_dream_pays_isaac_labs_terms() -> None:
    task = lab_task(ends={})
    env = build(task=task, weight=0.0)
    for action in actions(3):
        memory = env.memory.take(slice(None))
        _, reward, _, _ = env.step(action)
        expected = task.reward(memory, env.final_state, action, env.final_contact)
        torch.testing.assert_close(reward, expected.total)
        assert set(expected.terms) == set(fake_lab.rewards()) | {"track_ang_vel_z_exp"}


def test_a_dream_ends_where_isaac_labs_task_does() -> None:
    tilted = {"bad_orientation": TermCfg(fake_lab.bad_orientation, params={"limit_angle": 0.2})}
    env = build(task=lab_task(ends=tilted), known={"drift": 0.2}, horizon_steps=200, random_start=False)
    free = build(task=lab_task(ends={}), known={"drift": 0.2}, horizon_steps=200, random_start=False)
    fell = 0
    for action in actions(4):
        gravity = env.task.robot.state_layout
        _, _, done, _ = env.step(action)
        free.step(action)
        expected = torch.acos(-gravity.part(env.final_state, "projected_gravity")[:, 2]) > 0.2
        assert torch.equal(env.terminated, expected)
        assert torch.equal(done, expected)
        fell += int(expected.sum())
        assert not free.terminated.any()
    assert fell > 0


def test_what_is_predicted_is_paid_in_its_own_units() -> None:
    task = lab_task(HEIGHT, terms_from="simulator")
    env = build(task=task, weight=0.0)
    model = copy.copy(env.world_model)
    model.dynamics = Told(task.robot, 3)
    model.extension_normalizer = Normalizer(torch.tensor([10.0]), torch.tensor([2.0]))
    env.rebind(model, env.episodes, torch.arange(20))
    member = env.member.clone()
    env.step(actions(1)[0])
    expected = 10.0 + 2.0 * member
    torch.testing.assert_close(env.last_reward.terms["height"], expected)
    assert set(expected.tolist()) == {10.0, 12.0, 14.0}


def test_a_model_that_does_not_predict_it_is_refused() -> None:
    env = build(task=lab_task(HEIGHT, terms_from="simulator"))
    with pytest.raises(CheckpointError, match="height"):
        env.step(torch.zeros(BATCH, 12))


def test_data_that_lack_it_are_refused_and_others_are_paid_for() -> None:
    task, episodes = lab_task(HEIGHT, terms_from="simulator"), random_episodes([5, 4])
    with pytest.raises(DataError, match="height"):
        repaid(episodes, task)
    told = torch.arange(9.0)[:, None]
    paid = repaid(replace(episodes, extension=told), task).reward
    more = repaid(replace(episodes, extension=told + 1.0), task).reward
    changed = torch.tensor([0, 1, 1, 1, 1, 0, 1, 1, 1])  # nobody pays for the first rows
    torch.testing.assert_close(more - paid, -3.0 * 0.02 * changed.float(), rtol=1e-4, atol=1e-5)


def test_another_simulator_cannot_compute_it() -> None:
    with pytest.raises(ConfigError, match="height"):
        MujocoEnv(lab_task(HEIGHT, terms_from="simulator"), 1)


def test_the_embedded_simulator_pays_what_rows_tell() -> None:
    task = lab_task()
    env = MujocoEnv(task, 2)
    memory, action = env.memory.take(slice(None)), torch.randn(2, 12, generator=torch.Generator().manual_seed(0))
    env.step(action)
    expected = task.reward(memory, env.final_state.double(), action.double(), env.final_contact)
    torch.testing.assert_close(env.last_reward.total, expected.total.float())
