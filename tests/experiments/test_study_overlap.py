"""Episodes that two datasets have in common, by the splits that they are in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from experiments.shared_vs_independent.overlap import overlap
from rwmu.data.episodes import concatenate
from tests.fakes import random_episodes


def data(episodes: Any, **splits: list[int]) -> Any:
    named = {name: torch.tensor(splits.get(name, []), dtype=torch.int64) for name in ("train", "validation", "test", "calibration")}
    return SimpleNamespace(episodes=episodes, splits=named)


def test_whole_episodes_and_beginnings_are_counted_by_split() -> None:
    common, own, other = random_episodes([30, 40], seed=0), random_episodes([25], seed=1), random_episodes([35], seed=2)
    first = data(concatenate([common, own]), train=[0], calibration=[1], test=[2])
    second = data(concatenate([other, common]), test=[0, 1], train=[2])
    found = overlap(first, second, rows=20)
    assert found["episodes"] == [3, 3]
    assert found["whole"] == {"calibration and train": 1, "train and test": 1}
    assert found["first 20 rows"] == found["whole"]
    second.episodes.state[second.episodes.offsets[1] + 25 :] += 1.0  # two go other ways: one late, one from its first row on
    found = overlap(first, second, rows=20)
    assert found["whole"] == {}
    assert found["first 20 rows"] == {"train and test": 1}
