"""Run the whole loop for every experiment, start and seed of the study, and keep what each measured in results.json.gz.

    python -m experiments.first_loop.run --seeds 0 1 2 --jobs 2

Resumable: a run whose result is there is skipped, an interrupted one goes on in its folder. Runs from scratch reuse the world
model of the run of the same experiment and seed that started from a clone.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from experiments.first_loop.summarise import EXPERIMENTS, keep, load
from experiments.running import train

# What of a report is kept: everything measured; not figures, nor the machine's paths.
KEPT = ("experiment", "seed", "wall_clock_s", "stages", "dataset", "dynamics", "deployment", "imagination", "dream_reality")
_KEEPING = Lock()


@dataclass(frozen=True)
class Job:
    """One run of the study.

    Attributes:
        label: of a control, a run with settings of its own; empty otherwise.
    """

    experiment: str
    init: str
    seed: int
    label: str = ""

    @property
    def name(self) -> str:
        """Return the name of its result."""
        return f"{self.experiment}-{self.init}-seed{self.seed}{f'-{self.label}' if self.label else ''}"


def run(job: Job, runs: Path, threads: int, overrides: list[str]) -> None:
    """Run one job to its end and keep its result."""
    folder = runs / job.name
    arguments = [f"+experiment={job.experiment}", f"seed={job.seed}", "policy=clone", f"policy.init={job.init}"]
    arguments += [] if job.experiment == "rwm_base" else ["penalty.form.rectified=false"]
    arguments += [f"machine.num_threads={threads}", *overrides]
    if job.init == "scratch":
        fitted = runs / Job(job.experiment, "clone", job.seed).name / "latest" / "checkpoints" / "dynamics.pt"
        arguments.append(f"trainer.checkpoint={fitted.resolve()}")
    latest = train(folder, arguments)
    if latest is None:
        return
    report = json.loads((latest / "report.json").read_text())
    fitted = latest / "checkpoints" / "penalty.json"
    typical = json.loads(fitted.read_text()).get("typical") if fitted.is_file() else None
    with _KEEPING:
        keep([kept(report, job, overrides, typical)])
    print(f"{job.name}: {report['deployment']['deterministic']}", flush=True)


def kept(report: dict[str, Any], job: Job, overrides: list[str], typical: float | None) -> dict[str, Any]:
    """Return what is kept of a report, and of a control the settings that make it one.

    Args:
        typical: the constant that centres its penalty, a second; None where there is none.
    """
    commit = (report.get("provenance") or {}).get("commit")
    about = {"settings": "", "name": job.name, "init": job.init, "commit": commit}
    if job.label:
        about |= {"label": job.label, "overrides": overrides, "penalty_typical": typical}
    return about | {name: report.get(name) for name in KEPT}


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
    arguments = parser.parse_args()
    done = {result["name"] for result in load() if not result["settings"]}
    for init in sorted(arguments.inits):  # clones first: they fit the world models
        jobs = [Job(experiment, init, seed, arguments.label) for experiment in arguments.experiments for seed in arguments.seeds]
        missing = [job for job in jobs if job.name not in done]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(lambda job: run(job, arguments.runs, arguments.threads, arguments.overrides), missing))


if __name__ == "__main__":
    main()
