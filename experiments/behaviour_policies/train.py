"""Train a robot's behaviour policies from nothing: ``python -m experiments.behaviour_policies.train --out FOLDER``."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import rwmu
from experiments.behaviour_policies.recipe import Phase, Trainer


def main() -> None:
    """Train both phases on one core."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for candidates and learning curves")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--task", default="anymal_d_flat", help="of configs/task, with the robot")
    parser.add_argument("--easy", type=int, default=400, help="largest number of iterations of 12,288 steps on the easy weights")
    parser.add_argument("--settle", type=int, default=36, help="iterations on the easy weights over the full command range")
    parser.add_argument("--exact", type=int, default=130, help="iterations on the exact weights")
    parser.add_argument("--resume", type=Path, help="candidate to go on from; with --easy 0, in the exact phase")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    candidate = torch.load(arguments.resume, weights_only=True) if arguments.resume else None
    trainer = Trainer(arguments.out, rwmu.configure(f"task={arguments.task}").task, arguments.seed, candidate)
    trainer.run(Phase("easy", arguments.easy, curriculum=True, settle=arguments.settle))
    trainer.run(Phase("exact", arguments.exact, curriculum=False))


if __name__ == "__main__":
    main()
