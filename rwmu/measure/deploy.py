"""Stage deployment: the policy in the simulator that it never touched, beside the data's policies and its own dream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rwmu.data.datamodule import OfflineDataModule
from rwmu.dynamics.world_model import WorldModel
from rwmu.measure.cache import DeploymentCache, deployment_key
from rwmu.measure.deployment import DeployableEnv, Deployment, StandingStill
from rwmu.measure.dream_check import dream, dream_reality, level_starts
from rwmu.measure.measure import Candidate, deploy_each, measure_deployment, measure_imagination, merge
from rwmu.policy.rsl_rl import load_actor
from rwmu.simulators.actors import PolicyLevels
from rwmu.tasks.velocity import VelocityTask


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
        levels: of the behaviour policies.
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


def measure(
    make_simulator: Callable[[], DeployableEnv],
    policies: list[Candidate],
    world_model: WorldModel | None,
    data: OfflineDataModule,
    task: VelocityTask,
    settings: DeploymentSettings,
) -> dict[str, Any]:
    """Deploy ``policies`` and, where there is a world model, roll the behaviour policies and ours inside it too.

    Args:
        make_simulator: returns a fresh simulator.

    Returns:
        The parts ``deployment``, ``imagination`` and ``dream_reality`` of the results.
    """
    deployments = deploy_each(make_simulator, policies, DeploymentCache(settings.cache), settings.seed, settings.progress)
    return judge(deployments, policies, world_model, data, task, settings)


def judge(
    deployments: Mapping[str, Deployment],
    policies: Sequence[Candidate],
    world_model: WorldModel | None,
    data: OfflineDataModule,
    task: VelocityTask,
    settings: DeploymentSettings,
) -> dict[str, Any]:
    """Summarise deployments of ``policies`` by name and roll these inside the world model; returns what :func:`measure` does."""
    measured = measure_deployment(deployments)
    if world_model is None:
        return measured
    model, ids = world_model, data.splits["test"]
    actors = {candidate.name: candidate.actor for candidate in policies}

    def imagine(name: str, level: str | None, num_envs: int, num_steps: int) -> Deployment:
        rows = level_starts(data.episodes, ids, level, model.history)
        arguments = (model, task, data.episodes, rows, actors[name], num_envs, num_steps, settings.seed)
        return dream(*arguments, label=f"{name}, dreamt", progress=settings.progress, **settings.dream_rules)

    real = deployments["deterministic"]
    own = imagine("deterministic", None, settings.num_dream_envs, real.num_steps)
    levels = [name for name in measured["deployment"]["behaviour"] if name in set(data.episodes.levels)]
    steps = min(settings.dream_steps, real.num_steps)
    dreams = {level: imagine(level, level, settings.num_dream_envs, steps) for level in levels}
    return merge(measured, measure_imagination(own, real), {"dream_reality": dream_reality(dreams, deployments)})
