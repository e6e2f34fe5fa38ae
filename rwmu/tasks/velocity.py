"""The velocity-tracking task: commands, observation and reward, for the simulator, the imagination and the evaluation alike.

Nothing here draws random numbers: callers pass uniform draws in, so that a simulator can give each environment its own stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.records import Reward
from rwmu.robots.anymal_d import Robot
from rwmu.tasks import rewards

# Isaac Lab's Isaac-Velocity-Flat-AnymalD.
DEFAULT_WEIGHTS: dict[str, float] = {
    "track_lin_vel_xy_exp": 1.0,
    "track_ang_vel_z_exp": 0.5,
    "lin_vel_z_l2": -2.0,
    "ang_vel_xy_l2": -0.05,
    "dof_torques_l2": -2.5e-5,
    "dof_acc_l2": -2.5e-7,
    "action_rate_l2": -0.01,
    "feet_air_time": 0.5,
    "undesired_contacts": -1.0,
    "flat_orientation_l2": -5.0,
    "stand_still": -1.0,
    "dof_pos_limits": 0.0,
}


@dataclass
class TaskMemory:
    """What the reward remembers of each environment between steps.

    Attributes:
        command: ``[B, 3]``, planar velocity (m/s) and yaw rate (rad/s) asked for.
        last_action: ``[B, A]``.
        previous_joint_vel: ``[B, A]``, rad/s.
        air_time_s, contact_time_s, last_air_time_s: ``[B, 4]``, of the feet.
    """

    command: Tensor
    last_action: Tensor
    previous_joint_vel: Tensor
    air_time_s: Tensor
    contact_time_s: Tensor
    last_air_time_s: Tensor

    def clear(self, rows: Tensor) -> None:
        """Zero everything but the command of ``rows`` (indices or a mask), as at the start of an episode."""
        for tensor in (self.last_action, self.previous_joint_vel, self.air_time_s, self.contact_time_s, self.last_air_time_s):
            tensor[rows] = 0.0

    def record_contact(self, foot_contact: Tensor, step_dt: float) -> None:
        """Fold one step of foot contacts (bool ``[B, 4]``) into the air and contact times."""
        landed = foot_contact & (self.air_time_s > 0.0)
        self.last_air_time_s = torch.where(landed, self.air_time_s + step_dt, self.last_air_time_s)
        self.air_time_s = torch.where(foot_contact, 0.0, self.air_time_s + step_dt)
        self.contact_time_s = torch.where(foot_contact, self.contact_time_s + step_dt, 0.0)


class VelocityTask:
    """Isaac Lab's flat velocity task for one robot.

    Args:
        robot: layouts, limits, noise and mirrors.
        weights: name -> weight of every reward term; names must be exactly those of ``DEFAULT_WEIGHTS``.
        step_dt: duration of a control step, s.
        episode_length_s: time-out, s.
        command_range: half-widths of the commanded x and y velocity (m/s) and yaw rate (rad/s).
        command_resample_s: how often a new command is drawn, s.
        standing_fraction: how many commands are zero.
        observation_noise: scale of the robot's uniform observation noise (0: none, 1: Isaac Lab's).
        air_time_threshold_s: air time of a step above which it is rewarded, s.
        tracking_variance: of the tracking rewards' exponentials.
    """

    def __init__(
        self,
        robot: Robot,
        weights: Mapping[str, float] | None = None,
        step_dt: float = 0.02,
        episode_length_s: float = 20.0,
        command_range: tuple[float, float, float] = (1.0, 1.0, 1.0),
        command_resample_s: float = 10.0,
        standing_fraction: float = 0.02,
        observation_noise: float = 1.0,
        air_time_threshold_s: float = 0.5,
        tracking_variance: float = 0.25,
    ) -> None:
        self.robot = robot
        self.weights = dict(DEFAULT_WEIGHTS if weights is None else weights)
        if set(self.weights) != set(DEFAULT_WEIGHTS):
            missing = sorted(set(DEFAULT_WEIGHTS) - set(self.weights))
            unknown = sorted(set(self.weights) - set(DEFAULT_WEIGHTS))
            raise ConfigError(
                f"The task's reward weights lack {missing} and have unknown {unknown}; name exactly the task's terms."
            )
        for name, value in (
            ("step_dt", step_dt),
            ("episode_length_s", episode_length_s),
            ("command_resample_s", command_resample_s),
        ):
            if not value > 0.0:
                raise ConfigError(f"task.{name} is {value}, but must be above 0 seconds.")
        self.step_dt = step_dt
        self.max_episode_steps = round(episode_length_s / step_dt)
        self.command_resample_steps = round(command_resample_s / step_dt)
        self.command_range = tuple(float(half_width) for half_width in command_range)
        self.standing_fraction = standing_fraction
        self.observation_noise = observation_noise
        self.air_time_threshold_s = air_time_threshold_s
        self.tracking_variance = tracking_variance
        self._noise = torch.cat(
            [torch.full((f.size,), robot.observation_noise.get(f.name, 0.0)) for f in robot.observation_layout.fields]
        )
        self._moved: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor, Tensor]] = {}

    @property
    def num_observations(self) -> int:
        """Return the size of the policy's observation."""
        return self.robot.observation_layout.size

    @property
    def num_actions(self) -> int:
        """Return A."""
        return self.robot.num_joints

    def _beside(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return half-widths of the noise, lower and upper limits, of the device and type of ``like``.

        They are moved once: an accelerator would have to be waited for at every step.
        """
        key = like.device, like.dtype
        if key not in self._moved:
            lower, upper = self.robot.joint_lower, self.robot.joint_upper
            with torch.inference_mode(False):  # as other calls may be outside of it
                self._moved[key] = self._noise.to(like), lower.to(like), upper.to(like)
        return self._moved[key]

    def start(self, num_envs: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> TaskMemory:
        """Return the memory of ``num_envs`` environments before their first step: all zero."""

        def zeros(size: int) -> Tensor:
            return torch.zeros(num_envs, size, device=device, dtype=dtype)

        feet = self.robot.contact_layout.part(torch.empty(self.robot.contact_layout.size), "foot").shape[-1]
        return TaskMemory(
            command=zeros(3),
            last_action=zeros(self.num_actions),
            previous_joint_vel=zeros(self.num_actions),
            air_time_s=zeros(feet),
            contact_time_s=zeros(feet),
            last_air_time_s=zeros(feet),
        )

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
        parts = [own[f.name] if f.name in own else layout.part(state, f.name) for f in self.robot.observation_layout.fields]
        observation = torch.cat(parts, dim=-1)
        if uniform is None or self.observation_noise == 0.0:
            return observation
        half_width = self.observation_noise * self._beside(observation)[0]
        return observation + (2.0 * uniform - 1.0) * half_width

    def reward(self, memory: TaskMemory, state: Tensor, action: Tensor, contact: Tensor) -> Reward:
        """Reward one step and update ``memory``.

        Args:
            memory: of these environments; its command is the one the action answered.
            state: ``[B, D]`` reached, physical units.
            action: ``[B, A]`` that led there.
            contact: ``[B, C]`` bool, contacts of ``state``.

        The air-time term reads the contact times *before* this step's contacts are folded in, as the published imagined
        environment does: a touch-down is rewarded one step later.
        """
        layout = self.robot.state_layout
        base_lin_vel = layout.part(state, "base_lin_vel")
        base_ang_vel = layout.part(state, "base_ang_vel")
        joint_pos = layout.part(state, "joint_pos")
        joint_vel = layout.part(state, "joint_vel")
        _, lower, upper = self._beside(state)
        command = memory.command
        terms = {
            "track_lin_vel_xy_exp": rewards.track_lin_vel_xy_exp(command, base_lin_vel, self.tracking_variance),
            "track_ang_vel_z_exp": rewards.track_ang_vel_z_exp(command, base_ang_vel, self.tracking_variance),
            "lin_vel_z_l2": rewards.lin_vel_z_l2(base_lin_vel),
            "ang_vel_xy_l2": rewards.ang_vel_xy_l2(base_ang_vel),
            "dof_torques_l2": rewards.dof_torques_l2(layout.part(state, "joint_torque")),
            "dof_acc_l2": rewards.dof_acc_l2(joint_vel, memory.previous_joint_vel, self.step_dt),
            "action_rate_l2": rewards.action_rate_l2(action, memory.last_action),
            "feet_air_time": rewards.feet_air_time(
                memory.last_air_time_s, memory.contact_time_s, command, self.air_time_threshold_s, self.step_dt
            ),
            "undesired_contacts": rewards.undesired_contacts(self.robot.contact_layout.part(contact, "thigh").to(state.dtype)),
            "flat_orientation_l2": rewards.flat_orientation_l2(layout.part(state, "projected_gravity")),
            "stand_still": rewards.stand_still(joint_pos, command),
            "dof_pos_limits": rewards.dof_pos_limits(joint_pos, lower, upper),
        }
        memory.record_contact(self.robot.contact_layout.part(contact, "foot").bool(), self.step_dt)
        memory.last_action = action.clone()
        memory.previous_joint_vel = joint_vel.clone()
        total = torch.zeros_like(terms["stand_still"])
        for name, term in terms.items():
            total = total + self.weights[name] * term
        return Reward(total=self.step_dt * total, terms=terms)
