"""Does the model know what it does not know, does it foresee falls, and what does one forecast look like?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.data.windows import spaced_starts
from rwmu.dynamics.unroll import unroll
from rwmu.dynamics.world_model import WorldModel
from rwmu.measure.rollout_error import HORIZONS, open_loop, separate_starts
from rwmu.measure.windows import evenly, foretell, true_window
from rwmu.robots.layout import StateLayout
from rwmu.uncertainty.functional.falls import area_under_roc
from rwmu.uncertainty.functional.summary import correlation, mean, ratio

_CHUNK = 8  # rows predicted, teacher-forced, after each history
_POINTS = 300  # of a scatter figure


def epistemic_correlation(
    world_model: WorldModel,
    episodes: Episodes,
    ids: Tensor,
    horizons: Sequence[int] = HORIZONS,
    num_windows: int | None = 400,
    seed: int = 0,
) -> dict[str, Any]:
    """Correlate the members' disagreement with the error actually made, at each horizon, over non-overlapping windows.

    Each window follows one member, as imagination does. Depth is held constant, so a mere growth of both with time counts nothing.

    Returns:
        ``pearson`` and ``spearman`` (horizon -> -1..1; nan for one member), ``points`` (horizon -> epistemic and error, to draw).
    """
    longest = max(horizons)
    starts = separate_starts(episodes, ids, world_model.history + longest, num_windows, seed)
    forecast = open_loop(world_model, episodes, starts, longest, feedback="member")
    error = forecast.squared_error().mean(-1).sqrt()
    pairs = {str(k): (forecast.epistemic[k - 1], error[k - 1]) for k in horizons}
    return {
        "windows": len(starts),
        "pearson": {k: correlation(*pair, "linear") for k, pair in pairs.items()},
        "spearman": {k: correlation(*pair) for k, pair in pairs.items()},
        "points": {k: {"epistemic": u[:_POINTS].tolist(), "error": e[:_POINTS].tolist()} for k, (u, e) in pairs.items()},
    }


def termination_probabilities(world_model: WorldModel, episodes: Episodes, ids: Tensor) -> Tensor:
    """Return ``[R]``: what the members' mean gives, one step ahead, for a termination at each row of the episodes ``ids``.

    Rows with less than H rows before them, and rows of other episodes, are nan.
    """
    length = world_model.history + _CHUNK
    probability = torch.full((episodes.num_rows,), torch.nan)
    starts = [torch.empty(0, dtype=torch.int64)]
    for offset, rows in zip(episodes.offsets[ids].tolist(), episodes.lengths[ids].tolist(), strict=True):
        if rows >= length:
            # The last window ends with the episode, for there the falls are; it may predict some rows a second time.
            starts.append(torch.arange(offset, offset + rows - length + 1, _CHUNK))
            starts.append(torch.tensor([offset + rows - length]))
    for part in foretell(world_model, episodes, torch.cat(starts), _CHUNK):
        probability[part.row] = part.prediction.termination.sigmoid().mean(dim=0)[:, 0]
    return probability


def termination_head(world_model: WorldModel, episodes: Episodes, ids: Tensor) -> dict[str, Any]:
    """Measure the termination head, one step ahead, on the episodes ``ids``.

    Returns:
        ``falls`` among ``rows`` judged (``falls_left_out`` came too early for a full history), ``recall`` and ``precision`` at a
        threshold of 0.5, the same where the head is sampled (``..._sampled``), ``expected_falls`` (the sum of the probabilities)
        and ``auroc``.
    """
    probability = termination_probabilities(world_model, episodes, ids)
    judged = ~probability.isnan()
    score, fell = probability[judged].double(), episodes.termination[judged]
    everyone = episodes.termination[episodes.rows_of(ids)].sum()
    hits, alarms, falls = int(((score > 0.5) & fell).sum()), int((score > 0.5).sum()), int(fell.sum())
    return {
        "rows": len(score),
        "falls": falls,
        "falls_left_out": int(everyone) - falls,
        "recall": ratio(hits, falls),
        "precision": ratio(hits, alarms),
        "recall_sampled": mean(score[fell]),
        "precision_sampled": ratio(float(score[fell].sum()), float(score.sum())),
        "expected_falls": float(score.sum()),
        "auroc": float(area_under_roc(score, fell).filled(math.nan)),
    }


def falls_foreseen(
    world_model: WorldModel, episodes: Episodes, ids: Tensor, horizon: int = 24, upright_gravity_z: float = -0.5
) -> dict[str, Any]:
    """Ask whether open-loop forecasts of ``horizon`` steps with the true actions end in a fall where the truth does.

    A forecast falls where the head's accumulated probability passes 0.5, or where its gravity direction says that it lies. Windows
    in which the robot truly lies without a termination are neither falls nor sound, and left out.

    Returns:
        ``falls`` and ``others`` (windows; of the others at most 200, spread evenly), and the fraction of each in which a fall is
        forecast, by the head alone (``..._forecast_by_head``) and by either.
    """
    length = world_model.history + horizon
    ends = (episodes.offsets + episodes.lengths - length)[ids]
    ending_in_fall = episodes.termination[(episodes.offsets + episodes.lengths - 1)[ids]] & (episodes.lengths[ids] >= length)
    falls = ends[ending_in_fall]
    layout = StateLayout.from_description(episodes.attributes["layout"])
    others = spaced_starts(episodes.lengths, ids, length)
    windows = others[:, None] + torch.arange(length)
    lies = layout.part(episodes.state, "projected_gravity")[:, 2] > upright_gravity_z
    others = others[~(episodes.termination | lies)[windows].any(-1)]
    others = evenly(others, max(200, len(falls)))
    result: dict[str, Any] = {"horizon": horizon, "falls": len(falls), "others": len(others)}
    for name, starts in (("falls", falls), ("others", others)):
        if not len(starts):
            continue
        forecast = open_loop(world_model, episodes, starts, horizon, feedback="member")
        by_head = 1.0 - (1.0 - forecast.termination).prod(dim=0) > 0.5
        state = world_model.normalizer.denormalize(forecast.predicted[:, 0])
        lying = (layout.part(state, "projected_gravity")[..., 2] > upright_gravity_z).any(dim=0)
        result[f"{name}_forecast_by_head"] = mean(by_head.float())
        result[f"{name}_forecast"] = mean((by_head | lying).float())
    return result


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
