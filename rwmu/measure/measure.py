"""Measure a finished run: each function returns a part of the results that :func:`rwmu.report.run.report.build_report` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.data.windows import require_long_enough
from rwmu.dynamics.world_model import WorldModel
from rwmu.measure import diagnostics
from rwmu.measure.rollout_error import HORIZONS, rollout_error


def measure_dynamics(
    world_model: WorldModel,
    episodes: Episodes,
    ids: Tensor,
    horizons: Sequence[int] = HORIZONS,
    number: int | None = 400,
    seed: int = 0,
    joint_names: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure a world model on the episodes ``ids``; returns the parts ``dynamics`` and ``figure_data``.

    Horizons beyond the longest of these episodes are left out.

    Args:
        number: of windows, at most; None for all. joint_names: of the robot, for the figure of one forecast.
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
    example = diagnostics.example_rollout(world_model, episodes, ids, joint_names, max(horizons), seed)
    return {"dynamics": section, "figure_data": {"uncertainty_points": points, "example_rollout": example}}


def merge(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Join parts of the results; their ``figure_data`` and ``missing`` are joined too."""
    joined: dict[str, Any] = {}
    for part in parts:
        shared = {name: {**joined.get(name, {}), **part.get(name, {})} for name in ("figure_data", "missing")}
        joined |= {**part, **shared}
    return joined
