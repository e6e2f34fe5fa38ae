"""End runs at random moments, go on, compare what they leave: ``python -m experiments.faults.kills ROWS FILE.csv``.

Runs of ``scale=smoke``, offline and online in turn: everything, or world model and policy from data that are there. A sitting
ends (of ten, eight by SIGKILL, one by Ctrl-C, one by SIGTERM) after a random amount of CPU time, up to a third of what all of
everything takes, or up to all of the other; after ten such ends a run is let be. World model, policy, report and curves must equal
those of a run that nobody touched, and nothing half written may stay. Adds a row for each end, with the stage that was finished
last, until the file has ``ROWS`` of them.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.faults.trial import RUNS, add_row, composed, differing, finished, left, log_of, set_up, sitting
from experiments.generated import read_rows

SIGNALS = {signal.SIGKILL: 8, signal.SIGINT: 1, signal.SIGTERM: 1}
# Settings, and what share of a whole run's time a sitting has at most.
PARTS = {"everything": ([], 1 / 3), "models": (["stages=[data,dynamics,policy]"], 1.0)}
MOST = 10  # a run
ENDED = {-signal.SIGKILL, -signal.SIGTERM, 130}


def harassed(place: Path, settings: DictConfig, most_s: float) -> list[tuple[str, str]]:
    """Run until the end, whatever comes in between; returns each signal and the stage that was finished last before it."""
    struck: list[tuple[str, str]] = []
    while True:
        after_s = random.uniform(0.0, most_s) if len(struck) < MOST else float("inf")
        (kind,) = random.choices(list(SIGNALS), list(SIGNALS.values()))
        code, _ = sitting(place, settings, after_s, lambda child, kind=kind: os.kill(child, kind))
        if code == 0:
            return struck
        if code not in ENDED:
            raise SystemExit(f"Status {code}, see {log_of(place)}.")
        struck.append((kind.name, finished(place)))


def main() -> None:
    """Go through the runs until there are as many ends as asked for."""
    asked, table = int(sys.argv[1]), Path(sys.argv[2])
    set_up()
    rows = read_rows(table)
    random.seed(len(rows))  # a second call draws other moments
    before = max((int(row["run"]) for row in rows), default=0)
    base = Path(tempfile.mkdtemp())
    whole: dict[tuple[str, str], tuple[float, dict[str, Any]]] = {}
    for number in itertools.count():
        for name, (part, (more, share)) in itertools.product(RUNS, PARTS.items()):
            place, settings = base / f"{name}-{part}-{number}", composed(name, more)
            place.mkdir()
            if part == "models":
                shutil.copytree(base / f"{name}-everything-0" / "data", place / "data")
            if number == 0:
                whole[name, part] = (sitting(place, settings)[1], left(place))
                continue
            struck = harassed(place, settings, share * whole[name, part][0])
            differs = differing(place, whole[name, part][1])
            for kind, after in struck:
                add_row(
                    table,
                    {"experiment": name, "part": part, "run": before + number, "signal": kind, "after": after, "differs": differs},
                )
            if len(read_rows(table)) >= asked:
                return


if __name__ == "__main__":
    main()
