"""Measure a finished run: each function returns a part of the results that :func:`rwmu.report.report.build_report` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from tqdm import tqdm

from rwmu.data.episodes import Episodes
from rwmu.data.windows import require_long_enough
from rwmu.interfaces import Actor
from rwmu.measure import diagnostics
from rwmu.measure.cache import DeploymentCache
from rwmu.measure.deployment import DeployableEnv, Deployment, deploy
from rwmu.measure.rollout_error import HORIZONS, FittedModel, rollout_error

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


def measure_dynamics(
    world_model: FittedModel,
    episodes: Episodes,
    ids: Tensor,
    horizons: Sequence[int] = HORIZONS,
    number: int | None = 400,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a world model on the episodes ``ids``; returns the parts ``dynamics`` and ``figure_data``.

    Horizons beyond the longest of these episodes are left out.
    """
    require_long_enough(episodes.lengths, ids, world_model.history + min(horizons), "evaluation")
    longest = int(episodes.lengths[ids].max())
    horizons = [k for k in horizons if world_model.history + k <= longest]
    correlation = diagnostics.epistemic_correlation(world_model, episodes, ids, horizons, number, seed)
    points = correlation.pop("points")
    section = rollout_error(world_model, episodes, ids, horizons, number, seed=seed)
    section["num_members"] = world_model.dynamics.num_members
    section["knows_its_data"] = getattr(world_model, "knows_its_data", True)
    section["epistemic_correlation"] = correlation
    section["termination_head"] = diagnostics.termination_head(world_model, episodes, ids)
    section["falls_foreseen"] = diagnostics.falls_foreseen(world_model, episodes, ids)
    example = diagnostics.example_rollout(world_model, episodes, ids, horizon=max(horizons), seed=seed)
    return {"dynamics": section, "figure_data": {"uncertainty_points": points, "example_rollout": example}}


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


def merge(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Join parts of the results; their ``figure_data`` and ``missing`` are joined too."""
    joined: dict[str, Any] = {}
    for part in parts:
        shared = {name: {**joined.get(name, {}), **part.get(name, {})} for name in ("figure_data", "missing")}
        joined |= {**part, **shared}
    return joined
