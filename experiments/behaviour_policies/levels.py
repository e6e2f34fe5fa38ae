"""Measure the candidates of a training, choose six of rising quality, and ship them.

``python -m experiments.behaviour_policies.levels --run FOLDER`` deploys every candidate on the exact task (128 episodes of 20 s,
deterministic), writes ``candidates.csv`` to the robot's folder beside this file and the chosen actors into the package.
``--table`` prints the table of the shipped levels from ``levels.json``.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path
from typing import Any

import torch

import rwmu
from experiments.generated import markdown
from rwmu.measure.deployment import deploy
from rwmu.simulators.actors import ExactActor, policy_levels
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.tasks.velocity import VelocityTask

HERE = Path(__file__).parent
NUM_EPISODES, SEED = 128, 1234
STEPS_PER_ITERATION = 512 * 24  # environments, steps: see recipe.py
FIGURES = ("track_lin_vel_xy", "track_ang_vel_z", "return", "fall_fraction", "episode_length_s")
# Names of the levels, and the planar tracking that each is chosen to come closest to; the first and last candidate aside.
TARGETS = {"poor": 0.35, "medium": 0.65, "good": 0.85}


def measure(actor: ExactActor, task: VelocityTask) -> dict[str, float]:
    """Return the figures of one actor on the exact task."""
    env = MujocoEnv(task, NUM_EPISODES, seed=SEED)
    summary = deploy(env, actor).summary()
    return {name: round(summary[name], 3) for name in FIGURES}


def measure_candidates(run: Path, task: VelocityTask, only: list[int] | None) -> list[dict[str, Any]]:
    """Deploy the candidates of a run (those of the iterations ``only``, if given) that were not measured before; return all."""
    path = run / "candidates.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    known = {row["iteration"] for row in rows}
    for file in sorted(run.glob("candidate_*.pt")):
        checkpoint = torch.load(file, weights_only=True)
        if checkpoint["iter"] not in known and (only is None or checkpoint["iter"] in only):
            actor = ExactActor.from_rsl_rl(checkpoint["actor_state_dict"])
            row = {"iteration": checkpoint["iter"], "file": file.name} | measure(actor, task)
            rows.append(row)
            print(row, flush=True)
            path.write_text(json.dumps(rows))
    return sorted(rows, key=lambda row: row["iteration"])


def choose(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return one candidate a level: the untrained one, one that mostly stands, three on the way, and the best return."""
    best = max(rows, key=lambda row: row["return"])
    chosen = {"random": rows[0]}
    early = [row for row in rows[1:] if row["iteration"] < best["iteration"]]
    chosen["stand"] = min(early[: len(early) // 2], key=lambda row: (row["fall_fraction"], row["iteration"]))
    for name, target in TARGETS.items():
        later = [row for row in early if row["iteration"] > list(chosen.values())[-1]["iteration"]]
        chosen[name] = min(later, key=lambda row: abs(row["track_lin_vel_xy"] - target))
    return chosen | {"expert": best}


def export(run: Path, chosen: dict[str, dict[str, Any]], task: VelocityTask) -> None:
    """Write the chosen actors and their figures into the package, and the curves beside this file."""
    folder = task.robot.policies
    folder.mkdir(parents=True, exist_ok=True)
    table = []
    for name, row in chosen.items():
        checkpoint = torch.load(run / row["file"], weights_only=True)
        ExactActor.from_rsl_rl(checkpoint["actor_state_dict"]).save(folder / f"{name}.npz")
        learnt = {"name": name, "iteration": row["iteration"], "transitions": row["iteration"] * STEPS_PER_ITERATION}
        table.append(learnt | {figure: row[figure] for figure in FIGURES})
    (folder / "levels.json").write_text(json.dumps(table, indent=1) + "\n")
    shutil.copy(run / "learning_curves.csv", HERE / task.robot.name / "learning_curves.csv")


def write_candidates(rows: list[dict[str, Any]], task: VelocityTask) -> None:
    """Write ``candidates.csv`` to the robot's folder beside this file."""
    columns, path = ["iteration", *FIGURES], HERE / task.robot.name / "candidates.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def table(task: VelocityTask) -> str:
    """Return the shipped levels as a Markdown table."""
    head = ["level", "PPO iteration", "tracking", "yaw tracking", "return", "episodes with a fall", "episode length"]
    rows = []
    for row in policy_levels(task).table:
        figures = [f"{row['track_lin_vel_xy']:.2f}", f"{row['track_ang_vel_z']:.2f}", f"{row['return']:.1f}"]
        rows.append(
            [row["name"], str(row["iteration"]), *figures, f"{row['fall_fraction']:.0%}", f"{row['episode_length_s']:.1f} s"]
        )
    return "\n".join(markdown(head, rows))


def main() -> None:
    """Measure, choose and export, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="folder that train.py wrote")
    parser.add_argument("--task", default="anymal_d_flat", help="of configs/task, with the robot")
    parser.add_argument("--only", type=int, nargs="+", help="iterations to measure; all by default")
    parser.add_argument("--measure-only", action="store_true")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = rwmu.configure(f"task={arguments.task}").task
    if arguments.run is not None:
        rows = measure_candidates(arguments.run, task, arguments.only)
        if arguments.measure_only:
            return
        write_candidates(rows, task)
        export(arguments.run, choose(rows), task)
    if arguments.run is not None or arguments.table:
        print(table(task))


if __name__ == "__main__":
    main()
