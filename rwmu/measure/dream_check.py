"""Roll the same policies in the dream and in the simulator and compare their reward, term by term.

Error alone misleads: a model of lower error in which a good policy no longer walks is the worse one. Both sides are measured by
:func:`rwmu.measure.deployment.deploy`, as reward per second lived after the first second, so that neither the simulator's start
from rest nor the dream's start in the middle of someone else's episode decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.data.windows import window_starts
from rwmu.dynamics.world_model import WorldModel
from rwmu.imagination.env import ImaginedEnv
from rwmu.imagination.penalty import MopoPenalty
from rwmu.imagination.rules import DreamRules
from rwmu.measure.deployment import Deployment
from rwmu.tasks.velocity import VelocityTask
from rwmu.uncertainty.functional.summary import mean


def level_starts(episodes: Episodes, ids: Tensor, level: str | None, history: int, before_fall: int = 50) -> Tensor:
    """Return the first rows of all histories of H rows in the episodes ``ids`` of one policy level.

    Any level serves if ``level`` is None or has no long enough episode among ``ids``. Histories that end less than ``before_fall``
    rows before a fall are left out where there are others: the simulator's episodes do not begin with a robot that topples.
    """
    ids = ids[episodes.lengths[ids] >= history]
    own = torch.tensor([i for i in ids.tolist() if episodes.levels[i] == level], dtype=torch.int64)
    starts = window_starts(episodes.lengths, own if len(own) else ids, history)
    last_of_episode = (episodes.offsets + episodes.lengths - 1)[episodes.episode_of_row[starts]]
    topples = episodes.termination[last_of_episode] & (last_of_episode - (starts + history - 1) < before_fall)
    return starts[~topples] if bool((~topples).any()) else starts


def dream_of(
    world_model: WorldModel,
    task: VelocityTask,
    episodes: Episodes,
    start_rows: Tensor,
    num_envs: int = 128,
    num_steps: int = 200,
    seed: int = 0,
    **rules: Any,
) -> ImaginedEnv:
    """Return an imagined environment to deploy a policy in: episodes of ``num_steps`` steps, without penalty.

    Args:
        start_rows: ``[S]``, first rows of the histories to start from.
        rules: of :class:`rwmu.imagination.rules.DreamRules` that differ from its defaults (how an episode terminates).
    """
    rules = {**rules, "horizon_steps": num_steps, "random_start": False}
    no_penalty = MopoPenalty(0.0, task.step_dt)
    return ImaginedEnv(world_model, task, episodes, start_rows, no_penalty, DreamRules(num_envs=num_envs, **rules), seed)


def compare(dream: Deployment, simulator: Deployment) -> dict[str, Any]:
    """Return both sides' weighted reward per second lived, by term and in ``total``, and their falls per minute."""
    imagined, real = dream.reward_rates(settled=True), simulator.reward_rates(settled=True)
    return {
        "terms": {name: {"dream": imagined[name], "simulator": real[name], "gap": imagined[name] - real[name]} for name in real},
        "falls_per_minute": {"dream": dream.falls_per_minute(), "simulator": simulator.falls_per_minute()},
        "seconds_lived": {"dream": _seconds(dream), "simulator": _seconds(simulator)},
    }


def dream_reality(dreams: Mapping[str, Deployment], simulator: Mapping[str, Deployment]) -> dict[str, Any]:
    """Compare each policy that was rolled on both sides; ``mean_absolute_gap`` averages the totals' gaps over policies."""
    rows = {name: compare(dream, simulator[name]) for name, dream in dreams.items() if name in simulator}
    gaps = torch.tensor([row["terms"]["total"]["gap"] for row in rows.values()], dtype=torch.float64)
    return {"levels": rows, "mean_absolute_gap": mean(gaps[~gaps.isnan()].abs())}


def _seconds(deployment: Deployment) -> float:
    return float(deployment.settled_steps.sum()) * deployment.step_dt
