"""The velocity-tracking task: commands, observation, reward and termination, for simulator, imagination and evaluation alike.

Nothing here draws random numbers: callers pass uniform draws in, so that a simulator can give each environment its own stream.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

import torch
from pydantic import Field as Checked
from pydantic import InstanceOf
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.files import json_ready
from rwmu.records import Reward, TensorRecord
from rwmu.robots.layout import Field, StateLayout
from rwmu.robots.robot import Robot
from rwmu.settings import Fraction, Names, NotNegative, Positive, Tilt, checked
from rwmu.tasks.rewards import ISAAC_LAB
from rwmu.tasks.terms import Terms, varied

CommandRange = Annotated[tuple[NotNegative, NotNegative, NotNegative], Checked(strict=False)]

# Half-widths of the uniform observation noise of Isaac Lab's task, in the fields' units.
OBSERVATION_NOISE = {
    "base_lin_vel": 0.1,
    "base_ang_vel": 0.2,
    "projected_gravity": 0.05,
    "joint_pos": 0.01,
    "joint_vel": 1.5,
}
_OBSERVED = ("base_lin_vel", "base_ang_vel", "projected_gravity", "command", "joint_pos", "joint_vel", "last_action")
_MOST_STEPS = 1_000_000  # of an episode
_OF_MEMORY = ("last_action", "previous_joint_vel", "air_time_s", "contact_time_s", "last_air_time_s")
_OF_ROBOT = ("default_joint_pos", "joint_lower", "joint_upper", "joint_names")


def observation_layout(robot: Robot) -> StateLayout:
    """Return what a policy of this task observes of a robot.

    Raises:
        ConfigError: the robot's state lacks something of it.
    """
    own = {
        "command": Field("command", 3, "m/s, m/s, rad/s"),
        "last_action": Field("last_action", robot.num_joints, "1"),
    }
    known = {field.name: field for field in robot.state_layout.fields} | own
    missing = [name for name in _OBSERVED if name not in known]
    if missing:
        raise ConfigError(f"The state of the robot '{robot.name}' has no '{missing[0]}', which a policy of this task observes.")
    return StateLayout(known[name] for name in _OBSERVED)


def _steps(name: str, seconds: float, step_dt: float) -> int:
    steps = round(seconds / step_dt)
    if not 1 <= steps <= _MOST_STEPS:
        raise ConfigError(f"task.{name} is {seconds:g} s, but must be 1 to {_MOST_STEPS} steps of task.step_dt={step_dt:g} s.")
    return steps


@dataclass
class TaskMemory(TensorRecord):
    """What the task remembers of each environment between steps; F feet.

    Attributes:
        command: ``[B, 3]``, planar velocity (m/s) and yaw rate (rad/s) asked for.
        last_action: ``[B, A]``.
        previous_joint_vel: ``[B, A]``, rad/s.
        air_time_s, contact_time_s, last_air_time_s: ``[B, F]``, of the feet.
    """

    command: Tensor
    last_action: Tensor
    previous_joint_vel: Tensor
    air_time_s: Tensor
    contact_time_s: Tensor
    last_air_time_s: Tensor

    def take(self, rows: Tensor | slice) -> TaskMemory:
        """Return the memory of the environments ``rows`` (indices, a mask or a slice)."""
        return self.map(lambda tensor: tensor[rows])

    def put(self, rows: Tensor | slice, other: TaskMemory) -> None:
        """Write ``other`` over the memory of the environments ``rows``."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)

    def clear(self, rows: Tensor | slice) -> None:
        """Zero everything but the command of ``rows``, as at the start of an episode."""
        for name in _OF_MEMORY:
            getattr(self, name)[rows] = 0.0

    def record_contact(self, foot_contact: Tensor, step_dt: float) -> None:
        """Fold one step of foot contacts (bool ``[B, F]``) into the air and contact times."""
        landed = foot_contact & (self.air_time_s > 0.0)
        self.last_air_time_s = torch.where(landed, self.air_time_s + step_dt, self.last_air_time_s)
        self.air_time_s = torch.where(foot_contact, 0.0, self.air_time_s + step_dt)
        self.contact_time_s = torch.where(foot_contact, self.contact_time_s + step_dt, 0.0)


class VelocityTask:
    """Follow commanded planar velocities and yaw rates on flat ground, as Isaac Lab's task of that name does.

    Reward terms may ask for these quantities by name: the fields of the robot's state (``base_lin_vel``, ``base_ang_vel``,
    ``projected_gravity``, ``joint_pos``, ``joint_vel``, ``joint_torque``), its contacts as 0 or 1 (``undesired``, ``foot``),
    ``action``, ``command``, ``last_action``, ``previous_joint_vel``, the feet's ``air_time_s``, ``contact_time_s`` and
    ``last_air_time_s``, the robot's ``default_joint_pos``, ``joint_lower``, ``joint_upper`` and ``joint_names``, ``step_dt``, and
    the columns of the data's ``extension``. Each is ``[B, .]``, but for the robot's, with one value a joint, the step, and columns,
    which are ``[B]``.

    Args:
        robot: layouts, limits and mirrors.
        rewards: name -> :class:`~rwmu.tasks.terms.Term`, or a mapping with ``function`` and ``weight``; None for Isaac Lab's.
        step_dt: duration of a control step, s.
        episode_length_s: time-out, s.
        command_range: half-widths of the commanded x and y velocity (m/s) and yaw rate (rad/s).
        command_resample_s: how often a new command is drawn, s.
        standing_fraction: how many commands are zero.
        observation_noise: scale of ``OBSERVATION_NOISE`` (0: none, 1: Isaac Lab's).
        max_tilt: an episode terminates where gravity's z in the base frame (-1 upright, 0 on its side) exceeds it; None for never.
        extension: names of the columns of the data's extension, which simulators compute and world models predict.

    Raises:
        ConfigError: a value makes no sense, or a reward term lacks something.
    """

    @checked("task")
    def __init__(
        self,
        robot: InstanceOf[Robot],
        rewards: Mapping[str, Any] | None = None,
        step_dt: Positive = 0.02,
        episode_length_s: Positive = 20.0,
        command_range: CommandRange = (1.0, 1.0, 1.0),
        command_resample_s: Positive = 10.0,
        standing_fraction: Fraction = 0.02,
        observation_noise: NotNegative = 1.0,
        max_tilt: Tilt | None = None,
        extension: Names = (),
    ) -> None:
        self.robot = robot
        self.observation_layout = observation_layout(robot)
        self.step_dt = step_dt
        self.max_episode_steps = _steps("episode_length_s", episode_length_s, step_dt)
        self.command_resample_steps = _steps("command_resample_s", command_resample_s, step_dt)
        self.command_range = tuple(float(half_width) for half_width in command_range)
        self.standing_fraction = standing_fraction
        self.observation_noise = observation_noise
        self.max_tilt = max_tilt
        self.extension = extension
        of_state = [field.name for field in robot.state_layout.fields]
        of_contact = [field.name for field in robot.contact_layout.fields]
        own = ("action", "command", *_OF_MEMORY, *_OF_ROBOT, "step_dt")
        self._quantities = (*of_state, *of_contact, *own, *extension)
        self.rewards = Terms(ISAAC_LAB if rewards is None else rewards, self._quantities)
        noise = [torch.full((f.size,), OBSERVATION_NOISE.get(f.name, 0.0)) for f in self.observation_layout.fields]
        self._noise = torch.cat(noise)
        self._moved: dict[tuple[torch.device, torch.dtype], tuple[Tensor, ...]] = {}
        self._check_rewards()

    @property
    def weights(self) -> dict[str, float]:
        """Return the weight of every reward term by name."""
        return self.rewards.weights

    @property
    def simulated_terms(self) -> tuple[str, ...]:
        """Return names of what only a simulator can compute: rows do not tell it."""
        return self.extension

    def varied(self, rewards: Mapping[str, Mapping[str, Any]], command_share: float = 1.0) -> VelocityTask:
        """Return a like task with other rewards and smaller commands, for the same memories.

        Args:
            rewards: term -> its ``weight`` and arguments of its function, where they differ.
            command_share: of this task's command range.

        Raises:
            ConfigError: there is no such term, or a value makes no sense.
        """
        other = copy.copy(self)
        other.rewards = Terms(varied(self.rewards.terms, rewards), self._quantities)
        other.command_range = tuple(command_share * half_width for half_width in self.command_range)
        other._check_rewards()
        return other

    def _check_rewards(self) -> None:
        state = torch.zeros(1, self.robot.state_layout.size)
        self.robot.state_layout.part(state, "projected_gravity")[:, 2] = -1.0  # upright
        contact = torch.ones(1, self.robot.contact_layout.size, dtype=torch.bool)
        extension = torch.zeros(1, len(self.extension))
        self.rewards.check(self._quantities_of(self.start(1), state, torch.zeros(1, self.num_actions), contact, extension))

    @property
    def num_observations(self) -> int:
        """Return the size of the policy's observation."""
        return self.observation_layout.size

    @property
    def num_actions(self) -> int:
        """Return A."""
        return self.robot.num_joints

    def describe(self) -> dict[str, Any]:
        """Return every setting as plain values."""
        left_out = ("robot", "rewards", "observation_layout", *(() if self.extension else ("extension",)))
        own = {name: value for name, value in vars(self).items() if not name.startswith("_") and name not in left_out}
        own |= {"rewards": self.rewards.describe(), "observation": self.observation_layout.describe()}
        return dict(json_ready(own)) | {"robot": self.robot.describe()}

    def _beside(self, like: Tensor) -> tuple[Tensor, ...]:
        """Return half-widths of the noise, default posture, lower and upper limits, of the device and type of ``like``.

        They are moved once: an accelerator would have to be waited for at every step.
        """
        key = like.device, like.dtype
        if key not in self._moved:
            kept = (self._noise, self.robot.default_joint_pos, self.robot.joint_lower, self.robot.joint_upper)
            with torch.inference_mode(False):  # as other calls may be outside of it
                self._moved[key] = tuple(tensor.to(like) for tensor in kept)
        return self._moved[key]

    def start(self, num_envs: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> TaskMemory:
        """Return the memory of ``num_envs`` environments before their first step: all zero."""
        feet, joints = len(self.robot.contacts.feet), self.num_actions
        sizes = (3, joints, joints, feet, feet, feet)
        return TaskMemory(*(torch.zeros(num_envs, size, device=device, dtype=dtype) for size in sizes))

    def command(self, uniform: Tensor) -> Tensor:
        """Turn uniform draws ``[B, 4]`` in 0..1 into commands ``[B, 3]``; the fourth decides who stands still."""
        half_width = torch.tensor(self.command_range, device=uniform.device, dtype=uniform.dtype)
        moving = uniform[:, 3:] >= self.standing_fraction
        return (2.0 * uniform[:, :3] - 1.0) * half_width * moving

    def observe(self, state: Tensor, command: Tensor, last_action: Tensor, uniform: Tensor | None = None) -> Tensor:
        """Return the policy's observation ``[B, O]`` of states ``[B, D]`` in physical units.

        Args:
            uniform: draws ``[B, O]`` in 0..1 for the observation noise; None for a noise-free observation.
        """
        own = {"command": command, "last_action": last_action}
        layout = self.robot.state_layout
        parts = [own[f.name] if f.name in own else layout.part(state, f.name) for f in self.observation_layout.fields]
        observation = torch.cat(parts, dim=-1)
        if uniform is None or self.observation_noise == 0.0:
            return observation
        half_width = self.observation_noise * self._beside(observation)[0]
        return observation + (2.0 * uniform - 1.0) * half_width

    def reward(self, memory: TaskMemory, state: Tensor, action: Tensor, contact: Tensor, extension: Tensor | None = None) -> Reward:
        """Reward one step and update ``memory``.

        Args:
            memory: of these environments; its command is the one the action answered.
            state: ``[B, D]`` reached, physical units.
            action: ``[B, A]`` that led there.
            contact: ``[B, C]`` bool, contacts of ``state``.
            extension: ``[B, X]`` of this step, where the task has one.

        Terms see the contact times *before* this step's contacts are folded in, as in the published imagined environment: a
        touch-down is rewarded one step later.
        """
        layout, contacts = self.robot.state_layout, self.robot.contact_layout
        terms = self.rewards(self._quantities_of(memory, state, action, contact, extension), len(state))
        memory.record_contact(contacts.part(contact, "foot").bool(), self.step_dt)
        memory.last_action = action.clone()
        memory.previous_joint_vel = layout.part(state, "joint_vel").clone()
        total = state.new_zeros(len(state))
        for name, weight in self.weights.items():
            total = total + weight * terms[name]
        return Reward(total=self.step_dt * total, terms=terms)

    def _quantities_of(
        self, memory: TaskMemory, state: Tensor, action: Tensor, contact: Tensor, extension: Tensor | None
    ) -> dict[str, Any]:
        """Return what reward terms may ask for, by name."""
        layout, contacts = self.robot.state_layout, self.robot.contact_layout
        own = dict(zip(_OF_ROBOT, (*self._beside(state)[1:], self.robot.joint_names), strict=True))
        quantities: dict[str, Any] = {field.name: layout.part(state, field.name) for field in layout.fields}
        quantities |= {field.name: contacts.part(contact, field.name).to(state.dtype) for field in contacts.fields}
        quantities |= {"action": action, "command": memory.command, **{name: getattr(memory, name) for name in _OF_MEMORY}}
        quantities |= own | {"step_dt": self.step_dt}
        if extension is not None:
            quantities |= dict(zip(self.extension, extension.unbind(-1), strict=True))
        return quantities

    def terminate(self, state: Tensor, terminating_contact: Tensor) -> Tensor:
        """Return which episodes end badly, ``[B]`` bool.

        Args:
            state: ``[B, D]`` reached, physical units.
            terminating_contact: ``[B]`` bool, whether a geom of the robot's terminating group touches the ground.
        """
        if self.max_tilt is None:
            return terminating_contact
        return terminating_contact | (self.robot.state_layout.part(state, "projected_gravity")[:, 2] > self.max_tilt)

    def ends(self, memory: TaskMemory, state: Tensor, action: Tensor, contact: Tensor) -> Tensor | None:
        """Return whose episodes end badly by what rows tell besides, ``[B]`` bool, in simulator and dream; None for nobody's.

        Args: as of :meth:`reward`, before it; nothing is changed.
        """
        return None
