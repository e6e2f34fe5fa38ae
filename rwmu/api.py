"""What a researcher imports: ``import rwmu`` gives these names.

Each function is one step of the loop (data, model, imagination, policy, deployment), with objects of the package in and out and the
settings of the commands; whoever wants more of a step calls what it calls.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from rwmu.data import formats
from rwmu.data.episodes import Episodes
from rwmu.dynamics.world_model import WorldModel
from rwmu.imagination.env import ImaginedEnv
from rwmu.interfaces import Actor
from rwmu.measure.deployment import Deployment
from rwmu.measure.deployment import deploy as _deploy
from rwmu.policy.learn import learn_policy
from rwmu.policy.rsl_rl import PolicyActor, load_actor
from rwmu.robots import robot_called
from rwmu.runs.configuration import check_overrides, compose_config, config_directory, groups
from rwmu.runs.experiment import Experiment, build
from rwmu.runs.release import Release

__all__ = [
    "collect_episodes",
    "configure",
    "deploy",
    "fit",
    "imagine",
    "load",
    "load_episodes",
    "load_policy",
    "load_world_model",
    "optimise",
]


def configure(*overrides: str) -> Experiment:
    """Return the objects of a configuration, as ``python -m rwmu.train`` has it.

    Args:
        overrides: as on the command line: ``"+experiment=mopo_ensemble5"``, ``"scale=smoke"``, ``"penalty.weight=2.0"`` ...

    Raises:
        ConfigError: one sentence that names what is mistyped, and what was meant.
    """
    check_overrides("train", overrides, groups(config_directory()))
    return build(compose_config("train", overrides))


def collect_episodes(plan: Experiment) -> Episodes:
    """Collect episodes of the robot's behaviour policies in the simulator, in memory; ``plan.data`` says which and how many."""
    return plan.collected()


def load_episodes(path: str | Path, robot: str | None = None) -> Episodes:
    """Read episodes from a file or folder, in any format of :mod:`rwmu.data.formats`.

    Args:
        robot: whose they are (a name, or a dotted name), where the file does not say it.
    """
    return formats.load(Path(path), None if robot is None else robot_called(robot))


def fit(plan: Experiment, episodes: Episodes, folder: str | Path | None = None) -> WorldModel:
    """Fit a world model to the training split of episodes; returns it frozen.

    Args:
        folder: of the checkpoints, from which an interrupted training goes on; None keeps none.
    """
    torch.manual_seed(plan.seed)
    with _folder(folder) as place:
        return plan.fitter.fit(plan.data_of(episodes), place, progress=plan.machine.progress).freeze()


def load_world_model(path: str | Path, model_class: type[nn.Module] | None = None) -> WorldModel:
    """Load a world model; code in the file is never run.

    Args:
        model_class: of a model that does not ship with the package.
    """
    return WorldModel.load(Path(path), model_class).freeze()


def imagine(plan: Experiment, model: WorldModel, episodes: Episodes) -> ImaginedEnv:
    """Return a world model as an environment of rsl-rl's kind; its episodes start from histories of the training split."""
    torch.manual_seed(plan.seed)
    data = plan.data_of(episodes)
    penalty, _ = plan.method.fitted_penalty(model, data)
    return plan.method.dream(model, data, penalty)


def optimise(plan: Experiment, dream: ImaginedEnv, folder: str | Path | None = None) -> PolicyActor:
    """Optimise a policy by PPO in imagination; returns it deterministic.

    Args:
        folder: of the checkpoints, from which an interrupted optimisation goes on; None keeps none.
    """
    with _folder(folder) as place:
        path = learn_policy(dream, plan.data_of(dream.episodes), plan.policy, place, [], plan.seed, plan.machine.progress)
        return load_actor(path, plan.task.robot)


def load(folder: str | Path, model_class: type[nn.Module] | None = None) -> Release:
    """Load world model and policy from a folder that ``python -m rwmu.export`` wrote, or from a run's; its code is never run.

    Args:
        model_class: of a world model that does not ship with the package.
    """
    return Release.read(Path(folder), model_class)


def load_policy(path: str | Path) -> PolicyActor:
    """Load a policy of rsl-rl's form; it maps observations ``[B, O]`` to actions ``[B, A]``."""
    return load_actor(Path(path))


def deploy(plan: Experiment, policy: Actor) -> Deployment:
    """Let a policy act for one episode in each environment of the simulator; ``summary()`` of the result says how it did."""
    evaluation = plan.evaluation
    return _deploy(plan.make_env(evaluation.num_envs, evaluation.seed), policy, seed=evaluation.seed)


@contextmanager
def _folder(given: str | Path | None) -> Iterator[Path]:
    """Give a folder, for a while only if none is given."""
    if given is not None:
        yield Path(given)
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)
