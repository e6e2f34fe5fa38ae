"""Measure a run's world model: how far its forecasts are off, whether it knows, what it says of falls. Parts of a run's results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rwmu.data.windows import require_long_enough
from rwmu.dynamics.world_model import WorldModel
from rwmu.measure.calibration import ranking
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.calibration.stretches import follow_stretches
from rwmu.measure.one_step import fall_cells, falls_judged, heads, predict_one_step
from rwmu.measure.rollout_error import HORIZONS, example_rollout, rollout_error
from rwmu.measure.windows import Selection, known_states
from rwmu.uncertainty.estimates import Estimate, epistemic


def measure_dynamics(
    world_model: WorldModel,
    selection: Selection,
    horizons: Sequence[int] = HORIZONS,
    number: int | None = 400,
    joint_names: Sequence[str] = (),
    estimate: Estimate = epistemic,
    trained_on: Selection | None = None,
) -> dict[str, Any]:
    """Measure a world model on test episodes; returns the parts ``dynamics`` and ``figure_data``.

    Ranking, heads and falls are what the calibration analysis measures, of the same rows: the same numbers stand on both pages.
    Horizons beyond the longest of these episodes are left out.

    Args:
        number: of windows of the error, at most; None for all. joint_names: of the robot, for the figure of one forecast.
        estimate: of the disagreement, as the penalty has it. trained_on: the model's training episodes, to be far from.
    """
    episodes, ids = selection.episodes, selection.ids
    require_long_enough(episodes.lengths, ids, world_model.history + min(horizons), "evaluation")
    longest = int(episodes.lengths[ids].max())
    horizons = [k for k in horizons if world_model.history + k <= longest]
    how = CalibrationSettings(horizons=tuple(horizons), estimate=estimate)
    known = known_states(world_model, trained_on)
    section = rollout_error(world_model, episodes, ids, horizons, number)
    section["num_members"] = world_model.num_members
    section["knows_its_data"] = getattr(world_model, "knows_its_data", True)
    section["ranking"], points = {}, {}
    for reach, most in how.reaches():
        followed = follow_stretches(world_model, selection, reach, most, how, spreads=False, known=known)
        if followed is None:
            continue
        for k in reach:
            section["ranking"][str(k)] = ranking.ranks_at(followed, k, world_model.num_members, how)
            points[str(k)] = ranking.points_at(followed, k)
    rows = predict_one_step(world_model, selection, how.one_step_windows, known)
    section |= {"heads": heads(rows, how), **fall_cells(rows, estimate, how), "falls_judged": falls_judged(rows)}
    example = example_rollout(world_model, episodes, ids, joint_names, max(horizons))
    return {"dynamics": section, "figure_data": {"uncertainty_points": points, "example_rollout": example}}


def merge(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Join parts of the results; their ``figure_data`` and ``missing`` are joined too."""
    joined: dict[str, Any] = {}
    for part in parts:
        shared = {name: {**joined.get(name, {}), **part.get(name, {})} for name in ("figure_data", "missing")}
        joined |= {**part, **shared}
    return joined
