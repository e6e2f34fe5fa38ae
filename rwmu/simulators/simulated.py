"""What all simulators have in common: episodes, commands, pushes, observations and rewards are the task's, over anybody's physics.

A simulator moves robots and says where they are; the rest is written here once. Environment ``i`` has the same starts, commands,
pushes and observation noise in every simulator of the same seed, whatever the number of environments.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import InstanceOf
from tensordict import TensorDict
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.files import json_ready
from rwmu.records import Reward
from rwmu.settings import NotNegative, Pair, Positive, checked, settings
from rwmu.simulators.env import RobotEnv, checked_actions
from rwmu.simulators.random_streams import RandomStreams
from rwmu.tasks.velocity import VelocityTask

CONTACT_HISTORY = 3  # physics steps in which Isaac Lab looks for contacts other than those of feet
ACTION_CLIP = 100.0

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@settings("simulator.start")
class StartState:
    """How an episode starts; every draw is uniform.

    Attributes:
        base_speed: half-width of the six base velocities, m/s and rad/s. base_height: m; None for the robot's.
        joint_scale: range of the factor on the default joint angles.
    """

    base_speed: NotNegative = 0.5
    joint_scale: Pair = (0.5, 1.5)
    base_height: Positive | None = None


@settings("simulator.push")
class Push:
    """Kick the base now and then.

    Attributes:
        speed: half-width of the change of the planar base velocity, m/s; 0 never pushes.
        interval_s: mean time between two pushes of an environment, s.
    """

    speed: NotNegative = 0.0
    interval_s: Positive = 12.5


class Reached(NamedTuple):
    """What a step has led to, on the environments' device.

    Attributes:
        state, contact: ``[B, D]`` float32 and ``[B, C]`` bool.
        terminating: ``[B]`` bool, whether a geom of the robot's terminating group touches the ground.
        diverged: ``[B]`` bool, whose simulation has failed: its row means nothing.
        extension: ``[B, X]`` float32, what the simulator computes of the task's terms. ended: ``[B]`` bool, whose episodes it ends.
    """

    state: Tensor
    contact: Tensor
    terminating: Tensor
    diverged: Tensor
    extension: Tensor | None = None
    ended: Tensor | None = None


class Placement(NamedTuple):
    """Where robots are put, their joints at rest.

    Attributes:
        pose: ``[n, 7]``, base position (m, from the environment's origin) and quaternion (w first).
        velocity: ``[n, 6]``, linear in the world's axes (m/s), angular in the base's (rad/s).
        joint_pos: ``[n, A]``, rad.
    """

    pose: Floats
    velocity: Floats
    joint_pos: Floats


class SimulatedEnv(RobotEnv):
    """Parallel environments whose physics a subclass simulates.

    A subclass makes its simulation, calls this constructor, then :meth:`begin`. A diverged simulation repeats its last row and
    terminates.

    Args:
        task, num_envs, seed, device, auto_reset: see :class:`~rwmu.simulators.env.MakeEnv`.
        start, push: how episodes start, and random pushes, off by default.

    Attributes:
        name: of the simulator. computes_terms: whether it can compute those of the task that rows do not tell.
        num_diverged: how many simulations have diverged so far.
    """

    name: str
    computes_terms = False
    device: torch.device

    @checked("simulator")
    def __init__(
        self,
        task: InstanceOf[VelocityTask],
        num_envs: int,
        seed: int = 0,
        device: Any = "cpu",
        auto_reset: bool = True,
        start: InstanceOf[StartState] | None = None,
        push: InstanceOf[Push] | None = None,
    ) -> None:
        if task.simulated_terms and not self.computes_terms:
            raise ConfigError(
                f"simulator={self.name} cannot compute the task's {', '.join(task.simulated_terms)}; give simulator=isaaclab, or "
                "leave these terms out."
            )
        self.start, self.pushes = start or StartState(), push or Push()
        self.task, self.auto_reset = task, auto_reset
        self.num_envs, self.num_actions, self.device = num_envs, task.num_actions, torch.device(device)
        self.max_episode_length = task.max_episode_steps
        self.cfg = {"simulator": self.name, "seed": seed, "num_envs": num_envs}
        self._random, self._tick, self._all = RandomStreams(seed), 0, np.arange(num_envs)
        self._default_joint_pos = task.robot.default_joint_pos.double().numpy()
        self._action_scale = task.robot.action_scale.double().numpy()
        self.memory = task.start(num_envs, self.device, torch.float64)
        flags = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self.terminated, self.diverged, self.num_diverged = flags, flags.clone(), 0
        self.episode_length_buf = flags.long()
        self.contact = flags[:, None].repeat(1, task.robot.contact_layout.size)
        self.state = torch.zeros(num_envs, task.robot.state_layout.size, device=self.device)
        self.last_reward = Reward(self.state[:, 0].clone(), {name: self.state[:, 0].clone() for name in task.weights})
        self._episode_terms = torch.zeros(len(task.weights), num_envs, dtype=torch.float64, device=self.device)

    # -- the physics, of a subclass -------------------------------------------------------------------------------------------

    @abstractmethod
    def _advance(self, targets: Tensor) -> Reached:
        """Follow joint targets ``[B, A]`` (rad, float64) for one control step."""

    @abstractmethod
    def _physical_state(self) -> Tensor:
        """Return the world-model state ``[B, D]`` float32 of every simulation as it is now."""

    @abstractmethod
    def _place(self, envs: Indices, placement: Placement) -> None:
        """Put the robots of ``envs`` somewhere, without any contact."""

    @abstractmethod
    def _kick(self, envs: Indices, change: Floats) -> None:
        """Add ``change`` ``[n, 2]`` (m/s) to the planar base velocities of ``envs``, in the world's axes."""

    # -- the episodes ---------------------------------------------------------------------------------------------------------

    def begin(self, random_start: bool = False) -> None:
        """Start the first episodes, at random ages if need be, so that time-outs do not come all at once."""
        self.reset()
        if random_start:
            age = self._random.uniform("age", 0, self._all, 1)[:, 0] * self.max_episode_length
            self.episode_length_buf[:] = torch.from_numpy(age.astype(np.int64))

    def identity(self) -> dict[str, Any]:
        """Return all that decides what a policy meets here, less what a subclass has besides."""
        return {
            **self.cfg,
            "task": self.task.describe(),
            "start": json_ready(vars(self.start)),
            "push": json_ready(vars(self.pushes)),
            "auto_reset": self.auto_reset,
        }

    def push(self, change: Tensor, rows: Tensor | slice = slice(None)) -> None:
        """Kick robots between two steps; see :class:`~rwmu.simulators.env.RobotEnv`."""
        envs = self._all[rows if isinstance(rows, slice) else rows.cpu().numpy()]
        self._kick(envs, change.cpu().double().numpy())
        self.state[rows] = self._physical_state()[rows]

    def reset(self) -> tuple[TensorDict, dict[str, Any]]:
        """Start a new episode everywhere; return the observations and an empty dict."""
        self._tick += 1
        self.terminated[:] = False
        self.diverged[:] = False
        self._begin_episodes(self._all)
        self.final_state, self.final_contact = self.state.clone(), self.contact.clone()
        return self.get_observations(), {}

    def get_observations(self) -> TensorDict:
        """Return the current observations, ``policy: [B, O]``; asking again draws no new noise."""
        noise = None
        if self.task.observation_noise > 0.0:
            noise = self._tensor(self._uniform("noise", self._all, self.task.num_observations))
        observation = self.task.observe(self.state.double(), self.memory.command, self.memory.last_action, noise).float()
        return TensorDict({"policy": observation}, batch_size=[self.num_envs])

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        """Apply actions ``[B, A]`` for one control step; see :class:`~rwmu.simulators.env.RobotEnv`."""
        action = checked_actions(self, actions, ACTION_CLIP)
        self._tick += 1
        self._reach(self._advance(self._tensor(self._default_joint_pos) + self._tensor(self._action_scale) * action), action)
        reward = self.task.reward(self.memory, self.state.double(), action, self.contact, self.extension)
        self.last_reward = Reward(reward.total.float(), {name: term.float() for name, term in reward.terms.items()})
        self._episode_terms += torch.stack(list(reward.terms.values()))
        self.episode_length_buf += 1
        time_outs = (self.episode_length_buf >= self.max_episode_length) & ~self.terminated
        done = self.terminated | time_outs
        self.final_state, self.final_contact = self.state.clone(), self.contact.clone()
        extras: dict[str, Any] = {"time_outs": time_outs}
        self._resample_commands(done)
        self._push_bases(done)
        if self.auto_reset and bool(done.any()):
            ended = done.nonzero()[:, 0]
            extras["log"] = self._episode_log(ended)
            self._begin_episodes(ended.cpu().numpy())
        return self.get_observations(), self.last_reward.total.clone(), done, extras

    def _reach(self, reached: Reached, action: Tensor) -> None:
        """Take over what a step has led to, but for simulations that have failed."""
        state, contact, terminating, diverged, self.extension, ended = reached
        if bool(diverged.any()):
            state, contact = state.clone(), contact.clone()
            state[diverged], contact[diverged] = self.state[diverged], self.contact[diverged]
            self.extension = None if self.extension is None else self.extension.where(~diverged[:, None], 0.0)
            self.num_diverged += int(diverged.sum())
        self.state, self.contact, self.diverged = state, contact, diverged
        self.terminated = self.task.terminate(state, terminating) | diverged
        for flags in (ended, self.task.ends(self.memory, state.double(), action, contact)):
            if flags is not None:
                self.terminated = self.terminated | flags

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    def _uniform(self, purpose: str, envs: Indices, columns: int) -> Floats:
        return self._random.uniform(purpose, self._tick, envs, columns)

    def _draw_commands(self, envs: Indices) -> None:
        self.memory.command[self._tensor(envs)] = self.task.command(self._tensor(self._uniform("command", envs, 4)))

    def _resample_commands(self, done: Tensor) -> None:
        due = (self.episode_length_buf % self.task.command_resample_steps == 0) & ~done
        if bool(due.any()):
            self._draw_commands(due.nonzero()[:, 0].cpu().numpy())

    def _push_bases(self, done: Tensor) -> None:
        if self.pushes.speed == 0.0:
            return
        draws = self._uniform("push", self._all, 3)
        pushed = (draws[:, 0] < self.task.step_dt / self.pushes.interval_s) & ~done.cpu().numpy()
        if pushed.any():
            change = (2.0 * draws[pushed, 1:] - 1.0) * self.pushes.speed
            self.push(self._tensor(change), self._tensor(self._all[pushed]))

    def _begin_episodes(self, envs: Indices) -> None:
        """Start a new episode in these environments."""
        self._start_robots(envs)
        rows = self._tensor(envs)
        self.state[rows] = self._physical_state()[rows]
        self.contact[rows] = False
        self.memory.clear(rows)
        self.memory.previous_joint_vel[rows] = self.task.robot.state_layout.part(self.state[rows], "joint_vel").double()
        self.episode_length_buf[rows] = 0
        self._episode_terms[:, rows] = 0.0
        self._draw_commands(envs)

    def _start_robots(self, envs: Indices) -> None:
        draws = 2.0 * self._uniform("start", envs, 7 + self.num_actions) - 1.0
        draws[:, 1:] *= self.task.robot.start_spread  # the heading may be any
        pose = np.zeros((len(envs), 7))
        height = self.start.base_height
        pose[:, 2] = self.task.robot.base_height if height is None else height
        half_yaw = 0.5 * math.pi * draws[:, 0]
        pose[:, 3], pose[:, 6] = [math.cos(angle) for angle in half_yaw], [math.sin(angle) for angle in half_yaw]
        low, high = self.start.joint_scale
        scale = 0.5 * (low + high) + 0.5 * (high - low) * draws[:, 7:]
        self._place(envs, Placement(pose, self.start.base_speed * draws[:, 1:7], self._default_joint_pos * scale))

    def _episode_log(self, ended: Tensor) -> dict[str, float]:
        """Summarise the episodes that just ended: weighted terms a second of a full episode, as Isaac Lab logs them."""
        mean = self._episode_terms[:, ended].mean(1) / self.max_episode_length
        means = zip(self.last_reward.terms, mean.tolist(), strict=True)
        log = {f"/episode_reward/{name}": self.task.weights[name] * value for name, value in means}
        log["/episode/terminated"] = float(self.terminated[ended].double().mean())
        log["/episode/length_s"] = float(self.episode_length_buf[ended].double().mean()) * self.task.step_dt
        return log


def physics_steps(step_dt: float, timestep: float) -> int:
    """Return how many physics steps a control step has.

    Raises:
        ConfigError: it is no whole number of them, or too few to look for contacts in.
    """
    steps = round(step_dt / timestep)
    if steps < CONTACT_HISTORY or not math.isclose(steps * timestep, step_dt):
        raise ConfigError(
            f"A control step of {step_dt} s must be a whole number (at least {CONTACT_HISTORY}) of physics steps of {timestep} s."
        )
    return steps
