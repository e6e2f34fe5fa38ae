"""Cells of the study from nothing to their results, shrunk; going on with them; and adopting runs as cells."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from rwmu.pipeline import Run

from experiments.shared_vs_independent import adopt, measuring, work
from experiments.shared_vs_independent.cells import Cell, ModelCell, PolicyCell, result_path
from experiments.shared_vs_independent.folders import ANOTHER_FIT, is_fitted, latest
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import CheckpointError, ConfigError
from rwmu.runs.folder import RunFolder

MODEL = ModelCell("shared", "broad", 0)
POLICY = PolicyCell(MODEL, "recalibrated", 0.5)


@dataclasses.dataclass
class Place:
    """Where cells are worked on, and with which settings."""

    runs: Path
    results: Path
    extra: list[str]

    def work(self, cell: Cell) -> int:
        options = ["--runs", str(self.runs), "--results", str(self.results), "--override", *self.extra]
        return work.main([cell.name, *options])

    def result(self, cell: Cell) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(result_path(cell, self.results).read_text())
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Place:
    """Return a place where a model and a policy have been worked on."""
    folder = tmp_path_factory.mktemp("study")
    # Data of the same recipe, size and seed are the same in every test: they are collected once.
    extra = ["scale=smoke", "data.num_transitions=9000", f"data.path={shared_data}/study-${{data.recipe}}.h5"]
    extra += [f"evaluation.cache={folder}/cache", "evaluation.num_envs=4", "evaluation.num_dream_envs=2"]
    place = Place(folder / "runs", folder / "results", extra)
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        small = dataclasses.replace(measuring.SETTINGS, horizons=(1, 8), resamples=10, stretches=8, one_step_windows=32, samples=1)
        patch.setattr(measuring, "SETTINGS", small)
        assert place.work(MODEL) == 0
        assert place.work(POLICY) == 0
    torch.set_num_threads(threads)
    return place


def test_a_model_is_fitted_and_measured_on_both_data_sets(place: Place) -> None:
    result = place.result(MODEL)
    assert (result["kind"], result["name"], result["data"], result["seed"]) == ("model", MODEL.name, "broad", 0)
    assert set(result["tested_on"]) == {"broad", "narrow"}
    tested = result["tested_on"]
    assert tested["broad"]["test"]["data_hash"] == result["data_hash"] != tested["narrow"]["test"]["data_hash"]
    assert tested["narrow"]["calibration"]["data_hash"] == result["data_hash"], "calibrated on the model's own data"
    assert set(tested["broad"]["ranking"]) == {"1", "8"}
    forecasts = tested["broad"]["rows"]["forecasts"]
    columns = [forecasts["episode"], forecasts["level"], *(column["error"] for column in forecasts["steps"].values())]
    lengths = {len(column) for column in columns}
    assert len(lengths) == 1
    assert set(forecasts["steps"]) == {"8", "24"}
    assert all(set(columns) == {"disagreement", "noise", "error"} for columns in forecasts["steps"].values())
    assert all(value > 0.0 for value in forecasts["steps"]["8"]["noise"] if value is not None)
    assert len(tested["broad"]["rows"]["falls"]["noise"]) == len(tested["broad"]["rows"]["falls"]["steps"])
    assert set(forecasts["level"]) <= {"random", "stand", "poor", "medium", "good", "expert", "mixed"}
    assert set(tested["narrow"]["rows"]["forecasts"]["level"]) == {"expert"}
    assert result["dynamics"]["normalized_error"]["1"] > 0
    assert result["adopted"] is None
    assert result["commit"]
    assert result["seconds"]["dynamics"] > 0
    assert result["overrides"] == place.extra
    assert result["machine"]["cores"] >= 1


def test_results_name_the_weights_that_they_are_of(place: Place) -> None:
    fitted = WorldModel.load(latest(MODEL, place.runs) / "checkpoints" / "dynamics.pt")
    assert place.result(MODEL)["model_hash"] == place.result(POLICY)["model_hash"] == fitted.content_hash()


def test_a_policy_is_deployed_beside_its_clone_and_dreamt(place: Place) -> None:
    result = place.result(POLICY)
    assert (result["penalty"], result["weight"]) == ("recalibrated", 0.5)
    assert result["deployment"]["deterministic"]["num_episodes"] == 4
    assert "return" in result["deployment"]["clone"]
    assert "gap" in result["imagination"]
    for name in ("deterministic", "clone"):
        of_episodes, summary = result["episodes"][name], result["deployment"][name]
        assert sum(of_episodes["return"]) / 4 == pytest.approx(summary["return"], abs=1e-3)
        assert len(of_episodes["fell"]) == 4 * summary["fall_fraction"]
    folder = latest(POLICY, place.runs)
    assert (folder / "checkpoints" / "penalty.json").is_file(), "the penalty was fitted"
    assert not list((folder / "checkpoints" / "policy").glob("model_*.pt"))


def test_a_finished_cell_writes_a_lost_result_again_without_doing_it_again(place: Place) -> None:
    before = result_path(POLICY, place.results).read_text()
    checkpoint = latest(POLICY, place.runs) / "checkpoints" / "policy.pt"
    made = checkpoint.stat().st_mtime_ns
    result_path(POLICY, place.results).unlink()
    assert place.work(POLICY) == 0
    assert json.loads(result_path(POLICY, place.results).read_text()) == json.loads(before)
    assert checkpoint.stat().st_mtime_ns == made


def test_another_policy_of_the_same_seed_takes_the_clone_that_there_is(place: Place) -> None:
    clone = place.runs / "clones" / "broad-seed0.pt"
    made = latest(POLICY, place.runs) / "checkpoints" / "policy" / "clone.pt"
    assert clone.read_bytes() == made.read_bytes()
    other = PolicyCell(MODEL, "raw", 0.0)
    assert place.work(other) == 0
    assert (latest(other, place.runs) / "checkpoints" / "policy" / "clone.pt").read_bytes() == clone.read_bytes()
    assert place.result(other)["deployment"]["clone"] == place.result(POLICY)["deployment"]["clone"]


def test_a_cell_that_was_begun_with_other_settings_is_refused(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    changed = dataclasses.replace(place, extra=[*place.extra, "trainer.max_steps=11"])
    assert changed.work(MODEL) == 2
    error = capsys.readouterr().err
    assert "trainer.max_steps 10" in error
    assert "11" in error
    assert "move that folder away" in error


def test_a_model_that_is_fitted_again_must_be_the_one_that_was_measured(place: Place, tmp_path: Path) -> None:
    result = place.result(MODEL)
    result_path(MODEL, tmp_path).write_text(json.dumps(result))
    elsewhere = dataclasses.replace(place, results=tmp_path)
    assert elsewhere.work(MODEL) == 0, "the same model is measured again"
    assert place.result(MODEL)["model_hash"] == elsewhere.result(MODEL)["model_hash"]
    other = result | {"dynamics": result["dynamics"] | {"normalized_error": {"1": 0.5, "8": 0.6, "24": 0.7, "100": 0.8}}}
    result_path(MODEL, tmp_path).write_text(json.dumps(other))
    mark = latest(MODEL, place.runs) / ANOTHER_FIT
    try:
        assert elsewhere.work(MODEL) == 2
        assert elsewhere.result(MODEL) == other, "nothing is overwritten"
        assert not is_fitted(MODEL, place.runs), "no policy may use it"
        assert "move its result" in mark.read_text()
    finally:
        mark.unlink()


def test_a_policy_does_not_go_on_in_another_model(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    file = latest(POLICY, place.runs) / work.MODEL_HASH
    kept = file.read_text()
    assert kept.strip() == place.result(POLICY)["model_hash"]
    file.write_text("0" * 64 + "\n")
    assert place.work(POLICY) == 2
    assert "another fit of model-shared-broad-seed0" in capsys.readouterr().err
    file.write_text(kept)


def test_only_whole_results_are_written(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: Any) -> None:
        raise ConfigError("Nothing can be measured.")

    monkeypatch.setattr(measuring, "measure", explode)
    elsewhere = dataclasses.replace(place, results=tmp_path)
    assert elsewhere.work(MODEL) == 2
    assert not list(tmp_path.iterdir())
    assert is_fitted(MODEL, place.runs), "what is fitted stays so"


# -- adoption -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def old_run(place: Place, tmp_path: Path) -> RunFolder:
    """Return a copy of the fitted cell's run as it would be if it had been made before some settings existed."""
    shutil.copytree(latest(MODEL, place.runs), tmp_path / "old")
    folder = RunFolder(tmp_path / "old")
    config = folder.config()
    config.data.bootstrap = True
    for key in ("dynamics.prior_scale", "machine.matmul_precision"):
        group, name = key.split(".")
        del config[group][name]
    OmegaConf.save(config, folder.path / "config.yaml")
    return folder


def test_a_run_of_the_same_configuration_is_adopted(place: Place, old_run: RunFolder, tmp_path: Path) -> None:
    card = json.loads((old_run.path / "run_card.json").read_text())
    (old_run.path / "run_card.json").write_text(json.dumps(card | {"commit": "of old"}))
    found = adopt.adopt(MODEL, old_run, tmp_path / "runs", place.extra)
    assert is_fitted(MODEL, tmp_path / "runs")
    assert sorted(sentence.split(":")[0] for sentence in found["differences"]) == [
        "data.bootstrap",
        "dynamics.prior_scale",
        "machine.matmul_precision",
    ]
    assert found["commit"] == "of old"
    folder = RunFolder.resume(latest(MODEL, tmp_path / "runs"))
    assert work.result(MODEL, Run(folder.config(), folder), {})["commit"] == "of old", "the result names the code that made it"
    one, other = (
        WorldModel.load(path / "checkpoints" / "dynamics.pt") for path in (old_run.path, latest(MODEL, tmp_path / "runs"))
    )
    for name, weight in one.dynamics.state_dict().items():
        assert torch.equal(weight, other.dynamics.state_dict()[name])


@pytest.mark.parametrize(
    ("cell", "named"),
    [
        (ModelCell("shared", "broad", 1), "seed 0"),
        (ModelCell("independent", "broad", 0), "IndependentEnsemble"),
        (ModelCell("shared", "narrow", 0), "'mixed'"),
    ],
    ids=["another seed", "another architecture", "other data"],
)
def test_another_run_is_not_adopted(cell: ModelCell, named: str, place: Place, old_run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be adopted") as error:
        adopt.adopt(cell, old_run, tmp_path / "runs", place.extra)
    assert named in str(error.value)
    assert not latest(cell, tmp_path / "runs").exists()


def test_a_missing_setting_whose_default_changed_is_no_excuse(place: Place, old_run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dynamics.prior_scale not set, but the cell has 1.0"):
        adopt.adopt(MODEL, old_run, tmp_path / "runs", [*place.extra, "dynamics.prior_scale=1.0"])


def test_a_policy_is_adopted_with_its_own_model_only(place: Place, tmp_path: Path) -> None:
    source, runs = RunFolder(latest(POLICY, place.runs).resolve()), tmp_path / "runs"
    shutil.copy(latest(MODEL, place.runs) / "checkpoints" / "dynamics.pt", source.checkpoints / "dynamics.pt")
    with pytest.raises(CheckpointError, match="adopt or fit that first"):
        adopt.adopt(POLICY, source, runs, place.extra)
    shutil.copytree(place.runs / MODEL.name, runs / MODEL.name, symlinks=True)
    adopt.adopt(POLICY, source, runs, place.extra)
    assert dataclasses.replace(place, runs=runs, results=tmp_path).work(POLICY) == 0
    result = json.loads(result_path(POLICY, tmp_path).read_text())
    assert result["deployment"] == place.result(POLICY)["deployment"]
    assert result["adopted"]["run"] == source.path.name
    other = WorldModel.load(source.checkpoints / "dynamics.pt")
    with torch.no_grad():
        next(other.dynamics.parameters()).add_(1.0)
    other.save(source.checkpoints / "dynamics.pt")
    with pytest.raises(CheckpointError, match="another world model"):
        adopt.adopt(POLICY, source, runs, place.extra)
