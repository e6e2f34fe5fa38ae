from __future__ import annotations

from dataclasses import replace

import pytest

from rwmu.measure.dataset import dataset_statistics
from tests.fakes import random_episodes


def test_unknown_rewards_have_no_average() -> None:
    episodes = random_episodes([101, 51])
    episodes = replace(episodes, attributes={**episodes.attributes, "unknown": ["command", "reward"]})
    result = dataset_statistics(episodes)
    for part in (result, *result["levels"].values()):
        assert part["return_per_episode"] is None
        assert part["return_per_20s"] is None
    assert result["transitions"] == 150


def test_averages_by_hand() -> None:
    episodes = replace(random_episodes([101, 51], terminated=(1,)), levels=["good", "poor"])
    episodes.reward[:] = 0.5
    episodes.reward[[0, 101]] = 0.0
    result = dataset_statistics(episodes)
    assert (result["episodes"], result["transitions"], result["fall_fraction"]) == (2, 150, 0.5)
    assert result["return_per_episode"] == pytest.approx((50.0 + 25.0) / 2)
    # 75 in 3 s.
    assert result["return_per_20s"] == pytest.approx(500.0)
    assert result["levels"]["poor"]["fall_fraction"] == 1.0
    assert result["hash"] == episodes.content_hash()
