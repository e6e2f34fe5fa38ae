"""What the trials of faults share: smoke runs in processes of their own, and what these leave.

A sitting is a fork of this process, which has imported everything and composed the settings: before that, there is nothing to lose.
"""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mujoco  # noqa: F401 - all of this is imported before there are forks
import torch
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from experiments.generated import read_rows
from experiments.smoke_hashes import content_hash, weights
from rwmu.files import write_text
from rwmu.report import style
from rwmu.report.run.curves import read_curves
from rwmu.runs.command_line import as_one_process, mistakes_in_one_sentence
from rwmu.runs.configuration import compose_config
from rwmu.runs.experiment import build
from rwmu.runs.folder import RunFolder
from rwmu.runs.opening import settle
from rwmu.runs.training import train

# Little is measured and nothing drawn: most of a smoke run's time would pass where nothing is written.
LITTLE = [f"evaluation.{word}" for word in ("num_envs=4", "num_dream_envs=4", "dream_steps=8", "learning_points=0", "video_s=null")]
LITTLE += ["task.episode_length_s=1.2", "task.command_resample_s=0.6", "data.num_transitions=2500", "dynamics.num_members=2"]
SMALL = ("scale=smoke", "machine.progress=false", *LITTLE)
ONLINE = [
    f"algorithm.schedule.{word}" for word in ("rounds=2", "warmup_rounds=0", "replay=2000", "measure_every=2", "measure_envs=3")
]
ONLINE += ["algorithm.collection.num_transitions=600", "algorithm.collection.num_envs=6", "algorithm.growth.updates=[2,3]"]
RUNS = {
    "mopo_ensemble5": ["+experiment=mopo_ensemble5", *SMALL],
    "mbpo_ppo": ["+experiment=mbpo_ppo", *SMALL, *ONLINE],
}
OF_THE_SITTING = ("seconds", "wall_clock_s", "stages", "provenance")


def composed(name: str, more: Sequence[str] = ()) -> DictConfig:
    """Return the settings of one of :data:`RUNS`, and more."""
    return compose_config("train", [*RUNS[name], *more])


def set_up() -> None:
    """Compute on one thread and leave every figure blank, here and in all sittings."""
    torch.set_num_threads(1)
    blank = style.png(Figure())
    style.png = lambda figure: blank


def log_of(place: Path) -> Path:
    """Return the file of what the sittings in ``place`` have said; it lies beside, where no full disk keeps it from growing."""
    return place.with_name(f"{place.name}.log")


def sitting(
    place: Path,
    settings: DictConfig,
    after_s: float = float("inf"),
    strike: Callable[[int], object] = lambda child: None,
    before: Callable[[], object] = lambda: None,
) -> tuple[int, float]:
    """Begin a run in ``place``, or go on with that which is there, as ``rwmu.train`` does.

    Args:
        strike: called with the process's number once it has taken ``after_s`` of CPU time.
        before: called in the process itself, before it trains.

    Returns:
        The exit code, below 0 if the process was killed, and the CPU time that it took.
    """
    child = os.fork()
    if child == 0:
        _sit(place, settings, before)
    clock, spent = os.sysconf("SC_CLK_TCK"), 0.0
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        spent = sum(map(int, Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:13])) / clock
        if spent > after_s:
            strike(child)
            after_s = float("inf")
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(ended[1]), spent


def _sit(place: Path, settings: DictConfig, before: Callable[[], object]) -> None:
    log = os.open(log_of(place), os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(place)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever whoever began this ignores
    code, latest = 0, place / "runs/latest"
    try:
        before()
        with mistakes_in_one_sentence(), as_one_process():
            if latest.exists():
                settings = RunFolder.resume(latest).config()
                settings.resume = str(latest)
            else:
                settle(settings)
            train(build(settings), OmegaConf.to_yaml(settings, resolve=True))
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def finished(place: Path) -> str:
    """Return the stage that was finished last."""
    stages = place / "runs/latest/stages.json"
    return str((json.loads(stages.read_text())["finished"] or [""])[-1]) if stages.is_file() else ""


def stray(place: Path) -> list[str]:
    """Return what lies half written."""
    return [path.name for path in place.rglob("*.partial*")]


def left(place: Path) -> dict[str, Any]:
    """Return what a run has left that must be equal."""
    run = (place / "runs/latest").resolve()
    files, report = {name: run / "checkpoints" / name for name in ("dynamics.pt", "policy.pt")}, run / "report.json"
    return {
        **{name: content_hash(weights(path)) for name, path in files.items()},
        "report": _timeless(json.loads(report.read_text())) if report.is_file() else None,
        "curves": {
            f"{stage.name}: {name}": curve
            for stage in (run / "logs/csv").iterdir()
            for name, curve in read_curves(stage).items()
            if not name.startswith("time/")
        },
        "stray": stray(place),
    }


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in OF_THE_SITTING}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def differing(place: Path, expected: Mapping[str, Any]) -> str:
    """Return which parts of what a run has left are not as expected."""
    found = left(place)
    return " ".join(part for part in expected if found[part] != expected[part])


def add_row(table: Path, row: Mapping[str, object]) -> None:
    """Add a row to a CSV file, and print it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row), lineterminator="\n")
    writer.writeheader()
    writer.writerows([*read_rows(table), row])
    write_text(table, text.getvalue())
    print(*row.values(), sep=", ", flush=True)
