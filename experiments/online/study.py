"""Fine-tune walking policies on a robot with weak motors, by seed: ``python -m experiments.online.study run`` and ``table``.

A cell is one run of ``rwmu.train``, resumed if it was interrupted and not run again once it is finished. README.md is the protocol.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from experiments.generated import read_rows, rewrite, rows_as_markdown
from experiments.running import train
from experiments.walking.study import folder
from rwmu.files import write_text
from rwmu.report.wording import csv_text

RESULTS = Path(__file__).parent / "results.csv"
SEEDS = (2, 3, 4)  # of the walking study, those that its recipe had not been chosen with
DEPLOYED = {"tracking": "track_lin_vel_xy", "yaw tracking": "track_ang_vel_z", "return": "return", "falls": "fall_fraction"}


def run(walking: Path, runs: Path, seeds: list[int], threads: int) -> None:
    """Run the seeds that have no rows yet; ``walking`` holds the runs of ``experiments.walking.study``."""
    for seed in seeds:
        if any(row["seed"] == str(seed) for row in read_rows(RESULTS)):
            continue
        model = folder(walking, "models", "mopo_ensemble5", "full", seed)
        policy = folder(walking, "earlier", "mopo_ensemble5", "smaller steps", seed)
        finished = train(
            runs / f"weak_motors-seed{seed}",
            [
                *("+experiment=mbpo_finetune", "simulator=weak_motors", "data.num_transitions=20000", "evaluation.video_s=null"),
                *(f"seed={seed}", f"machine.num_threads={threads}"),
                f"trainer.start_from={model.resolve()}/latest/checkpoints/dynamics.pt",
                f"policy.checkpoint={policy.resolve()}/latest/checkpoints/policy.pt",
            ],
        )
        if finished is not None:
            rounds = json.loads((finished / "measured" / "rounds.json").read_text())["rounds"]
            rows = [*read_rows(RESULTS), *(measured(seed, told) for told in rounds)]
            write_text(RESULTS, csv_text(sorted(rows, key=lambda row: (int(row["seed"]), int(row["round"])))))


def measured(seed: int, told: dict[str, Any]) -> dict[str, str]:
    """Return what is kept of a round: what had been met so far, what the model made of it beforehand, how the policy then walks."""
    error, deployed = told["forecast_error"], told["deployed"]
    kept = {"seed": seed, "round": told["round"], "transitions": told["real_transitions"], "iterations": told["iterations"]}
    kept |= {f"error, step {steps}": error.get(steps, float("nan")) for steps in ("1", "24", "100")}
    kept |= {name: deployed[figure] for name, figure in DEPLOYED.items()}
    kept |= {"reward in the dream": deployed["dream_reward"], "reward in the simulator": deployed["simulator_reward"]}
    kept |= {"seconds": told["seconds"]}
    return {name: str(value) if isinstance(value, int) else f"{value:.4g}" for name, value in kept.items()}


def main() -> None:
    """Run seeds, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--walking", type=Path, default=Path("runs/walking"), help="where the walking study ran")
    parser.add_argument("--runs", type=Path, default=Path("runs/online"))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.what == "table":
        tables = {"rounds": RESULTS, "from scratch": RESULTS.with_name("from_scratch.csv")}
        parts = {part: rows_as_markdown(path) for part, path in tables.items()}
        rewrite(RESULTS.with_name("README.md"), "python -m experiments.online.study table", parts)
    else:
        run(arguments.walking, arguments.runs, arguments.seeds, arguments.threads)


if __name__ == "__main__":
    main()
