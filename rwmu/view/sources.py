"""Where the robot's rows come from: the simulator, where a policy acts, or an episode of the dataset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.errors import ConfigError, DataError
from rwmu.interfaces import Actor
from rwmu.robots.robot import Robot
from rwmu.simulators.env import RobotEnv
from rwmu.simulators.poses import moved, starting_pose


@dataclass(frozen=True)
class Row:
    """What one row holds of the robot; see :mod:`rwmu.records` for which action stands in it.

    Attributes:
        state: ``[D]``. action: ``[A]``. contact: ``[C]``, 0 or 1. command: ``[3]``, answered by the action.
        terminated: whether the episode ended badly here.
        pose: ``[7 + A]``, base position (m), quaternion (w first), joint angles (rad).
    """

    state: Tensor
    action: Tensor
    contact: Tensor
    command: Tensor
    terminated: bool
    pose: NDArray[np.float64]


class Simulated:
    """A policy in the simulator.

    Args:
        env: of one environment and ``auto_reset=False``, so that the robot lies where it has fallen.

    Attributes:
        actor, command: of the steps to come; ``[3]``, m/s, m/s and rad/s.
    """

    def __init__(self, env: RobotEnv, actor: Actor, command: Tensor) -> None:
        self.env, self.actor, self.command = env, actor, command

    def begin(self) -> Row:
        """Begin an episode; return its first row."""
        self.env.reset()
        return self._row(torch.zeros(self.env.num_actions))

    @torch.no_grad()
    def advance(self) -> Row:
        """Let the policy act for a step."""
        self.env.memory.command[0] = self.command.to(self.env.memory.command)
        action = self.actor(self.env.get_observations()["policy"])
        self.env.step(action)
        return self._row(action[0])

    def push(self, change: Tensor) -> None:
        """Change the base's planar velocity by ``[2]``, m/s in the world's frame."""
        self.env.push(change[None])

    def _row(self, action: Tensor) -> Row:
        env = self.env
        state, contact = env.final_state[0].float().cpu().clone(), env.final_contact[0].float().cpu()
        return Row(
            state, action.float().cpu().clone(), contact, self.command.clone(), bool(env.terminated[0]), env.poses()[0].copy()
        )


class Recorded:
    """An episode of a dataset; what is not recorded, its place and heading, is integrated from its velocities.

    Raises:
        DataError: there is no such episode.
    """

    def __init__(self, episodes: Episodes, episode: int, robot: Robot, step_dt: float) -> None:
        if not 0 <= episode < episodes.num_episodes:
            raise DataError(f"There is no episode {episode}: the run's data have {episodes.num_episodes}, from 0 on.")
        self.episode, self._episodes, self._robot, self._step_dt = episode, episodes, robot, step_dt
        self._first, self._length = int(episodes.offsets[episode]), int(episodes.lengths[episode])
        self._next = 0
        self._pose: NDArray[np.float64]

    def begin(self) -> Row:
        """Begin with the episode's first row."""
        self._next = 1
        self._pose = starting_pose(self._episodes.state[self._first].double().numpy(), self._robot)
        return self._row(self._first)

    def advance(self) -> Row | None:
        """Return the next row, or None at the end."""
        if self._next >= self._length:
            return None
        row = self._first + self._next
        self._next += 1
        state = self._episodes.state[row].double().numpy()
        self._pose = moved(self._pose[None], state[None], self._robot, self._step_dt)[0]
        return self._row(row)

    def push(self, change: Tensor) -> None:
        """Refuse."""
        raise ConfigError("A recorded robot cannot be pushed.")

    def _row(self, row: int) -> Row:
        data = self._episodes
        answered = max(row - 1, self._first)  # the command in force when the row's action was chosen
        flags = data.contact[row].float(), data.command[answered], bool(data.termination[row])
        return Row(data.state[row], data.action[row], *flags, self._pose)


Source = Simulated | Recorded
