"""Run the whole loop for every experiment, start and seed of the study, and keep what each measured in results.json.gz.

    python -m experiments.first_loop.run --seeds 0 1 2 --jobs 2

Resumable: a run whose result is there is skipped, an interrupted one goes on in its folder. Runs from scratch reuse the world
model of the run of the same experiment and seed that started from a clone.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from threading import Lock

from experiments.first_loop.summarise import EXPERIMENTS, Result, keep, load
from experiments.running import train

# What of a report is kept: everything measured; not figures, nor the machine's paths.
KEPT = ("experiment", "seed", "wall_clock_s", "stages", "dataset", "dynamics", "deployment", "imagination", "dream_reality")
_KEEPING = Lock()


def run(given: argparse.Namespace, init: str, experiment: str, seed: int) -> None:
    """Run one job to its end and keep its result, unless that is there."""
    name = f"{experiment}-{init}-seed{seed}" + (f"-{given.label}" if given.label else "")
    if any(result["name"] == name for result in load() if not result["settings"]):
        return
    arguments = [f"+experiment={experiment}", f"seed={seed}", "policy=clone", f"policy.init={init}"]
    arguments += [] if experiment == "rwm_base" else ["penalty.form.rectified=false"]
    arguments += [f"machine.num_threads={given.threads}", *given.overrides]
    if init == "scratch":
        fitted = given.runs / f"{experiment}-clone-seed{seed}" / "latest" / "checkpoints" / "dynamics.pt"
        arguments.append(f"trainer.checkpoint={fitted.resolve()}")
    latest = train(given.runs / name, arguments)
    if latest is None:
        return
    report = json.loads((latest / "report.json").read_text())
    about: Result = {"settings": "", "name": name, "init": init, "commit": (report.get("provenance") or {}).get("commit")}
    if given.label:  # a control: with the settings that make it one, and the constant that centres its penalty, a second
        penalty = latest / "checkpoints" / "penalty.json"
        typical = json.loads(penalty.read_text()).get("typical") if penalty.is_file() else None
        about |= {"label": given.label, "overrides": given.overrides, "penalty_typical": typical}
    with _KEEPING:
        keep([about | {part: report.get(part) for part in KEPT}])
    print(f"{name}: {report['deployment']['deterministic']}", flush=True)


def main() -> None:
    """Parse the command line and run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--experiments", nargs="+", default=list(EXPERIMENTS), choices=EXPERIMENTS)
    parser.add_argument("--inits", nargs="+", default=["clone", "scratch"], choices=["clone", "scratch"])
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, on one thread each")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--runs", type=Path, default=Path("runs/first_loop"), help="where the runs' folders go")
    parser.add_argument("--label", default="", help="of a control, whose overrides are its own: it names the results")
    parser.add_argument("overrides", nargs="*", help="settings for every run, such as scale=smoke")
    given = parser.parse_args()
    for init in sorted(given.inits):  # clones first: they fit the world models
        with ThreadPoolExecutor(given.jobs) as pool:
            list(pool.map(lambda job: run(given, *job), product([init], given.experiments, given.seeds)))


if __name__ == "__main__":
    main()
