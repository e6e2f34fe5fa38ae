"""Record what noise on a policy's actions really leads to: new test episodes, out of a simulator that is handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from tensordict import TensorDict
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.interfaces import Actor
from rwmu.measure.calibration.settings import Selection
from rwmu.tasks.velocity import TaskMemory, VelocityTask


class RecordableEnv(Protocol):
    """What recording needs of a simulator that starts no new episode by itself."""

    num_envs: int
    task: VelocityTask
    memory: TaskMemory
    state: Tensor
    final_state: Tensor
    final_contact: Tensor
    terminated: Tensor
    diverged: Tensor

    def get_observations(self) -> TensorDict:
        """Return the observations, ``policy`` among them."""
        ...

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        """Return observations, rewards, dones and extras."""
        ...


@torch.no_grad()
def record_noisy_episodes(
    env: RecordableEnv, actor: Actor, scale: float, steps: int, seed: int = 0, tick: Callable[[], Any] = lambda: None
) -> Selection:
    """Let ``actor`` act with normal noise of standard deviation ``scale`` (the unit of actions) on its actions.

    One episode an environment, until it ends or ``steps`` are done. The noise does not depend on the scale: all scales see the same
    draws, multiplied.

    Returns:
        The episodes, all of them to be tested on; those that end at once (no step) are left out.
    """
    generator = torch.Generator().manual_seed(seed)
    first, command = env.state.clone(), env.memory.command.float().clone()
    alive, length = torch.ones(env.num_envs, dtype=torch.bool), torch.zeros(env.num_envs, dtype=torch.int64)
    columns: dict[str, list[Tensor]] = {
        "state": [first],
        "action": [torch.zeros(env.num_envs, env.task.num_actions)],
        "contact": [torch.zeros_like(env.final_contact)],
        "termination": [torch.zeros(env.num_envs, dtype=torch.bool)],
        "command": [command],
        "reward": [torch.zeros(env.num_envs)],
    }
    for _ in range(steps):
        noise = torch.randn(env.num_envs, env.task.num_actions, generator=generator)
        action = actor(env.get_observations()["policy"]).detach().cpu() + scale * noise
        _, reward, done, _ = env.step(action)
        ended = env.terminated & ~env.diverged
        row = (env.final_state, action, env.final_contact, ended & alive, env.memory.command.float(), reward.float().cpu())
        for name, values in zip(columns, row, strict=True):
            columns[name].append(values.clone())
        length += alive & ~env.diverged  # the row that a diverged simulation reached means nothing
        alive &= ~done
        tick()
        if not bool(alive.any()):
            break
    return _selection(columns, length, _attributes(env.task, scale, seed))


def _attributes(task: VelocityTask, scale: float, seed: int) -> dict[str, Any]:
    return {
        "robot": task.robot.name,
        "layout": task.robot.state_layout.describe(),
        "step_dt": task.step_dt,
        "seed": seed,
        "recipe": f"action noise {scale:g}",
    }


def _selection(columns: Mapping[str, list[Tensor]], length: Tensor, attributes: dict[str, Any]) -> Selection:
    stacked = {name: torch.stack(rows, dim=1) for name, rows in columns.items()}  # [B, T, ...]
    kept = (length > 0).nonzero()[:, 0].tolist()
    lengths = length[kept] + 1
    episodes = Episodes(
        **{name: torch.cat([rows[i, : int(n)] for i, n in zip(kept, lengths, strict=True)]) for name, rows in stacked.items()},
        lengths=lengths,
        levels=["noisy"] * len(kept),
        seeds=torch.tensor(kept, dtype=torch.int64),
        attributes=attributes,
    )
    return Selection(episodes, torch.arange(len(kept)))
