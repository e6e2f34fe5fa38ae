"""Record what a policy really does: every row of its episodes in the simulator, with every term of the reward."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.interfaces import Actor
from rwmu.records import Reward
from rwmu.simulators.env import RobotEnv
from rwmu.tasks.velocity import VelocityTask


@dataclass(frozen=True)
class Recording:
    """One episode of each of N environments, in their order.

    Attributes:
        episodes: the rows, as those of a dataset.
        terms: ``[R, W]``, weighted reward of each term per second, received on reaching the row.
        names: of the W terms.
        environment: ``[N]`` int64, whose start and commands an episode had; the same number, the same start, whatever the policy.
    """

    episodes: Episodes
    terms: Tensor
    names: tuple[str, ...]
    environment: Tensor

    @property
    def fell(self) -> Tensor:
        """Return which episodes end in a fall, ``[N]`` bool."""
        return self.episodes.termination[self.episodes.offsets + self.episodes.lengths - 1]

    @property
    def trajectory(self) -> Tensor:
        """Return ``[R]`` int64, the environment of each row: rows of different ones are independent."""
        return self.environment[self.episodes.episode_of_row]


def weighted_rates(reward: Reward, task: VelocityTask) -> Tensor:
    """Return ``[B, W]``, the weighted terms of one step's reward per second."""
    terms = torch.stack([reward.terms[name] for name in task.weights], dim=-1)
    return terms.float() * torch.tensor(list(task.weights.values()))


def noisy(actor: Actor, scale: float, seed: int = 0) -> Actor:
    """Return ``actor`` with normal noise of standard deviation ``scale`` (the unit of actions) on its actions.

    The noise does not depend on the scale: all scales see the same draws, multiplied.
    """
    generator = torch.Generator().manual_seed(seed)

    def act(observation: Tensor) -> Tensor:
        action = actor(observation).detach().cpu()
        return action + scale * torch.randn(action.shape, generator=generator)

    return act


@torch.no_grad()
def record(env: RobotEnv, actor: Actor, name: str, num_steps: int | None = None) -> Recording:
    """Run one episode in each environment of ``env``, which must be fresh.

    Args:
        name: of the policy; the episodes' level.
        num_steps: the full length of an episode; the task's by default.
    """
    if bool(env.episode_length_buf.any()):
        raise ValueError("record() keeps whole episodes: give it an environment that has not been stepped or staggered.")
    task, zeros = env.task, torch.zeros(env.num_envs)
    steps = [_row(env, zeros[:, None].expand(-1, task.num_actions), zeros, zeros.bool(), env.memory.command, None)]
    lengths = torch.ones(env.num_envs, dtype=torch.int64)
    alive = torch.ones(env.num_envs, dtype=torch.bool)
    observation = env.get_observations()["policy"]
    for _ in range(task.max_episode_steps if num_steps is None else num_steps):
        action, command = actor(observation), env.memory.command.clone()
        observations, reward, done, _ = env.step(action)
        observation, done = observations["policy"], done.cpu().bool()
        # A command drawn for the episode after this one belongs to no row of it.
        command = torch.where(done[:, None], command, env.memory.command)
        steps.append(_row(env, action, reward, env.terminated, command, weighted_rates(env.last_reward, task)))
        # The row that a diverged simulation reached means nothing: the episode ends with the row before.
        lengths += alive & ~env.diverged
        alive &= ~done
        if not alive.any():
            break
    return _cut(steps, lengths, name, task)


def _row(
    env: RobotEnv, action: Tensor, reward: Tensor, terminated: Tensor, command: Tensor, terms: Tensor | None
) -> dict[str, Tensor]:
    """Return copies of what one row of every environment holds; without terms it is an episode's first."""
    first = terms is None
    return {
        "state": (env.state if first else env.final_state).float().clone(),
        "action": action.float().clone(),
        "contact": (env.contact if first else env.final_contact).bool().clone(),
        "termination": terminated.bool().clone(),
        "command": command.float().clone(),
        "reward": reward.float().clone(),
        "terms": torch.zeros(env.num_envs, len(env.task.weights)) if terms is None else terms,
    }


def _cut(steps: list[dict[str, Tensor]], lengths: Tensor, name: str, task: VelocityTask) -> Recording:
    """Keep the rows that each environment lived to see, episode after episode."""
    kept = torch.arange(len(steps)) < lengths[:, None]  # [N, T]
    columns = {key: torch.stack([step[key] for step in steps], dim=1)[kept] for key in steps[0]}
    terms, number = columns.pop("terms"), len(lengths)
    robot = task.robot
    episodes = Episodes(
        **columns,
        lengths=lengths,
        levels=[name] * number,
        seeds=torch.arange(number),
        attributes={"robot": robot.name, "layout": robot.state_layout.describe(), "step_dt": task.step_dt, "recipe": name},
    )
    return Recording(episodes, terms, tuple(task.weights), torch.arange(number))
