"""Results of the study made up: of known rankings, falls and returns, and alike in all else."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from experiments.shared_vs_independent.cells import FORMAT, MODELS, Cell, ModelCell, PolicyCell, plan
from experiments.shared_vs_independent.gather import Gathered

EQUAL = dict.fromkeys(MODELS, 0.8)
SAME = dict.fromkeys(MODELS, 20.0)


def measured(seed: int, quality: float, falls: float = 1.0) -> dict[str, Any]:
    """Return a measurement whose disagreement follows the error as closely as ``quality`` says (1: exactly)."""
    generator = torch.Generator().manual_seed(seed)
    episode = torch.arange(30).repeat_interleave(5)
    error = torch.rand(150, generator=generator)
    disagreement = quality * error + (1.0 - quality) * torch.rand(150, generator=generator)
    columns: dict[str, list[float | None]] = {"disagreement": disagreement.tolist(), "error": error.tolist()}
    columns["error"][7] = columns["disagreement"][7] = None  # the episode has ended before
    level = ["expert" if i % 2 else "poor" for i in episode.tolist()]
    forecasts = {"episode": episode.tolist(), "level": level, "steps": {"8": columns, "24": columns}}
    steps = torch.full((150,), -1)
    steps[4::10], steps[3::10] = 0, 1  # every other episode falls
    score = torch.rand(150, generator=generator) + falls * (steps == 1)
    rows = {"disagreement": score.tolist(), "steps": steps.tolist(), "episode": episode.tolist()}
    cell = {"value": quality, "low": quality - 0.1, "high": quality + 0.1, "trajectories": 30}
    return {
        "history": 2,
        "test": {"episodes": 30, "rows": 150 + 60, "falls": 15, "data_hash": "d"},
        "ranking": {k: {"rank": cell, "overall_rank": cell} for k in ("1", "8", "24", "100")},
        "scale": {"sampled": {"raw": {"8": {"coverage_683": cell, "width_683": cell}}}},
        "diversity": {"cosine": cell},
        "falls": {"disagreement": {"5": {"value": None, "trajectories": 30, "reason": "no test episode ends in a fall"}}},
        "rows": {"forecasts": forecasts, "falls": rows},
    }


def made(cell: Cell, **particular: Any) -> dict[str, Any]:
    model = cell if isinstance(cell, ModelCell) else cell.model
    common = {"format": FORMAT, "kind": cell.kind, "name": cell.name, "model": model.model, "data": model.data, "seed": model.seed}
    of_policy = {"penalty": cell.penalty, "weight": cell.weight} if isinstance(cell, PolicyCell) else {}
    return common | of_policy | {"adopted": None, "seconds": {"dynamics": 60.0}} | particular


def model_result(cell: ModelCell, quality: float, falls: float = 1.0) -> dict[str, Any]:
    tested = {name: measured(cell.seed, quality, falls) for name in ("broad", "narrow")}
    return made(cell, parameters=1000, dynamics={"normalized_error": {"1": 0.2, "8": 0.3}}, tested_on=tested)


def policy_result(cell: PolicyCell, value: float, falls: float = 0.1) -> dict[str, Any]:
    """Return a policy that earns ``value`` on average, with the same luck in each of eight episodes whatever the policy."""
    luck = np.array([-2.0, -1.0, -0.5, 0.0, 0.0, 0.5, 1.0, 2.0])
    deterministic = {"return": value, "fall_fraction": falls, "track_lin_vel_xy": 0.9, "num_episodes": 8}
    clone = {"return": 20.0, "fall_fraction": 0.1, "num_episodes": 8}
    episodes = {"deterministic": {"return": (value + luck).tolist()}, "clone": {"return": (20.0 + luck).tolist()}}
    deployment = {"deterministic": deterministic | {"standard_error": {"return": 0.5}}, "clone": clone}
    return made(cell, deployment=deployment, imagination={"gap": {"return": 1.0}}, episodes=episodes)


def whole_study(quality: dict[str, float], returns: dict[str, float]) -> Gathered:
    """Return all results; a policy's return is its model's, plus 2 at raw weight 1, plus 3 at recalibrated 0.5, plus its seed."""
    results = {}
    for cell in plan():
        if isinstance(cell, ModelCell):
            results[cell.name] = model_result(cell, quality[cell.model])
        else:
            extra = {("raw", 1.0): 2.0, ("recalibrated", 0.5): 3.0}.get((cell.penalty, cell.weight), 0.0)
            results[cell.name] = policy_result(cell, returns[cell.model.model] + extra + 0.01 * cell.model.seed)
    return Gathered(results)


def with_noise(gathered: Gathered, quality: float) -> Gathered:
    """Give every model a predicted noise that follows error and falls as closely as ``quality`` says."""
    for result in gathered.by_name.values():
        for found in result.get("tested_on", {}).values():
            other = measured(100 + result["seed"], quality)["rows"]
            for k, columns in found["rows"]["forecasts"]["steps"].items():
                error, noise = columns["error"], other["forecasts"]["steps"][k]["disagreement"]
                mixed = [None if e is None else quality * e + (1.0 - quality) * n for e, n in zip(error, noise, strict=True)]
                mixed[7] = None
                columns["noise"] = mixed
            found["rows"]["falls"]["noise"] = [0.5] * len(found["rows"]["falls"]["steps"])
    return gathered
