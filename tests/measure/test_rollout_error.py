from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from rwmu.data.normalizer import Normalizer
from rwmu.errors import DataError
from rwmu.measure.rollout_error import example_rollout, rollout_error, separate_starts, standard_error
from tests.fakes import KnownDynamics, anymal_d, known_world_model, random_episodes

DRIFT, SIZE = 0.01, 45


def resting(lengths: list[int]):  # type: ignore[no-untyped-def]
    """Episodes in which nothing changes."""
    episodes = random_episodes(lengths)
    episodes.state[:] = 0.7
    return episodes


def test_known_drift_gives_known_errors() -> None:
    result = rollout_error(known_world_model(3, drift=DRIFT), resting([60, 80]), torch.arange(2), horizons=(1, 8, 24))
    # The members' mean drifts by 0.02 a step, in every column.
    assert result["normalized_error"] == pytest.approx({"1": 0.02, "8": 0.16, "24": 0.48}, rel=1e-4)
    assert result["hold_last_error"] == pytest.approx({"1": 0.0, "8": 0.0, "24": 0.0}, abs=1e-6)
    assert result["by_field"]["joint_vel"]["8"] == pytest.approx(0.16, rel=1e-4)
    assert len(result["curve"]["model"]) == 24


def test_holding_the_last_row_is_off_by_one_step_of_a_ramp_after_one_step() -> None:
    model, episodes = known_world_model(1), random_episodes([60])
    episodes.state[:] = 0.03 * torch.arange(60.0)[:, None] * model.normalizer.std
    result = rollout_error(model, episodes, torch.arange(1), horizons=(1, 8))
    assert result["hold_last_error"] == pytest.approx({"1": 0.03, "8": 0.24}, rel=1e-4)


class AddsActions(KnownDynamics):
    """Next state = state + the mean of the action given with it, in every column."""

    def mean(self, state: Tensor, action: Tensor) -> Tensor:
        return state + action.mean(-1, keepdim=True)


@dataclass
class Model:
    dynamics: KnownDynamics
    normalizer: Normalizer
    history: int


def test_actions_are_paired_with_the_states_they_produce() -> None:
    episodes = random_episodes([50, 50])
    for first in (0, 50):
        episodes.state[first] = 0.0
        episodes.state[first + 1 : first + 50] = episodes.action[first + 1 : first + 50].mean(-1, keepdim=True).cumsum(0)
    model = Model(AddsActions(anymal_d(), 1), Normalizer(torch.zeros(SIZE), torch.ones(SIZE)), history=3)
    result = rollout_error(model, episodes, torch.arange(2), horizons=(1, 20))
    assert result["normalized_error"] == pytest.approx({"1": 0.0, "20": 0.0}, abs=1e-5)
    assert result["hold_last_error"]["20"] > 0.1


def test_windows_do_not_overlap_and_stay_in_their_episode() -> None:
    episodes = random_episodes([35, 9, 100, 20])
    starts = separate_starts(episodes, torch.tensor([0, 1, 3]), 10)
    rows = starts[:, None] + torch.arange(10)
    assert len(torch.unique(rows)) == rows.numel() == 10 * (3 + 0 + 2)
    assert bool((episodes.episode_of_row[rows] == episodes.episode_of_row[rows[:, :1]]).all())
    assert 2 not in episodes.episode_of_row[starts].tolist()
    assert len(separate_starts(episodes, torch.arange(4), 10, number=4)) == 4


def test_too_short_episodes_are_refused_in_one_sentence() -> None:
    with pytest.raises(DataError, match=r"No evaluation episode is long enough .* longest of 2 has 30"):
        rollout_error(known_world_model(1), random_episodes([30, 20]), torch.arange(2), horizons=(1, 100))


def test_interval_resamples_whole_episodes() -> None:
    # A hundred equal windows in each of two episodes are two pieces of evidence, not two hundred.
    error = torch.tensor([1.0] * 100 + [4.0] * 100)
    few = standard_error(error, torch.tensor([0] * 100 + [1] * 100))
    many = standard_error(error, torch.arange(200))
    # Two draws of two episodes: root mean squares 1, sqrt(2.5), 2 with probabilities 1/4, 1/2, 1/4.
    values = torch.tensor([1.0, math.sqrt(2.5), math.sqrt(2.5), 2.0])
    assert few == pytest.approx(float(values.std(unbiased=False)), rel=0.1)
    assert many < few / 5
    assert math.isnan(standard_error(error, torch.zeros(200, dtype=torch.int64)))


def test_skill_is_the_error_over_that_of_holding_the_last_state() -> None:
    episodes = random_episodes([60, 60, 60, 60, 60, 60])
    result = rollout_error(known_world_model(2, history=4), episodes, torch.arange(6), (1, 4))
    for k in ("1", "4"):
        cell = result["skill"][k]
        assert cell["value"] == pytest.approx(result["normalized_error"][k] / result["hold_last_error"][k], rel=1e-6)
        assert cell["low"] <= cell["value"] <= cell["high"]
        assert cell["trajectories"] == 6


def test_example_shows_every_member_from_the_last_true_row_on() -> None:
    episodes = random_episodes([80])
    episodes.state[:] = 0.7
    model = known_world_model(3, history=4, drift=0.01)
    example = example_rollout(model, episodes, torch.arange(1), horizon=10)
    assert example["time_s"][3] == 0.0
    assert example["time_s"][-1] == pytest.approx(0.2)
    column = example["columns"]["base_lin_vel[0]"]
    assert (column["unit"], len(column["truth"]), len(column["members"])) == ("m/s", 14, 3)
    std = float(model.normalizer.std[0])
    assert column["members"][2][-1] == pytest.approx(0.7 + 10 * 0.03 * std, rel=1e-4)
