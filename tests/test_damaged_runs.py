"""Every file of a run's folder, empty, cut short, garbage, of another type, a folder, or gone: a sentence, or it is made again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rwmu.runs.command_line import mistakes_in_one_sentence
from rwmu.runs.experiment import build
from rwmu.runs.folder import RunFolder
from rwmu.runs.training import train
from tests.conftest import Command, Outcome, Trained
from tests.test_commands import STAGES

pytestmark = pytest.mark.usefixtures("undrawn", "brief")

DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 3),
    "another type": lambda path: path.write_text("[1, 2, 3]"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "gone": lambda path: path.unlink(),
}
# What opening a run, measuring nothing again and writing its report reads.
FILES = (
    *("config.yaml", "stages.json", "run_card.json", ".lock", "report.json", "report.html", "figure_data.json"),
    *("measured/data.json", "measured/audit.json", "measured/dynamics.json", "measured/deployment.json"),
    *("checkpoints/dynamics.pt", "checkpoints/policy.pt", "logs/csv/dynamics/version_0/metrics.csv"),
)


@pytest.fixture
def finished(trained: Trained) -> Path:
    """Return the folder of a whole run, reported."""
    return trained("+experiment=rwm_base", "evaluation.num_envs=2", "evaluation.num_dream_envs=2", "evaluation.dream_steps=4")


def resumed(run: Path, capsys: pytest.CaptureFixture[str]) -> Outcome:
    """Go on with a run as ``train resume=RUN`` does, without composing the configuration of which nothing is used then."""
    status = 0
    capsys.readouterr()
    try:
        with mistakes_in_one_sentence():
            config = RunFolder.resume(run).config()
            config.resume = str(run)
            train(build(config), "")
    except SystemExit as stop:
        status = int(stop.code or 0)
    return Outcome(status, *capsys.readouterr())


def told(outcome: Outcome) -> bool:
    """Return whether a command ended with one sentence; it must have done that, or have succeeded."""
    lines = [line for line in outcome.err.strip().splitlines() if "WARNING" not in line]
    assert outcome.status in (0, 2), outcome.err
    assert outcome.status == 0 or len(lines) == 1, outcome.err
    return outcome.status == 2


def damages(name: str) -> dict[str, Callable[[Path], object]]:
    """Return the damages of a file, but for those that its one reader cannot tell from another.

    What is measured and reported is JSON or none; checkpoints are damaged in every way in tests/test_damaged_checkpoints.py.
    """
    alike = ("empty", "garbage") if name.startswith(("measured", "report", "figure")) else ()
    alike = ("empty", "garbage", "another type") if name.endswith(".pt") else alike
    return {damage: do for damage, do in DAMAGES.items() if damage not in alike}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_told_or_made_again(name: str, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is ever measured less without a word: a report that is written has all parts that it had."""
    spare = finished.with_name("spare")
    shutil.copytree(finished, spare)
    parts = set(json.loads((finished / "report.json").read_text())["deployment"])
    for damage, do in damages(name).items():
        shutil.rmtree(finished)
        shutil.copytree(spare, finished)
        (finished / name).touch()
        do(finished / name)
        outcome = resumed(finished, capsys)
        if told(outcome):
            assert Path(name).name in outcome.err, damage
        else:
            report = json.loads((finished / "report.json").read_text())
            assert set(report["deployment"]) >= parts, damage
            assert report["dataset"] is not None, damage
            assert report["dynamics"]["normalized_error"]["1"] is not None, damage


@pytest.mark.parametrize("name", ["checkpoints/dynamics.pt", "checkpoints/policy.pt", "measured/data.json"])
def test_what_is_gone_is_not_measured_less(name: str, finished: Path, command: Command) -> None:
    (finished / name).unlink()
    for arguments in (("evaluate",), ("evaluate", "diagnostics=exploit"), ("play", "duration_s=0.1")):
        outcome = command(*arguments)
        assert told(outcome)
        assert Path(name).name in outcome.err
        assert "resume=" in outcome.err


@pytest.mark.parametrize("name", ["measured/dynamics.json", "measured/deployment.json"])
def test_what_is_measured_again_need_not_be_whole(name: str, finished: Path, command: Command) -> None:
    before = json.loads((finished / name).read_text())
    (finished / name).write_text("{")  # of no use to an evaluation, which makes it anew
    assert command("evaluate").status == 0
    assert json.loads((finished / name).read_text()).keys() == before.keys()


def test_a_policy_stage_that_is_damaged_says_how_to_go_on(
    trained: Trained, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained("+experiment=rwm_base", STAGES)
    whole = (run / "checkpoints" / "policy.pt").read_bytes()
    (run / "checkpoints" / "policy.pt").unlink()
    resume = run / "checkpoints" / "policy" / "resume.pt"
    for content in (b"", resume.read_bytes()[:-100], (run / "checkpoints" / "dynamics.pt").read_bytes(), whole):
        resume.write_bytes(content)
        outcome = command("train", f"resume={run}")
        assert told(outcome)
        assert "resume.pt" in outcome.err
        assert "delete it" in outcome.err
    resume.unlink()
    assert command("train", f"resume={run}").status == 0
    assert (run / "checkpoints" / "policy.pt").read_bytes() == whole, "the same policy, from the beginning"
