"""Coverage, reliability and scores of forecasts whose calibration is known, before and after recalibration."""

import json

import pytest
import torch

from rwmu.errors import DataError
from rwmu.measure.calibration.recalibrated import FITTED_LEVELS, Fitted, Gaussians, half_widths
from rwmu.measure.calibration.scale import CELLS, coverage_by_dimension, scale_at
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.uncertainty.metrics import ENCE, GaussianCRPS, GaussianNLL, MiscalibrationArea, QuantileCalibrationError
from rwmu.uncertainty.recalibration import recalibration_from_dict

SETTINGS = CalibrationSettings(resamples=50)
GROUPS = (("small", 1), ("large", 3))
LEVELS = tuple(index / 20 for index in range(1, 20))


def gaussians(factor=1.0, episodes=30, rows=20, seed=0, first=0, data_hash="test"):
    """Forecasts whose std is ``factor`` times the truth's own; two steps, four dimensions."""
    generator = torch.Generator().manual_seed(seed)
    batch = episodes * rows
    std = 0.5 + torch.rand(2, batch, 4, generator=generator)
    truth = std * torch.randn(2, batch, 4, generator=generator)
    episode = torch.arange(first, first + episodes).repeat_interleave(rows)
    valid = torch.ones(2, batch, dtype=torch.bool)
    return Gaussians(torch.zeros_like(truth), factor * std, truth, valid, episode, data_hash)


def value(cells, name):
    return cells[name]["value"]


def test_nothing_is_scored_on_the_episodes_that_it_was_fitted_on():
    fitted = Fitted("per_horizon", gaussians(seed=1, first=0, data_hash="test"), GROUPS)
    with pytest.raises(DataError, match=r"fitted on 30 of these episodes \(0, 1, 2, 3, 4, ...\)"):
        scale_at(gaussians(first=0, data_hash="test"), 0, fitted, SETTINGS)
    assert scale_at(gaussians(first=30, data_hash="test"), 0, fitted, SETTINGS)[0]["coverage_683"]["value"] is not None


def test_right_forecasts_cover_what_they_say():
    cells, curve = scale_at(gaussians(), 1, Fitted("raw", None, GROUPS), SETTINGS)
    assert set(cells) == set(CELLS)
    assert value(cells, "coverage_683") == pytest.approx(0.683, abs=0.03)
    assert value(cells, "coverage_95") == pytest.approx(0.95, abs=0.015)
    assert value(cells, "calibration_error") < 0.02
    assert cells["coverage_683"]["low"] < 0.683 < cells["coverage_683"]["high"]
    assert cells["coverage_683"]["trajectories"] == 30
    assert curve["observed"] == pytest.approx(curve["expected"], abs=0.03)
    # Widths 2 z std, with std uniform on 0.5 .. 1.5: narrower than 2 where std < 1 (z of 68.3 % is 1.0006).
    assert value(cells, "width_683") == pytest.approx(2.0, abs=0.05)
    assert value(cells, "informative") == pytest.approx(0.5, abs=0.03)


def test_the_scores_are_those_of_the_metrics():
    data = gaussians(factor=0.6)
    cells, _ = scale_at(data, 0, Fitted("raw", None, GROUPS), SETTINGS)
    mean, std, truth = (tensor[:1].double() for tensor in (data.mean, data.std, data.truth))
    for name, metric in (("nll", GaussianNLL(1, 4)), ("crps", GaussianCRPS(1, 4)), ("ence", ENCE(1, 4))):
        metric.update(mean, std, truth)
        assert value(cells, name) == pytest.approx(float(metric.compute()), rel=1e-6), name
    pit = torch.special.ndtr((truth - mean) / std)
    for name, metric in (
        ("calibration_error", QuantileCalibrationError(1, 4, levels=LEVELS)),
        ("miscalibration_area", MiscalibrationArea(1, 4, levels=LEVELS)),
    ):
        metric.update(pit)
        assert value(cells, name) == pytest.approx(float(metric.compute()), abs=1e-4), name


@pytest.mark.parametrize("method", ["constant", "per_horizon", "isotonic", "conformal"])
def test_every_recalibration_brings_a_wrong_scale_to_the_right_one(method):
    fitted = Fitted(method, gaussians(0.3, seed=1, data_hash="fit"), GROUPS)
    test = gaussians(0.3)
    cells, curve = scale_at(test, 0, fitted, SETTINGS)
    assert value(cells, "coverage_683") == pytest.approx(0.683, abs=0.03)
    assert sum(coverage_by_dimension(test, 0, fitted, 0.683)) / 4 == pytest.approx(value(cells, "coverage_683"), abs=1e-6)
    assert curve["observed"] == pytest.approx(curve["expected"], abs=0.04)
    if method == "conformal":
        assert value(cells, "nll") is None
        assert "not a distribution" in cells["nll"]["reason"]
    else:
        assert value(cells, "nll") < value(scale_at(test, 0, Fitted("raw", None, GROUPS), SETTINGS)[0], "nll")


def test_what_cannot_be_fitted_says_why():
    reason = "there is no calibration split"
    cells, curve = scale_at(gaussians(), 0, Fitted("isotonic", None, GROUPS, reason), SETTINGS)
    assert {cell["value"] for cell in cells.values()} == {None}
    assert reason in cells["coverage_95"]["text"]
    assert curve["observed"] == f"not measured: {reason}"
    few = Fitted("conformal", gaussians(episodes=10, seed=1, data_hash="fit"), GROUPS)
    cells, _ = scale_at(gaussians(), 0, few, SETTINGS)
    assert value(cells, "coverage_683") is not None  # needs 3 trajectories
    assert "needs 19 independent trajectories" in cells["coverage_95"]["text"]


def test_steps_that_no_calibration_episode_lives_to_see_are_not_recalibrated():
    calibration = gaussians(seed=1, data_hash="fit")
    calibration.valid[1] = False
    fitted = Fitted("per_horizon", calibration, GROUPS)
    assert fitted.why_not(0) == ""
    cells, _ = scale_at(gaussians(), 1, fitted, SETTINGS)
    assert "too few calibration episodes" in cells["nll"]["text"]


def test_a_recalibration_is_never_scored_on_what_it_was_fitted_on():
    from rwmu.errors import DataError

    with pytest.raises(DataError, match="cannot be scored"):
        scale_at(gaussians(), 0, Fitted("constant", gaussians(), GROUPS), SETTINGS)


def test_few_trajectories_have_no_interval():
    cells, _ = scale_at(gaussians(episodes=3), 0, Fitted("raw", None, GROUPS), SETTINGS)
    assert cells["coverage_683"]["low"] is None
    assert "5 independent trajectories are needed" in cells["coverage_683"]["text"]


def test_half_widths_are_quantiles_of_the_normal_distribution():
    widths = half_widths(torch.tensor([2.0]), (0.683, 0.95))
    assert widths[:, 0].tolist() == pytest.approx([2.0 * 1.000642, 2.0 * 1.959964], rel=1e-5)
    assert {0.683, 0.95} <= set(FITTED_LEVELS)


@pytest.mark.parametrize("method", ["constant", "per_horizon", "isotonic", "conformal"])
def test_what_was_fitted_can_be_written_and_used_again(method):
    fitted, test = Fitted(method, gaussians(0.3, seed=1, data_hash="fit"), GROUPS), gaussians(0.3)
    saved = json.loads(json.dumps(fitted.to_dict(), allow_nan=False))
    expected = fitted.half_width(test.std[1], 1, 0.95)
    if method == "conformal":
        again = recalibration_from_dict(saved["by_level"]["0.95"]).apply(test.std[1], torch.tensor(1))
    else:
        again = half_widths(recalibration_from_dict(saved["recalibration"]).apply(test.std[1], torch.tensor(1)), (0.95,))[0]
    torch.testing.assert_close(again, expected)


def test_what_could_not_be_fitted_says_why():
    assert Fitted("isotonic", None, GROUPS, "no split").to_dict() == {"reason": "no split"}
    saved = Fitted("conformal", gaussians(episodes=10, seed=1, data_hash="fit"), GROUPS).to_dict()
    assert "0.5" in saved["by_level"]
    assert "trajectories" in saved["reason_by_level"]["0.95"]
