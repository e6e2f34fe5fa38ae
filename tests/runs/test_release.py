"""What a run has trained leaves it as a folder that somebody else can use, or not at all."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import rwmu
from rwmu.errors import CheckpointError, UserError
from rwmu.files import write_json
from rwmu.runs import release
from rwmu.runs.experiment import Experiment, build
from rwmu.runs.folder import RunFolder
from rwmu.runs.release import Release, export_run
from tests.conftest import Command, Trained

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
WHOLE = ("+experiment=mopo_ensemble5", "stages=[data,dynamics,policy]")
ALL = {"README.md", "card.json", "checkpoints", "leapp", "policy.onnx", "policy.pt", "world_model.onnx"}


def opened(run: Path) -> tuple[Experiment, RunFolder]:
    folder = RunFolder.resume(run)
    return build(folder.config()), folder


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def fails(outcome: Any, *words: str) -> None:
    assert outcome.status == 2, outcome.err
    assert outcome.err.count("\n") == 1, outcome.err
    assert all(word in outcome.err for word in words), outcome.err


def test_a_run_becomes_a_folder_that_loads_as_what_it_was(trained: Trained, command: Command, workplace: Path) -> None:
    run = trained(*WHOLE)
    done = command("export", f"target={workplace / 'walker'}")
    assert done.status == 0, done.err
    folder = workplace / "walker"
    assert {path.name for path in folder.iterdir()} == ALL
    assert all(name in done.out for name in ("policy.onnx", "world_model.onnx", "README.md", "smoke.h5"))

    found = rwmu.load(folder)
    assert found.policy is not None
    assert found.world_model is not None
    assert found.world_model.content_hash() == rwmu.load_world_model(run / "checkpoints/dynamics.pt").content_hash()
    observation = torch.randn(4, 48)
    assert torch.equal(found.policy(observation), rwmu.load_policy(run / "checkpoints/policy.pt")(observation))
    assert torch.equal(rwmu.load(run).policy(observation), found.policy(observation))  # type: ignore[misc]
    (actions,) = runtime.InferenceSession(folder / "policy.onnx").run(["actions"], {"obs": observation.numpy()})
    torch.testing.assert_close(torch.from_numpy(actions), found.policy(observation), rtol=1e-5, atol=1e-5)

    data_hash = json.loads((run / "run_card.json").read_text())["data_hash"]
    assert metadata(folder / "world_model.onnx")["data_hash"] == found.card["data_hash"] == data_hash
    assert metadata(folder / "policy.onnx")["run_path"] == run.name
    card = (folder / "README.md").read_text()
    assert all(words in card for words in ("smoke run", "anymal_d", data_hash, "rwmu.load(", "onnxruntime.InferenceSession("))
    assert found.card["smoke"] is True
    assert "/" not in json.dumps(found.card["run"]), "no path of this machine"

    fails(command("export", f"target={folder}"), "walker", "target=")
    assert {path.name for path in folder.iterdir()} == ALL


def test_without_a_policy_or_its_data_a_world_model_is_exported_and_that_is_said(trained: Trained, tmp_path: Path) -> None:
    run = trained("+experiment=rwm_base", "stages=[data,dynamics]")
    experiment, folder = opened(run)
    elsewhere = replace(experiment, data=replace(experiment.data, path=str(tmp_path / "gone.h5")))
    told = export_run(elsewhere, folder, tmp_path / "model")
    assert "no policy" in told[0]
    assert "random rows" in " ".join(told)
    found = Release.read(tmp_path / "model")
    assert found.policy is None
    assert found.world_model is not None
    assert found.world_model.num_members == 1
    assert not list((tmp_path / "model").glob("policy*"))
    (tmp_path / "model" / "card.json").write_text("{")
    with pytest.raises(UserError, match=r"card\.json"):
        Release.read(tmp_path / "model")


def test_what_was_fitted_to_this_models_errors_goes_with_it(tmp_path: Path) -> None:
    run, factors = RunFolder(tmp_path), {"method": "per_horizon", "factor": [[2.0]]}
    fitted = [{"steps": [1], "fitted": {"per_horizon": {"recalibration": factors}, "isotonic": {}}}]
    write_json(run.checkpoints / "penalty.json", {"model_hash": "mine", "typical": 2.5})
    write_json(run.path / "calibration/recalibrations.json", {"model_hash": "mine", "recalibrations": {"sampled": fitted}})
    assert release.fitted_on_calibration(run, "mine") == {
        "penalty": {"typical": 2.5},
        "forecasts": [{"steps": [1], "recalibration": factors}],
    }
    assert release.fitted_on_calibration(run, "another") == {}
    write_json(run.path / "calibration/recalibrations.json", {"model_hash": "mine", "recalibrations": []})
    with pytest.raises(UserError, match=r"recalibrations\.json"):
        release.fitted_on_calibration(run, "mine")


def test_a_full_disk_leaves_nothing(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(release, "copy_file", full)
    monkeypatch.setattr(release, "world_model_onnx", lambda *_: (b"graph", 0.0))
    with pytest.raises(UserError, match=r"model cannot be written \(No space left on device\)"):
        export_run(*opened(trained("+experiment=rwm_base", "stages=[data,dynamics]")), tmp_path / "out" / "model")
    assert list((tmp_path / "out").iterdir()) == []


def test_without_the_extra_it_is_named(trained: Trained, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained("+experiment=rwm_base", "stages=[data]")
    with pytest.raises(UserError, match="neither world model nor policy"):
        export_run(*opened(run), run / "export")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    fails(command("export", f"run={run}"), "pip install 'rwmu[onnx]'")
    assert not (run / "export").exists()


class Trap:
    """Runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.write_text, (self.path, "ran")


def test_a_strangers_folder_runs_no_code(tmp_path: Path) -> None:
    for name in ("dynamics.pt", "policy.pt"):
        folder = tmp_path / name.removesuffix(".pt")
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / name).write_bytes(pickle.dumps(Trap(tmp_path / "ran")))
        with pytest.raises(CheckpointError, match=name):
            rwmu.load(folder)
        torch.save({"actor_state_dict": Trap(tmp_path / "ran")}, folder / "checkpoints" / name)
        with pytest.raises(CheckpointError, match=name):
            rwmu.load(folder)
    assert not (tmp_path / "ran").exists()
    shutil.rmtree(tmp_path / "policy" / "checkpoints")
    with pytest.raises(CheckpointError, match=r"rwmu\.export"):
        rwmu.load(tmp_path / "policy")
