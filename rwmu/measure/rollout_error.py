"""How far the model's open-loop forecasts are from the truth, on episodes it has never seen, horizon by horizon.

Windows never overlap, for two that do are not two pieces of evidence; intervals resample whole episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.data.windows import require_long_enough, spaced_starts
from rwmu.dynamics.unroll import unroll
from rwmu.dynamics.world_model import WorldModel
from rwmu.measure.cells import Cell
from rwmu.measure.windows import BATCH, true_window
from rwmu.robots.layout import StateLayout
from rwmu.uncertainty.resampling import bootstrap_sums, resampled_totals, trajectory_sums

HORIZONS = (1, 8, 24, 100)


def separate_starts(episodes: Episodes, ids: Tensor, length: int, number: int | None = None) -> Tensor:
    """Return first rows of windows of ``length`` rows that lie in one episode of ``ids`` each and never overlap.

    Args:
        number: at most so many; None for all.
    """
    require_long_enough(episodes.lengths, ids, length, "evaluation")
    return spaced_starts(episodes.lengths, ids, length, number, seed=0)


@torch.no_grad()
def forecast_errors(world_model: WorldModel, episodes: Episodes, starts: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
    """Return squared errors ``[K, B, D]``, normalised: of the model's forecast, and of the forecast that nothing changes.

    K steps after H true rows from each of ``starts [B]``, with the true actions, feeding back the mean over members.
    """
    history, parts = world_model.history, []
    for rows in torch.split(starts, BATCH):
        window, _ = true_window(world_model, episodes, rows, history + horizon)
        truth = window.state[0, :, history:].transpose(0, 1)
        forecast = unroll(world_model.dynamics, window, history, feedback="ensemble_mean").feedback[:, 0]
        parts.append(torch.stack([(told - truth).square() for told in (forecast, window.state[0, :, history - 1])]))
    error, hold = torch.cat(parts, dim=2)
    return error, hold


def root_mean_square(squared_error: Tensor) -> float:
    """Return the root of the mean of all entries."""
    return float(squared_error.double().mean().sqrt())


def standard_error(squared_error: Tensor, episode: Tensor) -> float:
    """Return the standard error of the root mean square of ``[B]`` windows, by resampling whole episodes; nan for one episode."""
    sums = trajectory_sums(torch.stack([squared_error, torch.ones_like(squared_error)], dim=1), episode)
    if len(sums) < 2:
        return float("nan")
    totals = resampled_totals(sums, resamples=400)
    return float((totals[:, 0] / totals[:, 1]).sqrt().std())


def rollout_error(
    world_model: WorldModel,
    episodes: Episodes,
    ids: Tensor,
    horizons: Sequence[int] = HORIZONS,
    number: int | None = 400,
) -> dict[str, Any]:
    """Measure the open-loop error on windows of the episodes ``ids``, as root mean squares of the normalised error.

    Returns:
        ``normalized_error`` and ``hold_last_error`` (horizon -> number, over windows and dimensions), ``standard_error`` of the
        first (over whole episodes), ``skill`` (horizon -> cell of the first over the second), ``curve`` (both at every step up to
        the longest horizon), ``by_field`` (field -> horizon -> normalised error), and how many windows and episodes that was.
    """
    longest = max(horizons)
    starts = separate_starts(episodes, ids, world_model.history + longest, number)
    error, hold = forecast_errors(world_model, episodes, starts, longest)
    episode = episodes.episode_of_row[starts]
    layout = StateLayout.from_description(episodes.attributes["layout"])
    return {
        "step_dt": float(episodes.attributes["step_dt"]),
        "windows": len(starts),
        "episodes": len(torch.unique(episode)),
        "normalized_error": {str(k): root_mean_square(error[k - 1]) for k in horizons},
        "standard_error": {str(k): standard_error(error[k - 1].mean(-1), episode) for k in horizons},
        "hold_last_error": {str(k): root_mean_square(hold[k - 1]) for k in horizons},
        "skill": {str(k): _skill(error[k - 1], hold[k - 1], episode) for k in horizons},
        "curve": {"model": error.double().mean((1, 2)).sqrt().tolist(), "hold_last": hold.double().mean((1, 2)).sqrt().tolist()},
        "by_field": _by_field(error, layout, horizons),
    }


def _skill(error: Tensor, hold: Tensor, episode: Tensor) -> Cell:
    """Return the root mean square of ``error [B, D]`` over that of the forecast that nothing changes."""
    sums = trajectory_sums(torch.stack([error.mean(-1), hold.mean(-1)], dim=1), episode)
    return bootstrap_sums(lambda totals: (totals[:, 0] / totals[:, 1]).sqrt(), sums).plain()


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
    world_model: WorldModel, episodes: Episodes, ids: Tensor, joint_names: Sequence[str] = (), horizon: int = 100
) -> dict[str, Any]:
    """Return one forecast beside the truth: the test window of median error (nobody picked it), every member on its own.

    Returns:
        ``time_s`` (0 at the last true row), ``forecast_from`` (index of the first forecast row), ``level``, and ``columns``:
        name -> ``label``, ``unit``, ``truth [T]``, ``members [E][K]``, physical units.
    """
    history = world_model.history
    starts = separate_starts(episodes, ids, history + horizon, 200)
    error = forecast_errors(world_model, episodes, starts, horizon)[0].mean((0, 2))
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
