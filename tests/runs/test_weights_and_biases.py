"""One run of Weights & Biases for one of ours, offline: its stages, what it is described by, and going on with it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record

from rwmu.runs.weights_and_biases import WandbRun
from tests.conftest import Command


@pytest.fixture(autouse=True)
def nobody_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    yield
    wandb.finish()
    os.environ.pop("WANDB_MODE", None)


def records(file: Path) -> list[Any]:
    """Return what Weights & Biases would upload: a log of LevelDB's, whose records are cut at blocks of 32 KiB."""
    content, place, pieces, found = file.read_bytes(), 7, b"", []
    while place + 7 <= len(content):
        room = 32768 - place % 32768
        if room < 7:
            place += room
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        pieces += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            record = Record()
            record.ParseFromString(pieces)
            found.append(record)
            pieces = b""
    return found


def keys(found: list[Any]) -> list[set[str]]:
    """Return what each row of the history has."""
    return [
        {item.nested_key[0] if item.nested_key else item.key for item in record.history.item}
        for record in found
        if record.history.item
    ]


def test_one_run_has_all_stages_and_is_gone_on_with(workplace: Path, command: Command, smoke: list[str]) -> None:
    outcome = command("train", "+experiment=rwm_base", *smoke, "logger=wandb", "stages=[dynamics,policy,report]")
    assert outcome.status == 0, outcome.err
    assert os.environ["WANDB_MODE"] == "offline"
    folder = (workplace / "runs/latest").resolve()
    (file,) = folder.rglob("*.wandb")
    wandb.teardown()  # waits for the process that writes the file
    found = records(file)
    assert found[-1].HasField("exit")
    run = next(record.run for record in found if record.HasField("run"))
    assert (run.project, run.run_group, run.display_name) == ("rwmu", "rwm_base", folder.name)
    assert set(run.tags) == {"rwm_base", "anymal_d", "seed 0"}
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["dynamics"]["num_members"] == 1
    for row in (
        {"dynamics/validation/rollout_error", "dynamics/step"},
        {"policy/imagined/reward", "policy/step"},
        {"report/answers", "report/error_by_horizon", "report/page", "report/policies"},
    ):
        assert any(row <= logged for logged in keys(found)), row
    again = WandbRun(str(folder / "logs" / "wandb"), "report")
    assert again.experiment.id == run.run_id
    (folder / "video.mp4").write_bytes(b"a film")
    again.log_report(folder)
    assert {path.parent.name for path in folder.rglob("media/*/*")} >= {"html", "images", "table", "videos"}


@pytest.mark.parametrize("mode", ["", "sometimes", "online"])
def test_a_mode_that_cannot_be_is_refused_before_anything_is_done(
    mode: str, workplace: Path, command: Command, smoke: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    outcome = command("train", "+experiment=rwm_base", *smoke, "logger=wandb")
    assert outcome.status == 2
    assert "WANDB_MODE" in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (workplace / "runs").exists()
