"""Data with an extension, from the command: the model predicts it, in units that travel with it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rwmu.data.formats import hdf5
from rwmu.dynamics.world_model import WorldModel
from tests.conftest import Command

WEIGHED = "trainer.loss.weights.extension=1.0"


@pytest.fixture
def extended(workplace: Path, smoke: list[str], shared_data: Path) -> list[str]:
    """Return the overrides for the smoke data with an extension of two columns: body height in cm, say, and a mass in kg."""
    episodes = hdf5.load(shared_data / "smoke.h5")
    extension = torch.stack([100.0 + 5.0 * episodes.state[:, 0], 30.0 - episodes.state[:, 1]], dim=1)
    hdf5.save(replace(episodes, extension=extension), workplace / "extended.h5")
    own = [f"data.path={workplace}/extended.h5", "data.recipe=null", "dynamics.num_members=2"]
    return [*(o for o in smoke if "data.path" not in o), *own]


def losses(run: Path, name: str) -> list[float]:
    with (run / "logs" / "csv" / "dynamics" / "version_0" / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


@pytest.mark.parametrize("kind", ["independent", "shared"])
def test_a_model_is_trained_on_it_and_a_policy_in_the_model(
    kind: str, workplace: Path, extended: list[str], command: Command
) -> None:
    outcome = command("train", *extended, f"dynamics={kind}", "data.mirrors=[]", WEIGHED, "stages=[dynamics,policy]")
    assert outcome.status == 0, outcome.err
    run = workplace / "runs" / "latest"
    model = WorldModel.load(run / "checkpoints" / "dynamics.pt")
    assert model.architecture["extension_dim"] == 2
    assert model.extension_normalizer is not None
    assert model.extension_normalizer.names == ["extension[0]", "extension[1]"]
    assert abs(float(model.extension_normalizer.mean[0]) - 100.0) < 10.0
    first = losses(run, "train/extension")[0]
    assert 0.5 < first < 10.0, "two columns of unit variance, not yet learnt"


def test_what_is_missing_is_named(extended: list[str], smoke: list[str], command: Command) -> None:
    for given, words in (
        (["data.mirrors=[]"], "trainer.loss.weights.extension=1.0"),
        ([WEIGHED], "data.mirrors=[]"),
    ):
        outcome = command("train", *extended, *given, "stages=[dynamics]")
        assert outcome.status == 2
        assert words in outcome.err
        assert outcome.err.count("\n") == 1, outcome.err
    outcome = command("train", *smoke, WEIGHED, "stages=[dynamics]")
    assert outcome.status == 2
    assert "have no extension" in outcome.err
