"""Recalibrations come back from their file as they were, and only for the model that they were fitted to."""

from dataclasses import replace

import pytest
import torch

from rwmu.data.normalizer import Normalizer
from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import CheckpointError
from rwmu.measure.calibration.measure import measure_calibration
from rwmu.measure.calibration.saved import load_recalibration, save_recalibrations
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.windows import Selection
from tests.fakes import anymal_d, random_episodes


@pytest.fixture(scope="module")
def model():
    robot, episodes = anymal_d(), random_episodes([40])
    dynamics = IndependentEnsemble(45, 12, 8, 2, hidden_size=6, num_layers=1, head_hidden_size=5)
    layout = robot.state_layout
    return WorldModel(dynamics, Normalizer.fit(episodes.state, layout), 4, robot.name, layout.describe(), "", {}).freeze()


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    selections = [Selection(random_episodes([30, 40] * 6, seed=seed), torch.arange(12)) for seed in (0, 1)]
    settings = CalibrationSettings(horizons=(1, 4), stretches=24, samples=1, methods=("per_horizon", "conformal"), resamples=5)
    path = tmp_path_factory.mktemp("saved") / "recalibrations.json"
    save_recalibrations(path, measure_calibration(model, *selections, settings)["recalibrations"], model.content_hash())
    return path


def test_what_is_saved_comes_back(model, file):
    steps, fitted = load_recalibration(file, model, "per_horizon")
    assert fitted.method == "per_horizon"
    assert steps[:1] == [1]
    assert len(fitted.groups) == 6
    assert fitted.apply(torch.ones(len(steps), 3, 45)).isfinite().all()
    _, interval = load_recalibration(file, model, "conformal", "propagated", level=0.5)
    assert interval.target == "interval of 0.5"


def test_steps_that_were_not_fitted_are_not_named(model, tmp_path):
    # Of the calibration episodes only two live to see step 24: too few for conformal intervals of 90 %, which end at step 4.
    test, calibration = random_episodes([40] * 12), random_episodes([20] * 12 + [40] * 2, seed=1)
    settings = CalibrationSettings(horizons=(1, 4, 24), stretches=24, samples=1, methods=("constant", "conformal"), resamples=5)
    selections = Selection(test, torch.arange(12)), Selection(calibration, torch.arange(14))
    found = measure_calibration(model, *selections, settings)["recalibrations"]
    save_recalibrations(tmp_path / "r.json", found, model.content_hash())
    steps, fitted = load_recalibration(tmp_path / "r.json", model, "conformal", level=0.9)
    assert 4 in steps
    assert 24 not in steps
    assert fitted.steps == len(steps)
    assert 24 in load_recalibration(tmp_path / "r.json", model, "constant")[0]


def test_another_model_is_refused(model, file):
    other = replace(model, normalizer=Normalizer(torch.zeros(45), torch.ones(45)))
    with pytest.raises(CheckpointError, match="fitted to another world model"):
        load_recalibration(file, other, "per_horizon")


def test_what_is_not_there_is_named(model, file, tmp_path):
    with pytest.raises(CheckpointError, match=r"no conformal of level 0.123 for sampled forecasts \(reach 0\)"):
        load_recalibration(file, model, "conformal", level=0.123)
    with pytest.raises(CheckpointError, match="reach 7"):
        load_recalibration(file, model, "per_horizon", reach=7)
    for text in ("[]", "{", '{"sampled": []}'):
        (tmp_path / "broken.json").write_text(text)
        with pytest.raises(CheckpointError, match="no recalibrations that name their world model"):
            load_recalibration(tmp_path / "broken.json", model, "constant")
