"""Deploy a policy: one episode in every environment of a simulator (or of a dream), measured by the task's own reward.

Definitions, the same in every table of the report:

- An episode ends at its first termination (a fall) or at the time-out; what an environment does afterwards is ignored.
- ``track_lin_vel_xy`` and ``track_ang_vel_z`` sum the unweighted tracking term over the steps lived and divide by the *full*
  number of steps, so a robot that has fallen tracks nothing. ``..._while_up`` divide by the steps lived.
- ``return`` is the task's reward, summed over the steps lived. Intervals are standard errors over independent episodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from rwmu.files import json_ready
from rwmu.interfaces import Actor
from rwmu.simulators.env import RobotEnv
from rwmu.tasks.velocity import VelocityTask
from rwmu.uncertainty.functional.summary import correlation, mean, ratio, standard_error

SETTLE_S = 1.0  # how long a robot may take to answer a new command before its speed is held against it
AXES = ("x", "y", "yaw")


@dataclass(frozen=True)
class Deployment:
    """What N independent episodes of one policy gave.

    Sums and velocities are float64.

    Attributes:
        step_dt: s. num_steps: the full length of an episode, in steps. weights: of the reward terms.
        lived_steps: ``[N]``. fell: ``[N]`` bool. returns: ``[N]``.
        term_sums: name -> ``[N]``, the unweighted term summed over the steps lived.
        settled_steps, settled_term_sums: the same without the first second of each episode.
        command, velocity: ``[S, 3]``, commanded and mean actual velocity (m/s, m/s, rad/s) of every stretch of constant command,
            its first second left out.
    """

    step_dt: float
    num_steps: int
    weights: dict[str, float]
    lived_steps: Tensor
    fell: Tensor
    returns: Tensor
    term_sums: dict[str, Tensor]
    settled_steps: Tensor
    settled_term_sums: dict[str, Tensor]
    command: Tensor
    velocity: Tensor

    def tracking(self, term: str, while_up: bool = False) -> Tensor:
        """Return ``[N]`` means of a tracking term in 0..1, over the full episode or over the steps lived."""
        return self.term_sums[term] / (self.lived_steps.clamp(min=1) if while_up else self.num_steps)

    def reward_rates(self, settled: bool = False) -> dict[str, float]:
        """Return each weighted term's reward per second lived, and their ``total``."""
        sums, steps = (self.settled_term_sums, self.settled_steps) if settled else (self.term_sums, self.lived_steps)
        lived = float(steps.sum())
        rates = {name: self.weights[name] * ratio(float(value.double().sum()), lived) for name, value in sums.items()}
        return rates | {"total": sum(rates.values())}

    def falls_per_minute(self) -> float:
        """Return falls per minute lived."""
        return ratio(60.0 * float(self.fell.sum()), float(self.lived_steps.sum()) * self.step_dt)

    def summary(self) -> dict[str, Any]:
        """Return the figures of the report, plain numbers."""
        samples = {
            "track_lin_vel_xy": self.tracking("track_lin_vel_xy_exp"),
            "track_ang_vel_z": self.tracking("track_ang_vel_z_exp"),
            "return": self.returns,
            "fall_fraction": self.fell.float(),
            "episode_length_s": self.lived_steps * self.step_dt,
            "track_lin_vel_xy_while_up": self.tracking("track_lin_vel_xy_exp", while_up=True),
            "track_ang_vel_z_while_up": self.tracking("track_ang_vel_z_exp", while_up=True),
        }
        return {name: mean(values) for name, values in samples.items()} | {
            "num_episodes": len(self.fell),
            "standard_error": {name: standard_error(values) for name, values in samples.items()},
            "terms": {n: self.weights[n] * self.step_dt * mean(value) for n, value in self.term_sums.items()},
            "reward_rate": self.reward_rates(),
            "command_correlation": {a: correlation(self.command[:, i], self.velocity[:, i], "linear") for i, a in enumerate(AXES)},
            "velocity_error": {a: mean((self.command[:, i] - self.velocity[:, i]).abs()) for i, a in enumerate(AXES)},
        }

    def __str__(self) -> str:
        shown = self.summary()
        return (
            f"return {shown['return']:.1f} ± {shown['standard_error']['return']:.1f}, tracking {shown['track_lin_vel_xy']:.2f}, "
            f"falls {100.0 * shown['fall_fraction']:.0f} % ({len(self.fell)} episodes of {self.num_steps * self.step_dt:g} s)"
        )

    def to_plain(self) -> dict[str, Any]:
        """Return plain lists and numbers, all that :meth:`from_plain` needs."""
        return dict(json_ready(vars(self)))

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Deployment:
        """Rebuild a deployment from :meth:`to_plain`; a missing item is a KeyError."""
        values = {field.name: plain[field.name] for field in fields(cls)}
        for name, value in values.items():
            if isinstance(value, list):
                values[name] = _tensor(value)
            elif name.endswith("term_sums"):
                values[name] = {term: _tensor(item) for term, item in value.items()}
        return cls(**values | {name: values[name].reshape(-1, 3) for name in ("command", "velocity")})


def _tensor(values: list[Any]) -> Tensor:
    """Return a tensor of plain numbers, floats in double precision, in which they were summed."""
    tensor = torch.tensor(values)
    return torch.tensor(values, dtype=torch.float64) if tensor.is_floating_point() else tensor


class StandingStill:
    """The actor that asks for the default posture, whatever it observes."""

    def __init__(self, num_actions: int) -> None:
        self.num_actions = num_actions

    def __call__(self, observation: Tensor) -> Tensor:
        """Return zero actions ``[B, A]``."""
        return observation.new_zeros(len(observation), self.num_actions)


@torch.no_grad()
def deploy(
    env: RobotEnv, actor: Actor, num_steps: int | None = None, seed: int = 0, label: str = "", progress: bool = False
) -> Deployment:
    """Run one episode in each environment of ``env``, which must be fresh, and measure it.

    Args:
        actor: observations ``[B, O]`` to actions ``[B, A]``; global random draws (a sampled policy) come from ``seed``.
        num_steps: the full length of an episode; the task's by default.
        label: what the progress bar calls this policy.
    """
    if bool(env.episode_length_buf.any()):
        raise ValueError("deploy() measures whole episodes: give it an environment that has not been stepped or staggered.")
    task = env.task
    num_steps = task.max_episode_steps if num_steps is None else num_steps
    settle_steps = round(SETTLE_S / task.step_dt)
    lived_steps, settled_steps = torch.zeros(2, env.num_envs, dtype=torch.int64)
    lived, settled = torch.zeros(2, len(task.weights), env.num_envs, dtype=torch.float64)  # sums of the terms
    returns = torch.zeros(env.num_envs, dtype=torch.float64)
    alive = torch.ones(env.num_envs, dtype=torch.bool)
    fell = torch.zeros(env.num_envs, dtype=torch.bool)
    stretches = _Stretches(env.num_envs, task, settle_steps)
    with torch.random.fork_rng(devices=[]), tqdm(total=num_steps, desc=label, disable=not progress, leave=False) as bar:
        torch.manual_seed(seed)
        observation = env.get_observations()["policy"]
        for step in range(num_steps):
            command = env.memory.command.clone()
            observations, _, done, extras = env.step(actor(observation))
            observation = observations["policy"]
            terms = torch.stack([env.last_reward.terms[name] for name in task.weights]).cpu()
            returns += torch.where(alive, env.last_reward.total.cpu(), 0.0)
            for steps, sums in ((lived_steps, lived), (settled_steps, settled))[: 2 if step >= settle_steps else 1]:
                steps += alive
                sums += torch.where(alive, terms, 0.0)
            stretches.add(command.cpu(), env.final_state.cpu(), alive)
            ended = done.cpu().bool()
            fell |= alive & ended & ~extras["time_outs"].cpu().bool()
            alive &= ~ended
            bar.update()
            if not alive.any():
                break
    commands, velocities = stretches.means()
    return Deployment(
        task.step_dt,
        num_steps,
        dict(task.weights),
        lived_steps,
        fell,
        returns,
        dict(zip(task.weights, lived, strict=True)),
        settled_steps,
        dict(zip(task.weights, settled, strict=True)),
        commands,
        velocities,
    )


class _Stretches:
    """Average the actual velocity over every stretch of constant command, its first second left out."""

    def __init__(self, num_envs: int, task: VelocityTask, settle_steps: int) -> None:
        self.layout, self.settle_steps = task.robot.state_layout, settle_steps
        self.command = torch.full((num_envs, 3), torch.nan)
        self.sum = torch.zeros(num_envs, 3, dtype=torch.float64)
        self.steps = torch.zeros(num_envs, dtype=torch.int64)
        self.closed: list[tuple[Tensor, Tensor]] = []

    def add(self, command: Tensor, state: Tensor, alive: Tensor) -> None:
        """Take one step: the command answered ``[B, 3]``, the state reached ``[B, D]``, and who is still in its first episode."""
        self._close(alive & (command != self.command).any(-1))
        self.command = torch.where(alive[:, None], command, self.command)
        self.steps += alive
        counted = (alive & (self.steps > self.settle_steps))[:, None]
        linear, angular = self.layout.part(state, "base_lin_vel"), self.layout.part(state, "base_ang_vel")
        self.sum += torch.where(counted, torch.cat([linear[:, :2], angular[:, 2:]], dim=-1), 0.0)

    def means(self) -> tuple[Tensor, Tensor]:
        """Return commands and mean velocities ``[S, 3]`` of all stretches of at least a second beyond the settling."""
        self._close(torch.ones(len(self.steps), dtype=torch.bool))
        commands, velocities = zip(*self.closed, strict=True)
        return torch.cat(commands).double(), torch.cat(velocities)

    def _close(self, rows: Tensor) -> None:
        """End the stretch of ``rows [B]``, and keep it where it was long enough."""
        counted = self.steps - self.settle_steps
        long_enough = rows & (counted >= self.settle_steps)
        velocity = self.sum[long_enough] / counted[long_enough][:, None]
        self.closed.append((self.command[long_enough], velocity))
        self.sum[rows], self.steps[rows] = 0.0, 0
