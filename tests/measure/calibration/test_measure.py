"""The whole analysis on a model whose errors are known, and everything that cannot be measured."""

import json
from dataclasses import replace

import pytest
import torch

from rwmu.errors import ConfigError, DataError
from rwmu.files import json_ready
from rwmu.measure.calibration import ranking, scale
from rwmu.measure.calibration.measure import measure_calibration, near_dimensions
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.calibration.stretches import follow_stretches, kept_steps
from rwmu.measure.windows import Selection, true_window
from rwmu.report import verdicts
from rwmu.uncertainty.baselines import TRIVIAL
from rwmu.uncertainty.estimates import uncertainty_estimate
from rwmu.uncertainty.recalibration import recalibration_from_dict
from tests.fakes import known_world_model, random_episodes

SETTINGS = CalibrationSettings(horizons=(1, 4, 12, 400), short=4, stretches=60, long_stretches=30, samples=2, resamples=20)
FAST = replace(SETTINGS, horizons=(1, 4), methods=("constant",), resamples=10)
LENGTHS = [40, 30, 12, 33, 28, 60, 45, 31, 50, 29]


def selections(terminated=(1, 3, 7), episodes=None):
    test = episodes or random_episodes(LENGTHS, terminated=terminated)
    return Selection(test, torch.arange(len(test.lengths))), Selection(random_episodes(LENGTHS * 2, seed=1), torch.arange(20))


def judged(*arguments):
    """Return what was measured, and question -> verdict."""
    found = measure_calibration(*arguments)
    names = ("knows", "scale", "recalibrated", "known_world", "falls", "tells")
    return found, dict(zip(names, verdicts.of_calibration(found), strict=True))


@pytest.fixture(scope="module")
def measured():
    return measure_calibration(known_world_model(3), *selections(), SETTINGS)


def test_everything_promised_is_there_and_is_plain(measured):
    assert json.loads(json.dumps(measured, allow_nan=False)) == json_ready(measured)
    horizons = ["1", "4", "12", "400"]
    assert list(measured["ranking"]) == horizons
    assert all(set(cells) == set(ranking.CELLS) for cells in measured["ranking"].values())
    for forecast in ("sampled", "propagated"):
        assert list(measured["scale"][forecast]) == ["raw", *SETTINGS.methods]
        for table in measured["scale"][forecast].values():
            assert sorted(table, key=int) == horizons
            assert all(set(cells) == set(scale.CELLS) for cells in table.values())
    assert list(measured["scale"]["members"]["raw"]) == ["1"]
    assert measured["test"]["episodes"] == 10
    assert measured["test"]["falls"] == 3
    assert measured["calibration"]["episodes"] == 20
    assert len(measured["by_dimension"]["columns"]) == len(measured["by_dimension"]["4"]["error"]) == 45
    by_model = {"disagreement", "noise_estimate", "combined", "termination_head"}
    assert set(measured["falls"]) == set(measured["outside"]["auroc"]) == by_model | set(TRIVIAL)
    assert set(measured["foresight"]["beyond_trivial"]) == set(measured["outside"]["beyond_trivial"]) == by_model
    assert "not at hand" in measured["falls"]["nearest"]["5"]["reason"], "without the training episodes"


def test_recalibration_by_dimension_is_fitted_to_each_and_said(measured):
    assert measured["grouped_by"] == "field"
    found = measure_calibration(
        known_world_model(3), *selections(), replace(SETTINGS, horizons=(1,), recalibrated_by="dimension", methods=("per_horizon",))
    )
    assert found["grouped_by"] == "dimension"
    fitted = recalibration_from_dict(found["recalibrations"]["sampled"][0]["fitted"]["per_horizon"]["recalibration"])
    assert len(fitted.groups) == 45
    with pytest.raises(ConfigError, match="recalibrated_by"):
        replace(SETTINGS, recalibrated_by="joint")


def test_a_horizon_that_no_episode_reaches_says_so(measured):
    text = measured["ranking"]["400"]["rank"]["text"]
    assert text == "not measured: 4 + 400 rows are needed, but the longest test episode has 60 (0 independent trajectories)"
    assert measured["scale"]["sampled"]["isotonic"]["400"]["crps"]["text"] == text


def test_a_constant_disagreement_ranks_nothing(measured):
    # Members of the known model part by their drift alone, the same everywhere, up to rounding.
    row = measured["ranking"]["4"]["rank"]
    assert row["value"] is None or abs(row["value"]) < 0.5
    assert verdicts.knows(measured["ranking"]).tones["at 4 steps"] != "good"


def test_what_an_average_over_dimensions_hides_is_counted():
    table = {
        "columns": ["a", "b", "c"],
        "4": {"coverage_683_raw": [0.7, 0.99, 0.6], "coverage_683_recalibrated": "not measured: x"},
    }
    found = near_dimensions(table, "4")
    assert found["raw"] == {"near": 2, "of": 3, "worst": "b", "coverage": 0.99, "method": "raw"}
    assert found["recalibrated"] is None
    assert near_dimensions(table, "8") == {"raw": None, "recalibrated": None}


def test_errors_of_a_dream_are_those_of_the_known_model():
    test, _ = selections()
    model = known_world_model(3)
    found = follow_stretches(model, test, (1, 4), 60, SETTINGS)
    assert found is not None
    normal = model.normalizer.normalize(test.episodes.state)
    # The first stretch begins with the first episode and follows member 0, which adds 0.01 a step to the last of 4 rows.
    expected = (normal[3] + 4 * 0.01 - normal[7]).square().mean().sqrt()
    assert float(found.error[3, 0]) == pytest.approx(float(expected), rel=1e-4)
    # Propagated means of three members: 1, 2 and 3 times 0.04 from the start, each with sigma exp(-3) = 0.0498.
    spread = found.spreads["propagated"]
    assert float(spread.std[-1, 0, 0]) == pytest.approx((0.04**2 * 2 / 3 + 0.04979**2) ** 0.5, rel=1e-3)
    torch.testing.assert_close(spread.mean[-1, 0], normal[3] + 0.08)


def test_without_a_calibration_split_only_the_raw_scale_is_measured():
    test, calibration = selections()
    for none in (None, Selection(calibration.episodes, torch.arange(0))):
        found, answers = judged(known_world_model(3), test, none, FAST)
        assert found["calibration"] is None
        assert found["scale"]["sampled"]["raw"]["4"]["coverage_683"]["value"] is not None
        assert "there is no calibration split" in found["scale"]["sampled"]["constant"]["4"]["coverage_683"]["text"]
        assert answers["recalibrated"].tone == "unknown"
        assert "calibration split" in answers["recalibrated"].answer


def test_recalibrations_are_handed_on_with_their_steps(measured):
    for reaches in measured["recalibrations"].values():
        assert [reach["steps"][-1] for reach in reaches] == [4, 49]  # 49 is the last kept step that 60 rows, 4 of history, allow
        for reach in reaches:
            assert list(reach["fitted"]) == list(SETTINGS.methods)
            assert len(recalibration_from_dict(reach["fitted"]["per_horizon"]["recalibration"]).factor) <= len(reach["steps"])


def test_the_disagreement_is_the_one_asked_for(measured):
    """Members are apart by 0.01 in each of 45 dimensions: 0.45 in sum, 0.02 sqrt(45) between the farthest two."""
    settings = replace(FAST, horizons=(1,), estimate=uncertainty_estimate("pairwise"), estimate_name="pairwise")
    found = measure_calibration(known_world_model(3), *selections(), settings)
    assert (measured["estimate"], found["estimate"]) == ("std", "pairwise")
    assert measured["points"]["1"]["disagreement"][0] == pytest.approx(0.45, rel=1e-3)
    assert measured["fall_rows"]["disagreement"][0] == pytest.approx(0.45, rel=1e-3)
    assert found["points"]["1"]["disagreement"][0] == pytest.approx(0.02 * 45**0.5, rel=1e-3)
    assert found["fall_rows"]["disagreement"][0] == pytest.approx(0.02 * 45**0.5, rel=1e-3)


def test_the_noise_that_members_expect_is_ranked_too_and_of_one_member_as_well():
    """Their noise is made to be the error to come: a rank correlation of 1 where there is no disagreement at all."""
    model = known_world_model(1)
    selection, _ = selections()
    stretches = follow_stretches(model, selection, (1, 4), 60, SETTINGS)
    assert stretches is not None
    error = stretches.error[torch.tensor(stretches.steps) - 1]
    stretches = replace(
        stretches, beside=stretches.beside | {"noise_estimate": error * 2.0, "noise_largest": -error, "change": error**2 + 1.0}
    )
    cells = ranking.ranking_at(stretches, 4, 1, SETTINGS)
    assert cells["rank"]["value"] is None
    assert cells["aleatoric_rank"]["value"] == pytest.approx(1.0)
    assert cells["aleatoric_largest_rank"]["value"] == pytest.approx(-1.0)
    assert cells["change_rank"]["value"] == pytest.approx(1.0)
    assert cells["aleatoric_beyond_trivial"]["best"] == "change"
    assert [cells["aleatoric_beyond_trivial"][end] for end in ("value", "low", "high")] == pytest.approx([0.0] * 3)


def test_one_member_has_no_disagreement_not_zero():
    found, answers = judged(known_world_model(1), *selections(), FAST)
    assert "one member" in found["ranking"]["4"]["within_step_rank"]["text"]
    assert found["ranking"]["4"]["error"]["value"] is not None
    assert "one member" in found["falls"]["disagreement"]["5"]["text"]
    assert answers["knows"].tone == answers["falls"].tone == "unknown"
    assert "one member" in answers["knows"].answer
    assert "one member" in found["by_dimension"]["4"]["rank"]
    assert found["points"] == {}
    assert found["scale"]["sampled"]["raw"]["4"]["coverage_683"]["value"] is not None


def test_no_fall_and_few_trajectories_are_said():
    few = random_episodes([40, 30])
    found, answers = judged(known_world_model(3), *selections(episodes=few), FAST)
    assert found["falls"]["disagreement"]["10"]["value"] is None
    cell = found["scale"]["sampled"]["raw"]["1"]["coverage_683"]
    assert cell["value"] is not None
    assert "5 independent trajectories are needed" in cell["text"]
    assert answers["scale"].tone == "unknown", "a number, but too few to judge it by"


def test_episodes_of_another_robot_are_refused():
    test, calibration = selections()
    other = replace(test.episodes, attributes=dict(test.episodes.attributes) | {"robot": "go2"})
    with pytest.raises(DataError, match="of the robot 'go2', but the world model is of 'anymal_d'"):
        measure_calibration(known_world_model(3), Selection(other, test.ids), calibration, SETTINGS)
    layout = [["base", 45, "m"]]
    other = replace(test.episodes, attributes=dict(test.episodes.attributes) | {"layout": layout})
    with pytest.raises(DataError, match="calibration episodes' state differs"):
        measure_calibration(known_world_model(3), test, Selection(other, test.ids), SETTINGS)


def test_episodes_without_a_forecast_are_refused():
    short = random_episodes([4, 3])
    with pytest.raises(DataError, match="None of the 2 test episodes has more than the 4 rows"):
        measure_calibration(known_world_model(3), Selection(short, torch.arange(2)), None, SETTINGS)


def test_windows_repeat_the_last_row_beyond_an_episode():
    episodes = random_episodes([5, 9])
    window, within = true_window(known_world_model(2), episodes, torch.tensor([2, 5]), 6)
    assert within.tolist() == [[True] * 3 + [False] * 3, [True] * 6]
    assert torch.equal(window.state[0, 0, 3], window.state[0, 0, 2])


def test_kept_steps_hold_the_horizons_as_far_as_the_episodes_reach():
    assert kept_steps((1, 8), 100) == (1, 2, 3, 4, 6, 8)  # 1, 1.4, 2, 2.8, 4, 5.7, 8
    assert kept_steps((1, 8), 5) == (1, 2, 3, 4)
    assert kept_steps((368,), 400) == (368,)


@pytest.mark.parametrize("wrong", [{"horizons": (8, 1)}, {"horizons": ()}, {"samples": 0}, {"methods": ("magic",)}, {"level": 1.0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError):
        CalibrationSettings(**wrong)
