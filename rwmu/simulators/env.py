"""What an environment with robots in it must offer, whatever simulates (or imagines) it.

Collection, deployment, recording, filming and the cache of deployments take a finished :class:`RobotEnv` and know no simulator. A
simulator is one class of this kind: ``_target_`` of a file in ``configs/simulator``, made by a :class:`MakeEnv`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rsl_rl.env import VecEnv
from tensordict import TensorDict
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.interfaces import Device
from rwmu.records import Reward
from rwmu.tasks.velocity import TaskMemory, VelocityTask


class RobotEnv(VecEnv):  # type: ignore[misc]  # rsl-rl ships no types
    """B parallel environments of one robot and one task, as rsl-rl sees them and with what a robot's data need besides.

    What it does follows from its arguments and its seed. Environment ``i`` does the same whatever B is.

    Attributes:
        num_envs: B. num_actions: A. device: where its tensors are.
        max_episode_length: time-out, steps. episode_length_buf: ``[B]`` int64, steps of the running episodes.
        state, contact: ``[B, D]`` physical units and ``[B, C]`` bool, from which the next actions start (after any reset).
        final_state, final_contact: the rows that the latest step reached, before any reset.
        terminated: ``[B]`` bool, whose episode the latest step ended badly.
        diverged: ``[B]`` bool, for whom the latest step was none: the row that it reached means nothing.
        memory: of the task. Writing to ``memory.command`` changes the command. last_reward: of the latest step, every term.
        extension: ``[B, X]`` of the rows that the latest step reached, where the task has one; else None.
    """

    task: VelocityTask
    num_envs: int
    num_actions: int
    device: Device
    max_episode_length: int
    episode_length_buf: Tensor
    state: Tensor
    contact: Tensor
    final_state: Tensor
    final_contact: Tensor
    terminated: Tensor
    diverged: Tensor
    memory: TaskMemory
    last_reward: Reward
    extension: Tensor | None = None

    @abstractmethod
    def reset(self) -> tuple[TensorDict, dict[str, Any]]:
        """Start a new episode everywhere; return the observations and an empty dict. A new environment is reset already."""

    @abstractmethod
    def get_observations(self) -> TensorDict:
        """Return the current observations, ``policy: [B, O]``; asking again draws no new noise."""

    @abstractmethod
    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        """Apply actions ``[B, A]`` for one control step; they are neither kept nor changed.

        Returns:
            Observations after any reset, rewards ``[B]``, dones ``[B]`` (bool), and extras with ``time_outs`` (``[B]`` bool, not of
            those that terminated) and, where episodes ended, ``log``.

        Raises:
            ValueError: an action is not finite, or their shape is wrong.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return all that decides what a policy meets here, as plain values: task, robot, settings, seed, versions."""

    def poses(self) -> NDArray[np.float64]:
        """Return where the robots are, ``[B, 7 + A]``: base position (m), quaternion (w first), joint angles (rad).

        Raises:
            ConfigError: these environments know no poses, and cannot be filmed.
        """
        raise ConfigError(f"{type(self).__name__} knows no poses of its robots; film them in a simulator.")

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on with identical results.

        Raises:
            ConfigError: these environments cannot be resumed, so that no policy can be optimised in them.
        """
        raise ConfigError(f"{type(self).__name__} cannot be resumed; optimise policies in imagination.")

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""

    def push(self, change: Tensor, rows: Tensor | slice = slice(None)) -> None:
        """Kick robots between two steps: change the planar velocity of the bases of ``rows`` by ``[n, 2]``, m/s, world's frame.

        Raises:
            ConfigError: these environments cannot.
        """
        raise ConfigError(f"{type(self).__name__} cannot push its robots.")


class MakeEnv(Protocol):
    """Make a fresh environment of a task."""

    def __call__(
        self, task: VelocityTask, num_envs: int, *, seed: int = 0, device: Device = "cpu", auto_reset: bool = True
    ) -> RobotEnv:
        """Return environments with their tensors on ``device``; ``auto_reset`` starts a new episode where one has ended."""
        ...


def checked_actions(env: RobotEnv, actions: Tensor, limit: float) -> Tensor:
    """Return a float64 copy of actions on the environments' device, clipped to +-``limit``.

    Raises:
        ValueError: an action is not finite, or their shape is wrong.
    """
    if tuple(actions.shape) != (env.num_envs, env.num_actions):
        raise ValueError(f"Actions are {tuple(actions.shape)}, but must be ({env.num_envs}, {env.num_actions}).")
    action = actions.detach().to(env.device, torch.float64, copy=True)
    if not bool(torch.isfinite(action).all()):
        index = int((~torch.isfinite(action)).any(1).nonzero()[0, 0])
        raise ValueError(f"The action of environment {index} is not finite: {action[index].tolist()}.")
    return action.clamp_(-limit, limit)
