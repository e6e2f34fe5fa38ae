"""The robot in the simulator, and in a dataset."""

from __future__ import annotations

import pytest
import torch

from rwmu.errors import ConfigError, DataError
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.view.sources import Recorded, Simulated
from tests.fakes import random_episodes
from tests.view.sources import LAYOUT, TASK


def test_a_policy_answers_the_command_in_the_simulator() -> None:
    seen = []

    def actor(observation: torch.Tensor) -> torch.Tensor:
        seen.append(observation[0, TASK.observation_layout["command"]].tolist())
        return torch.full((1, TASK.num_actions), 0.1)

    source = Simulated(MujocoEnv(TASK, 1, auto_reset=False), actor, torch.tensor([0.5, 0.0, -0.25]))
    first = source.begin()
    assert not first.action.any()
    second = source.advance()
    source.command = torch.tensor([0.0, 1.0, 0.0])
    third = source.advance()
    assert seen == [[0.5, 0.0, -0.25], [0.0, 1.0, 0.0]]
    assert third.command.tolist() == [0.0, 1.0, 0.0]
    torch.testing.assert_close(second.action, torch.full((TASK.num_actions,), 0.1))
    assert second.pose[2] != third.pose[2]
    assert not torch.equal(second.state, third.state)
    torch.testing.assert_close(third.state, source.env.state[0])


def test_a_push_is_the_simulators() -> None:
    source = Simulated(MujocoEnv(TASK, 1, auto_reset=False), lambda o: torch.zeros(1, TASK.num_actions), torch.zeros(3))
    row = source.begin()
    source.push(torch.tensor([2.0, 0.0]))
    change = LAYOUT.part(source.env.state[0] - row.state, "base_lin_vel")
    assert float(change.norm()) == pytest.approx(2.0, rel=1e-4)


def test_a_recorded_episode_is_played_row_by_row() -> None:
    episodes = random_episodes([5, 3], terminated=(1,))
    source = Recorded(episodes, 1, TASK.robot, TASK.step_dt)
    rows = [source.begin()]
    while (row := source.advance()) is not None:
        rows.append(row)
    torch.testing.assert_close(torch.stack([row.state for row in rows]), episodes.state[5:])
    torch.testing.assert_close(torch.stack([row.action for row in rows]), episodes.action[5:])
    torch.testing.assert_close(torch.stack([row.command for row in rows]), episodes.command[[5, 5, 6]])
    assert [row.terminated for row in rows] == [False, False, True]
    assert rows[0].pose[2] == TASK.robot.base_height
    joints = episodes.state[7, LAYOUT["joint_pos"]] + TASK.robot.default_joint_pos
    torch.testing.assert_close(torch.from_numpy(rows[2].pose[7:]).float(), joints)


def test_what_a_dataset_cannot() -> None:
    episodes = random_episodes([5, 3])
    for episode in (-1, 2):
        with pytest.raises(DataError, match=str(episode)):
            Recorded(episodes, episode, TASK.robot, TASK.step_dt)
    with pytest.raises(ConfigError, match="pushed"):
        Recorded(episodes, 0, TASK.robot, TASK.step_dt).push(torch.zeros(2))
