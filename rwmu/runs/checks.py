"""What cannot end well is refused before it costs time: an experiment before it begins, its data before a model is trained."""

from __future__ import annotations

from pathlib import Path

from rwmu.data.replay import require_extension
from rwmu.data.windows import require_long_enough
from rwmu.errors import CheckpointError, ConfigError
from rwmu.imagination.fitting import PenaltyRecipe
from rwmu.numerics import check_accelerator, find_device
from rwmu.policy.clone import best_episodes, require_known
from rwmu.policy.rsl_rl import load_actor
from rwmu.runs.experiment import Experiment
from rwmu.settings import choose


def check_experiment(experiment: Experiment) -> None:
    """Refuse stages that lack what they need, and whatever of the parts needs no data to be seen to fail."""
    _check_stages(experiment)
    _check_rounds(experiment)
    find_device(experiment.imagination.device)
    check_accelerator(experiment.trainer.accelerator, experiment.trainer.devices)
    experiment.method.check(experiment.data)
    experiment.fitter.check(experiment.task.robot)
    robot, penalty = experiment.task.robot, experiment.penalty
    if isinstance(penalty, PenaltyRecipe):
        penalty.check(experiment.fitter.num_members, experiment.data.fractions.get("calibration", 0.0))
    if experiment.policy.checkpoint is not None:
        load_actor(Path(experiment.policy.checkpoint), robot)
    if experiment.policy.curriculum is not None:
        experiment.policy.curriculum.check(experiment.task, experiment.imagination, experiment.policy.ppo)
    collects = experiment.data.recipe is not None and not experiment.data_path.exists()
    if collects:
        experiment.collecting_policies  # noqa: B018  # refuses what is no policy of the robot
    if "deployment" in experiment.stages or experiment.method.grows_data or collects:
        experiment.make_env(num_envs=1, seed=0)  # refuses what no simulator can be made of
    if experiment.task.extension and "dynamics" in experiment.stages:  # not after it has been collected
        experiment.fitter.check_extension(experiment.task.extension, experiment.data.mirrors)
    for key, names in (("data.mirrors", experiment.data.mirrors), ("policy.ppo.mirrors", experiment.policy.ppo.mirrors or ())):
        for name in names:
            choose(key, name, robot.mirrors)


def check_loggers(experiment: Experiment) -> None:
    """Let loggers that reach out of this machine refuse its surroundings, before anything is done."""
    for make in (experiment.logger or {}).values():
        check = getattr(getattr(make, "func", make), "check_surroundings", None)
        if check is not None:
            check()


def _check_stages(experiment: Experiment) -> None:
    dynamics, policy = experiment.trainer.checkpoint, experiment.policy.checkpoint
    for stage, user, key, given in (
        ("dynamics", "policy", "trainer.checkpoint", dynamics),
        ("policy", "deployment", "policy.checkpoint", policy),
    ):
        if given is not None and not Path(given).is_file():
            raise CheckpointError(f"There is no checkpoint at {given}; mend {key}, or leave it out to train anew.")
        taken_over = user == "policy" and policy is not None
        if user in experiment.stages and stage not in experiment.stages and given is None and not taken_over:
            raise ConfigError(f"The stage {user} needs the result of {stage}: add it to stages, or give {key}=PATH.")


def _check_rounds(experiment: Experiment) -> None:
    missing = [stage for stage in ("data", "dynamics", "policy") if stage not in experiment.stages]
    if experiment.method.grows_data and missing:
        raise ConfigError(f"Each round of an online run collects, fits and improves: add {missing[0]} to stages.")


def check_data(experiment: Experiment) -> None:
    """Refuse data that lack what a run needs later: what is measured on, what a penalty is fitted on, what a clone copies."""
    require_extension(experiment.episodes, experiment.task)
    data = experiment.data_module
    if "dynamics" in experiment.stages:
        shortest = data.history + min(experiment.evaluation.horizons)
        require_long_enough(data.episodes.lengths, data.splits["test"], shortest, "test")
    if "policy" not in experiment.stages or experiment.policy.checkpoint is not None:
        return
    penalty = experiment.penalty
    if isinstance(penalty, PenaltyRecipe) and penalty.needs_calibration:
        penalty.check_episodes(data.episodes.lengths[data.splits["calibration"]], data.history)
    if experiment.policy.init == "clone":
        require_known(data.episodes)
        best_episodes(data.episodes, data.splits["train"], experiment.policy.clone)
