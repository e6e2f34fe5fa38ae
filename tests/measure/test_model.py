from __future__ import annotations

import pytest
import torch

from rwmu.measure.calibration.measure import measure_calibration
from rwmu.measure.calibration.ranking import BEYOND, RANKS
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.model import measure_dynamics, merge
from rwmu.measure.windows import Selection
from tests.fakes import known_world_model, random_episodes


@pytest.mark.usefixtures("few_resamples")
def test_the_run_and_the_calibration_page_measure_the_same() -> None:
    """Ranking, heads and falls of the run's page are those of an analysis of calibration, to the last digit."""
    test = Selection(random_episodes([120, 130, 140, 90, 100, 110], terminated=(0, 2, 3, 4, 5)), torch.arange(6))
    model = known_world_model(3)
    trained_on = Selection(random_episodes([50, 60], seed=3), torch.arange(2))
    part = measure_dynamics(model, test, horizons=(1, 8), trained_on=trained_on)["dynamics"]
    whole = measure_calibration(
        model, test, None, CalibrationSettings(horizons=(1, 8), methods=(), resamples=20, one_step_windows=50), trained_on
    )
    for k in ("1", "8"):
        assert set(part["ranking"][k]) == {*RANKS.values(), *BEYOND.values()}
        assert part["ranking"][k] == {name: whole["ranking"][k][name] for name in part["ranking"][k]}
        assert part["ranking"][k]["nearest_rank"]["value"] is not None
    for same in ("heads", "falls", "foresight"):
        assert part[same] == whole[same]
    assert part["falls_judged"] == whole["falls_judged"] == 5


@pytest.mark.usefixtures("few_resamples")
def test_one_member_has_no_ranking_but_that_of_its_noise() -> None:
    part = measure_dynamics(known_world_model(1), Selection(random_episodes([60, 50]), torch.arange(2)), horizons=(1, 8, 100))
    ranking = part["dynamics"]["ranking"]
    assert list(ranking) == ["1", "8"], "no episode holds 100 steps"
    assert ranking["1"]["rank"]["value"] is None
    assert "one member" in ranking["1"]["rank"]["reason"]


@pytest.mark.parametrize("first", [{"missing": {"video": "a"}}, {"missing": {"video": "a"}, "dataset": {}}])
def test_reasons_of_several_stages_are_kept(first: dict[str, dict[str, str]]) -> None:
    joined = merge(first, {"missing": {"deployment": "b"}}, {"experiment": "e"})
    assert joined["missing"] == {"video": "a", "deployment": "b"}
