"""Play: ``python -m rwmu.play run=runs/latest command=[0.8,0,0]`` films a policy in the simulator."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from rwmu.errors import ConfigError
from rwmu.runs.command_line import command


def one_command(given: Any) -> tuple[float, float, float]:
    """Return a command of the configuration, or refuse it."""
    numbers = list(given) if isinstance(given, ListConfig) else []
    if len(numbers) != 3 or not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise ConfigError(f"command is {given}, but must have three numbers: [forward, sideways, yaw] in m/s, m/s and rad/s.")
    return float(numbers[0]), float(numbers[1]), float(numbers[2])


@command("play")
def main(config: DictConfig) -> None:
    """Let the policy walk and write what it looked like."""
    # What computes is imported once the settings have been checked: torch and Lightning take seconds.
    import torch

    from rwmu.policy.rsl_rl import load_actor
    from rwmu.runs.evaluation import policy_path
    from rwmu.runs.opening import open_finished
    from rwmu.simulators.render import TOUR, film, save_video

    torch.set_num_threads(1)
    commands = TOUR if config.command is None else [one_command(config.command)]
    experiment, folder = open_finished(config)
    checkpoint = Path(config.checkpoint) if config.checkpoint is not None else policy_path(experiment, folder)
    if checkpoint is None:
        raise ConfigError(f"The run in {folder.path} has no policy yet; give checkpoint=PATH of one.")
    actor = load_actor(checkpoint, experiment.task.robot)
    env = experiment.make_env(num_envs=1, seed=config.seed, auto_reset=False)
    poses = film(env, actor, config.duration_s, commands)
    robot, step_dt = experiment.task.robot, experiment.task.step_dt
    fell = bool(env.terminated[0])
    print(f"{len(poses) * step_dt:.1f} s, {'ended by a fall' if fell else 'without a fall'}.")
    path = Path(config.path) if config.path is not None else folder.path / "play.gif"
    if save_video(poses, path, robot, step_dt) is not None:
        print(f"Video: {path}")


if __name__ == "__main__":
    main()
