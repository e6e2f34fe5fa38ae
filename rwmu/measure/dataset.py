"""What the offline data are: how much, how good, by whom."""

from __future__ import annotations

from typing import Any

import torch

from rwmu.data.episodes import Episodes


def dataset_statistics(episodes: Episodes) -> dict[str, Any]:
    """Return sizes, falls and returns of a dataset, overall and by policy level.

    ``return_per_episode`` averages over episodes of whatever length; ``return_per_20s`` is the reward per second lived, times 20.
    Both are None where the data do not hold their rewards.
    """
    step_dt, rewarded = float(episodes.attributes["step_dt"]), "reward" not in episodes.unknown
    returns = episodes.returns()
    transitions = episodes.lengths - 1
    fell = episodes.termination[episodes.offsets + episodes.lengths - 1]

    def of(mask: torch.Tensor) -> dict[str, Any]:
        steps = int(transitions[mask].sum())
        return {
            "episodes": int(mask.sum()),
            "transitions": steps,
            "fall_fraction": float(fell[mask].double().mean()),
            "return_per_episode": float(returns[mask].mean()) if rewarded else None,
            "return_per_20s": 20.0 * float(returns[mask].sum()) / (max(steps, 1) * step_dt) if rewarded else None,
        }

    levels = sorted(set(episodes.levels))
    of_level = {level: torch.tensor([name == level for name in episodes.levels]) for level in levels}
    return of(torch.ones(episodes.num_episodes, dtype=torch.bool)) | {
        "hash": episodes.content_hash(),
        "robot": episodes.attributes.get("robot"),
        "levels": {level: of(mask) for level, mask in of_level.items()},
    }
