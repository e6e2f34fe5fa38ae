"""Heads, foresight of falls and diversity: numbers worked by hand, or from the package's own metrics."""

import math
from dataclasses import replace

import pytest
import torch

from rwmu.measure.calibration.diversity import diversity_cells
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.one_step import OneStep, fall_cells, fall_rows, falls_judged, head_cells, predict_one_step
from rwmu.measure.windows import Selection, known_states
from rwmu.records import Prediction
from rwmu.uncertainty.baselines import TRIVIAL
from rwmu.uncertainty.estimates import epistemic
from rwmu.uncertainty.metrics import EffectiveMembers, HeadCalibrationError, HeadRate, MemberErrorCorrelation, OutputCosine
from tests.fakes import known_world_model, random_episodes

SETTINGS = CalibrationSettings(resamples=50)


def one_step(members=3, number=200, episodes=10, falls=(0, 4), seed=0):
    generator = torch.Generator().manual_seed(seed)
    before = torch.randn(number, 4, generator=generator)
    truth = before + 0.3 * torch.randn(number, 4, generator=generator)
    mean = truth + 0.2 * torch.randn(members, number, 4, generator=generator)
    flags = torch.randn(members, number, 2, generator=generator), torch.randn(members, number, 1, generator=generator)
    episode = torch.arange(episodes).repeat_interleave(number // episodes)
    countdown = torch.arange(number // episodes, 0, -1).repeat(episodes)
    fallen = torch.isin(episode, torch.tensor(falls))
    return OneStep(
        prediction=Prediction(mean, torch.zeros_like(mean), *flags),
        before=before,
        truth=truth,
        contact=(torch.rand(number, 2, generator=generator) > 0.5).float(),
        termination=(fallen & (countdown == 1)).float()[:, None],
        episode=episode,
        row=torch.arange(number),
        trivial={"tilt": before[:, 0]},
        steps=torch.where(fallen, countdown, -1),
        step_dt=0.02,
    )


def test_every_row_after_a_history_is_predicted_once_and_knows_its_fall():
    # H is 4: episodes of 30, 3 and 21 rows give 26, 0 and 17 predictions; the last row of the third is a fall.
    episodes = random_episodes([30, 3, 21], terminated=(2,))
    rows = predict_one_step(known_world_model(2), Selection(episodes, torch.tensor([0, 1, 2])), 100)
    assert rows.episode.tolist() == [0] * 26 + [2] * 17
    assert rows.steps.tolist() == [-1] * 26 + list(range(17, 0, -1))
    assert rows.termination[:, 0].tolist() == [0.0] * 42 + [1.0]
    assert falls_judged(rows) == 1
    assert rows.row.tolist() == [*range(4, 30), *range(37, 54)]
    normal = known_world_model(2).normalizer.normalize(episodes.state)
    torch.testing.assert_close(rows.truth[:26], normal[4:30])
    torch.testing.assert_close(rows.before[26:], normal[33 + 3 : 33 + 20])
    # Member e of the known model adds 0.01 (e + 1).
    torch.testing.assert_close(rows.prediction.mean[1], rows.before + 0.02)


def test_thinned_windows_keep_falls_as_rare_as_they_are():
    """A hundred episodes of 5 windows, every other one of which ends in a fall: half of the windows, half of the falls."""
    episodes = random_episodes([84] * 100, terminated=tuple(range(0, 100, 2)))
    selection = Selection(episodes, torch.arange(100))
    whole, thinned = (predict_one_step(known_world_model(2), selection, number) for number in (500, 249))
    assert len(whole.episode) == 100 * 80
    assert len(thinned.episode) == 249 * 16
    rates = [float(rows.termination.mean()) for rows in (whole, thinned)]
    assert rates[0] == pytest.approx(50 / 8000)
    assert rates[1] == pytest.approx(rates[0], rel=0.1)
    assert abs(int((thinned.steps == 20).sum()) - 25) <= 2


def test_heads_are_those_of_the_metrics():
    rows = one_step(members=1)
    logits, truth = rows.prediction.contact[0], rows.contact
    cells = head_cells(logits.sigmoid(), truth, rows.episode, SETTINGS)
    error, recall = HeadCalibrationError(1, 2), HeadRate(1, 2)
    for metric in (error, recall):
        metric.update(logits[None], truth[None])
    assert cells["calibration_error"]["value"] == pytest.approx(float(error.compute()), abs=1e-6)
    assert cells["recall"]["value"] == pytest.approx(float(recall.compute()), abs=1e-6)
    assert cells["base_rate"]["value"] == pytest.approx(float(truth.mean()))


def test_a_head_without_positive_rows_has_no_recall():
    probability, truth = torch.full((20, 1), 0.1), torch.zeros(20, 1)
    cells = head_cells(probability, truth, torch.arange(20) // 2, SETTINGS)
    assert "no positive row" in cells["recall"]["text"]
    assert "never predicted" in cells["precision"]["text"]
    assert cells["calibration_error"]["value"] == pytest.approx(0.1)


def test_trivial_scores_are_of_the_row_from_which_is_forecast_and_of_the_action_taken_there():
    episodes, model = random_episodes([30, 3, 21], terminated=(2,)), known_world_model(2)
    selection = Selection(episodes, torch.tensor([0, 1, 2]))
    rows = predict_one_step(model, selection, known=known_states(model, selection))
    assert tuple(rows.trivial) == TRIVIAL
    assert list(rows.scores(epistemic))[-6:] == list(TRIVIAL)
    assert torch.equal(rows.trivial["tilt"], episodes.state[rows.row - 1, 8]), "z of gravity, where it stands in the state"
    assert rows.trivial["earliness"].tolist() == [*range(-3, -29, -1), *range(-3, -20, -1)]
    torch.testing.assert_close(rows.trivial["action"], episodes.action[rows.row].square().mean(1).sqrt())
    normal = model.normalizer.normalize(episodes.state)
    torch.testing.assert_close(rows.trivial["change"], (normal[rows.row - 1] - normal[rows.row - 2]).square().mean(1).sqrt())
    # All rows are known states themselves: the nearest of ten is at no distance.
    every = torch.cdist(normal[rows.row - 1].double(), normal.double()).sort(dim=1).values[:, :10].mean(1)
    torch.testing.assert_close(rows.trivial["nearest"].double(), every, rtol=1e-4, atol=1e-3)
    assert "nearest" not in predict_one_step(model, selection).trivial


def test_no_fall_and_one_member_are_said_plainly():
    cells = fall_cells(one_step(falls=()), epistemic, SETTINGS)["falls"]
    assert {(cell["value"], cell["trajectories"]) for cell in cells["disagreement"].values()} == {(None, 10)}
    found = fall_cells(one_step(members=1), epistemic, SETTINGS)
    for table in (found["falls"], *found["foresight"].values()):
        assert all("one member" in cell["text"] for cell in table["disagreement"].values())
    cells = found["falls"]
    assert cells["termination_head"]["5"]["value"] is not None
    assert cells["noise_estimate"]["5"]["value"] == pytest.approx(0.5), "the same noise everywhere"
    assert {cell["value"] for cell in diversity_cells(one_step(members=1), SETTINGS).values()} == {None}


def test_noise_that_grows_before_falls_foresees_them_of_one_member_too():
    rows = one_step(members=1)
    near = ((rows.steps >= 1) & (rows.steps <= 5)).float()
    rows = replace(rows, prediction=replace(rows.prediction, log_std=rows.prediction.log_std + near[None, :, None]))
    assert fall_cells(rows, epistemic, SETTINGS)["falls"]["noise_estimate"]["5"]["value"] == pytest.approx(1.0)


def test_rows_to_pair_two_models_hold_every_row_before_a_fall():
    rows = one_step()
    table = fall_rows(rows, epistemic)
    assert len(table["steps"]) == len(table["episode"]) == len(table["disagreement"]) == 200
    assert sorted(s for s in table["steps"] if s > 0) == sorted(2 * list(range(1, 21)))


def test_diversity_is_that_of_the_metrics():
    rows = one_step(number=200)
    cells = diversity_cells(rows, SETTINGS)
    mean = rows.prediction.mean[:, None]
    cosine, correlation, effective = OutputCosine(3, 1, 4), MemberErrorCorrelation(3, 1, 4), EffectiveMembers(3, 1, 4)
    cosine.update(mean - rows.before)
    correlation.update(mean, rows.truth[None])
    effective.update(mean, rows.truth[None])
    for name, metric in (("cosine", cosine), ("error_correlation", correlation), ("effective_members", effective)):
        assert cells[name]["value"] == pytest.approx(float(metric.compute()), rel=1e-5, abs=1e-7), name
        assert cells[name]["low"] <= cells[name]["value"] <= cells[name]["high"]
    # Independent errors of std 0.2 differ by 0.2 sqrt(2).
    assert cells["disagreement"]["value"] == pytest.approx(0.2 * 2**0.5, rel=0.1)


def test_scores_of_known_members_are_those_worked_by_hand():
    # Members add 0.1 and 0.2 to each of 45 columns of a state that stays as it is.
    episodes = random_episodes([30])
    episodes.state[:] = episodes.state[0].clone()
    model = known_world_model(2, 4, drift=0.1, termination_logit=math.log(0.2 / 0.8))
    rows = predict_one_step(model, Selection(episodes, torch.tensor([0])))
    scores = rows.scores(epistemic)
    # The unbiased std of two numbers 0.1 apart is 0.1 / sqrt(2).
    torch.testing.assert_close(scores["disagreement"], torch.full((26,), 45 * 0.1 / math.sqrt(2.0)), atol=1e-4, rtol=0.0)
    torch.testing.assert_close(rows.error(), torch.full((26,), math.sqrt((0.01 + 0.04) / 2.0)), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(scores["termination_head"], torch.full((26,), 0.2))
