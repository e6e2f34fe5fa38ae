"""Collect a dataset in the embedded simulator: behaviour policies act, every row is kept, the same bits for the same seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from rwmu.data.episodes import Episodes
from rwmu.errors import ConfigError
from rwmu.simulators.actors import PolicyLevels, policy_levels
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.simulators.random_streams import RandomStreams
from rwmu.simulators.recipes import Recipe, recipe_named
from rwmu.tasks.velocity import VelocityTask

MAX_ENVS = 256
SWITCHED = "mixed"  # level of an episode in which more than one policy acted
_SEED_MASK = np.uint64((1 << 63) - 1)

Indices = NDArray[np.int64]


class Behaviour:
    """Who acts in each environment, and how noisily.

    Args:
        recipe: of the mixture.
        levels: the policies.
        num_envs: environments.
        step_dt: s.
        random: draws.
    """

    def __init__(self, recipe: Recipe, levels: PolicyLevels, num_envs: int, step_dt: float, random: RandomStreams) -> None:
        self._recipe, self._step_dt, self._random = recipe, step_dt, random
        self.names = list(recipe.levels)
        self._actors = [levels.actor(name) for name in self.names]
        shares = np.array([recipe.levels[name] for name in self.names])
        self._cumulative = np.cumsum(shares / shares.sum())
        burst = recipe.burst_levels if recipe.falls > 0.0 else ()
        self._burst_levels = np.array([self.names.index(name) for name in burst], dtype=np.int64)
        self.level = np.zeros(num_envs, dtype=np.int64)
        self.switched = np.zeros(num_envs, dtype=bool)
        self._scale = np.zeros(num_envs)
        self._switches = np.zeros(num_envs, dtype=bool)
        self._bursts = np.zeros(num_envs, dtype=bool)
        self._burst_scale = np.zeros(num_envs)
        self._all = np.arange(num_envs)

    def begin(self, envs: Indices, tick: int) -> None:
        """Draw what the new episodes of ``envs`` are."""
        recipe, draws = self._recipe, self._random.uniform("episode", tick, envs, 5)
        self.level[envs] = self._pick_level(draws[:, 0])
        self._scale[envs] = self._pick_scale(draws[:, 1])
        self._bursts[envs] = draws[:, 2] < recipe.falls
        self._switches[envs] = (draws[:, 3] < recipe.switching) & ~self._bursts[envs]
        self._burst_scale[envs] = 0.0
        self.switched[envs] = False
        bursting = envs[self._bursts[envs]]
        if len(bursting):
            chosen = (draws[self._bursts[envs], 4] * len(self._burst_levels)).astype(np.int64)
            self.level[bursting] = self._burst_levels[chosen]

    def act(self, observation: Tensor, tick: int) -> Tensor:
        """Return actions ``[B, A]`` float32 for observations ``[B, O]``."""
        rows = observation.numpy()
        noise = self._random.normal("action", tick, self._all, len(self._actors[0].std))
        noise *= np.maximum(self._scale, self._burst_scale)[:, None]
        action = np.empty_like(noise)
        for index, actor in enumerate(self._actors):
            mine = self.level == index
            if mine.any():
                action[mine] = actor.mean(rows[mine]) + actor.std * noise[mine]
        return torch.from_numpy(action.astype(np.float32))

    def evolve(self, tick: int) -> None:
        """Switch levels, start and stop bursts, for the next step."""
        recipe, draws = self._recipe, self._random.uniform("evolve", tick, self._all, 4)
        switching = self._switches & (draws[:, 0] < self._step_dt / recipe.switch_interval_s)
        level = np.where(switching, self._pick_level(draws[:, 1]), self.level)
        self.switched |= level != self.level
        self.level = level
        self._scale = np.where(switching, self._pick_scale(draws[:, 2]), self._scale)
        in_burst = self._burst_scale > 0.0
        mean_s = np.where(in_burst, recipe.burst_s, recipe.rest_s)
        toggled = self._bursts & (draws[:, 3] < self._step_dt / mean_s)
        low, high = recipe.burst_scale
        new_scale = np.where(in_burst, 0.0, low + (high - low) * draws[:, 2])
        self._burst_scale = np.where(toggled, new_scale, self._burst_scale)

    def _pick_level(self, draws: NDArray[np.float64]) -> Indices:
        return np.minimum(np.searchsorted(self._cumulative, draws, side="right"), len(self.names) - 1).astype(np.int64)

    def _pick_scale(self, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        scales = np.array(self._recipe.noise_scales)
        return np.asarray(scales[(draws * len(scales)).astype(np.int64)])


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
    def empty(cls, num_steps: int, env: MujocoEnv) -> _Recorder:
        """Allocate the rows of ``num_steps`` steps."""
        shape, robot = (num_steps, env.num_envs), env.task.robot
        return cls(
            {
                "state": torch.empty(*shape, robot.state_layout.size),
                "action": torch.empty(*shape, robot.num_joints),
                "contact": torch.empty(*shape, robot.contact_layout.size, dtype=torch.bool),
                "termination": torch.empty(*shape, dtype=torch.bool),
                "command": torch.empty(*shape, 3),
                "reward": torch.empty(*shape),
            }
        )

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

    def _rows(self, name: str, episode: _Episode) -> Tensor:
        reached = self.columns[name][episode.start : episode.stop, episode.env]
        own = {"state": episode.first_state, "command": episode.first_command}
        first = own[name] if name in own else torch.zeros_like(reached[0])
        return torch.cat([first[None], reached])


class _Collector:
    """Step the environments, and record."""

    def __init__(self, env: MujocoEnv, behaviour: Behaviour, random: RandomStreams, num_steps: int) -> None:
        self._env, self._behaviour, self._random = env, behaviour, random
        self._recorder = _Recorder.empty(num_steps, env)
        self._all = np.arange(env.num_envs)
        self._recorder.running = self._started(self._all, 0)

    def _started(self, envs: Indices, step: int) -> list[_Episode]:
        self._behaviour.begin(envs, step)
        seeds = (self._random.words("episode_seed", step, envs, 1)[:, 0] & _SEED_MASK).astype(np.int64)
        state, command = self._env.state, self._env.memory.command.float()
        return [
            _Episode(int(env), step, state[env].clone(), command[env].clone(), int(seed))
            for env, seed in zip(envs, seeds, strict=True)
        ]

    def step(self, step: int) -> None:
        """Take one step in every environment and record it."""
        env, columns = self._env, self._recorder.columns
        action = self._behaviour.act(env.get_observations()["policy"], step)
        command = env.memory.command.float()
        _, reward, done, _ = env.step(action)
        columns["state"][step], columns["contact"][step] = env.final_state, env.final_contact
        columns["action"][step], columns["reward"][step] = action, reward
        columns["termination"][step] = env.terminated
        columns["command"][step] = torch.where(done[:, None], command, env.memory.command.float())
        ended = done.nonzero()[:, 0].numpy()
        if len(ended):
            for index in ended.tolist():
                self._end(index, step + 1)
            for episode in self._started(ended, step + 1):
                self._recorder.running[episode.env] = episode
        self._behaviour.evolve(step)

    def _end(self, env: int, stop: int) -> None:
        episode = self._recorder.running[env]
        # The row that a diverged simulation reached means nothing: the episode ends with the row before.
        episode.stop = stop - 1 if bool(self._env.diverged[env]) else stop
        episode.level = SWITCHED if self._behaviour.switched[env] else self._behaviour.names[self._behaviour.level[env]]
        self._recorder.ended.append(episode)

    def finish(self, num_steps: int, attributes: dict[str, Any]) -> Episodes:
        """Cut off the running episodes and return all."""
        self._env.diverged[:] = False
        for env in self._all.tolist():
            self._end(env, num_steps)
        return self._recorder.episodes(attributes | {"num_diverged": self._env.num_diverged})


def collect_dataset(
    task: VelocityTask,
    recipe: str | Recipe,
    num_transitions: int,
    seed: int = 0,
    num_threads: int = 1,
    progress: bool = False,
    policies: Path | None = None,
    **simulator: Any,
) -> Episodes:
    """Collect at least ``num_transitions`` transitions (rows less one an episode).

    Args:
        task: whose commands and observation noise the policies see, and whose reward is recorded.
        recipe: a name of :data:`RECIPES`, or a mixture of one's own.
        num_transitions: how many; the environments (at most 256, fewer for few transitions) take equally many steps.
        seed: of everything.
        num_threads: of the simulation; the data do not depend on it.
        progress: show a progress bar.
        policies: folder of behaviour policies; None takes the shipped ones.
        simulator: further arguments of :class:`MujocoEnv` (model, envelope, start).
    """
    if num_transitions < 1:
        raise ConfigError(f"data.num_transitions is {num_transitions}, but a dataset needs at least one transition.")
    mixture = recipe_named(recipe) if isinstance(recipe, str) else recipe
    num_envs = max(1, min(MAX_ENVS, num_transitions // task.max_episode_steps))
    num_steps = -(-num_transitions // num_envs)
    env = MujocoEnv(task, num_envs, seed=seed, num_threads=num_threads, auto_reset=True, **simulator)
    random = RandomStreams(seed)
    behaviour = Behaviour(mixture, policy_levels(policies), num_envs, task.step_dt, random)
    collector = _Collector(env, behaviour, random, num_steps)
    bar = tqdm(total=num_envs * num_steps, unit="step", unit_scale=True, desc="collecting", disable=not progress)
    with bar:
        for step in range(num_steps):
            collector.step(step)
            bar.update(num_envs)
    attributes = {
        "robot": task.robot.name,
        "layout": task.robot.state_layout.describe(),
        "step_dt": task.step_dt,
        "seed": seed,
        "recipe": recipe if isinstance(recipe, str) else "custom",
        "num_transitions": num_transitions,
        "observation_noise": task.observation_noise,
    }
    return collector.finish(num_steps, attributes)
