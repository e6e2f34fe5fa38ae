"""What a researcher imports: ``import rwmu`` gives these names.

Each function is one step of the loop (data, model, imagination, policy, deployment) with objects of the package in and out; whoever
wants more of a step calls what it calls.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rwmu.data import formats
from rwmu.data.datamodule import OfflineDataModule
from rwmu.data.episodes import Episodes
from rwmu.data.settings import DataSettings
from rwmu.data.windows import gather, window_starts
from rwmu.dynamics.fit import Fitter
from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.losses import DEFAULT_WEIGHTS, LossSettings
from rwmu.dynamics.module import OptimizerSettings
from rwmu.dynamics.training import TrainerSettings
from rwmu.dynamics.world_model import WorldModel
from rwmu.imagination.env import ImaginedEnv
from rwmu.imagination.fitting import PenaltyRecipe
from rwmu.imagination.penalty import MopoPenalty
from rwmu.imagination.rules import DreamRules
from rwmu.interfaces import Actor, Penalty
from rwmu.measure.deployment import Deployment
from rwmu.measure.deployment import deploy as _deploy
from rwmu.policy.clone import CloneSettings
from rwmu.policy.learn import PolicySettings, learn_policy
from rwmu.policy.rsl_rl import PolicyActor, PpoSettings, load_actor
from rwmu.records import Window
from rwmu.robots import robot_named
from rwmu.simulators.collect import collect_dataset
from rwmu.simulators.env import MakeEnv
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.tasks.velocity import VelocityTask

__all__ = [
    "collect",
    "deploy",
    "fit",
    "held_out",
    "imagine",
    "load_episodes",
    "load_policy",
    "load_world_model",
    "optimise",
    "prepare",
    "velocity_task",
]


def velocity_task(robot: str, **settings: Any) -> VelocityTask:
    """Return the velocity task of a robot that ships with the package, by its name.

    Args:
        settings: of :class:`~rwmu.tasks.velocity.VelocityTask`.
    """
    return VelocityTask(robot_named(robot), **settings)


def collect(
    task: VelocityTask, recipe: str = "mixed", num_transitions: int = 400_000, seed: int = 0, make_env: MakeEnv = MujocoEnv
) -> Episodes:
    """Collect episodes of the robot's behaviour policies in a simulator.

    Args:
        recipe: of the mixture, a name of :data:`rwmu.simulators.behaviour.RECIPES`.
        make_env: the simulator; the embedded MuJoCo by default.
    """
    return collect_dataset(make_env, task, recipe, num_transitions, seed=seed)


def load_episodes(path: str | Path) -> Episodes:
    """Read episodes from a file, in any format of :mod:`rwmu.data.formats`."""
    return formats.load(Path(path))


def prepare(episodes: Episodes, seed: int = 0, num_members: int = 5, **settings: Any) -> OfflineDataModule:
    """Split episodes, fit a normaliser to the training split, and serve windows of them.

    Args:
        seed: of the members' resamples. num_members: E, of the models to be fitted.
        settings: of :class:`~rwmu.data.settings.DataSettings` (``history``, ``forecast``, ``batch_size`` ...).
    """
    robot = robot_named(str(episodes.attributes["robot"]))
    return OfflineDataModule(episodes, robot, DataSettings(**settings), seed, num_members)


def held_out(data: OfflineDataModule, steps: int, number: int | None = None) -> tuple[Window, Window]:
    """Return stretches of test episodes that do not overlap, physical units: H rows of history and the ``steps`` rows after them.

    Args:
        number: at most so many; None for all.
    """
    window = gather(data.episodes, data.starts("test", data.history + steps, number), data.history + steps)
    return window.map(lambda rows: rows[:, : data.history]), window.map(lambda rows: rows[:, data.history :])


def fit(
    data: OfflineDataModule,
    steps: int = 1500,
    seed: int = 0,
    folder: str | Path | None = None,
    make: Callable[..., nn.Module] = IndependentEnsemble,
    optimizer: OptimizerSettings | None = None,
    loss: LossSettings | None = None,
    **sizes: Any,
) -> WorldModel:
    """Fit a world model to the training episodes.

    Args:
        steps: of the optimiser; validated ten times.
        folder: of the checkpoints, from which an interrupted training goes on; None keeps none.
        make: the ensemble's class. sizes: further arguments of it, such as ``hidden_size``.
    """
    loss = loss or LossSettings(data.history, DEFAULT_WEIGHTS, history_burn_in=min(4, max(0, data.history - 2)))
    every = max(1, steps // 10)
    how = TrainerSettings(loss, optimizer or OptimizerSettings(), max_steps=steps, validate_every=every)
    data.use_epochs(every)
    ensemble = partial(make, num_members=data.stream_settings.num_members, **sizes)
    with _folder(folder) as place:
        return Fitter(ensemble, how, seed).fit(data, place).freeze()


def load_world_model(path: str | Path, model_class: type[nn.Module] | None = None) -> WorldModel:
    """Load a world model; code in the file is never run.

    Args:
        model_class: of a model that does not ship with the package.
    """
    return WorldModel.load(Path(path), model_class).freeze()


def imagine(
    world_model: WorldModel,
    data: OfflineDataModule,
    task: VelocityTask,
    penalty: float | Penalty = 1.0,
    seed: int = 0,
    **rules: Any,
) -> ImaginedEnv:
    """Return the world model as an environment whose episodes start from histories of the training split.

    Args:
        penalty: the weight of MOPO's, centred, or any penalty.
        rules: of :class:`~rwmu.imagination.rules.DreamRules` (``num_envs``, ``horizon_steps`` ...).
    """
    dream_rules = DreamRules(**rules)
    if isinstance(penalty, int | float):
        recipe = PenaltyRecipe(MopoPenalty, float(penalty), centred=True)
        penalty, _ = recipe.fit(world_model, data, dream_rules.horizon_steps, task.step_dt)
    starts = window_starts(data.episodes.lengths, data.splits["train"], world_model.history)
    return ImaginedEnv(world_model, task, data.episodes, starts, penalty, dream_rules, seed)


def optimise(
    dream: ImaginedEnv,
    data: OfflineDataModule,
    iterations: int = 200,
    seed: int = 0,
    folder: str | Path | None = None,
    ppo: Mapping[str, Any] | None = None,
    **settings: Any,
) -> PolicyActor:
    """Optimise a policy by PPO in imagination, and return it, deterministic.

    Args:
        folder: of the checkpoints, from which an interrupted optimisation goes on; None keeps none.
        ppo: of :class:`~rwmu.policy.rsl_rl.PpoSettings`.
        settings: of :class:`~rwmu.policy.learn.PolicySettings` (``init``, ``critic_warmup_iterations``, ``anchor_weight`` ...).
    """
    how = PolicySettings(PpoSettings(**(ppo or {})), CloneSettings(), iterations=iterations, **settings)
    torch.manual_seed(seed)
    with _folder(folder) as place:
        return load_actor(learn_policy(dream, data, how, place, [], seed, progress=False), dream.task.robot)


def load_policy(path: str | Path, task: VelocityTask | None = None) -> PolicyActor:
    """Load a policy of rsl-rl's form; it maps observations ``[B, O]`` to actions ``[B, A]``."""
    return load_actor(Path(path), None if task is None else task.robot)


def deploy(policy: Actor, task: VelocityTask, num_envs: int = 64, seed: int = 1000, make_env: MakeEnv = MujocoEnv) -> Deployment:
    """Let a policy act for one episode in each environment of a simulator; ``.summary()`` says how it did."""
    return _deploy(make_env(task, num_envs, seed=seed), policy, seed=seed)


@contextmanager
def _folder(given: str | Path | None) -> Iterator[Path]:
    """Give a folder, for a while only if none is given."""
    if given is not None:
        yield Path(given)
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)
