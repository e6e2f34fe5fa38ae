"""``rwmu COMMAND``: one program for all commands."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rwmu.__main__ import COMMANDS
from rwmu.__main__ import main as rwmu
from rwmu.runs.command_line import mistakes_in_one_sentence


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return with what arguments `collect` is called."""
    calls: list[list[str]] = []
    monkeypatch.setattr(importlib.import_module("rwmu.collect"), "main", lambda: calls.append(sys.argv[1:]))
    return calls


def test_a_command_gets_the_arguments_after_its_name(monkeypatch: pytest.MonkeyPatch, said: list[list[str]]) -> None:
    monkeypatch.setattr("sys.argv", ["rwmu", "collect", "scale=smoke", "seed=1"])
    rwmu()
    assert said == [["scale=smoke", "seed=1"]]


def test_an_unknown_one_is_refused_with_what_was_meant(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["rwmu", "trian"])
    with pytest.raises(SystemExit) as stopped:
        rwmu()
    assert stopped.value.code == 2
    assert "train" in capsys.readouterr().err


def test_every_command_is_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert all(callable(importlib.import_module(module).main) for module, _ in COMMANDS.values())
    monkeypatch.setattr("sys.argv", ["rwmu"])
    rwmu()
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize("arguments", [("-m", "rwmu.train"), ("-m", "rwmu", "train"), ("-m", "other")])
def test_ctrl_c_during_imports_is_told_and_programs_of_others_are_left_alone(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "hydra").mkdir()
    (tmp_path / "hydra" / "__init__.py").write_text("raise KeyboardInterrupt")
    (tmp_path / "other.py").write_text("import rwmu.train")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{Path(__file__).resolve().parents[1]}"}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGINT
    assert ("Traceback" in done.stderr) == (arguments[1] == "other")


def test_ctrl_c_is_told_where_compiled_code_makes_an_import_error_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = ImportError("initialization failed"), ImportError("already registered")
    first.__cause__, second.__context__ = KeyboardInterrupt(), first
    with pytest.raises(SystemExit) as stopped, mistakes_in_one_sentence():
        raise second
    assert stopped.value.code == 130
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_error_that_comes_of_itself_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = ValueError("no such value"), RuntimeError("out of memory")
    first.__context__, second.__context__ = second, first
    with pytest.raises(SystemExit) as stopped, mistakes_in_one_sentence():
        raise second
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [("rwmu tra", list(COMMANDS)), ("rwmu train penalty=mor", ["penalty=morel"]), ("rwmu audit d", [])],
)
def test_the_shell_is_told_how_words_go_on(
    line: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setattr("sys.argv", ["rwmu", "-sc", "query=bash"])
    rwmu()
    assert capsys.readouterr().out.split() == words


def test_weights_and_biases_is_imported_by_those_who_log_there_alone(tmp_path: Path) -> None:
    program = "import sys; from rwmu.collect import main; main(); print('wandb' in sys.modules)"
    settings = ["scale=smoke", "data=random", "data.num_transitions=300", "machine.progress=false"]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program, *settings],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1:] == ["False"], done.stderr
