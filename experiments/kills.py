"""Kill runs at random moments, go on, compare what they leave: ``python -m experiments.kills MINUTES FILE.csv SETTINGS``.

Runs of ``scale=smoke`` and further settings, offline and online in turn. A sitting ends (of ten, eight by SIGKILL, one by Ctrl-C,
one by SIGTERM) after a random amount of CPU time, up to a third of what a whole run takes; after ten such ends a run is let be.
World model, policy, report and curves must equal those of a run that nobody touched, and nothing half written may stay. Writes a
row for each end, with the stage that was finished last. A sitting is a fork of this process, which has imported everything:
before, there is nothing to lose.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import torch

import rwmu.runs.training  # noqa: F401 - imported before there are forks
from experiments.smoke_hashes import content_hash, weights
from rwmu import train
from rwmu.files import write_text
from rwmu.report.run.curves import read_curves

SMALL = ("scale=smoke", "machine.progress=false", "evaluation.video_s=null")
ONLINE = [
    f"algorithm.schedule.{word}" for word in ("rounds=2", "warmup_rounds=0", "replay=2000", "measure_every=2", "measure_envs=3")
]
ONLINE += ["algorithm.collection.num_transitions=600", "algorithm.collection.num_envs=6", "algorithm.growth.updates=[2,3]"]
RUNS = {
    "mopo_ensemble5": ["+experiment=mopo_ensemble5", *SMALL],
    "mbpo_ppo": ["+experiment=mbpo_ppo", *SMALL, "data.num_transitions=2500", "dynamics.num_members=2", *ONLINE],
}
OF_THE_SITTING = ("seconds", "wall_clock_s", "stages", "provenance")
SIGNALS = {signal.SIGKILL: 8, signal.SIGINT: 1, signal.SIGTERM: 1}
MOST = 10  # a run
ENDED = {-signal.SIGKILL, -signal.SIGTERM, 130}


def sitting(place: Path, arguments: list[str], kind: int = 0, after_s: float = float("inf")) -> tuple[int, float]:
    """Run ``rwmu.train`` in ``place``, signalled after so much CPU time; returns its exit code (below 0 if killed) and that."""
    child = os.fork()
    if child == 0:
        _train(place, arguments)
    clock, spent = os.sysconf("SC_CLK_TCK"), 0.0
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        spent = sum(map(int, Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:13])) / clock
        if spent > after_s:
            os.kill(child, kind)
            after_s = float("inf")
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(ended[1]), spent


def _train(place: Path, arguments: list[str]) -> None:
    os.chdir(place)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever whoever began this ignores
    log = os.open("log.txt", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv, code = ["rwmu.train", *arguments], 0
    try:
        train.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


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
        "stray": [path.name for path in place.rglob("*.partial*")],
    }


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in OF_THE_SITTING}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def harassed(place: Path, arguments: list[str], whole_s: float) -> list[tuple[str, str]]:
    """Run until the end, whatever comes in between; returns each signal and the stage that was finished last before it."""
    struck: list[tuple[str, str]] = []
    latest = place / "runs/latest"
    while True:
        go_on = [f"resume={latest}"] if latest.exists() else arguments
        after_s = random.uniform(0.0, whole_s / 3) if len(struck) < MOST else float("inf")
        (kind,) = random.choices(list(SIGNALS), list(SIGNALS.values()))
        code, _ = sitting(place, go_on, kind, after_s)
        if code == 0:
            return struck
        if code not in ENDED:
            raise SystemExit(f"Status {code}, see {place / 'log.txt'}.")
        stages = latest / "stages.json"
        finished = json.loads(stages.read_text())["finished"] if stages.is_file() else []
        struck.append((kind.name, finished[-1] if finished else ""))


def main() -> None:
    """Do as many runs as there is time for."""
    until, table, more = time.monotonic() + 60.0 * float(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    torch.set_num_threads(1)
    random.seed(0)
    base, whole = Path(tempfile.mkdtemp()), {}
    rows = table.read_text().splitlines() if table.is_file() else ["experiment,settings,run,signal,after,differs"]
    for number in itertools.count():
        for name, small in RUNS.items():
            place, arguments = base / f"{name}-{number}", [*small, *more]
            place.mkdir()
            if number == 0:
                whole[name] = (sitting(place, arguments)[1], left(place))
                continue
            struck = harassed(place, arguments, whole[name][0])
            found, expected = left(place), whole[name][1]
            differs = " ".join(part for part in expected if found[part] != expected[part])
            rows += [",".join((name, ";".join(more).replace(",", ";"), str(number), *strike, differs)) for strike in struck]
            write_text(table, "\n".join(rows) + "\n")
            print(f"{place}: {len(struck)} signals; {differs or 'all equal'}", flush=True)
            if time.monotonic() > until:
                return


if __name__ == "__main__":
    main()
