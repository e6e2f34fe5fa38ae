"""Collect episodes in any environment: somebody acts, every row is kept, the same bits for the same seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from rwmu.data.episodes import Episodes
from rwmu.errors import ConfigError
from rwmu.interfaces import Actor
from rwmu.settings import choose
from rwmu.simulators.actors import BehaviourPolicy, policy_levels
from rwmu.simulators.behaviour import OF_POLICIES, RECIPES, SWITCHED, Behaviour, Indices, Mixture, Recipe, recipe_of
from rwmu.simulators.env import MakeEnv, RobotEnv
from rwmu.simulators.random_streams import RandomStreams
from rwmu.tasks.velocity import VelocityTask

MAX_ENVS = 256
_SEED_MASK = np.uint64((1 << 63) - 1)


@dataclass
class _Episode:
    """Where an episode's rows are: a first row of its own, then the steps ``[start, stop)`` of one environment."""

    env: int
    start: int
    first_state: Tensor
    first_command: Tensor
    seed: int
    stop: int = 0
    level: str = ""


@dataclass
class _Recorder:
    """Keep what every step reached, and cut it into episodes in the end.

    Attributes:
        columns: name -> ``[S, B, ...]`` preallocated rows.
    """

    columns: dict[str, Tensor]
    running: list[_Episode] = field(default_factory=list)
    ended: list[_Episode] = field(default_factory=list)

    @classmethod
    def empty(cls, num_steps: int, env: RobotEnv) -> _Recorder:
        """Allocate the rows of ``num_steps`` steps."""
        rows, robot = torch.empty(num_steps, env.num_envs), env.task.robot
        sizes = {"state": robot.state_layout.size, "action": robot.num_joints, "command": 3}
        columns = {name: torch.empty(*rows.shape, size) for name, size in sizes.items()}
        if env.task.extension:
            columns["extension"] = torch.empty(*rows.shape, len(env.task.extension))
        flags = {"contact": torch.empty(*rows.shape, robot.contact_layout.size, dtype=torch.bool), "termination": rows.bool()}
        return cls(columns | flags | {"reward": rows})

    def episodes(self, attributes: dict[str, Any]) -> Episodes:
        """Join the rows of all episodes that have at least one step, in the order of their start."""
        order = sorted((e for e in self.ended if e.stop > e.start), key=lambda episode: (episode.start, episode.env))
        rows = {name: [self._rows(name, episode) for episode in order] for name in self.columns}
        return Episodes(
            **{name: torch.cat(parts) for name, parts in rows.items()},
            lengths=torch.tensor([episode.stop - episode.start + 1 for episode in order], dtype=torch.int64),
            levels=[episode.level for episode in order],
            seeds=torch.tensor([episode.seed for episode in order], dtype=torch.int64),
            attributes=attributes,
        )

    def end(self, env: int, stop: int, level: str) -> None:
        """End the episode that runs in environment ``env`` before step ``stop``."""
        episode = self.running[env]
        episode.stop, episode.level = stop, level
        self.ended.append(episode)

    def _rows(self, name: str, episode: _Episode) -> Tensor:
        reached = self.columns[name][episode.start : episode.stop, episode.env]
        own = {"state": episode.first_state, "command": episode.first_command}
        first = own[name] if name in own else torch.zeros_like(reached[0])
        return torch.cat([first[None], reached])


class Collector:
    """Collect episodes in fresh environments with ``auto_reset``, again and again if need be; ``seed`` names the episodes."""

    def __init__(self, env: RobotEnv, seed: int = 0, progress: bool = False) -> None:
        self.env, self._progress = env, progress
        self._random = RandomStreams(seed)
        self._all = np.arange(env.num_envs)
        self._tick = 0

    def collect(self, who: Actor | Behaviour, num_transitions: int, attributes: Mapping[str, Any] | None = None) -> Episodes:
        """Return episodes of at least ``num_transitions`` transitions (rows less one an episode), begun anew for this.

        Args:
            who: acts; a policy, or a behaviour of several.
            attributes: of the episodes, besides robot, layout, time step, noise and the number of diverged simulations.
        """
        if num_transitions < 1:
            raise ConfigError(f"{num_transitions} transitions are to be collected, but a dataset needs at least one.")
        env, behaviour = self.env, who if isinstance(who, Behaviour) else Behaviour(who)
        if self._tick:
            env.reset()
        num_steps = -(-num_transitions // env.num_envs)
        recorder = _Recorder.empty(num_steps, env)
        recorder.running = self._started(behaviour, self._all, 0)
        num_diverged = 0
        bar = tqdm(total=env.num_envs * num_steps, unit="step", unit_scale=True, desc="collecting", disable=not self._progress)
        with bar:
            for step in range(num_steps):
                num_diverged += self._step(recorder, behaviour, step)
                bar.update(env.num_envs)
        for index in self._all.tolist():
            recorder.end(index, num_steps, behaviour.label(index))
        self._tick += num_steps
        task = env.task
        own = {
            "robot": task.robot.name,
            "layout": task.robot.state_layout.describe(),
            "step_dt": task.step_dt,
            "observation_noise": task.observation_noise,
            "num_diverged": num_diverged,
        }
        return recorder.episodes(own | dict(attributes or {}))

    def _started(self, behaviour: Behaviour, envs: Indices, step: int) -> list[_Episode]:
        tick = self._tick + step
        behaviour.begin(envs, tick)
        seeds = (self._random.words("episode_seed", tick, envs, 1)[:, 0] & _SEED_MASK).astype(np.int64)
        state, command = self.env.state.cpu(), self.env.memory.command.float().cpu()
        return [
            _Episode(int(env), step, state[env].clone(), command[env].clone(), int(seed))
            for env, seed in zip(envs, seeds, strict=True)
        ]

    def _step(self, recorder: _Recorder, behaviour: Behaviour, step: int) -> int:
        """Take one step in every environment and record it; return how many simulations diverged in it."""
        env, columns = self.env, recorder.columns
        action = behaviour.act(env.get_observations()["policy"], self._tick + step)
        command = env.memory.command.float().clone()
        _, reward, done, _ = env.step(action)
        command = torch.where(done[:, None], command, env.memory.command.float())
        reached = {"state": env.final_state, "contact": env.final_contact, "termination": env.terminated}
        if env.extension is not None:
            reached["extension"] = env.extension
        for name, rows in (reached | {"action": action, "reward": reward, "command": command}).items():
            columns[name][step] = rows
        ended = done.nonzero()[:, 0].cpu().numpy()
        if len(ended):
            for index in ended.tolist():
                # The row that a diverged simulation reached means nothing: the episode ends with the row before.
                recorder.end(index, step if bool(env.diverged[index]) else step + 1, behaviour.label(index))
            for episode in self._started(behaviour, ended, step + 1):
                recorder.running[episode.env] = episode
        behaviour.evolve(self._tick + step)
        return int(env.diverged.sum())


def collect_dataset(
    make_env: MakeEnv,
    task: VelocityTask,
    recipe: str | Recipe,
    num_transitions: int,
    seed: int = 0,
    progress: bool = False,
    policies: Path | None = None,
    given: Mapping[str, BehaviourPolicy] | None = None,
) -> Episodes:
    """Collect at least ``num_transitions`` transitions of behaviour policies.

    Args:
        task: whose commands and observation noise the policies see, and whose reward is recorded.
        recipe: a name of :data:`~rwmu.simulators.behaviour.RECIPES`, or a mixture of one's own.
        num_transitions: how many; the environments (at most 256, fewer for few transitions) take equally many steps.
        policies: folder of behaviour policies; None for the robot's.
        given: name -> further policies, which the recipe ``policies`` mixes.

    Raises:
        ConfigError: there is no such recipe, or the robot lacks one of its policies.
    """
    given = dict(given or {})
    mixture = _mixture(recipe, given) if isinstance(recipe, str) else recipe
    shipped = policy_levels(task, policies)
    levels = {name: given[name] if name in given else shipped.actor(name) for name in mixture.levels}
    num_envs = max(1, min(MAX_ENVS, num_transitions // task.max_episode_steps))
    behaviour = Mixture(mixture, levels, num_envs, task.step_dt, RandomStreams(seed))
    collector = Collector(make_env(task, num_envs, seed=seed), seed, progress)
    named = recipe if isinstance(recipe, str) else "custom"
    return collector.collect(behaviour, num_transitions, {"seed": seed, "recipe": named, "num_transitions": num_transitions})


def _mixture(recipe: str, given: Mapping[str, BehaviourPolicy]) -> Recipe:
    """Return the recipe of a name."""
    choose("data.recipe", recipe, (*RECIPES, OF_POLICIES))
    if recipe != OF_POLICIES:
        return RECIPES[recipe]
    if not given:
        raise ConfigError(
            "data.recipe=policies mixes policies of yours; name their checkpoints, as in +data.policies.walk=model.pt."
        )
    if taken := [name for name in given if name in (SWITCHED, *RECIPES["mixed"].levels)]:
        raise ConfigError(f"data.policies has '{taken[0]}', which is the name of a behaviour policy of ours; call it otherwise.")
    return recipe_of(list(given))
