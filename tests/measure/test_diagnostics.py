from __future__ import annotations

import math

import pytest
import torch

from rwmu.measure import diagnostics
from tests.fakes import KnownDynamics, anymal_d, known_world_model, random_episodes


def test_every_row_with_a_full_history_is_judged_once() -> None:
    episodes = random_episodes([50, 12, 11, 33], terminated=(0, 2))
    model = known_world_model(2, history=4, termination_logit=0.0)
    probability = diagnostics.termination_probabilities(model, episodes, torch.tensor([0, 1, 2]))
    judged = ~probability.isnan()
    expected = torch.zeros(episodes.num_rows, dtype=torch.bool)
    expected[4:50] = True
    expected[50 + 4 : 50 + 12] = True  # episode 2 has 11 rows: too few for a history of 4 and the 8 rows of a chunk
    assert torch.equal(judged, expected)
    assert bool((probability[judged] == 0.5).all())


def test_head_that_says_the_same_everywhere() -> None:
    episodes = random_episodes([50, 40, 6], terminated=(0, 2))
    model = known_world_model(1, history=4, termination_logit=math.log(0.1 / 0.9))
    result = diagnostics.termination_head(model, episodes, torch.arange(3))
    assert (result["rows"], result["falls"], result["falls_left_out"]) == (46 + 36, 1, 1)
    assert result["recall"] == 0.0
    assert math.isnan(result["precision"])
    assert result["recall_sampled"] == pytest.approx(0.1)
    assert result["precision_sampled"] == pytest.approx(1 / 82)
    assert result["expected_falls"] == pytest.approx(8.2)
    assert result["auroc"] == 0.5


class Tipping(KnownDynamics):
    """Forecast a fall from states whose forward speed is high, by turning gravity over."""

    def mean(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        mean = state.expand(self.num_members, *state.shape[1:]).clone()
        mean[..., 8] = torch.where(state[..., 0] > 2.0, 3.0, state[..., 8])
        return mean


def test_falls_are_foreseen_where_the_forecast_lies_down() -> None:
    episodes = random_episodes([60, 60, 60], terminated=(0, 1))
    episodes.state[:, 0] = 0.0
    episodes.state[: 60 + 30, 0] = 5.0  # all of episode 0, and episode 1 but its end
    model = known_world_model(1, history=4)
    model.dynamics = Tipping(anymal_d(), 1)  # type: ignore[assignment]
    result = diagnostics.falls_foreseen(model, episodes, torch.arange(3), horizon=10)
    assert result["falls"] == 2
    assert result["falls_forecast"] == 0.5
    assert result["falls_forecast_by_head"] == 0.0
    assert result["others"] > 0


def test_a_forecast_that_rightly_lies_down_is_no_false_alarm() -> None:
    """Half of the sound windows are forecast to tip over wrongly; the robot that truly lies is not asked about."""
    episodes = random_episodes([14 * 40] * 2)
    episodes.state[:, 0] = 0.0
    episodes.state[14 * 40 :, 0] = 5.0
    model = known_world_model(1, history=4)
    model.dynamics = Tipping(anymal_d(), 1)  # type: ignore[assignment]
    result = diagnostics.falls_foreseen(model, episodes, torch.arange(2), horizon=10)
    assert (result["others"], result["others_forecast"]) == (80, 0.5)
    episodes.state[14 * 40 :, 8] = 0.9
    result = diagnostics.falls_foreseen(model, episodes, torch.arange(2), horizon=10)
    assert (result["others"], result["others_forecast"]) == (40, 0.0)


def test_the_windows_that_do_not_fall_are_of_all_episodes() -> None:
    episodes = random_episodes([14 * 100] * 4)
    episodes.state[:, 0] = 0.0
    episodes.state[2 * 14 * 100 :, 0] = 5.0  # of the last two episodes, which the first 200 windows would not be of
    model = known_world_model(1, history=4)
    model.dynamics = Tipping(anymal_d(), 1)  # type: ignore[assignment]
    result = diagnostics.falls_foreseen(model, episodes, torch.arange(4), horizon=10)
    assert (result["others"], result["others_forecast"]) == (200, 0.5)


def test_no_falls_and_no_long_episodes_are_said_not_raised() -> None:
    result = diagnostics.falls_foreseen(known_world_model(1), random_episodes([10, 12]), torch.arange(2))
    assert (result["falls"], result["others"]) == (0, 0)


def test_disagreement_that_follows_the_error_correlates_with_it() -> None:
    class Honest(KnownDynamics):
        """Members that are wrong, and disagree, in proportion to the forward speed."""

        def mean(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
            return state + torch.tensor([1.0, 2.0]).view(2, 1, 1) * state[..., :1].abs()

    episodes = random_episodes([200] * 4)
    for first in range(0, 800, 20):
        episodes.state[first : first + 20] = 0.05 * (first % 100) + torch.linspace(-0.1, 0.1, 45)
    model = known_world_model(2, history=4)
    model.dynamics = Honest(anymal_d(), 2)  # type: ignore[assignment]
    result = diagnostics.epistemic_correlation(model, episodes, torch.arange(4), horizons=(1, 8))
    assert result["spearman"]["1"] > 0.5
    assert len(result["points"]["8"]["error"]) == result["windows"]


def test_a_single_member_has_no_correlation() -> None:
    result = diagnostics.epistemic_correlation(known_world_model(1), random_episodes([60]), torch.arange(1), horizons=(1,))
    assert math.isnan(result["spearman"]["1"])


def test_example_shows_every_member_from_the_last_true_row_on() -> None:
    episodes = random_episodes([80])
    episodes.state[:] = 0.7
    model = known_world_model(3, history=4, drift=0.01)
    example = diagnostics.example_rollout(model, episodes, torch.arange(1), horizon=10)
    assert example["time_s"][3] == 0.0
    assert example["time_s"][-1] == pytest.approx(0.2)
    column = example["columns"]["base_lin_vel[0]"]
    assert (column["unit"], len(column["truth"]), len(column["members"])) == ("m/s", 14, 3)
    std = float(model.normalizer.std[0])
    assert column["members"][2][-1] == pytest.approx(0.7 + 10 * 0.03 * std, rel=1e-4)
