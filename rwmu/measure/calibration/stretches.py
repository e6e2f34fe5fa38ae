"""Forecast along stretches of true episodes: what imagination would have dreamt there, and what whole trajectories spread to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rwmu.dynamics.world_model import WorldModel
from rwmu.imagination.rehearsal import Rehearsal, covering_starts, rehearse
from rwmu.imagination.trajectories import trajectory_spread
from rwmu.measure.calibration.recalibrated import Gaussians
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.windows import Selection, true_window
from rwmu.records import Window
from rwmu.robots.layout import StateLayout
from rwmu.uncertainty.baselines import KnownStates, trivial_scores
from rwmu.uncertainty.estimates import Estimate, aleatoric, aleatoric_largest, combined, member_std
from rwmu.uncertainty.spread import Spread

_PER_OCTAVE = 2  # kept steps between a step and twice it, for curves over the horizon
FORECASTS = ("sampled", "propagated")


@dataclass(frozen=True)
class Stretches:
    """Forecasts of K steps along B stretches, normalised; G of the steps are kept in full.

    Attributes:
        steps: the G kept steps, 1 for the first after the history.
        disagreement: ``[K, B]``, of ``settings.estimate``, along a dream that follows one member.
        error: ``[K, B]``, root mean square over dimensions of the dream's error.
        valid: ``[K, B]`` bool, the steps that the episode lived to see and whose forecasts are finite.
        episode: ``[B]`` int64. data_hash: of the dataset.
        member_std, dream_error: ``[G, B, D]``, the members' standard deviation and the dream's absolute error.
        spreads: name of ``FORECASTS`` -> mean and std ``[G, B, D]``. truth: ``[G, B, D]``.
        not_finite: steps lived to see whose forecast was not finite.
        beside: name of another score -> ``[G, B]``: what else the dream says of the kept steps, and trivial scores of the dreamt
            states that they are forecast from.
    """

    steps: tuple[int, ...]
    disagreement: Tensor
    error: Tensor
    valid: Tensor
    episode: Tensor
    data_hash: str
    member_std: Tensor
    dream_error: Tensor
    spreads: dict[str, Spread]
    truth: Tensor
    not_finite: int
    beside: dict[str, Tensor] = field(default_factory=dict)

    def gaussians(self, forecast: str, steps: Sequence[int] | None = None) -> Gaussians:
        """Return the forecasts of the kept steps, or of those of ``steps`` that are among them."""
        places = [place for place, step in enumerate(self.steps) if steps is None or step in steps]
        valid, spread = self.valid[torch.tensor(self.steps) - 1], self.spreads[forecast]
        kept = spread.mean[places], spread.std[places], self.truth[places]
        return Gaussians(*kept, valid[places], self.episode, self.data_hash)


def kept_steps(horizons: Sequence[int], longest: int) -> tuple[int, ...]:
    """Return the horizons and, between them, steps evenly spaced in their logarithm, as far as ``longest``."""
    first, last = min(horizons), max(horizons)
    number = max(1, round(_PER_OCTAVE * math.log2(last / first)))
    spaced = [round(first * (last / first) ** (index / number)) for index in range(number + 1)]
    return tuple(sorted({k for k in (*spaced, *horizons) if k <= longest}))


def longest_forecast(world_model: WorldModel, selection: Selection) -> int:
    """Return how many steps the longest episode leaves after a history; at most 0 where none is long enough."""
    lengths = selection.episodes.lengths[selection.ids]
    return int(lengths.max()) - world_model.history if len(lengths) else 0


def all_finite(*values: Tensor) -> Tensor:
    """Return where all of some ``[K, B]``, and of all dimensions of ``[K, B, D]``, are finite: ``[K, B]`` bool."""
    finite = [value.isfinite() if value.ndim == 2 else value.isfinite().all(dim=-1) for value in values]
    return torch.stack(finite).all(dim=0)


def follow_stretches(
    world_model: WorldModel,
    selection: Selection,
    horizons: Sequence[int],
    number: int,
    settings: CalibrationSettings,
    spreads: bool = True,
    known: KnownStates | None = None,
) -> Stretches | None:
    """Forecast along stretches that do not overlap, the ends of episodes included.

    Args:
        spreads: of whole trajectories too, which cost most of the time.
        known: the states that the model was trained on, for the trivial scores that rest on these.

    Returns:
        None where no episode allows the first of ``horizons``; else the kept steps reach as far as the episodes do.
    """
    longest = longest_forecast(world_model, selection)
    if longest < min(horizons):
        return None
    steps = kept_steps(horizons, longest)
    episodes, history, horizon = selection.episodes, world_model.history, max(steps)
    dream = rehearse(world_model, episodes, selection.ids, horizon, number)
    starts = covering_starts(episodes.lengths, selection.ids, history, history + horizon, number)
    window, _ = true_window(world_model, episodes, starts, history + horizon)
    kept = torch.tensor(steps) - 1
    truth = window.state[0, :, history:].transpose(0, 1)[kept]
    found: dict[str, Spread] = {}
    if spreads:
        arguments = (world_model.dynamics, window, history)
        found["sampled"] = trajectory_spread(*arguments, samples=settings.samples, seed=settings.seed)
        found["propagated"] = trajectory_spread(*arguments, samples=1, feedback="mean")
    disagreement, error = dream.disagreement(settings.estimate), dream.error.square().mean(dim=-1).sqrt()
    beside = _beside(world_model, dream, window, starts - episodes.offsets[dream.episode], kept, known)
    moments = (part for spread in found.values() for part in (spread.mean, spread.std))
    finite = all_finite(disagreement, error, dream.disagreement(combined), *moments)
    std = torch.stack([member_std(dream.rollout.at(int(k))) for k in kept])
    return Stretches(
        steps=steps,
        disagreement=torch.where(finite, disagreement, 0.0),
        error=torch.where(finite, error, 0.0),
        valid=dream.valid & finite,
        episode=dream.episode,
        data_hash=dream.data_hash,
        member_std=std,
        dream_error=dream.error[kept],
        spreads={name: Spread(spread.mean[kept], spread.std[kept], spread.paths) for name, spread in found.items()},
        truth=truth,
        not_finite=int((dream.valid & ~finite).sum()),
        beside={name: torch.where(finite[kept], score, 0.0) for name, score in beside.items()},
    )


def _beside(
    world_model: WorldModel, dream: Rehearsal, window: Window, age: Tensor, kept: Tensor, known: KnownStates | None
) -> dict[str, Tensor]:
    """Return the scores that stand beside the disagreement at the kept steps, ``[G, B]`` each.

    Args:
        window: ``[1, B, H + K, .]``, true rows, states normalised. age: ``[B]``, how old the first of them is.
    """
    history, predictions = world_model.history, [dream.rollout.at(int(k)) for k in kept]
    states = torch.cat([window.state[0, :, :history].transpose(0, 1), dream.rollout.feedback[:, 0]])  # [H + K, B, D]
    last = history - 1 + kept  # the row that a kept step is forecast from
    state, previous = states[last], states[(last - 1).clamp(min=0)]
    layout, actions = StateLayout.from_description(world_model.layout), window.action[0].transpose(0, 1)
    gravity = layout.part(world_model.normalizer.denormalize(state), "projected_gravity")
    estimates: dict[str, Estimate] = {
        "noise_estimate": aleatoric,
        "noise_largest": aleatoric_largest,
        "combined": combined,
        "termination_head": lambda prediction: prediction.termination.sigmoid().mean(dim=0)[:, 0],
    }
    found = {name: torch.stack([estimate(part) for part in predictions]) for name, estimate in estimates.items()}
    return found | trivial_scores(gravity, state, previous, actions[last + 1], age + last[:, None], known)
