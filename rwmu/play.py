"""Play: ``python -m rwmu.play run=runs/latest command=[0.8,0,0]`` films a policy in the simulator."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import DictConfig

from rwmu.command_line import command
from rwmu.errors import ConfigError
from rwmu.pipeline import Run
from rwmu.policy.rsl_rl import load_actor
from rwmu.run_folder import RunFolder
from rwmu.simulators.render import TOUR, film, save_video


@command("play")
def main(config: DictConfig) -> None:
    """Let the policy walk and write what it looked like."""
    torch.set_num_threads(1)
    if config.command is not None and len(config.command) != 3:
        raise ConfigError(
            f"command is {list(config.command)}, but must have three numbers: forward, sideways (m/s) and yaw (rad/s)."
        )
    folder = RunFolder.resume(Path(config.run))
    run = Run(folder.config(), folder)
    checkpoint = Path(config.checkpoint) if config.checkpoint is not None else run.policy_path
    if checkpoint is None:
        raise ConfigError(f"The run in {folder.path} has no policy yet; give checkpoint=PATH of one.")
    actor = load_actor(checkpoint, run.parts.robot)
    env = run.parts.simulator(num_envs=1, seed=config.seed, num_threads=1)
    commands = TOUR if config.command is None else [tuple(config.command)]
    poses = film(env, actor, config.duration_s, commands)
    step_dt = run.parts.task.step_dt
    fell = bool(env.terminated[0])
    print(f"{len(poses) * step_dt:.1f} s, {'ended by a fall' if fell else 'without a fall'}.")
    path = Path(config.path) if config.path is not None else folder.path / "play.gif"
    if save_video(poses, path, step_dt) is not None:
        print(f"Video: {path}")


if __name__ == "__main__":
    main()
