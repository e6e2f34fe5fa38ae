"""Environments, deployments and results with known answers."""

from __future__ import annotations

import copy
from functools import cache, partial
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from rwmu.measure.deployment import Deployment
from rwmu.records import Reward
from rwmu.tasks.velocity import VelocityTask
from tests.fakes import quiet_task


class ScriptedEnv:
    """Environments that move at a fixed velocity, and fall or time out at steps written down beforehand.

    Like a simulator with automatic reset, it goes on after an episode has ended: with absurd rewards and velocities, which nobody
    may count.
    """

    def __init__(
        self,
        task: VelocityTask,
        fall_at: list[int | None],
        commands: dict[int, list[float]],
        velocity: list[float],
        time_out_at: dict[int, int] | None = None,
    ) -> None:
        self.task, self.num_envs = task, len(fall_at)
        self.fall_at, self.commands, self.time_out_at = fall_at, commands, time_out_at or {}
        self.memory = task.start(self.num_envs)
        self.memory.command[:] = torch.tensor(commands[0])
        self.episode_length_buf = torch.zeros(self.num_envs, dtype=torch.int64)
        self.state = torch.zeros(self.num_envs, task.robot.state_layout.size)
        layout = task.robot.state_layout
        layout.part(self.state, "base_lin_vel")[:, :2] = torch.tensor(velocity[:2])
        layout.part(self.state, "base_ang_vel")[:, 2] = velocity[2]
        layout.part(self.state, "projected_gravity")[:, 2] = -1.0
        self.final_state = self.state.clone()
        self.last_reward = Reward(torch.zeros(self.num_envs), {})
        self.actions: list[Tensor] = []
        self.ended = torch.zeros(self.num_envs, dtype=torch.bool)

    def get_observations(self) -> TensorDict:
        return TensorDict({"policy": torch.zeros(self.num_envs, self.task.num_observations)}, batch_size=[self.num_envs])

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        self.actions.append(actions.clone())
        contact = torch.zeros(self.num_envs, self.task.robot.contact_layout.size, dtype=torch.bool)
        reward = self.task.reward(self.memory, self.state, torch.zeros(self.num_envs, self.task.num_actions), contact)
        absurd = torch.where(self.ended, 1000.0, 0.0)
        self.last_reward = Reward(reward.total + absurd, {name: term + absurd for name, term in reward.terms.items()})
        self.episode_length_buf += 1
        step = len(self.actions)
        fallen = torch.tensor([at == step for at in self.fall_at])
        time_outs = (self.episode_length_buf >= self.task.max_episode_steps) & ~fallen
        time_outs |= torch.tensor([self.time_out_at.get(env) == step for env in range(self.num_envs)])
        self.ended |= fallen | time_outs
        self.final_state = self.state.clone()
        for name in ("base_lin_vel", "base_ang_vel"):
            self.task.robot.state_layout.part(self.state, name)[self.ended] = 1000.0
        if step in self.commands:
            self.memory.command[:] = torch.tensor(self.commands[step])
        return self.get_observations(), self.last_reward.total, fallen | time_outs, {"time_outs": time_outs}


def deployment(num_episodes: int = 16, lived: float = 1.0, tracking: float = 0.8, seed: int = 0) -> Deployment:
    """Return a made-up deployment of 20 s episodes: the last quarter of the robots falls after the fraction ``lived``."""
    task = quiet_task()
    generator = torch.Generator().manual_seed(seed)
    lived_steps = torch.full((num_episodes,), task.max_episode_steps)
    fell = torch.zeros(num_episodes, dtype=torch.bool)
    if lived < 1.0:
        fell[-num_episodes // 4 :] = True
        lived_steps[fell] = round(lived * task.max_episode_steps)
    spread = 1.0 + 0.05 * torch.randn(num_episodes, generator=generator, dtype=torch.float64)
    per_step = dict.fromkeys(task.weights, 0.0) | {
        "track_lin_vel_xy_exp": tracking,
        "track_ang_vel_z_exp": 0.9,
        "lin_vel_z_l2": 0.02,
    }
    sums = {name: value * lived_steps * spread for name, value in per_step.items()}
    settled = (lived_steps - 50).clamp(min=0)
    command = 2.0 * torch.rand(2 * num_episodes, 3, generator=generator, dtype=torch.float64) - 1.0
    return Deployment(
        step_dt=task.step_dt,
        num_steps=task.max_episode_steps,
        weights=dict(task.weights),
        lived_steps=lived_steps,
        fell=fell,
        returns=sum(task.step_dt * task.weights[name] * value for name, value in sums.items()),  # type: ignore[arg-type]
        term_sums=sums,
        settled_steps=settled,
        settled_term_sums={name: value * settled * spread for name, value in per_step.items()},
        command=command,
        velocity=0.9 * command + 0.1 * torch.randn(command.shape, generator=generator, dtype=torch.float64),
    )


def results(num_members: int = 3) -> dict[str, Any]:
    """Return made-up results with every part, made once."""
    return copy.deepcopy(_results(num_members))


@cache
def _results(num_members: int) -> dict[str, Any]:
    from rwmu.measure import deploy, dream_check, model
    from rwmu.measure.calibration.settings import CalibrationSettings
    from rwmu.measure.dataset import dataset_statistics
    from rwmu.measure.windows import Selection
    from tests.fakes import known_world_model, random_episodes

    episodes = random_episodes([160, 150, 140, 60], terminated=(1,))
    ids = torch.arange(4)
    ours, levels = deployment(), {"poor": deployment(lived=0.2, tracking=0.3), "expert": deployment(tracking=0.9)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "CalibrationSettings", partial(CalibrationSettings, resamples=20))
        measured = model.measure_dynamics(known_world_model(num_members), Selection(episodes, ids))
    everyone = {"deterministic": ours, "sampled": ours, "clone": ours, "standing_still": deployment(tracking=0.19), **levels}
    return model.merge(
        {"experiment": "made_up", "seed": 3, "wall_clock_s": 61.5, "stages": {"data": 10.0, "dynamics": 51.5}},
        {"dataset": dataset_statistics(episodes), "provenance": {"commit": "0123abc", "versions": {"torch": "2.13"}}},
        measured,
        deploy.measure_deployment(everyone),
        deploy.measure_imagination(deployment(tracking=0.85, seed=1), ours),
        {"dream_reality": dream_check.dream_reality({"poor": levels["poor"], "expert": ours}, everyone)},
        {"learning": {"25": dream_check.compare(levels["expert"], levels["poor"]), "50": dream_check.compare(ours, ours)}},
    )
