"""How far the model's open-loop forecasts are from the truth, on episodes it has never seen, horizon by horizon.

Windows never overlap, for two that do are not two pieces of evidence; intervals resample whole episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.data.windows import require_long_enough, spaced_starts
from rwmu.dynamics.unroll import Feedback, unroll
from rwmu.dynamics.world_model import WorldModel
from rwmu.measure.cells import Cell
from rwmu.measure.windows import BATCH, true_window
from rwmu.robots.layout import StateLayout
from rwmu.uncertainty.resampling import bootstrap_sums, resampled_totals, trajectory_sums

HORIZONS = (1, 8, 24, 100)


@dataclass(frozen=True)
class OpenLoop:
    """Forecasts of K steps after H true rows, for B windows; states normalised, members first.

    Attributes:
        predicted: ``[K, M, B, D]``; M is E where every member goes its own way, else 1.
        truth: ``[K, B, D]``. last: ``[B, D]``, the last row of the history.
        episode: ``[B]`` int64, which episode each window comes from.
    """

    predicted: Tensor
    truth: Tensor
    last: Tensor
    episode: Tensor

    def squared_error(self) -> Tensor:
        """Return ``[K, B, D]``, mean over the ways that were followed."""
        return (self.predicted - self.truth[:, None]).square().mean(dim=1)

    def hold_last_squared_error(self) -> Tensor:
        """Return ``[K, B, D]`` of the forecast that nothing changes."""
        return (self.last - self.truth).square()


def separate_starts(episodes: Episodes, ids: Tensor, length: int, number: int | None = None, seed: int = 0) -> Tensor:
    """Return first rows of windows of ``length`` rows that lie in one episode of ``ids`` each and never overlap.

    Args:
        number: at most so many; None for all.
    """
    require_long_enough(episodes.lengths, ids, length, "evaluation")
    return spaced_starts(episodes.lengths, ids, length, number, seed)


@torch.no_grad()
def open_loop(
    world_model: WorldModel, episodes: Episodes, starts: Tensor, horizon: int, feedback: Feedback = "ensemble_mean"
) -> OpenLoop:
    """Forecast ``horizon`` steps after H true rows from each of ``starts [B]``, with the true actions.

    Args:
        feedback: as :func:`rwmu.dynamics.unroll.unroll`; ``member`` lets window b follow member b mod E, as imagination does.
    """
    dynamics, history = world_model.dynamics, world_model.history
    parts: list[OpenLoop] = []
    for rows in torch.split(starts, BATCH):
        window, _ = true_window(world_model, episodes, rows, history + horizon)
        member = torch.arange(len(rows)) % dynamics.num_members
        rollout = unroll(dynamics, window, history, feedback, member=member)
        parts.append(
            OpenLoop(
                predicted=rollout.feedback,
                truth=window.state[0, :, history:].transpose(0, 1),
                last=window.state[0, :, history - 1],
                episode=episodes.episode_of_row[rows],
            )
        )
    # The axis of the windows in each tensor of the record.
    axis = {"predicted": 2, "truth": 1, "last": 0, "episode": 0}
    return OpenLoop(**{name: torch.cat([getattr(part, name) for part in parts], dim=dim) for name, dim in axis.items()})


def root_mean_square(squared_error: Tensor) -> float:
    """Return the root of the mean of all entries."""
    return float(squared_error.double().mean().sqrt())


def standard_error(squared_error: Tensor, episode: Tensor, resamples: int = 400, seed: int = 0) -> float:
    """Return the standard error of the root mean square of ``[B]`` windows, by resampling whole episodes; nan for one episode."""
    sums = trajectory_sums(torch.stack([squared_error, torch.ones_like(squared_error)], dim=1), episode)
    if len(sums) < 2:
        return float("nan")
    totals = resampled_totals(sums, resamples, seed)
    return float((totals[:, 0] / totals[:, 1]).sqrt().std())


def rollout_error(
    world_model: WorldModel,
    episodes: Episodes,
    ids: Tensor,
    horizons: Sequence[int] = HORIZONS,
    number: int | None = 400,
    feedback: Feedback = "ensemble_mean",
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the open-loop error on windows of the episodes ``ids``, as root mean squares of the normalised error.

    Returns:
        ``normalized_error`` and ``hold_last_error`` (horizon -> number, over windows and dimensions), ``standard_error`` of the
        first (over whole episodes), ``skill`` (horizon -> cell of the first over the second), ``curve`` (both at every step up to
        the longest horizon), ``by_field`` (field -> horizon -> normalised error), and how many windows and episodes that was.
    """
    longest = max(horizons)
    starts = separate_starts(episodes, ids, world_model.history + longest, number, seed)
    forecast = open_loop(world_model, episodes, starts, longest, feedback)
    error, hold = forecast.squared_error(), forecast.hold_last_squared_error()
    layout = StateLayout.from_description(episodes.attributes["layout"])
    return {
        "step_dt": float(episodes.attributes["step_dt"]),
        "windows": len(starts),
        "episodes": len(torch.unique(forecast.episode)),
        "normalized_error": {str(k): root_mean_square(error[k - 1]) for k in horizons},
        "standard_error": {str(k): standard_error(error[k - 1].mean(-1), forecast.episode, seed=seed) for k in horizons},
        "hold_last_error": {str(k): root_mean_square(hold[k - 1]) for k in horizons},
        "skill": {str(k): _skill(error[k - 1], hold[k - 1], forecast.episode, seed) for k in horizons},
        "curve": {"model": error.double().mean((1, 2)).sqrt().tolist(), "hold_last": hold.double().mean((1, 2)).sqrt().tolist()},
        "by_field": _by_field(error, layout, horizons),
    }


def _skill(error: Tensor, hold: Tensor, episode: Tensor, seed: int) -> Cell:
    """Return the root mean square of ``error [B, D]`` over that of the forecast that nothing changes."""
    sums = trajectory_sums(torch.stack([error.mean(-1), hold.mean(-1)], dim=1), episode)
    return bootstrap_sums(lambda totals: (totals[:, 0] / totals[:, 1]).sqrt(), sums, seed=seed).plain()


def _by_field(squared_error: Tensor, layout: StateLayout, horizons: Sequence[int]) -> dict[str, dict[str, float]]:
    return {
        field.name: {str(k): root_mean_square(layout.part(squared_error[k - 1], field.name)) for k in horizons}
        for field in layout.fields
    }


# -- one forecast, to be drawn ------------------------------------------------------------------------------------------------


def example_columns(layout: StateLayout, joint_names: Sequence[str] = ()) -> dict[str, str]:
    """Return the columns of the state that an example shows, and what they are called: of any robot.

    Args:
        joint_names: of the robot, ``[A]``; without them a joint is called by its number.
    """
    joints = layout["joint_pos"].stop - layout["joint_pos"].start
    first, second = joints // 3, 2 * joints // 3
    names = joint_names or [f"joint {place}" for place in range(joints)]
    return {
        "base_lin_vel[0]": "forward speed",
        "base_lin_vel[1]": "sideways speed",
        "base_ang_vel[2]": "yaw rate",
        "projected_gravity[0]": "gravity x (pitch)",
        f"joint_pos[{first}]": f"angle of {names[first]}",
        f"joint_vel[{second}]": f"speed of {names[second]}",
    }


@torch.no_grad()
def example_rollout(
    world_model: WorldModel, episodes: Episodes, ids: Tensor, joint_names: Sequence[str] = (), horizon: int = 100, seed: int = 0
) -> dict[str, Any]:
    """Return one forecast beside the truth: the test window of median error (nobody picked it), every member on its own.

    Returns:
        ``time_s`` (0 at the last true row), ``forecast_from`` (index of the first forecast row), ``level``, and ``columns``:
        name -> ``label``, ``unit``, ``truth [T]``, ``members [E][K]``, physical units.
    """
    history = world_model.history
    starts = separate_starts(episodes, ids, history + horizon, 200, seed)
    error = open_loop(world_model, episodes, starts, horizon).squared_error().mean((0, 2))
    start = starts[error.argsort()[(len(starts) - 1) // 2]]
    window, _ = true_window(world_model, episodes, start[None], history + horizon)
    rollout = unroll(world_model.dynamics, window, history, feedback="mean")
    members = world_model.normalizer.denormalize(rollout.feedback[:, :, 0])
    truth = world_model.normalizer.denormalize(window.state[0, 0])
    layout = StateLayout.from_description(episodes.attributes["layout"])
    units = [field.unit for field in layout.fields for _ in range(field.size)]
    names, step_dt = layout.names(), float(episodes.attributes["step_dt"])
    return {
        "level": episodes.levels[int(episodes.episode_of_row[start])],
        "time_s": [step_dt * (row - history + 1) for row in range(history + horizon)],
        "forecast_from": history,
        "columns": {
            name: {"label": label, "unit": units[i], "truth": truth[:, i].tolist(), "members": members[:, :, i].T.tolist()}
            for name, label in example_columns(layout, joint_names).items()
            for i in [names.index(name)]
        },
    }
