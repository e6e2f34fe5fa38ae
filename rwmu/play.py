"""Play: ``python -m rwmu.play run=runs/latest command=[0.8,0,0]`` films a policy in the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from rwmu.errors import ConfigError, refuse_overwriting
from rwmu.runs.command_line import command
from rwmu.settings import FilmedSeconds, Seed, settings


@settings("")
class Play:
    """What is filmed; see ``configs/play.yaml``."""

    run: str
    duration_s: FilmedSeconds
    seed: Seed
    checkpoint: str | None = None
    command: Annotated[tuple[float, float, float], Field(strict=False)] | None = None
    path: str | None = None
    overwrite: bool = False
    trust: Any = ()


def beyond_training(command: Sequence[float], trained: Sequence[float]) -> str | None:
    """Return a sentence if a command is larger than those that the policy was trained for, of half-widths ``trained``."""
    if all(abs(asked) <= most for asked, most in zip(command, trained, strict=True)):
        return None
    return f"The policy was trained for commands up to {list(trained)} only; nobody knows what it makes of {list(command)}."


@command("play")
def main(config: DictConfig) -> None:
    """Let the policy walk and write what it looked like."""
    given: Any = OmegaConf.to_container(config, resolve=True)
    play = Play(**{name: value for name, value in given.items() if name != "simulator"})
    if play.path is not None:
        refuse_overwriting(Path(play.path), play.overwrite, "overwrite=true")
    # What computes is imported once the settings have been checked: torch and Lightning take seconds.
    import torch

    from rwmu.policy.rsl_rl import load_actor
    from rwmu.runs.evaluation import policy_path
    from rwmu.runs.opening import open_finished
    from rwmu.simulators.render import TOUR, film, save_video

    torch.set_num_threads(1)
    experiment, folder = open_finished(config)
    checkpoint = Path(play.checkpoint) if play.checkpoint is not None else policy_path(experiment, folder)
    if checkpoint is None:
        raise ConfigError(f"The run in {folder.path} has no policy yet; give checkpoint=PATH of one.")
    actor = load_actor(checkpoint, experiment.task.robot)
    if play.command is not None and (warning := beyond_training(play.command, experiment.task.command_range)):
        print(warning)
    env = experiment.make_env(num_envs=1, seed=play.seed, auto_reset=False)
    recorded = film(env, actor, play.duration_s, TOUR if play.command is None else [play.command])
    robot, step_dt = experiment.task.robot, experiment.task.step_dt
    fell = bool(env.terminated[0])
    print(f"{len(recorded.poses) * step_dt:.1f} s, {'ended by a fall' if fell else 'without a fall'}.")
    path = Path(play.path) if play.path is not None else folder.path / "play.mp4"
    if save_video(recorded, path, robot, step_dt) is not None:
        print(f"Video: {path}")


if __name__ == "__main__":
    main()
