"""A published checkpoint and a published table in a run: their own normaliser, and what they do not know is not made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rwmu.data.formats import csv, hdf5
from rwmu.dynamics.published import KEY, import_checkpoint, published_normalizer, to_published
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.dynamics.world_model import WorldModel
from rwmu.imagination import fitting
from rwmu.robots.anymal_d import anymal_d
from tests.conftest import Command
from tests.data.walking import walking_episodes

FORM = ["dynamics=shared", "dynamics.auxiliary_base=separate", "dynamics.skip=false", "dynamics.learn_bounds=true"]
BOUND = "trainer.loss.weights.bound=1.0"
SIZES = [*FORM, "dynamics.num_members=2", "dynamics.hidden_size=10", "dynamics.head_hidden_size=6", "data.history=8"]


@pytest.fixture
def imported(workplace: Path) -> Path:
    """Return the dynamics.pt of a published checkpoint."""
    form = {"auxiliary_base": "separate", "skip": False, "learn_bounds": True}
    model = SharedEnsemble(45, 12, 8, 2, hidden_size=10, num_layers=1, head_hidden_size=6, **form)
    torch.save({KEY: to_published(model), "model_state_dict": {}, "iter": 7}, workplace / "model_7.pt")
    import_checkpoint(workplace / "model_7.pt", workplace / "dynamics.pt", history=8)
    return workplace / "dynamics.pt"


def test_a_policy_is_optimised_in_an_imported_model(
    imported: Path,
    command: Command,
    smoke: list[str],
    shared_data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[torch.Tensor] = []

    def watched(world_model: WorldModel, window: Any, estimate: Any) -> float:
        seen.append(window.state)
        return 0.1

    monkeypatch.setattr(fitting, "typical_disagreement", watched)
    given = (f"trainer.checkpoint={imported}", "imagination.clip=null", *SIZES)
    outcome = command("train", *smoke, *given, "stages=[dynamics,policy]")
    assert outcome.status == 0, outcome.err
    assert "own normaliser" in outcome.out
    run = imported.parent / "runs" / "latest"
    assert (run / "checkpoints" / "policy.pt").is_file()
    assert json.loads((run / "measured" / "dynamics.json").read_text())["dynamics"]["num_members"] == 2
    kept = WorldModel.load(run / "checkpoints" / "dynamics.pt")
    kept.normalizer.assert_matches(published_normalizer(anymal_d()))
    assert not kept.knows_its_data
    assert "may be too optimistic" not in outcome.out  # nothing of this penalty is fitted on the calibration split
    rows = published_normalizer(anymal_d()).normalize(hdf5.load(shared_data / "smoke.h5").state)
    assert seen
    assert all((rows == state[0, 0]).all(-1).any() for state in seen), "the penalty is centred in the model's own units"


def test_a_penalty_fitted_to_a_model_of_unknown_data_is_doubted(imported: Path, command: Command, smoke: list[str]) -> None:
    given = (f"trainer.checkpoint={imported}", "imagination.clip=null", "penalty=truncation", *SIZES)
    outcome = command("train", *smoke, *given, "stages=[policy]")
    assert outcome.status == 0, outcome.err
    assert "may be too optimistic" in outcome.out + outcome.err


def test_training_goes_on_from_an_imported_model_in_its_units(imported: Path, command: Command, smoke: list[str]) -> None:
    outcome = command("train", *smoke, *SIZES, BOUND, f"trainer.start_from={imported}", "stages=[dynamics,policy]")
    assert outcome.status == 0, outcome.err
    trained = WorldModel.load(imported.parent / "runs" / "latest" / "checkpoints" / "dynamics.pt")
    assert trained.knows_its_data, "what it has been trained on since is known"
    trained.normalizer.assert_matches(published_normalizer(anymal_d()))


def test_bounds_are_not_trained_without_a_loss_of_theirs(imported: Path, command: Command, smoke: list[str]) -> None:
    outcome = command("train", *smoke, *SIZES, f"trainer.start_from={imported}", "stages=[dynamics]")
    assert outcome.status == 2
    assert "trainer.loss.weights.bound=1.0" in outcome.err


def test_another_architecture_is_named(imported: Path, command: Command, smoke: list[str]) -> None:
    given = (f"trainer.checkpoint={imported}", *SIZES, "stages=[policy]")
    for changed, words in (
        ("dynamics.skip=true", "skip"),
        ("data.history=9", "history"),
        ("dynamics.head_hidden_size=7", "head_hidden"),
    ):
        outcome = command("train", *smoke, *given, changed)
        assert outcome.status == 2
        assert words in outcome.err
        assert outcome.err.count("\n") == 1, outcome.err


def test_an_extension_head_is_carried_along_but_not_trained_on_data_without_one(
    workplace: Path, command: Command, smoke: list[str]
) -> None:
    form = {"auxiliary_base": "separate", "skip": False, "learn_bounds": True, "extension_dim": 2}
    model = SharedEnsemble(45, 12, 8, 2, hidden_size=10, num_layers=1, head_hidden_size=6, **form)
    torch.save({KEY: to_published(model)}, workplace / "model.pt")
    import_checkpoint(workplace / "model.pt", workplace / "dynamics.pt", history=8)
    assert command("train", *smoke, *SIZES, "trainer.checkpoint=dynamics.pt", "stages=[policy]").status == 0
    trained = ["trainer.start_from=dynamics.pt", "trainer.loss.weights.bound=1.0", "stages=[dynamics]"]
    outcome = command("train", *smoke, *SIZES, *trained)
    assert outcome.status == 2
    assert "extension of 2 columns, but the data have 0" in outcome.err


# -- the published table ------------------------------------------------------------------------------------------------------

TEN = "data.fractions={train:0.7,validation:0.1,test:0.1,calibration:0.1}"


@pytest.fixture
def table(workplace: Path, smoke: list[str]) -> list[str]:
    """Return the overrides for ten episodes in a published table."""
    csv.save(walking_episodes([120] * 10), workplace / "published.csv")
    return [*(o for o in smoke if "data.path" not in o), f"data.path={workplace}/published.csv"]


@pytest.mark.usefixtures("undrawn")
def test_ten_episodes_of_a_table_are_split_as_asked_and_go_through_to_the_report(
    workplace: Path, table: list[str], command: Command
) -> None:
    outcome = command("train", *table, TEN, "stages=[data,dynamics,policy,report]")
    assert outcome.status == 0, outcome.err
    assert "9 unmarked seams" in outcome.out
    report = json.loads((workplace / "runs" / "latest" / "report.json").read_text())
    assert report["dataset"]["episodes"] == 10
    assert report["dataset"]["return_per_20s"] is None, "nobody knows it"
    assert report["dataset"]["levels"]["unknown"]["return_per_episode"] is None
    assert ">–<" in (workplace / "runs" / "latest" / "report.html").read_text()


def test_too_few_episodes_for_the_usual_split_are_told_what_to_give(table: list[str], command: Command) -> None:
    outcome = command("train", *table, "stages=[dynamics]")
    assert outcome.status == 2
    assert "data.fractions" in outcome.err
    assert outcome.err.count("\n") == 1, outcome.err


def test_a_clone_of_unknown_commands_is_refused_before_anything_is_trained(
    workplace: Path, table: list[str], command: Command
) -> None:
    outcome = command("train", *table, TEN, "policy=clone", "policy.iterations=3", "stages=[dynamics,policy]")
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1, outcome.err
    assert all(words in outcome.err for words in ("commands", "policy=ppo"))
    assert not (workplace / "runs" / "latest" / "checkpoints" / "dynamics.pt").exists()
