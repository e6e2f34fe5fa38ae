"""The embedded simulator: the velocity task on MuJoCo, as an rsl-rl environment.

Semantics are those of Isaac Lab's flat velocity task. Results depend on the seed alone, to the last bit: not on the number of
threads, and environment ``i`` does the same whatever the number of environments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rsl_rl.env import VecEnv
from tensordict import TensorDict
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.records import Reward
from rwmu.robots.robot_model import CONTACT_BODIES, LEGS, ModelSettings
from rwmu.simulators.physics import Physics, TorqueSpeedEnvelope
from rwmu.simulators.random_streams import RandomStreams
from rwmu.tasks.velocity import TaskMemory, VelocityTask

CONTACT_HISTORY = 3  # substeps in which Isaac Lab looks for contacts of base and thighs
ACTION_CLIP = 100.0
DEFAULT_ENVELOPE = TorqueSpeedEnvelope()

_BASE = [i for i, body in enumerate(CONTACT_BODIES) if body == "base"]
_THIGHS = [CONTACT_BODIES.index(f"{leg}_thigh") for leg in LEGS]
_FEET = [CONTACT_BODIES.index(f"{leg}_foot") for leg in LEGS]


@dataclass(frozen=True)
class StartState:
    """How an episode starts; every draw is uniform.

    Attributes:
        base_speed: half-width of the six base velocities, m/s and rad/s.
        joint_scale: range of the factor on the default joint angles.
        base_height: m.
    """

    base_speed: float = 0.5
    joint_scale: tuple[float, float] = (0.5, 1.5)
    base_height: float = 0.6


@dataclass(frozen=True)
class Push:
    """Kick the base now and then.

    Attributes:
        speed: half-width of the change of the planar base velocity, m/s; 0 never pushes.
        interval_s: mean time between two pushes of an environment, s.
    """

    speed: float = 0.0
    interval_s: float = 12.5


class MujocoEnv(VecEnv):  # type: ignore[misc]  # rsl-rl ships no types
    """Parallel velocity-task environments in MuJoCo.

    Args:
        task: commands, observation and reward; its robot must be ANYmal D.
        num_envs: parallel environments.
        seed: of every draw.
        num_threads: CPU threads of the simulation; they change nothing but the time it takes.
        model: gains, limits, friction and solver settings.
        envelope: torque-speed envelope of the motors, applied every physics substep; None leaves the effort limits alone.
        start: how episodes start.
        push: random pushes, off by default.
        auto_reset: start a new episode where one has ended, within the same step.
        random_start: let the first episodes begin at random ages, so that time-outs do not come all at once.

    Attributes:
        state: ``[B, D]`` float32, the rows from which the next actions start (after any reset).
        contact: ``[B, C]`` bool, their contacts.
        final_state, final_contact: the rows this step reached, before any reset. A diverged simulation repeats its last row.
        terminated: ``[B]`` bool, whether the base touched the ground (or the simulation diverged) in this step.
        diverged: ``[B]`` bool, whether the simulation diverged in this step. num_diverged: how many have so far.
        memory: what the reward remembers, float64. Writing to ``memory.command`` changes the command.
        last_reward: every term of the last step.
    """

    def __init__(
        self,
        task: VelocityTask,
        num_envs: int,
        seed: int = 0,
        num_threads: int = 1,
        model: ModelSettings | None = None,
        envelope: TorqueSpeedEnvelope | None = DEFAULT_ENVELOPE,
        start: StartState | None = None,
        push: Push | None = None,
        auto_reset: bool = True,
        random_start: bool = False,
    ) -> None:
        if task.robot.name != "anymal_d":
            raise ConfigError(f"The embedded simulator has a model of 'anymal_d' only, not of '{task.robot.name}'.")
        settings = model or ModelSettings()
        substeps = round(task.step_dt / settings.timestep)
        if substeps < CONTACT_HISTORY or not math.isclose(substeps * settings.timestep, task.step_dt):
            raise ConfigError(
                f"A control step of {task.step_dt} s must be a whole number (at least {CONTACT_HISTORY}) of physics steps of "
                f"{settings.timestep} s."
            )
        self.task, self.auto_reset = task, auto_reset
        self.num_envs, self.num_actions, self.device = num_envs, task.num_actions, torch.device("cpu")
        self.max_episode_length = task.max_episode_steps
        self.cfg = {"simulator": "mujoco", "seed": seed, "num_envs": num_envs}
        self.start, self.push = start or StartState(), push or Push()
        self.physics = Physics(num_envs, num_threads, settings, envelope, substeps)
        self._random = RandomStreams(seed)
        self._tick = 0
        self._all = np.arange(num_envs)
        self._default_joint_pos = task.robot.default_joint_pos.double().numpy()
        self.memory: TaskMemory = task.start(num_envs, dtype=torch.float64)
        self.episode_length_buf = torch.zeros(num_envs, dtype=torch.int64)
        self.terminated = torch.zeros(num_envs, dtype=torch.bool)
        self.diverged = torch.zeros(num_envs, dtype=torch.bool)
        self.num_diverged = 0
        self.contact = torch.zeros(num_envs, task.robot.contact_layout.size, dtype=torch.bool)
        self.state = torch.zeros(num_envs, task.robot.state_layout.size)
        self.last_reward = Reward(torch.zeros(num_envs), {name: torch.zeros(num_envs) for name in task.weights})
        self._episode_terms = torch.zeros(len(task.weights), num_envs, dtype=torch.float64)
        self.reset()
        if random_start:
            age = self._random.uniform("age", 0, self._all, 1)[:, 0] * self.max_episode_length
            self.episode_length_buf[:] = torch.from_numpy(age.astype(np.int64))

    @property
    def unwrapped(self) -> MujocoEnv:
        """Return the environment itself, as rsl-rl's wrappers do."""
        return self

    def reset(self) -> tuple[TensorDict, dict[str, Any]]:
        """Start a new episode everywhere; return the observations and an empty dict."""
        self._tick += 1
        self.terminated[:] = False
        self.diverged[:] = False
        self._begin(self._all)
        self.final_state, self.final_contact = self.state.clone(), self.contact.clone()
        return self.get_observations(), {}

    def get_observations(self) -> TensorDict:
        """Return the current observations, ``policy: [B, O]``; asking again draws no new noise."""
        noise = None
        if self.task.observation_noise > 0.0:
            noise = torch.from_numpy(self._uniform("noise", self._all, self.task.num_observations))
        observation = self.task.observe(self.state.double(), self.memory.command, self.memory.last_action, noise).float()
        return TensorDict({"policy": observation}, batch_size=[self.num_envs])

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        """Apply actions ``[B, A]`` for one control step.

        Returns:
            Observations, rewards ``[B]``, dones ``[B]`` (bool), and extras with ``time_outs`` and, where episodes ended, ``log``.

        Raises:
            ValueError: an action is not finite, or their shape is wrong.
        """
        action = self._checked(actions)
        self._tick += 1
        targets = self._default_joint_pos + self.task.robot.action_scale * action.numpy()
        sensors = self.physics.advance(targets)[-CONTACT_HISTORY:]
        self._read(sensors)
        reward = self.task.reward(self.memory, self.state.double(), action, self.contact)
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
            self._begin(ended.numpy())
        return self.get_observations(), self.last_reward.total.clone(), done, extras

    def _checked(self, actions: Tensor) -> Tensor:
        """Return a float64 copy of the actions, clipped."""
        if tuple(actions.shape) != (self.num_envs, self.num_actions):
            raise ValueError(f"Actions are {tuple(actions.shape)}, but must be ({self.num_envs}, {self.num_actions}).")
        action = actions.detach().to("cpu", torch.float64, copy=True)
        if not bool(torch.isfinite(action).all()):
            env = int((~torch.isfinite(action)).any(1).nonzero()[0, 0])
            raise ValueError(f"The action of environment {env} is not finite: {action[env].tolist()}.")
        return action.clamp_(-ACTION_CLIP, ACTION_CLIP)

    def _read(self, sensors: NDArray[np.bool_]) -> None:
        """Read state and contacts after a step, from contacts ``[CONTACT_HISTORY, B, bodies]``."""
        diverged = self.physics.diverged()
        terminated = sensors[:, :, _BASE].any((0, 2)) | diverged
        contact = np.concatenate([sensors[:, :, _THIGHS].any(0), sensors[-1][:, _FEET]], 1)
        state = self._physical_state()
        if diverged.any():
            bad = torch.from_numpy(diverged)
            state[bad] = self.state[bad]
            contact[diverged] = self.contact.numpy()[diverged]
            self.num_diverged += int(diverged.sum())
        self.state, self.contact = state, torch.from_numpy(contact)
        self.terminated, self.diverged = torch.from_numpy(terminated), torch.from_numpy(diverged)

    def _physical_state(self) -> Tensor:
        """Return the world-model state ``[B, D]`` float32 of every simulation."""
        linear, angular, gravity = self.physics.base_motion()
        parts = {
            "base_lin_vel": linear,
            "base_ang_vel": angular,
            "projected_gravity": gravity,
            "joint_pos": self.physics.joint_pos - self._default_joint_pos,
            "joint_vel": self.physics.joint_vel,
            "joint_torque": self.physics.torque,
        }
        columns = [parts[field.name] for field in self.task.robot.state_layout.fields]
        return torch.from_numpy(np.concatenate(columns, 1).astype(np.float32))

    def _uniform(self, purpose: str, envs: NDArray[np.int64], columns: int) -> NDArray[np.float64]:
        return self._random.uniform(purpose, self._tick, envs, columns)

    def _draw_commands(self, envs: NDArray[np.int64]) -> None:
        self.memory.command[torch.from_numpy(envs)] = self.task.command(torch.from_numpy(self._uniform("command", envs, 4)))

    def _resample_commands(self, done: Tensor) -> None:
        due = (self.episode_length_buf % self.task.command_resample_steps == 0) & ~done
        if bool(due.any()):
            self._draw_commands(due.nonzero()[:, 0].numpy())

    def _push_bases(self, done: Tensor) -> None:
        if self.push.speed == 0.0:
            return
        draws = self._uniform("push", self._all, 3)
        pushed = (draws[:, 0] < self.task.step_dt / self.push.interval_s) & ~done.numpy()
        if pushed.any():
            self.physics.qvel[pushed, :2] += (2.0 * draws[pushed, 1:] - 1.0) * self.push.speed
            rows = torch.from_numpy(pushed)
            self.state[rows] = self._physical_state()[rows]

    def _begin(self, envs: NDArray[np.int64]) -> None:
        """Start a new episode in these environments."""
        count = len(envs)
        draws = 2.0 * self._uniform("start", envs, 7 + self.num_actions) - 1.0
        pose = np.zeros((count, 7))
        pose[:, 2] = self.start.base_height
        half_yaw = 0.5 * math.pi * draws[:, 0]
        pose[:, 3] = [math.cos(angle) for angle in half_yaw]
        pose[:, 6] = [math.sin(angle) for angle in half_yaw]
        low, high = self.start.joint_scale
        scale = 0.5 * (low + high) + 0.5 * (high - low) * draws[:, 7:]
        self.physics.place(envs, pose, self.start.base_speed * draws[:, 1:7], self._default_joint_pos * scale)
        rows = torch.from_numpy(envs)
        self.state[rows] = self._physical_state()[rows]
        self.contact[rows] = False
        self.memory.clear(rows)
        self.memory.previous_joint_vel[rows] = self.task.robot.state_layout.part(self.state[rows], "joint_vel").double()
        self.episode_length_buf[rows] = 0
        self._episode_terms[:, rows] = 0.0
        self._draw_commands(envs)

    def _episode_log(self, ended: Tensor) -> dict[str, float]:
        """Summarise the episodes that just ended: weighted terms a second of a full episode, as Isaac Lab logs them."""
        mean = self._episode_terms[:, ended].mean(1) / self.max_episode_length
        names = self.last_reward.terms
        log = {f"/episode_reward/{name}": self.task.weights[name] * float(value) for name, value in zip(names, mean, strict=True)}
        log["/episode/terminated"] = float(self.terminated[ended].double().mean())
        log["/episode/length_s"] = float(self.episode_length_buf[ended].double().mean()) * self.task.step_dt
        return log
