"""The run card says which code, versions and machine, and nothing private."""

from __future__ import annotations

import getpass
import json
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from rwmu.runs import card as provenance


def test_card_is_plain_and_names_what_matters(tmp_path: Path) -> None:
    card = provenance.run_card(7, experiment="x", data_hash="abc")
    provenance.write_run_card(tmp_path, card)
    read = json.loads((tmp_path / "run_card.json").read_text())
    assert (read["seed"], read["experiment"], read["data_hash"]) == (7, "x", "abc")
    assert torch.__version__.startswith(read["versions"]["torch"])
    assert read["versions"]["python"] == platform.python_version()
    assert read["machine"]["cores"] >= 1


def test_card_names_no_host_and_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/home/somebody/clone/rwmu/train.py", "seed=1"])
    text = json.dumps(provenance.run_card(0))
    assert "/home/somebody" not in text
    assert getpass.getuser() not in json.loads(text)["machine"].values()
    assert '"train.py", "seed=1"' in text


def repository(path: Path) -> Path:
    """Make a repository with a committed package, and return the package's ``__init__.py``."""

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=path, check=True, capture_output=True)

    package = path / "rwmu"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("x = 1\n")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--no-verify", "-m", "first")
    return package / "__init__.py"


def test_results_that_a_study_has_replaced_are_no_change_of_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = tmp_path / "experiments" / "study" / "results" / "cell.json"
    result.parent.mkdir(parents=True)
    result.write_text("1")
    (result.parent.parent / "code.py").write_text("x = 1\n")
    monkeypatch.setattr("rwmu.__file__", str(repository(tmp_path)))
    result.write_text("2")
    assert provenance.difference() == ""
    (result.parent.parent / "code.py").write_text("x = 2\n")
    assert "+x = 2" in provenance.difference()
    assert "cell.json" not in provenance.difference()


def test_difference_is_that_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = repository(tmp_path)
    monkeypatch.setattr("rwmu.__file__", str(file))
    assert provenance.difference() == ""
    commit = provenance.commit()
    assert commit is not None
    assert len(commit) == 40
    file.write_text("x = 2\n")
    assert "+x = 2" in provenance.difference()
    provenance.write_run_card(tmp_path, provenance.run_card(0))
    assert "+x = 2" in (tmp_path / "code.diff").read_text()


def test_a_wheel_inside_another_repository_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository(tmp_path)
    installed = tmp_path / "venv" / "rwmu"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    monkeypatch.setattr("rwmu.__file__", str(installed / "__init__.py"))
    assert provenance.commit() is None
    assert provenance.difference() == ""


def test_new_files_of_the_package_are_a_change_too_and_odd_bytes_are_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = repository(tmp_path / "clone")
    monkeypatch.setattr("rwmu.__file__", str(source))
    (source.parents[1] / "notes.txt").write_text("not code")
    assert provenance.difference() == ""
    (source.parent / "my_robot.py").write_text("legs = 6\n")
    assert provenance.difference() == "new file: rwmu/my_robot.py\n+legs = 6\n"
    source.write_bytes(b"x = 'caf\xe9'\n")
    provenance.write_run_card(tmp_path, provenance.run_card(0))
    assert "+x = 'caf" in (tmp_path / "code.diff").read_text(encoding="utf-8")
    assert "+legs = 6" in (tmp_path / "code.diff").read_text(encoding="utf-8")
