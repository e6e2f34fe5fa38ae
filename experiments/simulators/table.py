"""Policies in other simulators, as a table: ``python -m experiments.simulators.table RUN ... > experiments/simulators/mjlab.csv``.

Reads what ``python -m rwmu.evaluate run=RUN simulator=NAME`` has left in each run's folder. A cell is a mean over episodes, the
next one its standard error.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rwmu.files import read_json
from rwmu.report.wording import csv_text

MEASURED = ("track_lin_vel_xy", "track_ang_vel_z", "return", "fall_fraction")


def row(path: Path) -> dict[str, Any]:
    """Return what one ``deployment-NAME.json`` says."""
    stored = read_json(path, "deploy the policy again")
    summary, environment = stored["deterministic"], stored["environment"]
    card = read_json(path.parent / "run_card.json", "bring it back")
    cells = {"run": f"{card['experiment']}-seed{card['seed']}", "simulator": environment["simulator"]}
    cells |= {"conditions": environment.get("conditions", "rwmu"), "robot": environment["task"]["robot"]["name"]}
    cells |= {"episodes": summary["num_episodes"], "seed": environment["seed"]}
    for name in MEASURED:
        cells |= {name: round(summary[name], 4), f"{name} (s.e.)": round(summary["standard_error"][name], 4)}
    return cells | {"versions": " ".join(f"{name}={version}" for name, version in environment["versions"].items())}


def main(runs: list[str]) -> None:
    """Print the table of run folders."""
    print(csv_text([row(path) for run in runs for path in sorted(Path(run).glob("deployment-*.json"))]), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
