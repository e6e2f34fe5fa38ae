"""What a configuration describes, as objects: the only place between configuration files and the rest of the house.

The groups of a configuration are the constructors of these objects and their keys the constructors' arguments, so that nothing here
knows a key: Hydra builds them (``_target_``), and each validates itself.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import cached_property, partial
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import Field
from torch import nn

from rwmu.algorithms.learner import Learner
from rwmu.algorithms.workplace import Workplace
from rwmu.data import formats
from rwmu.data.audit import AuditSettings, Finding, examine
from rwmu.data.datamodule import OfflineDataModule
from rwmu.data.episodes import Episodes
from rwmu.data.normalizer import Normalizer
from rwmu.data.replay import paid_where_unknown, repaid
from rwmu.data.settings import DataSettings
from rwmu.data.sources import differences, holds_collected, obtain
from rwmu.dynamics.fit import Fitter
from rwmu.dynamics.training import TrainerSettings
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import ConfigError, DataError
from rwmu.files import alone, json_ready
from rwmu.imagination.rules import DreamRules
from rwmu.measure.settings import EvaluationSettings
from rwmu.numerics import Machine
from rwmu.policy.learn import PolicySettings
from rwmu.policy.rsl_rl import load_actor
from rwmu.runs.configuration import instantiate
from rwmu.settings import Names, Seed, settings
from rwmu.simulators.actors import NetworkActor
from rwmu.simulators.collect import collect_dataset
from rwmu.tasks.velocity import VelocityTask

Stage = Literal["data", "dynamics", "policy", "deployment", "report"]
_PARTS = ("task", "dynamics", "trainer", "penalty", "imagination", "policy", "seed", "make_env", "evaluation")
STAGES: tuple[Stage, ...] = ("data", "dynamics", "policy", "deployment", "report")

_log = logging.getLogger(__name__)


@settings("")
class Experiment:
    """The objects of one configuration.

    Attributes:
        task: commands, observation and reward, of one robot.
        simulator: makes environments of the task, called with ``num_envs``, ``seed`` and ``num_threads``.
        data: where the episodes come from, and the windows that are cut from them.
        dynamics: the ensemble's class and its sizes. trainer: how it is fitted.
        penalty, imagination, policy: of the algorithm.
        algorithm: makes the algorithm of the parts before it.
        evaluation: how a run is measured. machine: threads and precision. logger: name -> maker of one of Lightning's loggers.
        name: of the experiment, in folders and reports. seed: of models, imagination and policies; the data have their own.
        stages: to be run, in their order. runs_dir: where run folders are made. resume: a run folder to go on with.
        trust: modules whose code the configuration of a resumed run may name, see :mod:`rwmu.runs.trust`.
        overwrite: replace a dataset that is already there (``rwmu.collect``).
    """

    task: VelocityTask
    simulator: Callable[..., Any]
    data: DataSettings
    dynamics: Callable[..., nn.Module]
    trainer: TrainerSettings
    penalty: Any
    imagination: DreamRules
    policy: PolicySettings
    algorithm: Callable[..., Any]
    evaluation: EvaluationSettings
    machine: Machine
    logger: Mapping[str, Callable[..., Any]] | None
    name: str = "custom"
    seed: Seed = 0
    stages: Annotated[Sequence[Stage], Field(min_length=1)] = STAGES
    runs_dir: str = "runs"
    resume: str | None = None
    trust: Names | str = ()
    overwrite: bool = False

    @cached_property
    def circumstances(self) -> dict[str, Any]:
        """Return task and simulator as plain values: what data are collected under. Rewards do not count, nobody acts by them."""
        simulator: Any = self.simulator
        task = {name: value for name, value in self.task.describe().items() if name != "rewards"}
        given = {
            name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else repr(value)
            for name, value in simulator.keywords.items()
        }
        return dict(json_ready({"task": task, "simulator": given}))

    # -- what the stages work with --------------------------------------------------------------------------------------------

    @cached_property
    def method(self) -> Learner:
        """Return the algorithm, made of those parts that it names."""
        named = signature(self.algorithm)
        parts = {name: getattr(self, name) for name in _PARTS if name in named.parameters}
        try:
            named.bind(**parts)
        except TypeError as error:
            raise ConfigError(f"algorithm._target_ asks for what no run has ({error}); give an algorithm's class.") from error
        made: Learner = self.algorithm(**parts)
        return made

    @property
    def fitter(self) -> Fitter:
        """Return what fits and loads world models of this configuration."""
        return self.method.fitter

    def make_env(self, num_envs: int, seed: int, auto_reset: bool = True, **options: Any) -> Any:
        """Return fresh environments of the simulator.

        Args:
            options: arguments of the simulator that are to be other than the configuration's.
        """
        machine = {"num_threads": self.machine.num_threads}
        return self.simulator(self.task, num_envs=num_envs, seed=seed, auto_reset=auto_reset, **(machine | options))

    @property
    def data_path(self) -> Path:
        """Return where the dataset lies, or will."""
        if self.data.path is None and self.data.recipe is None:
            raise ConfigError("data.recipe is null, so nothing is to be collected; say in data.path where your own data are.")
        return self._default_data_path if self.data.path is None else Path(self.data.path)

    @property
    def _default_data_path(self) -> Path:
        simulator: Any = self.simulator
        return self.data.default_path(self.task.robot.name, simulator.func.__module__.rpartition(".")[2])

    def collect(self, path: Path) -> None:
        """Collect the dataset that the configuration describes and write it, unless another process has, meanwhile."""
        if not holds_collected(path):
            raise ConfigError(f"data.path is {path}, but collected data are written as HDF5; give a path that ends in .h5.")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):  # not after minutes of collecting
            raise DataError(f"The folder {path.parent} cannot be written to; give another data.path.")
        with alone(path):
            if self.overwrite or not path.exists():
                formats.save(self.collected(), path)

    @cached_property
    def collecting_policies(self) -> dict[str, NetworkActor]:
        """Return the policies that ``data.policies`` names."""
        loaded = {name: load_actor(Path(path), self.task.robot) for name, path in self.data.policies.items()}
        return {name: NetworkActor(actor, actor.std.double().numpy()) for name, actor in loaded.items()}

    @property
    def _collected_by(self) -> dict[str, Any]:
        """Return which policies collect, by name, where somebody has given them."""
        files = {name: hashlib.sha256(Path(path).read_bytes()).hexdigest() for name, path in self.data.policies.items()}
        return {"policies": files} if files else {}

    def collected(self) -> Episodes:
        """Collect the dataset that the configuration describes."""
        if self.data.recipe is None:
            raise ConfigError("data.recipe is null, so nothing says what to collect; choose data=mixed, or give data.path.")
        make_env = partial(self.simulator, num_threads=self.machine.num_threads)
        episodes = collect_dataset(
            make_env,
            self.task,
            self.data.recipe,
            self.data.num_transitions,
            seed=self.data.seed,
            progress=self.machine.progress,
            given=self.collecting_policies,
        )
        rewards = json_ready(self.task.rewards.describe())
        return episodes.with_attributes(collected_under=self.circumstances, rewards=rewards, **self._collected_by)

    @cached_property
    def episodes(self) -> Episodes:
        """Return the dataset; where nobody has said where it is, it is collected if there is none."""
        data, robot = self.data, self.task.robot
        if data.recipe is None or not holds_collected(self.data_path):  # somebody's own data
            return paid_where_unknown(obtain(self.data_path, robot=robot), self.task)
        expected = {"recipe": data.recipe, "num_transitions": data.num_transitions, "seed": data.seed}
        expected |= {"collected_under": self.circumstances, **self._collected_by}
        nobody_said = self.data_path.absolute() == self._default_data_path.absolute()
        episodes = obtain(self.data_path, self.collect if nobody_said else None, robot, expected)
        return self._paid_by_the_task(episodes)

    def _paid_by_the_task(self, episodes: Episodes) -> Episodes:
        """Return data that were collected here with the rewards of this task: what others paid is computed anew."""
        paid_by, rewards = episodes.attributes.get("rewards"), json_ready(self.task.rewards.describe())
        changed = {name.split(".")[1] for name, *_ in differences("rewards", paid_by or rewards, rewards)}
        if not changed:
            return episodes
        _log.info(
            "%s was collected with other rewards; computing anew what the task pays (%s).",
            self.data_path,
            ", ".join(sorted(changed)),
        )
        return repaid(episodes, self.task)

    @cached_property
    def data_module(self) -> OfflineDataModule:
        """Return the dataset, split and normalised."""
        return self.data_of(self.episodes)

    def data_in(self, folder: Workplace) -> OfflineDataModule:
        """Return the dataset with what a run has collected besides."""
        return self.method.data_in(self.data_module, folder)

    def data_of(self, episodes: Episodes) -> OfflineDataModule:
        """Return episodes, split and normalised as the configuration says."""
        members, batches = self.fitter.num_members, self.trainer.validate_every
        return OfflineDataModule(
            episodes, self.task.robot, self.data, self.seed, members, batches, normalizer=self._given_normalizer
        )

    @cached_property
    def _given_normalizer(self) -> Normalizer | None:
        """Return the normaliser of the weights that training starts from, where they are of other data; else None: fit one."""
        start = self.trainer.start_from
        world_model = None if start is None else WorldModel.load(Path(start), self.fitter.model_class)
        of_these_data = world_model is not None and world_model.knows_its_data and not self.method.grows_data
        return None if world_model is None or of_these_data else world_model.normalizer

    def findings(self) -> list[Finding]:
        """Return what the audit has to say about the dataset."""
        audit = AuditSettings(
            self.data.history + self.data.forecast,
            self.task.command_range,
            dict(self.data.fractions),
            self._given_normalizer,
            step_dt=self.task.step_dt,
            task=self.task,
        )
        return examine(self.episodes, self.task.robot, audit, f"The data file {self.data_path}")


def build(config: DictConfig) -> Experiment:
    """Return the objects of a configuration, each of which refuses what makes no sense.

    Raises:
        ConfigError: one sentence with the setting's dotted name.
    """
    experiment: Experiment = instantiate(config)
    return experiment
