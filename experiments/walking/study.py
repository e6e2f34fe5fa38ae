"""Learn to walk from random weights in a dream, cell by cell: ``python -m experiments.walking.study run`` and ``table``.

A cell is one run of ``rwmu.train``. An interrupted cell is resumed, and a finished one is not run again. README.md is the protocol.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from experiments.generated import read_rows, rewrite, rows_as_markdown
from experiments.running import train
from rwmu.files import write_text
from rwmu.report.wording import csv_text

RESULTS = Path(__file__).parent / "results.csv"
EXACT = "policy.curriculum.phases.exact"
DREAM = f"{EXACT}.imagination"
LAST_ALONE = ["policy.average_checkpoints=1"]
UNDISTURBED = [f"{DREAM}.push_interval_s=null", f"{DREAM}.max_tilt=-0.9", f"{DREAM}.termination_penalty=0.0"]
# The recipe on its way, backwards: each of these differs from the next, and the first from today's.
SMALLER_STEPS = ["policy.ppo.init_std=0.6", "policy.ppo.desired_kl=0.01", f"{EXACT}.max_iterations=500"]
SHORTER = [*SMALLER_STEPS[:2], *LAST_ALONE, f"{EXACT}.max_iterations=300"]
FIRST = [
    *UNDISTURBED,
    *SHORTER,
    f"{DREAM}.command_resample_steps=null",
    f"{DREAM}.max_tilt=-0.5",
    f"{EXACT}.ppo.entropy_coef=0.005",
]
EARLIER = {
    "undisturbed": [*UNDISTURBED, *SHORTER],
    "shorter": SHORTER,
    "not averaged": [*SMALLER_STEPS, *LAST_ALONE],
    "smaller steps": SMALLER_STEPS,
}
FIRST_TRIALS = {
    "first recipe": FIRST,
    "first recipe, not rectified, weight 0.5": [*FIRST, "penalty.form.rectified=false", "penalty.weight=0.5"],
}
# What each ablation takes out of, or changes in, today's recipe.
ABLATIONS: dict[str, list[str]] = {
    "no curriculum": ["policy.curriculum=null", "policy.iterations=550"],
    "no noise fed back": [f"{DREAM}.sample_aleatoric=0.0"],
    "not rectified": ["penalty.form.rectified=false"],
    "as published": ["penalty.centred=false", "penalty.form.rectified=false"],
    "no mirrors": ["policy.ppo.mirrors=[]", "policy.ppo.mirrors_per_batch=null"],
    "short dreams": [f"{DREAM}.horizon_steps=100"],
    "falls sampled": [f"{DREAM}.termination=sample"],
    "not pushed": [f"{DREAM}.push_interval_s=null"],
    "commands kept": [f"{DREAM}.command_resample_steps=null"],
    "last checkpoint alone": LAST_ALONE,
}
TASKS = {"Go1": ["task=go1_flat"]}  # of another robot, by label
FIGURES = {"tracking": "track_lin_vel_xy", "yaw tracking": "track_ang_vel_z", "return": "return", "falls": "fall_fraction"}
WEIGHTS = {"mopo_ensemble5": (0.0, 0.1, 0.2, 0.5, 1.0, 2.0), "mopo_shared5": (0.2, 0.5, 2.0)}
DEVELOPMENT_SEEDS, SEEDS = (10, 11), (0, 1, 2, 3, 4)
DEVELOPMENT = ["evaluation.seed=2000", "evaluation.num_envs=128"]  # other starts and commands than those of the report


def cells() -> Iterator[tuple[str, str, str, int, list[str]]]:
    """Yield (part, experiment, label, seed, overrides) of every cell, the deciding ones first."""
    for label, changes in {**FIRST_TRIALS, **ABLATIONS}.items():
        for seed in DEVELOPMENT_SEEDS:
            yield "development", "mopo_ensemble5", label, seed, [*changes, *DEVELOPMENT]
    for experiment in ("mopo_ensemble5", "mopo_shared5", "rwm_base"):
        for seed in SEEDS:
            yield "answer", experiment, "full", seed, []
    for seed in SEEDS[:3]:
        yield "robot", "mopo_ensemble5", "Go1", seed, []
    for label, changes in EARLIER.items():
        for seed in SEEDS if label == "smaller steps" else SEEDS[:2]:
            yield "earlier", "mopo_ensemble5", label, seed, changes
    yield "earlier", "mopo_shared5", "smaller steps", 0, SMALLER_STEPS
    for experiment, weights in WEIGHTS.items():
        for weight, seed in itertools.product(weights, SEEDS[:3]):
            yield "weight", experiment, f"{weight:g}", seed, [f"penalty.weight={weight}"]


def run(part: str, runs: Path, only: str, threads: int) -> None:
    """Run the cells of a part that have no row yet and whose folder's name holds ``only``, and add a row for each.

    A world model is fitted once for an experiment and a seed; development cells all have that of seed 0.
    """
    done = {(row["part"], row["experiment"], row["label"], row["seed"]) for row in read_rows(RESULTS)}
    for its_part, experiment, label, seed, overrides in cells():
        where = folder(runs, part, experiment, label, seed)
        if its_part != part or only not in where.name or (part, experiment, label, str(seed)) in done:
            continue
        fitted = model(runs, experiment, label if label in TASKS else "full", 0 if part == "development" else seed, threads)
        if fitted is None:
            continue
        arguments = [f"trainer.checkpoint={fitted}", "stages=[policy,deployment]", "evaluation.video_s=null", *overrides]
        finished = train(where, [*common(experiment, label, seed, threads), *arguments])
        if finished is None:
            continue
        row = {"part": part, "experiment": experiment, "label": label, "seed": str(seed)} | measured(finished)
        write_text(RESULTS, csv_text([*read_rows(RESULTS), row]))
        print(row, flush=True)


def model(runs: Path, experiment: str, label: str, seed: int, threads: int) -> Path | None:
    """Return the fitted world model of an experiment and a seed, None where that failed."""
    where = folder(runs, "models", experiment, label, seed)
    fitted = where / "latest" / "checkpoints" / "dynamics.pt"
    if not fitted.is_file() and train(where, [*common(experiment, label, seed, threads), "stages=[data,dynamics]"]) is None:
        return None
    return fitted


def common(experiment: str, label: str, seed: int, threads: int) -> list[str]:
    """Return the settings that every training has."""
    return [f"+experiment={experiment}", f"seed={seed}", f"machine.num_threads={threads}", *TASKS.get(label, [])]


def folder(runs: Path, part: str, experiment: str, label: str, seed: int) -> Path:
    """Return where a cell runs."""
    return runs / f"{part}-{experiment}-{label.replace(' ', '-')}-seed{seed}"


def measured(run_folder: Path) -> dict[str, str]:
    """Return what is kept of a run: how its policy walks, deterministic and sampled, and how it walked in the dream."""
    parts = json.loads((run_folder / "measured" / "deployment.json").read_text())
    results = parts["deployment"]
    kept: dict[str, Any] = {}
    for how, prefix in (("deterministic", ""), ("sampled", "sampled ")):
        kept |= {f"{prefix}{name}": results[how][figure] for name, figure in FIGURES.items()}
    kept |= {"imagined return": parts["imagination"]["return"], "imagined falls": parts["imagination"]["fall_fraction"]}
    policies = sorted((run_folder / "checkpoints" / "policy").glob("model_*.pt"), key=lambda path: int(path.stem[6:]))
    final = torch.load(policies[-1], map_location="cpu", weights_only=True)
    stages = json.loads((run_folder / "stages.json").read_text())["seconds"]
    kept |= {"iterations": int(final["iter"]), "policy seconds": round(stages["policy"])}
    return {name: f"{value:.4g}" for name, value in kept.items()}


def main() -> None:
    """Run cells, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--part", choices=["development", "earlier", "answer", "robot", "weight"], default="answer")
    parser.add_argument("--only", default="", help="only the cells whose folder's name holds this, such as rwm_base-full-seed0")
    parser.add_argument("--runs", type=Path, default=Path("runs/walking"))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.what == "table":
        parts = {"cells": rows_as_markdown(RESULTS)}
        rewrite(RESULTS.with_name("README.md"), "python -m experiments.walking.study table", parts)
    else:
        run(arguments.part, arguments.runs, arguments.only, arguments.threads)


if __name__ == "__main__":
    main()
