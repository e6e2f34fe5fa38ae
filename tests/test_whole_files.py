"""Whatever writes it, a file is whole or the one before; a full disk is told with the name of the file, and leaves nothing."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rwmu.files import copy_file, remove_leftovers, replacing, try_lock, write_text
from rwmu.loggers import CsvLogger
from rwmu.runs.command_line import explain

_MOST_BYTES = 5000
_PROGRAM = """
import resource, signal, sys
from pathlib import Path
import torch
from rwmu.data.formats import hdf5
from rwmu.files import write_torch
from rwmu.runs.command_line import mistakes_in_one_sentence
from tests.data.walking import walking_episodes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
status = []
for write in (
    lambda: write_torch(Path("weights.pt"), {"weights": torch.zeros(50000)}),
    lambda: hdf5.save(walking_episodes([100] * 3), "data.h5"),
):
    try:
        with mistakes_in_one_sentence():
            write()
    except SystemExit as stop:
        status.append(stop.code)
sys.exit(0 if status == [2, 2] else 1)
"""


def test_torch_and_hdf5_on_a_full_disk(tmp_path: Path) -> None:
    """The limit on the size of a file stands for the full disk: the system refuses to write beyond, in a process of its own."""
    for name in ("weights.pt", "data.h5"):
        (tmp_path / name).write_text("before")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    program = [sys.executable, "-c", _PROGRAM, str(_MOST_BYTES)]
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    weights, data = done.stderr.strip().splitlines()
    assert "weights.pt" in weights
    assert "data.h5" in data
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"weights.pt": "before", "data.h5": "before"}


def test_an_error_without_a_name_gets_that_of_the_file(tmp_path: Path) -> None:
    def write() -> None:
        with replacing(tmp_path / "report.json") as partial:
            partial.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"report\.json") as error:
        write()
    assert str(tmp_path / "report.json") in str(explain(error.value))
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_finds_no_room_names_what_was_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(source), None, str(target))

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OSError, match="No space") as error:
        copy_file(tmp_path / "model_3.pt", tmp_path / "policy.pt")
    assert str(explain(error.value)).startswith(str(tmp_path / "policy.pt"))


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="source"), replacing(tmp_path / "target"):
        (tmp_path / "source").read_text()


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "runs" / "whole.json", "{}")
    (tmp_path / "runs" / ".whole.json.7.partial.json").write_text("{")
    (tmp_path / "notes.partial.txt").write_text("mine")
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"whole.json", "notes.partial.txt"}


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    first = try_lock(tmp_path / "lock")
    assert first is not None
    assert try_lock(tmp_path / "lock") is None
    first.close()
    second = try_lock(tmp_path / "lock", wait=True)
    assert second is not None
    second.close()


def test_curves_stay_whole_where_a_new_column_comes_and_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def table() -> list[dict[str, str]]:
        with (tmp_path / "curves/version_0/metrics.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    logger = CsvLogger(str(tmp_path), "curves", flush_logs_every_n_steps=1000)
    logger.log_metrics({"loss": 3.0}, 0)
    logger.save()
    logger.log_metrics({"loss": 2.0, "error": 0.5}, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match=r"metrics\.csv"):
            logger.save()
    assert table() == [{"loss": "3.0", "step": "0"}]
    logger.save()
    assert table() == [{"error": "", "loss": "3.0", "step": "0"}, {"error": "0.5", "loss": "2.0", "step": "1"}]
