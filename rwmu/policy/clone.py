"""Behaviour cloning of a dataset's best episodes: an offline start for the policy.

Pairs follow the action-time convention of ``rwmu.records``: the action of row t+1 answers the state and command of row t, with the
action of row t as last action.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from rsl_rl.models import MLPModel
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.errors import DataError
from rwmu.policy.rsl_rl import action_mean, actor_std, set_actor_std
from rwmu.settings import Count, Positive
from rwmu.settings import settings as validated
from rwmu.tasks.velocity import VelocityTask


@validated("policy.clone")
class CloneSettings:
    """Configure behaviour cloning.

    Attributes:
        fraction: of the training episodes that is cloned, the best first.
        minimum_steps: episodes of fewer steps are not cloned.
        epochs: at most; training stops after ``patience`` epochs without a better validation error.
        std: given to the actor afterwards, so that it starts near what it has learnt.
        mirror: see every batch through one of the robot's mirrors, drawn at random.
    """

    fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 0.25
    minimum_steps: Count = 50
    epochs: Count = 60
    patience: Count = 8
    batch_size: Count = 1024
    learning_rate: Positive = 1e-3
    std: Positive = 0.3
    mirror: bool = True


def require_known(episodes: Episodes) -> None:
    """Refuse episodes whose commands or rewards nobody knows: neither what was asked for nor who did it well can be told."""
    unknown = [name for name in ("command", "reward") if name in episodes.unknown]
    if unknown:
        raise DataError(
            f"The data do not hold their {'s and '.join(unknown)}s, so that no behaviour can be cloned from them; start the policy "
            "with policy=ppo."
        )


@dataclass(frozen=True)
class Demonstrations:
    """N pairs to be cloned: what was seen, ``[N, D]``, ``[N, 3]`` and ``[N, A]``, and what was answered, ``[N, A]``."""

    state: Tensor
    command: Tensor
    last_action: Tensor
    action: Tensor


def demonstrations(episodes: Episodes, ids: Tensor) -> Demonstrations:
    """Return all pairs of the episodes ``ids``."""
    rows = episodes.rows_of(ids)
    before = rows[~torch.isin(rows, episodes.last_rows)]
    return Demonstrations(episodes.state[before], episodes.command[before], episodes.action[before], episodes.action[before + 1])


def merit(episodes: Episodes, ids: Tensor | None = None) -> Tensor:
    """Return how good each episode is for what it was asked to do, ``[N]`` float64.

    The reward per step, less what a least-squares fit over the episodes ``ids`` (None: all) expects of its commands: slow commands
    are rewarded for standing still, and ranking by the bare reward would pick them. A fallen robot's later steps count as zero
    reward: terminated episodes are divided by the longest of those episodes' length.
    """
    fitted = torch.arange(episodes.num_episodes) if ids is None else ids
    longest = (episodes.lengths[fitted].max() - 1).clamp(min=1).double()
    steps = (episodes.lengths - 1).clamp(min=1).double()
    ended = episodes.termination[episodes.last_rows]
    steps = torch.where(ended, torch.maximum(steps, longest), steps)
    rate = episodes.returns() / steps
    speed = torch.stack([episodes.command[:, :2].norm(dim=1), episodes.command[:, 2].abs()], dim=1).double()
    features = torch.cat([speed, speed.square(), speed.prod(dim=1, keepdim=True)], dim=1)
    means = torch.zeros(episodes.num_episodes, features.shape[1], dtype=torch.float64)
    means.index_add_(0, episodes.episode_of_row, features)
    design = torch.cat([torch.ones(episodes.num_episodes, 1, dtype=torch.float64), means / episodes.lengths.unsqueeze(1)], dim=1)
    # Ridge, so that constant commands or few episodes leave a solution.
    known, known_rate = design[fitted], rate[fitted]
    gram = known.T @ known + 1e-6 * len(fitted) * torch.eye(design.shape[1], dtype=torch.float64)
    expected = design @ torch.linalg.solve(gram, known.T @ known_rate)
    above: Tensor = rate - expected
    return above


def best_episodes(episodes: Episodes, ids: Tensor, settings: CloneSettings) -> Tensor:
    """Return the best ``fraction`` of the episodes ``ids`` that are long enough, at least one, in ascending order."""
    long_enough = ids[episodes.lengths[ids] > settings.minimum_steps]
    if len(long_enough) == 0:
        raise DataError(
            f"No episode has the {settings.minimum_steps} steps that policy.clone.minimum_steps asks for; "
            "lower it, collect longer episodes or start with policy=ppo."
        )
    number = max(1, round(settings.fraction * len(long_enough)))
    order = merit(episodes, ids)[long_enough].argsort(descending=True, stable=True)
    return long_enough[order[:number]].sort().values


def _as_good(episodes: Episodes, ids: Tensor, train_ids: Tensor, chosen: Tensor, settings: CloneSettings) -> Tensor:
    """Return the episodes of ``ids`` that are as good as the chosen training episodes; the best one if none is."""
    merits = merit(episodes, train_ids)
    eligible = ids[(episodes.lengths[ids] > settings.minimum_steps) & (merits[ids] >= merits[chosen].min())]
    return eligible if len(eligible) else best_episodes(episodes, ids, settings)[:1]


def clone_actor(
    actor: MLPModel,
    episodes: Episodes,
    train_ids: Tensor,
    validation_ids: Tensor,
    task: VelocityTask,
    settings: CloneSettings | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Fit the mean of ``actor`` to the best episodes' actions, in place; its noise is set from the settings.

    The task's observation noise is drawn anew for every batch, as the policy will meet it. Batches are made on the CPU, where the
    data are, and moved to the actor.

    Returns:
        ``train_error``, ``validation_error`` (mean squared error of the action, without noise or mirrors for validation),
        ``action_variance`` (of the validation actions, to compare with), ``epochs``, ``num_episodes``, ``num_transitions``.
    """
    settings = settings or CloneSettings()
    require_known(episodes)
    chosen = best_episodes(episodes, train_ids, settings)
    train = demonstrations(episodes, chosen)
    validation = demonstrations(episodes, _as_good(episodes, validation_ids, train_ids, chosen, settings))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(actor.parameters(), lr=settings.learning_rate)
    best, best_weights, best_epoch, train_error, epoch = float("inf"), copy.deepcopy(actor.state_dict()), 0, 0.0, 0
    for epoch in range(1, settings.epochs + 1):
        train_error = _epoch(actor, train, task, settings, optimizer, generator)
        error = _error(actor, validation, task)
        if error < best:
            best, best_weights, best_epoch = error, copy.deepcopy(actor.state_dict()), epoch
        if epoch - best_epoch >= settings.patience:
            break
    actor.load_state_dict(best_weights)
    set_actor_std(actor, settings.std)
    return {
        "train_error": train_error,
        "validation_error": best,
        "action_variance": float(validation.action.var(dim=0, unbiased=False).mean()),
        "epochs": float(epoch),
        "num_episodes": float(len(chosen)),
        "num_transitions": float(len(train.action)),
    }


def _epoch(
    actor: MLPModel,
    data: Demonstrations,
    task: VelocityTask,
    settings: CloneSettings,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> float:
    mirrors = [(mirror.of(task.observation_layout), mirror.action) for mirror in task.robot.mirrors.values()]
    device = actor_std(actor).device
    total = torch.zeros((), device=device)
    for rows in torch.split(torch.randperm(len(data.action), generator=generator), settings.batch_size):
        uniform = torch.rand(len(rows), task.num_observations, generator=generator)
        observation, action = task.observe(data.state[rows], data.command[rows], data.last_action[rows], uniform), data.action[rows]
        if settings.mirror:
            of_observation, of_action = mirrors[int(torch.randint(len(mirrors), (), generator=generator))]
            observation, action = of_observation(observation), of_action(action)
        loss = (action_mean(actor, observation.to(device)) - action.to(device)).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.detach() * len(rows)
    return float(total) / len(data.action)


@torch.no_grad()
def _error(actor: MLPModel, data: Demonstrations, task: VelocityTask) -> float:
    device = actor_std(actor).device
    mean = action_mean(actor, task.observe(data.state, data.command, data.last_action).to(device))
    return float((mean - data.action.to(device)).square().mean())
