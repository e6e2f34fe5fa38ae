"""Every penalty of the configuration, from the command, shrunk: what it is fitted on, what it leaves behind, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rwmu.dynamics.world_model import WorldModel
from rwmu.runs.configuration import config_directory, groups
from rwmu.uncertainty.recalibration import recalibration_from_dict
from tests.conftest import Command, Trained

PENALTIES = groups(config_directory())["penalty"]
STAGES = "stages=[data,dynamics,policy]"
SMALL = ["dynamics.num_members=2", "data.fractions={train: 0.6, validation: 0.1, test: 0.1, calibration: 0.2}"]
VARIANTS = {
    "recalibrated conformal": ["penalty=recalibrated", "penalty.method=conformal", "penalty.level=0.7"],
    "recalibrated at once": ["penalty=recalibrated", "penalty.by_field=false", "penalty.standardised=true"],
    "mopo variance": ["penalty=mopo", "penalty.estimate=variance", "penalty.standardised=true"],
    "mopo of expected noise, one member": ["penalty=mopo", "penalty.estimate=noise_largest", "dynamics.num_members=1"],
    "recalibrated noise, one member": ["penalty=recalibrated", "penalty.estimate=noise", "dynamics.num_members=1"],
    "truncation and mopo": ["penalty=truncation", "penalty.weight=1.0", "penalty.quantile=0.5", "penalty.estimate=largest"],
}


def fitted(workplace: Path) -> dict[str, Any]:
    file = workplace / "runs" / "latest" / "checkpoints" / "penalty.json"
    found = json.loads(file.read_text()) if file.is_file() else {"model_hash": None}
    model = WorldModel.load(workplace / "runs" / "latest" / "checkpoints" / "dynamics.pt")
    assert found.pop("model_hash") in (None, model.content_hash()), "what was fitted names the model that it was fitted to"
    return found


@pytest.fixture
def train(trained: Trained, command: Command, smoke: list[str]) -> Callable[..., None]:
    """Return a function that trains a policy with a penalty, in a world model that all penalties of as many members share."""

    def run(*settings: str) -> None:
        members = [setting for setting in settings if setting.startswith("dynamics.num_members")]
        model = trained(*SMALL, *members, "penalty=none", "stages=[data,dynamics]") / "checkpoints" / "dynamics.pt"
        outcome = command("train", *smoke, *SMALL, *settings, f"trainer.checkpoint={model}", "stages=[policy]")
        assert outcome.status == 0, outcome.err

    return run


@pytest.mark.parametrize("name", PENALTIES)
def test_every_penalty_trains_a_policy(name: str, workplace: Path, train: Callable[..., None]) -> None:
    train(f"penalty={name}")
    assert (workplace / "runs/latest/checkpoints/policy.pt").is_file()
    expected = {
        "none": set(),
        "mopo": {"typical"},
        "truncation": {"threshold"},
        "morel": {"threshold"},
        "recalibrated": {"recalibration", "sizes", "typical"},
    }
    assert set(fitted(workplace)) == expected[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_choice_trains_a_policy(name: str, workplace: Path, train: Callable[..., None]) -> None:
    train(*VARIANTS[name])
    found = fitted(workplace)
    if "recalibrated" in name:
        recalibration = recalibration_from_dict(found["recalibration"])
        assert recalibration.fitted_on.trajectories >= 5
        assert recalibration.fitted_on.data_hash == json.loads((workplace / "runs/latest/run_card.json").read_text())["data_hash"]
        assert torch.isfinite(recalibration.apply(torch.ones(3, 1, len(found["sizes"])))).all()
    else:
        assert found["typical"] > 0.0


def refusal(outcome: Any) -> str:
    assert outcome.status == 2, outcome.err
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    return str(lines[0])


@pytest.mark.parametrize("name", ["mopo", "truncation", "morel", "recalibrated"])
def test_one_member_is_refused_at_once(name: str, workplace: Path, smoke: list[str], command: Command) -> None:
    message = refusal(command("train", *smoke, f"penalty={name}", "dynamics.num_members=1", STAGES))
    assert "one member has none" in message


def test_a_calibration_split_that_is_missing_or_too_small_is_refused_before_training(
    workplace: Path, smoke: list[str], command: Command
) -> None:
    none = "data.fractions={train: 0.8, validation: 0.1, test: 0.1, calibration: 0.0}"
    assert "calibration split, which has no episodes" in refusal(command("train", *smoke, "penalty=recalibrated", none, STAGES))
    sure = ["penalty=recalibrated", "penalty.method=conformal", "penalty.level=0.99"]
    assert "needs 99 calibration episodes" in refusal(command("train", *smoke, *sure, STAGES))
    assert not (workplace / "runs" / "latest" / "checkpoints" / "dynamics.pt").exists()
