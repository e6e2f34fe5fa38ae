"""What cannot end well is refused before it costs time: a configuration before a run begins, its data before a model is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from rwmu.data.windows import require_long_enough
from rwmu.dynamics.losses import LossSettings
from rwmu.errors import CheckpointError, ConfigError
from rwmu.imagination.rules import DreamRules
from rwmu.numerics import check_accelerator, find_device
from rwmu.parts import OF_THE_DREAM, Parts, factory
from rwmu.policy.clone import best_episodes, require_known
from rwmu.policy.rsl_rl import load_actor
from rwmu.settings import close_match
from rwmu.stages.policy import PolicySettings


def check_run(config: DictConfig) -> None:
    """Refuse a configuration of ``train`` whose stages lack something, or that has a value of which no object can be built."""
    check_stages(config)
    check_parts(Parts(config), config.stages)


def check_stages(config: DictConfig) -> None:
    """Refuse a choice of stages that lacks what one of them needs, and checkpoints that are not there."""
    for group, user in (("dynamics", "policy"), ("policy", "deployment")):
        given = config[group].checkpoint
        if given is not None and not Path(given).is_file():
            raise CheckpointError(f"There is no checkpoint at {given}; mend {group}.checkpoint, or leave it out to train anew.")
        taken_over = user == "policy" and config.policy.checkpoint is not None
        if user in config.stages and group not in config.stages and given is None and not taken_over:
            raise ConfigError(f"The stage {user} needs the result of {group}: add it to stages, or give {group}.checkpoint=PATH.")


def check_parts(parts: Parts, stages: Sequence[str] = ()) -> None:
    """Build whatever needs no data, so that a value that makes no sense stops a run before it starts.

    Args:
        stages: of the run; deployment needs a simulator that works.
    """
    config = parts.config
    _ = (parts.task, parts.simulator, parts.loss, parts.penalty(), parts.policy_settings, parts.trainer_settings)
    parts.new_dynamics(extension_dim=0)
    DreamRules(**factory(config.imagination, without=OF_THE_DREAM).keywords)
    find_device(parts.device_name)
    check_accelerator(config.trainer.accelerator)
    if config.policy.checkpoint is not None:
        load_actor(Path(config.policy.checkpoint), parts.robot)
    if "deployment" in stages:
        parts.simulator(num_envs=1, seed=0, num_threads=1)
    if "dynamics" in stages and config.dynamics.checkpoint is None:
        _check_bounds(config.dynamics, parts.loss)
    if "policy" in stages and config.policy.checkpoint is None:
        _check_iterations(parts.policy_settings)
    for key, names in (("data.mirrors", config.data.mirrors), ("policy.ppo.mirrors", parts.policy_settings.ppo.mirrors or ())):
        _check_mirrors(key, names, list(parts.robot.mirrors))


def _check_bounds(dynamics: DictConfig, loss: LossSettings) -> None:
    if dynamics.get("learn_bounds") and not loss.weights["bound"]:
        raise ConfigError(
            "dynamics.learn_bounds=true trains the bounds of the log standard deviation, but nothing holds them together; give "
            "their loss a weight (dynamics.loss.weights.bound=1.0, as published)."
        )


def _check_iterations(policy: PolicySettings) -> None:
    if policy.init == "clone" and policy.iterations <= policy.critic_warmup_iterations:
        raise ConfigError(
            f"policy.iterations is {policy.iterations}, but the first {policy.critic_warmup_iterations} train the critic alone and "
            "leave the clone as it is; give more of them, or a lower policy.critic_warmup_iterations."
        )


def _check_mirrors(key: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            match = close_match(name, known) or ";"
            raise ConfigError(f"{key} has '{name}'{match} Choose from: {', '.join(known)}.")


def check_data(parts: Parts) -> None:
    """Refuse data that lack what a run needs later: what is measured on, what a penalty is fitted on, what a clone copies."""
    config, data = parts.config, parts.data
    if "dynamics" in config.stages:
        shortest = data.history + min(config.evaluation.horizons)
        require_long_enough(data.episodes.lengths, data.splits["test"], shortest, "test")
    if "policy" not in config.stages or config.policy.checkpoint is not None:
        return
    fit = parts.penalty_fit
    if fit.needs_calibration:
        fit.check_episodes(data.episodes.lengths[data.splits["calibration"]], data.history)
    if config.policy.init == "clone":
        require_known(data.episodes)
        best_episodes(data.episodes, data.splits["train"], parts.policy_settings.clone)
