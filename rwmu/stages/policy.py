"""Stage policy: optimise a policy in imagination alone. Nothing here knows a simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsl_rl.algorithms import PPO

from rwmu.algorithms.offline import RESUME_FILE, optimise_policy
from rwmu.data.datamodule import OfflineDataModule
from rwmu.imagination.env import ImaginedEnv
from rwmu.loggers import EveryLogger
from rwmu.numerics import ThreadGuard
from rwmu.policy.clone import CloneSettings, clone_actor
from rwmu.policy.rsl_rl import PpoSettings, anchor, build_ppo, load_actor, load_checkpoint, save_checkpoint


@dataclass(frozen=True)
class PolicySettings:
    """How a policy is optimised.

    Attributes:
        init: ``clone`` starts from the dataset's best episodes, ``scratch`` from random weights.
        iterations: of PPO.
        critic_warmup_iterations: how many of them leave a cloned actor as it is.
        anchor_weight: pull towards the clone; 0 for none.
        save_every: iterations between two checkpoints.
        ppo, clone: of the two algorithms.
    """

    init: str
    iterations: int
    critic_warmup_iterations: int
    anchor_weight: float
    save_every: int
    ppo: PpoSettings
    clone: CloneSettings


def optimise(
    env: ImaginedEnv,
    data: OfflineDataModule,
    settings: PolicySettings,
    checkpoints: Path,
    loggers: list[Any],
    seed: int,
    progress: bool = True,
) -> Path:
    """Clone if asked to, run PPO in ``env``, and return the policy's checkpoint: that of the last iteration.

    An interrupted run goes on from where ``checkpoints`` left it. There is no choice among checkpoints: only the simulator could
    make it, and an offline method may not ask.
    """
    robot = env.task.robot
    infos: dict[str, Any] = {
        "robot": robot.name,
        "activation": settings.ppo.activation,
        "std_range": list(settings.ppo.std_range),
    }
    logger = EveryLogger(loggers)
    ppo = build_ppo(env, settings.ppo, robot)
    if settings.init == "clone":
        clone = _clone(ppo, env, data, settings, checkpoints / "clone.pt", seed, infos)
        anchor(ppo, load_actor(clone, robot), settings.anchor_weight)
    guard = ThreadGuard()
    try:
        optimise_policy(
            env,
            ppo,
            settings.iterations,
            critic_warmup_iterations=settings.critic_warmup_iterations if settings.init == "clone" else 0,
            logger=logger,
            checkpoint_dir=checkpoints,
            save_every=settings.save_every,
            resume=(checkpoints / RESUME_FILE).is_file(),
            progress=progress,
            infos=infos,
            before_iteration=guard.check,
        )
    finally:
        guard.restore()
    logger.close()
    return checkpoints / f"model_{settings.iterations}.pt"


def _clone(
    ppo: PPO, env: ImaginedEnv, data: OfflineDataModule, settings: PolicySettings, path: Path, seed: int, infos: Mapping[str, Any]
) -> Path:
    """Let PPO's actor start as a clone, made once a run, and return the clone's checkpoint."""
    if path.is_file():
        load_checkpoint(path, ppo)
        return path
    splits = data.splits
    figures = clone_actor(ppo.actor, data.episodes, splits["train"], splits["validation"], env.task, settings.clone, seed)
    save_checkpoint(path, ppo, 0, {**infos, **{f"clone/{name}": value for name, value in figures.items()}})
    return path
