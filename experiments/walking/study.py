"""Learn to walk from random weights in a dream, cell by cell: ``python -m experiments.walking.study run`` and ``table``.

A cell is one run of ``rwmu.train``. An interrupted cell is resumed, and a finished one is not run again. README.md is the protocol.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results.csv"
DREAM = "policy.curriculum.phases.exact.imagination"
# What each ablation takes out of, or changes in, the full recipe.
ABLATIONS: dict[str, list[str]] = {
    "full": [],
    "not rectified": ["penalty.form.rectified=false"],
    "not rectified, weight 0.5": ["penalty.form.rectified=false", "penalty.weight=0.5"],
    "no curriculum": ["policy.curriculum=null", "policy.iterations=700"],
    "no noise fed back": [f"{DREAM}.sample_aleatoric=0.0"],
    "short dreams": [f"{DREAM}.horizon_steps=100"],
    "falls sampled": [f"{DREAM}.termination=sample"],
    "as published": ["penalty.centred=false", "penalty.form.rectified=false"],
    "no mirrors": ["policy.ppo.mirrors=[]", "policy.ppo.mirrors_per_batch=null"],
}
FIGURES = {"tracking": "track_lin_vel_xy", "yaw tracking": "track_ang_vel_z", "return": "return", "falls": "fall_fraction"}
WEIGHTS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
DEVELOPMENT_SEEDS, SEEDS = (10, 11), (0, 1, 2, 3, 4)
DEVELOPMENT = ["evaluation.seed=2000", "evaluation.num_envs=128"]  # other starts and commands than those of the report


def cells() -> Iterator[tuple[str, str, str, int, list[str]]]:
    """Yield (part, experiment, label, seed, overrides) of every cell, the deciding ones first."""
    for label, changes in ABLATIONS.items():
        for seed in DEVELOPMENT_SEEDS:
            yield "development", "mopo_ensemble5", label, seed, [*changes, *DEVELOPMENT]
    for experiment in ("mopo_ensemble5", "mopo_shared5", "rwm_base"):
        for seed in SEEDS:
            yield "answer", experiment, "full", seed, []
    for weight in WEIGHTS:
        for seed in SEEDS[:3]:
            yield "weight", "mopo_ensemble5", f"{weight:g}", seed, [f"penalty.weight={weight}"]


def run(part: str, runs: Path, models: Path | None, only: str | None, threads: int) -> None:
    """Run the cells of a part that have no row yet, and add a row for each.

    Args:
        models: a folder with ``<experiment>.pt``, world models to use in place of fitting one a seed; None fits.
    """
    done = {(row["part"], row["experiment"], row["label"], row["seed"]) for row in rows()}
    for its_part, experiment, label, seed, overrides in cells():
        if its_part != part or (only not in (None, label)) or (part, experiment, label, str(seed)) in done:
            continue
        folder = runs / f"{part}-{experiment}-{label.replace(' ', '-')}-seed{seed}"
        command = [sys.executable, "-m", "rwmu.train"]
        if (folder / "latest" / "config.yaml").is_file():
            command.append(f"resume={folder / 'latest'}")
        else:
            command += [f"+experiment={experiment}", f"seed={seed}", f"runs_dir={folder}", f"machine.num_threads={threads}"]
            command += ["evaluation.video_s=null", "machine.progress=false", *overrides]
            if models is not None:
                command += [f"trainer.checkpoint={models / experiment}.pt", "stages=[policy,deployment]"]
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log.txt").open("a") as log:
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
        if code != 0:
            print(f"{folder.name} failed with status {code}: see its log.txt", flush=True)
            continue
        add({"part": part, "experiment": experiment, "label": label, "seed": str(seed)} | measured(folder / "latest"))
        print(rows()[-1], flush=True)


def measured(run_folder: Path) -> dict[str, str]:
    """Return what is kept of a run: how its policy walks, deterministic and sampled, and how it walked in the dream."""
    results = json.loads((run_folder / "measured" / "deployment.json").read_text())["deployment"]
    kept: dict[str, Any] = {}
    for how, prefix in (("deterministic", ""), ("sampled", "sampled ")):
        kept |= {f"{prefix}{name}": results[how][figure] for name, figure in FIGURES.items()}
    policies = sorted((run_folder / "checkpoints" / "policy").glob("model_*.pt"), key=lambda path: int(path.stem[6:]))
    final = torch.load(policies[-1], map_location="cpu", weights_only=True)
    stages = json.loads((run_folder / "stages.json").read_text())["seconds"]
    kept |= {"iterations": int(final["iter"]), "policy seconds": round(stages["policy"])}
    return {name: f"{value:.4g}" for name, value in kept.items()}


def rows() -> list[dict[str, str]]:
    """Return the rows that there are."""
    if not RESULTS.is_file():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def add(row: dict[str, str]) -> None:
    """Add a row to the results."""
    new = not RESULTS.is_file()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def table() -> None:
    """Print one line a cell, in Markdown: tracking of 0..1, return in 20 s, falls as a share of the episodes."""
    found = rows()
    if not found:
        return
    print("| " + " | ".join(found[0]) + " |\n|" + " --- |" * len(found[0]))
    for row in found:
        print("| " + " | ".join(row.values()) + " |")


def main() -> None:
    """Run cells, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--part", choices=["development", "answer", "weight"], default="answer")
    parser.add_argument("--label", help="only the cells of this label")
    parser.add_argument("--runs", type=Path, default=Path("runs/walking"))
    parser.add_argument("--models", type=Path, help="folder with <experiment>.pt: world models to use")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.what == "table":
        table()
    else:
        run(arguments.part, arguments.runs, arguments.models, arguments.label, arguments.threads)


if __name__ == "__main__":
    main()
