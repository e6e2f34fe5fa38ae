"""Build what a configuration describes: the only place between configuration files and objects."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from rwmu.data.audit import AuditSettings, Finding, examine
from rwmu.data.datamodule import OfflineDataModule
from rwmu.data.episodes import Episodes
from rwmu.data.formats import hdf5
from rwmu.data.normalizer import Normalizer
from rwmu.data.sources import is_table, obtain
from rwmu.dynamics.fit import TrainerSettings
from rwmu.dynamics.losses import EXTENSION, LossSettings
from rwmu.dynamics.module import DynamicsModule
from rwmu.dynamics.world_model import WorldModel, kind_of
from rwmu.errors import ConfigError, DataError
from rwmu.files import write_json
from rwmu.imagination.env import ImaginedEnv
from rwmu.imagination.fitting import PenaltyFit, fitted_values
from rwmu.imagination.penalty import typical_disagreement
from rwmu.imagination.rehearsal import rehearse
from rwmu.imagination.rules import STEP_RULES
from rwmu.interfaces import Penalty
from rwmu.numerics import find_device
from rwmu.robots.robot import Robot
from rwmu.simulators.collect import collect_dataset
from rwmu.stages.policy import PolicySettings
from rwmu.tasks.velocity import VelocityTask
from rwmu.uncertainty.estimates import uncertainty_estimate

_log = logging.getLogger(__name__)

# Keys of the groups that are not arguments of their ``_target_``.
_OF_THE_SOURCE = ("recipe", "num_transitions", "path", "seed")
_OF_THE_TRAINING = ("checkpoint", "start_from", "freeze_auxiliary", "loss", "optimizer")
OF_THE_DREAM = ("num_envs", "device")
_OF_THE_FIT = ("centred", "standardised", "quantile", "method", "by_field", "level")


def factory(node: DictConfig, target: type | None = None, without: Sequence[str] = ()) -> partial[Any]:
    """Return what a node describes, with the node's values as arguments and nested objects built, but not yet called.

    Args:
        node: with a ``_target_``, unless ``target`` is given.
        without: keys of the node that are not arguments.
    """
    plain: dict[str, Any] = OmegaConf.to_container(node, resolve=True)  # type: ignore[assignment]
    kept = {key: value for key, value in plain.items() if key not in without}
    if target is not None:
        kept["_target_"] = f"{target.__module__}.{target.__qualname__}"
    made: partial[Any] = hydra.utils.instantiate(kept | {"_partial_": True}, _convert_="all")
    return made


class Parts:
    """The objects of one configuration, each built when first asked for.

    Args:
        config: of ``train`` or ``collect``.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config

    @cached_property
    def task(self) -> VelocityTask:
        """Return the task."""
        task: VelocityTask = factory(self.config.task)()
        return task

    @property
    def robot(self) -> Robot:
        """Return the robot."""
        return self.task.robot

    @cached_property
    def simulator(self) -> partial[Any]:
        """Return the simulator's constructor, to be called with ``num_envs``, ``seed`` and ``num_threads``."""
        return partial(factory(self.config.simulator), self.task)

    # -- data -------------------------------------------------------------------------------------------------------------

    @property
    def data_path(self) -> Path:
        """Return where the dataset lies, or will."""
        return Path(self.config.data.path)

    def collect(self, path: Path) -> None:
        """Collect the dataset that the configuration describes and write it."""
        if is_table(path):
            raise ConfigError(f"data.path is {path}, but collected data are written as HDF5; give a path that ends in .h5.")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):  # not after minutes of collecting
            raise DataError(f"The folder {path.parent} cannot be written to; give another data.path.")
        data, trainer = self.config.data, self.config.trainer
        make_env = partial(factory(self.config.simulator), num_threads=trainer.num_threads)
        episodes = collect_dataset(
            make_env, self.task, data.recipe, data.num_transitions, seed=data.seed, progress=trainer.progress
        )
        attributes = {**episodes.attributes, "settings": self.collection_settings}
        hdf5.save(dataclasses.replace(episodes, attributes=attributes), path)

    @cached_property
    def collection_settings(self) -> str:
        """Return a short hash of the task and the simulator, by which a dataset collected under others is recognised."""
        settings = [OmegaConf.to_container(self.config[group], resolve=True) for group in ("task", "simulator")]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]

    @cached_property
    def episodes(self) -> Episodes:
        """Return the dataset, collected if there is none."""
        data = self.config.data
        if data.recipe is None or is_table(self.data_path):  # somebody's own data
            return obtain(self.data_path, robot=self.robot)
        expected = {"recipe": data.recipe, "num_transitions": data.num_transitions, "seed": data.seed}
        return obtain(self.data_path, self.collect, self.robot, expected | {"settings": self.collection_settings})

    @cached_property
    def data(self) -> OfflineDataModule:
        """Return the dataset, split and normalised."""
        data, trainer = self.config.data, self.config.trainer
        module: OfflineDataModule = factory(data, without=_OF_THE_SOURCE)(
            self.episodes,
            self.robot,
            seed=self.config.seed,
            split_seed=data.seed,
            num_members=self.config.dynamics.num_members,
            batches_per_epoch=trainer.validate_every,
            normalizer=self._given_normalizer(),
        )
        return module

    @cached_property
    def findings(self) -> list[Finding]:
        """Return what the audit has to say about the dataset."""
        data, commands = self.config.data, self.task.command_range
        settings = AuditSettings(
            data.history + data.forecast,
            commands,
            dict(data.fractions),
            self._given_normalizer(),
            step_dt=self.task.step_dt,
            task=self.task,
        )
        return examine(self.episodes, self.robot, settings, f"The data file {self.data_path}")

    def _given_normalizer(self) -> Normalizer | None:
        """Return the normaliser of the weights that training starts from, where they are of unknown data; else None: fit one."""
        start = self.config.dynamics.start_from
        world_model = None if start is None else WorldModel.load(Path(start))
        return None if world_model is None or world_model.knows_its_data else world_model.normalizer

    @cached_property
    def data_hash(self) -> str:
        """Return the hash that names the dataset."""
        return self.episodes.content_hash()

    # -- world model ------------------------------------------------------------------------------------------------------

    def new_dynamics(self, extension_dim: int | None = None) -> tuple[nn.Module, dict[str, Any]]:
        """Return an untrained ensemble and its architecture: kind and constructor arguments.

        Args:
            extension_dim: X; None for that of the data.
        """
        make = factory(self.config.dynamics, without=_OF_THE_TRAINING)
        robot = self.robot
        arguments = dict(make.keywords) | {
            "state_dim": robot.state_layout.size,
            "action_dim": robot.num_joints,
            "contact_dim": robot.contact_layout.size,
            "seed": self.config.seed,
        }
        extension_dim = self.episodes.extension_dim if extension_dim is None else extension_dim
        if extension_dim:
            arguments["extension_dim"] = extension_dim
        model: nn.Module = make.func(**arguments)
        return model, {"kind": kind_of(model)} | arguments

    @cached_property
    def loss(self) -> LossSettings:
        """Return the settings of the world model's loss."""
        weights = {name: weight for name, weight in self.config.dynamics.loss.weights.items() if weight is not None}
        settings: LossSettings = factory(self.config.dynamics.loss)(history=self.config.data.history, weights=weights)
        if self.config.dynamics.freeze_auxiliary and self.config.dynamics.start_from is None:
            raise ConfigError("dynamics.freeze_auxiliary keeps weights as they are, so dynamics.start_from must say whose.")
        return settings

    def trained(self, model: nn.Module) -> DynamicsModule:
        """Return the Lightning module that trains ``model``."""
        columns, weighed = self.episodes.extension_dim, EXTENSION in self.loss.weights
        if columns and not weighed:
            raise ConfigError(
                f"The data have an extension of {columns} columns, but its loss has no weight; give "
                "dynamics.loss.weights.extension=1.0."
            )
        if weighed and not columns:
            raise ConfigError("The data have no extension to be predicted; leave dynamics.loss.weights.extension at null.")
        return DynamicsModule(
            model,
            self.loss,
            max_steps=self.config.trainer.max_steps,
            validation_horizon=self.config.data.validation_horizon,
            seed=self.config.seed,
            **self.config.dynamics.optimizer,
        )

    @cached_property
    def trainer_settings(self) -> TrainerSettings:
        """Return how long the world model is trained."""
        settings: TrainerSettings = factory(self.config.trainer, TrainerSettings, without=("num_threads", "matmul_precision"))()
        return settings

    # -- imagination ------------------------------------------------------------------------------------------------------

    @property
    def penalty_fit(self) -> PenaltyFit:
        """Return what of the penalty is fitted to a world model."""
        fit = PenaltyFit.of(self.config.penalty)
        fit.check(self.config.dynamics.num_members, self.config.data.fractions.get("calibration", 0.0))
        return fit

    def penalty(self, world_model: WorldModel | None = None, path: Path | None = None) -> Penalty:
        """Return the penalty, fitted (if so configured) to how much this model's members disagree and err on held-out episodes.

        Args:
            path: where to write what was fitted.
        """
        fit = self.penalty_fit
        fitted = {} if world_model is None else self._fit_penalty(fit, world_model)
        if path is not None and fitted and world_model is not None:
            write_json(path, {"model_hash": world_model.content_hash()} | fitted_values(fitted))
        penalty: Penalty = factory(self.config.penalty, without=_OF_THE_FIT)(step_dt=self.task.step_dt, **fitted)
        return penalty

    def _fit_penalty(self, fit: PenaltyFit, world_model: WorldModel) -> dict[str, Any]:
        fitted: dict[str, Any] = {}
        if fit.needs_calibration:
            if not world_model.knows_its_data:
                _log.warning(
                    "It is not known what data the world model was trained on; if the calibration episodes are among them, the "
                    "penalty may be too optimistic."
                )
            ids, horizon = self.data.splits["calibration"], self.config.imagination.horizon_steps
            fitted = fit.arguments(rehearse(world_model, self.episodes, ids, horizon), self.robot.state_layout)
        if fit.centred and fit.method is None:
            length = world_model.history + self.config.data.forecast
            window = self.data.windows("validation", length, 256, world_model.normalizer)
            estimate = uncertainty_estimate(fit.estimate, fitted.get("dimension_weights"))
            fitted["typical"] = typical_disagreement(world_model, window, estimate)
        return fitted

    @property
    def device_name(self) -> str:
        """Return where imagination and policy are configured to run; "auto" is one of the places."""
        return str(self.config.imagination.get("device", "cpu"))  # runs of old have no such key

    @cached_property
    def imagination_device(self) -> torch.device:
        """Return where policies are optimised in imagination."""
        device = find_device(self.device_name)
        if self.device_name == "auto":
            _log.info("Imagination and policy run on %s (imagination.device=auto).", device)
        return device

    @property
    def step_rules(self) -> dict[str, Any]:
        """Return how imagined episodes go on and end: what a dream that is only to be measured has of the configuration."""
        return {name: self.config.imagination[name] for name in STEP_RULES}

    def imagined(self, world_model: WorldModel, start_rows: torch.Tensor, seed: int, **changes: Any) -> ImaginedEnv:
        """Return the imagined environment of the configuration, on its device, with ``changes`` of its arguments."""
        arguments = {"seed": seed, "device": self.imagination_device} | changes
        if "penalty" not in arguments:
            arguments["penalty"] = self.penalty(world_model)
        env: ImaginedEnv = factory(self.config.imagination, without=("device",))(
            world_model=world_model, task=self.task, episodes=self.episodes, start_rows=start_rows, **arguments
        )
        return env

    # -- policy -----------------------------------------------------------------------------------------------------------

    @cached_property
    def policy_settings(self) -> PolicySettings:
        """Return how the policy is optimised."""
        settings: PolicySettings = factory(self.config.policy, PolicySettings, without=("checkpoint",))()
        return settings

    # -- logging ----------------------------------------------------------------------------------------------------------

    def loggers(self, logs: Path, stage: str) -> list[Any]:
        """Return the stage's own loggers, each in a folder of its own."""
        os.environ.setdefault("WANDB_MODE", "offline")  # no login, no upload, unless the user says so
        return [
            factory(spec)(save_dir=str(logs.resolve() / name), name=stage)
            for name, spec in (self.config.get("logger") or {}).items()
        ]
