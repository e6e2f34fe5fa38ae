"""Deploy policies in the simulator that they never touched, beside the data's policies and their own dreams."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from rwmu.dynamics.world_model import WorldModel
from rwmu.interfaces import Actor
from rwmu.measure.cache import DeploymentCache, deployment_key
from rwmu.measure.cells import Cell, of_episodes
from rwmu.measure.deployment import Deployment, StandingStill, deploy
from rwmu.measure.dream_check import compare, dream_of, dream_reality, level_starts
from rwmu.measure.model import merge
from rwmu.measure.settings import EvaluationSettings
from rwmu.measure.windows import Selection
from rwmu.policy.rsl_rl import load_actor
from rwmu.simulators.actors import PolicyLevels
from rwmu.simulators.env import RobotEnv
from rwmu.tasks.velocity import VelocityTask

OURS = ("deterministic", "sampled")
REFERENCES = ("standing_still", "clone")


@dataclass(frozen=True)
class Candidate:
    """A policy to be deployed.

    Attributes:
        name: ``deterministic``, ``sampled``, ``clone``, ``standing_still``, or the level of a behaviour policy.
        actor: observations to actions.
        cache_key: :func:`rwmu.measure.cache.deployment_key`, or None for a policy that is deployed once in its life.
        transitions: of the simulator that PPO learnt it from, where that is known of a behaviour policy.
    """

    name: str
    actor: Actor
    cache_key: Mapping[str, Any] | None = None
    transitions: int | None = None


def candidates(
    policy: Path, clone: Path | None, levels: PolicyLevels, task: VelocityTask, environment: Mapping[str, Any]
) -> list[Candidate]:
    """Return the policies to be deployed: the checkpoint's, its clone's, doing nothing, and every behaviour policy.

    Args:
        policy, clone: checkpoints.
        levels: the behaviour policies of the task's robot.
        environment: identity of the simulator, for the cache.
    """
    actor = load_actor(policy, task.robot)
    found = [
        Candidate("deterministic", actor),
        Candidate("sampled", actor.as_sampled()),
        Candidate("standing_still", StandingStill(task.num_actions), deployment_key("standing_still", environment)),
    ]
    if clone is not None:
        found.append(Candidate("clone", load_actor(clone, task.robot)))
    for row in levels.table:
        behaviour = levels.actor(row["name"])
        key = deployment_key(behaviour.content_hash(), environment)
        found.append(Candidate(row["name"], behaviour, key, row.get("transitions")))
    return found


@dataclass(frozen=True)
class Worlds:
    """Where policies are rolled: in a simulator, and in dreams that begin in held-out episodes.

    Attributes:
        make_env: number of robots -> a fresh simulator, the same at every call: all policies have the same starts and commands.
        task: of the policies. settings: how much is measured.
        world_model: None where there are no dreams. held_out: episodes that dreams start from.
        dream_rules: how imagined episodes end and go on, as in training.
        progress: show progress bars.
    """

    make_env: Callable[[int], RobotEnv]
    task: VelocityTask
    settings: EvaluationSettings
    world_model: WorldModel | None
    held_out: Selection
    dream_rules: Mapping[str, Any]
    progress: bool = True

    def deployed(self, candidate: Candidate) -> Deployment:
        """Deploy one policy in the simulator."""
        env = self.make_env(self.settings.num_envs)
        return deploy(env, candidate.actor, seed=self.settings.seed, label=candidate.name, progress=self.progress)

    def dreamt(self, actor: Actor, num_steps: int, level: str | None = None) -> Deployment:
        """Roll one policy in dreams of so many steps, from histories of a policy level; None for any."""
        assert self.world_model is not None, "nothing to dream with"
        settings, episodes = self.settings, self.held_out.episodes
        starts = level_starts(episodes, self.held_out.ids, level, self.world_model.history)
        arguments = (self.world_model, self.task, episodes, starts, settings.num_dream_envs, num_steps, settings.seed)
        return deploy(dream_of(*arguments, **self.dream_rules), actor, num_steps, settings.seed, "dream", self.progress)


def measure(worlds: Worlds, policies: Sequence[Candidate]) -> dict[str, Any]:
    """Deploy ``policies`` and, where there is a world model, roll the behaviour policies and ours inside it too.

    Returns:
        The parts ``deployment``, ``imagination`` and ``dream_reality`` of the results.
    """
    cache, deployments = DeploymentCache(worlds.settings.cache), {}
    for candidate in tqdm(policies, desc="deploying", unit="policy", disable=not worlds.progress):
        run = partial(worlds.deployed, candidate)
        deployments[candidate.name] = run() if candidate.cache_key is None else cache.obtain(candidate.cache_key, run)
    measured = measure_deployment(deployments)
    for candidate in policies:
        if candidate.transitions is not None:
            measured["deployment"]["behaviour"][candidate.name]["transitions"] = candidate.transitions
    if worlds.world_model is None:
        return measured
    actors, real = {candidate.name: candidate.actor for candidate in policies}, deployments["deterministic"]
    own = worlds.dreamt(actors["deterministic"], real.num_steps)
    levels = [name for name in measured["deployment"]["behaviour"] if name in set(worlds.held_out.episodes.levels)]
    dream_steps = min(worlds.settings.dream_steps, real.num_steps)
    dreams = {level: worlds.dreamt(actors[level], dream_steps, level) for level in levels}
    return merge(measured, measure_imagination(own, real), {"dream_reality": dream_reality(dreams, deployments)})


def learning(worlds: Worlds, checkpoints: Mapping[int, Path]) -> dict[str, Any]:
    """Roll a policy as it was during training in the dream and in the simulator, which training never saw.

    Args:
        checkpoints: iteration -> what was kept of the policy.

    Returns:
        The part ``learning``: iteration -> both sides' rewards and falls (:func:`rwmu.measure.dream_check.compare`).
    """
    settings, found = worlds.settings, {}
    steps, chosen = min(settings.dream_steps, worlds.task.max_episode_steps), evenly([*checkpoints], settings.learning_points)
    for iteration in tqdm(chosen, desc="learning curve", unit="checkpoint", disable=not worlds.progress):
        actor = load_actor(checkpoints[iteration], worlds.task.robot)
        simulator = deploy(worlds.make_env(settings.num_dream_envs), actor, steps, settings.seed)
        found[str(iteration)] = compare(worlds.dreamt(actor, steps), simulator)
    return {"learning": found} if found else {}


def evenly(values: Sequence[int], number: int) -> list[int]:
    """Return at most ``number`` of some values, evenly spaced from the first to the last."""
    places = torch.linspace(0, len(values) - 1, min(number, len(values))).round().int()
    return [values[place] for place in places.tolist()]


def measure_deployment(deployments: Mapping[str, Deployment]) -> dict[str, Any]:
    """Summarise deployments by name; returns the parts ``deployment`` and ``figure_data``."""
    known = (*OURS, *REFERENCES)
    section: dict[str, Any] = {name: deployments[name].summary() for name in known if name in deployments}
    section["behaviour"] = {name: run.summary() for name, run in deployments.items() if name not in known}
    section["gain"] = _gains(deployments, section["behaviour"])
    figure_data: dict[str, Any] = {"lived_s": {name: run.lived_steps * run.step_dt for name, run in deployments.items()}}
    if "deterministic" in deployments:
        ours = deployments["deterministic"]
        figure_data["tracking"] = {"command": ours.command, "velocity": ours.velocity, "episode_s": ours.num_steps * ours.step_dt}
    return {"deployment": section, "figure_data": figure_data}


def _gains(deployments: Mapping[str, Deployment], behaviour: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return how much more the policy earns an episode than its clone, and than the best of the policies that collected the data.

    All had the same starts and commands, so their episodes are paired. An entry has its ``name``, its ``return`` and the ``gain``.
    """
    ours, found = deployments.get("deterministic"), {}
    best = max(behaviour, key=lambda name: float(behaviour[name]["return"]), default=None)
    for key, name in (("clone", "clone"), ("best", best)):
        other = deployments.get(str(name))
        if ours is not None and other is not None and len(other.returns) == len(ours.returns):
            gain: Cell = of_episodes(ours.returns - other.returns)
            found[key] = {"name": name, "return": float(other.returns.mean()), "gain": gain}
    return found


def measure_imagination(dream: Deployment, simulator: Deployment | None) -> dict[str, Any]:
    """Summarise the policy's imagined episodes; returns the part ``imagination``, with the ``gap`` to the simulator.

    The gap (imagined less real) is of episodes of the same length; where the lengths differ there is none.
    """
    section = dream.summary() | {"full_length_s": dream.num_steps * dream.step_dt}
    if simulator is not None and simulator.num_steps == dream.num_steps:
        real = simulator.summary()
        section["gap"] = {
            name: section[name] - real[name] for name in ("return", "track_lin_vel_xy", "track_ang_vel_z", "fall_fraction")
        }
    return {"imagination": section}
