"""The study's runner, with a worker that takes no time: what it runs, in which order, and what it does when things go wrong."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.shared_vs_independent import run as study
from experiments.shared_vs_independent.capacity import LARGEST_DEVIATION, complete, parameters
from experiments.shared_vs_independent.cells import FORMAT, Cell, ModelCell, PolicyCell, plan, result_path
from experiments.shared_vs_independent.folders import ANOTHER_FIT
from rwmu.runs.folder import try_lock

# Finishes a cell, unless a file in its folder says otherwise; an interrupted one leaves a mark and is done the next time.
WORKER = (
    f"FORMAT = {FORMAT}"
    + """
import json, pathlib, signal, sys, time
name, runs, results = sys.argv[1], pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[5])
folder = runs / name
(runs / "order.txt").open("a").write(name + "\\n")
if (folder / "fail").exists():
    print("it was told to fail")
    sys.exit(1)
if (folder / "wait").exists():
    (folder / "wait").unlink()
    def stop(*_):
        (folder / "interrupted").touch()
        sys.exit(130)
    signal.signal(signal.SIGINT, stop)
    (folder / "waiting").touch()
    time.sleep(60)
if name.startswith("model"):
    checkpoints = folder / "latest" / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    (checkpoints / "dynamics.pt").touch()
    (folder / "latest" / "stages.json").write_text(json.dumps({"finished": ["dynamics"], "seconds": {}}))
results.mkdir(exist_ok=True)
result = {"name": name, "format": FORMAT, "seconds": {"dynamics": 3600.0}, "options": sys.argv[6:]}
(results / f"{name}.json").write_text(json.dumps(result))
"""
)
MODEL = ModelCell("shared", "broad", 0)
POLICY = PolicyCell(MODEL, "raw", 1.0)
OTHER = ModelCell("independent", "broad", 0)


@pytest.fixture
def runner(tmp_path: Path) -> study.Runner:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    return study.Runner(tmp_path / "runs", tmp_path / "results", jobs=1, worker=(sys.executable, str(script)))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "POLL_S", 0.01)


def tell(runner: study.Runner, cell: Cell, what: str) -> None:
    folder = runner.runs / cell.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / what).touch()


def order(runner: study.Runner) -> list[str]:
    path = runner.runs / "order.txt"
    return path.read_text().split() if path.is_file() else []


def test_the_plan_is_the_protocols() -> None:
    cells = plan()
    names = [cell.name for cell in cells]
    assert len(set(names)) == len(names) == 2 * (4 * 5 + 3 * 5 * (6 + 3))
    assert names[:6] == [f"model-shared-broad-seed{seed}" for seed in range(5)] + ["model-independent-broad-seed0"]
    weights = [(cell.penalty, cell.weight) for cell in cells if isinstance(cell, PolicyCell) and cell.model == MODEL]
    raw = [("raw", weight) for weight in (1, 0, 5, 0.2, 2, 0.5)]
    assert weights == [*raw, *(("recalibrated", weight) for weight in (1, 2, 0.5))]
    assert [cell.name for cell in cells if "narrow" in cell.name] == names[len(names) // 2 :], "broad before narrow"
    for cell in cells:
        if isinstance(cell, PolicyCell):
            assert names.index(cell.model.name) < names.index(cell.name), "a model before the policies that need it"


def test_the_settings_are_the_protocols() -> None:
    assert {"data=expert", "dynamics=independent", "dynamics.prior_scale=1.0", "scale=laptop", "seed=3"} <= set(
        ModelCell("priors", "narrow", 3).overrides
    )
    assert {"penalty=recalibrated", "penalty.weight=0.5", "policy.init=clone", "data=mixed"} <= set(
        PolicyCell(MODEL, "recalibrated", 0.5).overrides
    )


@pytest.mark.parametrize("extra", [[], ["scale=smoke"]], ids=["laptop", "smoke"])
def test_the_wide_shared_model_has_as_many_parameters_as_the_independent_one(extra: list[str]) -> None:
    counts = {}
    for model in ("shared_wide", "independent", "shared"):
        cell = ModelCell(model, "broad", 0)
        counts[model] = parameters(complete(cell, cell.overrides, extra))
    assert counts["shared"] < 0.8 * counts["independent"]
    assert abs(counts["shared_wide"] / counts["independent"] - 1.0) <= LARGEST_DEVIATION


def test_models_whose_weights_are_not_here_are_fitted_again_for_policies_that_need_them(
    runner: study.Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fresh clone has results and no weights: a policy that is missing brings its model back, one that is done does not."""
    runner.run([MODEL, POLICY, OTHER])
    elsewhere = study.Runner(runner.runs.parent / "other_runs", runner.results, jobs=1, worker=runner.worker)
    missing = PolicyCell(MODEL, "raw", 5.0)
    capsys.readouterr()
    fates = elsewhere.run([MODEL, POLICY, OTHER, missing])
    assert list(fates) == [MODEL.name, missing.name]
    assert all(fate.startswith("done") for fate in fates.values())
    assert "1 cells to do, and 1 models to fit again for them" in capsys.readouterr().out
    assert elsewhere.run([MODEL, POLICY, OTHER, missing]) == {}


def test_no_policy_is_optimised_in_another_fit_than_the_measured_one(runner: study.Runner) -> None:
    runner.run([MODEL])
    (runner.runs / MODEL.name / "latest" / ANOTHER_FIT).touch()
    assert runner.run([POLICY])[MODEL.name].startswith("done"), "it is tried again"
    assert order(runner) == [MODEL.name, MODEL.name]


def test_what_is_done_is_skipped_and_what_is_damaged_is_made_anew(runner: study.Runner, capsys: pytest.CaptureFixture[str]) -> None:
    runner.run([MODEL, POLICY, OTHER])
    assert order(runner) == [MODEL.name, POLICY.name, OTHER.name]
    result_path(POLICY, runner.results).write_text('{"name": "policy-sha')
    result_path(OTHER, runner.results).write_text(result_path(MODEL, runner.results).read_text())
    (runner.runs / "order.txt").unlink()
    for model in (OTHER,):  # the worker makes its folder
        checkpoint = runner.runs / model.name / "latest"
        (checkpoint / "checkpoints" / "dynamics.pt").unlink()
        (checkpoint / "checkpoints").rmdir()
    runner.run([MODEL, POLICY, OTHER])
    assert order(runner) == [POLICY.name, OTHER.name]
    assert "damaged" in capsys.readouterr().out
    for cell in (MODEL, POLICY, OTHER):
        assert json.loads(result_path(cell, runner.results).read_text())["name"] == cell.name


def test_a_failure_is_logged_and_the_others_go_on(runner: study.Runner, capsys: pytest.CaptureFixture[str]) -> None:
    tell(runner, MODEL, "fail")
    fates = runner.run([MODEL, POLICY, OTHER])
    assert order(runner) == [MODEL.name, OTHER.name], "the policy's model is not there"
    assert "failed with status 1" in fates[MODEL.name]
    assert fates[OTHER.name].startswith("done")
    assert "it was told to fail" in (runner.runs / MODEL.name / "log.txt").read_text()
    assert f"{POLICY.name}: waits for {MODEL.name}" in capsys.readouterr().out


def test_side_by_side_a_policy_lets_others_pass_until_its_model_is_there(runner: study.Runner) -> None:
    runner.jobs = 2
    third = ModelCell("priors", "broad", 0)
    runner.run([MODEL, POLICY, OTHER, third])
    assert set(order(runner)[:2]) == {MODEL.name, OTHER.name}
    assert result_path(POLICY, runner.results).is_file()


def test_an_interrupted_cell_goes_on_next_time(runner: study.Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(runner, MODEL, "wait")
    waiting = runner.runs / MODEL.name / "waiting"

    def interrupted_once_it_waits(seconds: float) -> None:
        if waiting.is_file():
            raise KeyboardInterrupt  # as Ctrl-C does
        time.sleep(seconds)

    clock = SimpleNamespace(sleep=interrupted_once_it_waits, monotonic=time.monotonic)
    monkeypatch.setattr(study, "time", clock)  # the runner's alone: waiting for a process sleeps too
    runner.run([MODEL, OTHER])
    assert (runner.runs / MODEL.name / "interrupted").is_file()
    assert not runner.running
    assert not list(runner.results.glob("*.json"))
    waiting.unlink()
    runner.run([MODEL, OTHER])
    assert order(runner) == [MODEL.name, MODEL.name, OTHER.name]
    assert result_path(MODEL, runner.results).is_file()


def test_a_cell_of_another_runner_is_left_to_it(runner: study.Runner) -> None:
    lock = try_lock(runner.runs / MODEL.name / "lock")
    assert lock is not None
    with lock:
        runner.run([MODEL, OTHER])
        assert order(runner) == [OTHER.name]
    runner.run([MODEL, OTHER])
    assert order(runner) == [OTHER.name, MODEL.name]


def test_no_cell_is_begun_after_the_end(runner: study.Runner) -> None:
    runner.end = datetime.now() - timedelta(seconds=1)
    assert runner.run([MODEL]) == {}
    assert order(runner) == []


def test_the_end_is_the_next_time_of_that_clock() -> None:
    now = datetime(2026, 3, 1, 22, 30, 15)
    assert study.deadline("23:15", None, now) == datetime(2026, 3, 1, 23, 15)
    assert study.deadline("01:00", None, now) == datetime(2026, 3, 2, 1, 0)
    assert study.deadline("23:15", 10, now) == datetime(2026, 3, 1, 22, 40, 15)
    assert study.deadline(None, None, now) is None


def test_the_overview_says_what_is_left_and_how_long_it_takes(runner: study.Runner) -> None:
    """Every finished cell took an hour, so three cells by two jobs take one and a half."""
    cells = [
        cell for cell in plan([0, 1]) if cell.name.startswith("model-shared-") or cell.name.startswith("model-independent-broad")
    ]
    assert study.overview(cells, runner.runs, runner.results, 2)[-1].startswith("0 of 6 cells done; left: no cell is finished")
    runner.run([cell for cell in cells if cell.seed == 0])
    lines = study.overview(cells, runner.runs, runner.results, 2)
    assert lines[0].split() == ["model", "shared", "broad", "0", "done", "1", "-"]
    assert lines[-1] == "3 of 6 cells done; left: about 1.5 hours with 2 jobs."


def test_the_command_chooses_cells(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = [
        "--list",
        "--kinds",
        "policy",
        "--models",
        "priors",
        "--data",
        "narrow",
        "--weights",
        "5",
        "--results",
        str(tmp_path),
    ]
    assert study.main(options) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[:5] == ["policy", "priors", "narrow", "raw", "5"]
    with pytest.raises(SystemExit):
        study.main(["--until", "25:00"])


def test_settings_of_the_user_reach_the_worker(runner: study.Runner) -> None:
    runner.overrides = ["scale=smoke", "seed=3"]
    runner.run([MODEL])
    assert json.loads(result_path(MODEL, runner.results).read_text())["options"] == ["--override", "scale=smoke", "seed=3"]
