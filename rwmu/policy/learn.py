"""Learn a policy in a given environment: a clone of the data's best episodes to start from if wanted, then PPO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rsl_rl.algorithms import PPO

from rwmu.data.datamodule import OfflineDataModule
from rwmu.errors import ConfigError
from rwmu.loggers import EveryLogger
from rwmu.numerics import ThreadGuard
from rwmu.policy.clone import CloneSettings, clone_actor
from rwmu.policy.curriculum import Curriculum, begin
from rwmu.policy.optimise import PolicyOptimiser, averaged
from rwmu.policy.rsl_rl import (
    PpoSettings,
    anchor,
    build_ppo,
    load_actor,
    load_checkpoint,
    raise_actor_std,
    read_checkpoint,
    save_checkpoint,
)
from rwmu.settings import Count, NotNegative, WholeNumber, settings
from rwmu.simulators.env import RobotEnv


@settings("policy")
class PolicySettings:
    """How a policy is optimised.

    Attributes:
        ppo, clone: of the two algorithms.
        init: ``clone`` starts from the dataset's best episodes, ``scratch`` from random weights.
        curriculum: the phases of the training; None for none.
        checkpoint: a policy to use instead of training one.
        iterations: of PPO; fewer where a curriculum ends before.
        critic_warmup_iterations: how many of them leave a cloned actor as it is.
        anchor_weight: pull towards the clone; 0 for none.
        save_every: iterations between two checkpoints.
        average_checkpoints: how many of the last ones, of the last phase, have their weights averaged in the policy that is
            returned; 1 for the last alone. One that is gone on with (:class:`Onward`) is never averaged.
    """

    ppo: PpoSettings
    clone: CloneSettings
    init: Literal["clone", "scratch"] = "clone"
    curriculum: Curriculum | None = None
    checkpoint: str | None = None
    iterations: Count = 200
    critic_warmup_iterations: WholeNumber = 10
    anchor_weight: NotNegative = 1.0
    save_every: Count = 25
    average_checkpoints: Count = 1

    def __post_init__(self) -> None:
        if self.init == "clone" and self.iterations <= self.critic_warmup_iterations:
            raise ConfigError(
                f"policy.iterations is {self.iterations}, but the first {self.critic_warmup_iterations} train the critic alone and "
                "leave the clone as it is; give more of them, or a lower policy.critic_warmup_iterations."
            )


@dataclass(frozen=True)
class Onward:
    """Where a policy goes on that has been optimised before.

    Attributes:
        policy: its checkpoint, with critic and optimiser; None to begin as ``policy.init`` says.
        iteration: how many iterations it has had; they count among those that are asked for.
        least_std: what the standard deviations of its actions are raised to first; None leaves them.
    """

    policy: Path | None = None
    iteration: int = 0
    least_std: float | None = None


def learn_policy(
    env: RobotEnv,
    data: OfflineDataModule,
    settings: PolicySettings,
    checkpoints: Path,
    loggers: list[Any],
    seed: int,
    progress: bool = True,
    onward: Onward | None = None,
) -> Path:
    """Clone if asked to, run PPO in ``env``, and return the policy's checkpoint: the last, or the mean of the last ones.

    An interrupted run goes on from where ``checkpoints`` left it. There is no choice among checkpoints: only the simulator could
    make it, and an offline method may not ask.

    Args:
        onward: the policy to go on with; None for a new one.
    """
    logger, guard = EveryLogger(loggers), ThreadGuard()
    ppo = build_ppo(env, settings.ppo)
    infos = {"robot": env.task.robot.name, "activation": settings.ppo.activation, "std_range": list(settings.ppo.std_range)}
    cloned = settings.init == "clone"
    if cloned:
        clone = _clone(ppo, env, data, settings.clone, checkpoints / "clone.pt", seed, infos)
        anchor(ppo, load_actor(clone, env.task.robot), settings.anchor_weight)
    optimiser = PolicyOptimiser(
        ppo,
        checkpoints,
        logger,
        settings.save_every,
        critic_warmup_iterations=settings.critic_warmup_iterations if cloned else 0,
        infos=infos,
        progress=progress,
        before_iteration=guard.check,
        phases=begin(settings.curriculum, env, ppo, settings.ppo),
    )
    _go_on(optimiser, onward or Onward(), env)
    optimiser.resume(env)
    try:
        optimiser.improve(env, settings.iterations)
    finally:
        guard.restore()
    logger.close()
    if optimiser.phases is not None and onward is None:  # another round may reach the last phase
        optimiser.phases.warn_if_unfinished()
    if onward is None and settings.average_checkpoints > 1:
        return averaged(checkpoints, optimiser.iteration, settings.average_checkpoints)
    return checkpoints / f"model_{optimiser.iteration}.pt"


def _go_on(optimiser: PolicyOptimiser, onward: Onward, env: RobotEnv) -> None:
    if onward.policy is not None:
        load_checkpoint(onward.policy, optimiser.ppo)
        optimiser.iteration = onward.iteration
        reached = read_checkpoint(onward.policy)["infos"].get("phases")
        if optimiser.phases is not None and reached is not None:
            optimiser.phases.load_state_dict(reached)
            optimiser.phases.apply(env, optimiser.ppo)
    if onward.least_std is not None:
        raise_actor_std(optimiser.ppo.actor, onward.least_std)


def _clone(
    ppo: PPO, env: RobotEnv, data: OfflineDataModule, settings: CloneSettings, path: Path, seed: int, infos: Mapping[str, Any]
) -> Path:
    """Let PPO's actor start as a clone, made once a run, and return the clone's checkpoint."""
    if path.is_file():
        load_checkpoint(path, ppo)
        return path
    splits = data.splits
    figures = clone_actor(ppo.actor, data.episodes, splits["train"], splits["validation"], env.task, settings, seed)
    save_checkpoint(path, ppo, 0, {**infos, **{f"clone/{name}": value for name, value in figures.items()}})
    return path
