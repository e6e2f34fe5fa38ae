"""The embedded simulator: the velocity task on MuJoCo, as an rsl-rl environment.

Semantics are those of Isaac Lab's flat velocity task. Results depend on the seed alone, to the last bit: not on the number of
threads, and environment ``i`` does the same whatever the number of environments.
"""

from __future__ import annotations

import hashlib
import math
from importlib import metadata
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import InstanceOf
from tensordict import TensorDict
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.files import json_ready
from rwmu.records import Reward
from rwmu.robots.mjcf import ModelSettings, model_xml
from rwmu.settings import NotNegative, Pair, Positive, checked, settings
from rwmu.simulators.env import RobotEnv, checked_actions
from rwmu.simulators.physics import Physics
from rwmu.simulators.random_streams import RandomStreams
from rwmu.tasks.velocity import VelocityTask

CONTACT_HISTORY = 3  # substeps in which Isaac Lab looks for contacts other than those of feet
ACTION_CLIP = 100.0


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


class MujocoEnv(RobotEnv):
    """Parallel environments in MuJoCo.

    A diverged simulation repeats its last row and terminates.

    Args:
        task, num_envs, seed, device, auto_reset: see :class:`~rwmu.simulators.env.MakeEnv`; the only device is the CPU.
        num_threads: CPU threads of the simulation; they change nothing but the time it takes.
        model: gains and limits other than the robot's, friction and solver settings.
        envelope: ``motors`` lets torque fall with speed as the motors' does, at every physics substep; ``none`` leaves the effort
            limits alone.
        start, push: how episodes start, and random pushes, off by default.
        random_start: let the first episodes begin at random ages, so that time-outs do not come all at once.

    Attributes:
        num_diverged: how many simulations have diverged so far.
    """

    @checked("simulator")
    def __init__(
        self,
        task: InstanceOf[VelocityTask],
        num_envs: int,
        seed: int = 0,
        device: Any = "cpu",
        auto_reset: bool = True,
        num_threads: int = 1,
        model: InstanceOf[ModelSettings] | None = None,
        envelope: Literal["motors", "none"] = "motors",
        start: InstanceOf[StartState] | None = None,
        push: InstanceOf[Push] | None = None,
        random_start: bool = False,
    ) -> None:
        self.model, self.envelope = model or ModelSettings(), envelope
        self.start, self.pushes = start or StartState(), push or Push()
        if torch.device(device).type != "cpu":
            raise ConfigError(f"The embedded simulator runs on the CPU, not on {device}.")
        self.task, self.auto_reset = task, auto_reset
        self.num_envs, self.num_actions, self.device = num_envs, task.num_actions, torch.device("cpu")
        self.max_episode_length = task.max_episode_steps
        self.cfg = {"simulator": "mujoco", "seed": seed, "num_envs": num_envs}
        substeps = _substeps(task.step_dt, self.model.timestep)
        self.physics = Physics(task.robot, num_envs, num_threads, self.model, envelope == "motors", substeps)
        self._random, self._tick, self._all = RandomStreams(seed), 0, np.arange(num_envs)
        self._default_joint_pos = task.robot.default_joint_pos.double().numpy()
        self._action_scale = task.robot.action_scale.double().numpy()
        self.memory = task.start(num_envs, dtype=torch.float64)
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

    def identity(self) -> dict[str, Any]:
        """Return all that decides what a policy meets here; threads and batched company decide nothing."""
        return {
            "simulator": "mujoco",
            "task": self.task.describe(),
            "xml": hashlib.sha256(model_xml(self.task.robot, self.model).encode()).hexdigest(),
            "model": json_ready(vars(self.model)),
            "envelope": self.envelope,
            "start": json_ready(vars(self.start)),
            "push": json_ready(vars(self.pushes)),
            **{name: self.cfg[name] for name in ("seed", "num_envs")},
            "auto_reset": self.auto_reset,
            "versions": {name: metadata.version(name) for name in ("mujoco", "numpy")},
        }

    def poses(self) -> NDArray[np.float64]:
        """Return where the robots are, ``[B, 7 + A]``: base position (m), quaternion (w first), joint angles (rad)."""
        return self.physics.poses()

    def push(self, change: Tensor, rows: Tensor | slice = slice(None)) -> None:
        """Kick robots between two steps; see :class:`~rwmu.simulators.env.RobotEnv`."""
        self.physics.qvel[rows if isinstance(rows, slice) else rows.numpy(), :2] += change.numpy()
        self.state[rows] = self._physical_state()[rows]

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
        """Apply actions ``[B, A]`` for one control step; see :class:`~rwmu.simulators.env.RobotEnv`."""
        action = checked_actions(self, actions, ACTION_CLIP)
        self._tick += 1
        targets = self._default_joint_pos + self._action_scale * action.numpy()
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

    def _read(self, sensors: NDArray[np.bool_]) -> None:
        """Read state and contacts after a step, from contacts ``[CONTACT_HISTORY, B, G]``."""
        diverged = self.physics.diverged()
        groups = self.task.robot.contacts
        terminating, undesired, feet = np.split(sensors, np.cumsum([len(groups.terminating), len(groups.undesired)]), axis=-1)
        contact = np.concatenate([undesired.any(0), feet[-1]], 1)
        state = self._physical_state()
        if diverged.any():
            bad = torch.from_numpy(diverged)
            state[bad] = self.state[bad]
            contact[diverged] = self.contact.numpy()[diverged]
            self.num_diverged += int(diverged.sum())
        self.state, self.contact = state, torch.from_numpy(contact)
        ended = self.task.terminate(state, torch.from_numpy(terminating.any((0, 2))))
        self.diverged = torch.from_numpy(diverged)
        self.terminated = ended | self.diverged

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
        if self.pushes.speed == 0.0:
            return
        draws = self._uniform("push", self._all, 3)
        pushed = (draws[:, 0] < self.task.step_dt / self.pushes.interval_s) & ~done.numpy()
        if pushed.any():
            self.push(torch.from_numpy((2.0 * draws[pushed, 1:] - 1.0) * self.pushes.speed), torch.from_numpy(pushed))

    def _begin(self, envs: NDArray[np.int64]) -> None:
        """Start a new episode in these environments."""
        draws = 2.0 * self._uniform("start", envs, 7 + self.num_actions) - 1.0
        pose = np.zeros((len(envs), 7))
        height = self.start.base_height
        pose[:, 2] = self.task.robot.base_height if height is None else height
        half_yaw = 0.5 * math.pi * draws[:, 0]
        pose[:, 3], pose[:, 6] = [math.cos(angle) for angle in half_yaw], [math.sin(angle) for angle in half_yaw]
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
        means = zip(self.last_reward.terms, mean.tolist(), strict=True)
        log = {f"/episode_reward/{name}": self.task.weights[name] * value for name, value in means}
        log["/episode/terminated"] = float(self.terminated[ended].double().mean())
        log["/episode/length_s"] = float(self.episode_length_buf[ended].double().mean()) * self.task.step_dt
        return log


def _substeps(step_dt: float, timestep: float) -> int:
    """Return how many physics steps a control step has."""
    substeps = round(step_dt / timestep)
    if substeps < CONTACT_HISTORY or not math.isclose(substeps * timestep, step_dt):
        raise ConfigError(
            f"A control step of {step_dt} s must be a whole number (at least {CONTACT_HISTORY}) of physics steps of {timestep} s."
        )
    return substeps
