"""Deploy policies in the simulator that they never touched, beside the data's policies and their own dreams."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rwmu.dynamics.world_model import WorldModel
from rwmu.interfaces import Actor
from rwmu.measure.cache import DeploymentCache, deployment_key
from rwmu.measure.deployment import DeployableEnv, Deployment, StandingStill, deploy
from rwmu.measure.dream_check import dream_of, dream_reality, level_starts
from rwmu.measure.measure import merge
from rwmu.measure.windows import Selection
from rwmu.policy.rsl_rl import load_actor
from rwmu.simulators.actors import PolicyLevels
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
    """

    name: str
    actor: Actor
    cache_key: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class DeploymentSettings:
    """How policies are deployed.

    Attributes:
        num_envs: of the simulator; one episode each.
        seed: of starts and commands, the same for every policy.
        cache: folder of the deployments of policies that never change; None for none.
        environment: identity of the simulator, for the cache.
        num_dream_envs, dream_steps: of each behaviour policy rolled inside the model.
        dream_rules: how imagined episodes end and go on, as in training.
        progress: show progress bars.
    """

    num_envs: int
    seed: int
    cache: Path | None
    environment: Mapping[str, Any]
    num_dream_envs: int
    dream_steps: int
    dream_rules: Mapping[str, Any]
    progress: bool = True


def candidates(
    policy: Path, clone: Path | None, levels: PolicyLevels, task: VelocityTask, settings: DeploymentSettings
) -> list[Candidate]:
    """Return the policies to be deployed: the checkpoint's, its clone's, doing nothing, and every behaviour policy.

    Args:
        policy, clone: checkpoints.
        levels: the behaviour policies of the task's robot; None where there are none.
    """

    def key(identity: str) -> dict[str, Any]:
        return deployment_key(identity, settings.environment)

    actor = load_actor(policy, task.robot)
    found = [
        Candidate("deterministic", actor),
        Candidate("sampled", actor.as_sampled()),
        Candidate("standing_still", StandingStill(task.num_actions), key("standing_still")),
    ]
    if clone is not None:
        found.append(Candidate("clone", load_actor(clone, task.robot)))
    for name in levels.names:
        behaviour = levels.actor(name)
        found.append(Candidate(name, behaviour, key(behaviour.content_hash())))
    return found


def deploy_each(
    make_env: Callable[[], DeployableEnv],
    candidates: Sequence[Candidate],
    cache: DeploymentCache | None = None,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Deployment]:
    """Deploy policies in turn, each in a fresh environment of the same seed: the same starts and commands for all."""
    cache = cache or DeploymentCache(None)
    deployments: dict[str, Deployment] = {}
    for candidate in tqdm(candidates, desc="deploying", unit="policy", disable=not progress):

        def run(candidate: Candidate = candidate) -> Deployment:
            return deploy(make_env(), candidate.actor, seed=seed, label=candidate.name, progress=progress)

        key = candidate.cache_key
        deployments[candidate.name] = run() if key is None else cache.obtain(key, run)
    return deployments


def measure(
    make_env: Callable[[], DeployableEnv],
    policies: Sequence[Candidate],
    world_model: WorldModel | None,
    held_out: Selection,
    task: VelocityTask,
    settings: DeploymentSettings,
) -> dict[str, Any]:
    """Deploy ``policies`` and, where there is a world model, roll the behaviour policies and ours inside it too.

    Args:
        make_env: returns a fresh simulator, the same at every call.
        held_out: episodes that dreams start from.

    Returns:
        The parts ``deployment``, ``imagination`` and ``dream_reality`` of the results.
    """
    deployments = deploy_each(make_env, policies, DeploymentCache(settings.cache), settings.seed, settings.progress)
    return beside_dreams(deployments, policies, world_model, held_out, task, settings)


def beside_dreams(
    deployments: Mapping[str, Deployment],
    policies: Sequence[Candidate],
    world_model: WorldModel | None,
    held_out: Selection,
    task: VelocityTask,
    settings: DeploymentSettings,
) -> dict[str, Any]:
    """Summarise deployments of ``policies`` by name and roll these inside the world model; returns what :func:`measure` does."""
    measured = measure_deployment(deployments)
    if world_model is None:
        return measured
    model, episodes = world_model, held_out.episodes
    actors = {candidate.name: candidate.actor for candidate in policies}

    def imagine(name: str, level: str | None, num_steps: int) -> Deployment:
        starts = level_starts(episodes, held_out.ids, level, model.history)
        arguments = (model, task, episodes, starts, settings.num_dream_envs, num_steps, settings.seed)
        env = dream_of(*arguments, **settings.dream_rules)
        return deploy(env, actors[name], num_steps, settings.seed, f"{name}, dreamt", settings.progress)

    real = deployments["deterministic"]
    own = imagine("deterministic", None, real.num_steps)
    levels = [name for name in measured["deployment"]["behaviour"] if name in set(episodes.levels)]
    dreams = {level: imagine(level, level, min(settings.dream_steps, real.num_steps)) for level in levels}
    return merge(measured, measure_imagination(own, real), {"dream_reality": dream_reality(dreams, deployments)})


def measure_deployment(deployments: Mapping[str, Deployment]) -> dict[str, Any]:
    """Summarise deployments by name; returns the parts ``deployment`` and ``figure_data``."""
    known = (*OURS, *REFERENCES)
    section: dict[str, Any] = {name: deployments[name].summary() for name in known if name in deployments}
    section["behaviour"] = {name: run.summary() for name, run in deployments.items() if name not in known}
    figure_data: dict[str, Any] = {"lived_s": {name: run.lived_steps * run.step_dt for name, run in deployments.items()}}
    if "deterministic" in deployments:
        ours = deployments["deterministic"]
        figure_data["tracking"] = {"command": ours.command, "velocity": ours.velocity, "episode_s": ours.num_steps * ours.step_dt}
    return {"deployment": section, "figure_data": figure_data}


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
