"""Fit a world model to data: the ensemble of a configuration, trained, with its normaliser and what it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from rwmu.data.datamodule import OfflineDataModule
from rwmu.dynamics.losses import EXTENSION
from rwmu.dynamics.module import DynamicsModule
from rwmu.dynamics.training import TrainerSettings, train
from rwmu.dynamics.world_model import WorldModel, kind_of
from rwmu.errors import CheckpointError, ConfigError
from rwmu.loggers import no_loggers
from rwmu.robots.robot import Robot

ODDS_RATIO = "termination_odds_ratio"  # that a world model's termination head has been corrected by, in its file

Loggers = Callable[[str], list[Any]]  # a stage's name -> its loggers


@dataclass(frozen=True)
class Fitter:
    """Fit world models of one architecture to data, or take over those that were fitted before.

    Attributes:
        make: the ensemble's class with all arguments but the sizes of the robot and the seed.
        settings: how it is trained. seed: of its initialisation and its noise.
    """

    make: partial[nn.Module]
    settings: TrainerSettings
    seed: int

    @property
    def model_class(self) -> type[nn.Module]:
        """Return the class of the ensemble, which no file may choose."""
        made: Any = self.make.func
        return made  # type: ignore[no-any-return]

    @property
    def num_members(self) -> int:
        """Return E."""
        return int(self.make.keywords["num_members"])

    def new_model(self, robot: Robot, extension_dim: int = 0) -> tuple[nn.Module, dict[str, Any]]:
        """Return an untrained ensemble and its architecture: kind and constructor arguments.

        Args:
            extension_dim: X, of the data.
        """
        sizes = {
            "state_dim": robot.state_layout.size,
            "action_dim": robot.num_joints,
            "contact_dim": robot.contact_layout.size,
            **({"extension_dim": extension_dim} if extension_dim else {}),
        }
        arguments = {**self.make.keywords, **sizes, "seed": self.seed}
        try:
            model = self.make.func(**arguments)
        except TypeError as error:
            raise ConfigError(f"dynamics cannot be made with these arguments: {' '.join(str(error).split())}.") from error
        return model, {"kind": kind_of(type(model)), **arguments}

    def check(self, robot: Robot) -> None:
        """Refuse, before anything is collected, an architecture that cannot be built or trained."""
        self.new_model(robot)
        for given in (self.settings.checkpoint, self.settings.start_from):
            if given is not None:  # what else it must fit is known with the data
                WorldModel.load(Path(given), self.model_class).check_fits(robot)
        if self.make.keywords.get("learn_bounds") and not self.settings.loss.weights["bound"] and self.settings.checkpoint is None:
            raise ConfigError(
                "dynamics.learn_bounds=true trains the bounds of the log standard deviation, but nothing holds them together; give "
                "their loss a weight (trainer.loss.weights.bound=1.0, as published)."
            )

    def fit(
        self,
        data: OfflineDataModule,
        checkpoints: Path,
        loggers: Loggers = no_loggers,
        progress: bool = False,
        start: WorldModel | None = None,
    ) -> WorldModel:
        """Train on ``data`` and return the world model; an interrupted training goes on from ``checkpoints``.

        Args:
            start: whose weights training starts from, trained on other data in the same units; None for those of the settings, if
                any.
        """
        self._check_extension(data)
        model, architecture = self.new_model(data.robot, data.episodes.extension_dim)
        if start is None and self.settings.start_from is not None:
            start = self.load(Path(self.settings.start_from), data)
        odds_before = 1.0 if start is None else _take_over(model, start, data)
        settings = self.settings
        taught = settings.loss.weights["termination"] > 0.0 and not settings.freeze_auxiliary
        if settings.freeze_auxiliary:
            _freeze_auxiliary(model)
        if taught:  # a model trained before knows terminations as rare as they are, but is shown them as often as ever
            _lower_termination_odds(model, 1.0 / odds_before)
        horizon = data.settings.validation_horizon
        module = DynamicsModule(model, settings.loss, settings.max_steps, settings.optimizer, horizon, self.seed)
        fitted: Any = train(module, data, settings, checkpoints, partial(loggers, "dynamics"), progress)
        ratio = odds_before
        if taught:
            ratio = data.train_windows.termination_odds_ratio(settings.loss.scored_rows(data.forecast)) or 1.0
            _lower_termination_odds(fitted, ratio)
        return WorldModel(
            fitted,
            data.normalizer.cpu(),
            data.history,
            data.robot.name,
            data.robot.state_layout.describe(),
            data.data_hash,
            architecture,
            {ODDS_RATIO: ratio},
            extension_normalizer=data.extension_normalizer,
        )

    def load(self, path: Path, data: OfflineDataModule, of_these_data: bool = True) -> WorldModel:
        """Return a world model, frozen; refuse one that does not fit these data and this architecture, naming what differs.

        Args:
            of_these_data: whether it must have been trained on them; else the same robot and units will do.
        """
        world_model = WorldModel.load(path, self.model_class)
        world_model.check_fits(data.robot, data.data_hash if of_these_data else None)
        _, wanted = self.new_model(data.robot, data.episodes.extension_dim)
        found = {**getattr(world_model.dynamics, "arguments", {}), **world_model.architecture, "history": world_model.history}
        for sizes in (found, wanted):
            sizes["side_head_hidden_size"] = sizes.get("side_head_hidden_size") or sizes.get("head_hidden_size")
        for name, value in ({"history": data.history} | wanted).items():
            if name != "seed" and found.get(name) != value:
                raise CheckpointError(
                    f"The world model in {path} has {name} {found.get(name)!r}, but this run is configured for {value!r}."
                )
        if world_model.knows_its_data:
            world_model.normalizer.assert_matches(data.normalizer)
            if world_model.extension_normalizer is not None and data.extension_normalizer is not None:
                world_model.extension_normalizer.assert_matches(data.extension_normalizer)
        return world_model.freeze()

    def check_extension(self, names: Sequence[str], mirrors: Sequence[str]) -> None:
        """Refuse settings that cannot train on data with an extension of these columns.

        Raises:
            ConfigError: names the setting.
        """
        listed = f"The task's terms ({', '.join(names)}) are computed by the simulator and predicted as an extension of the data"
        if EXTENSION not in self.settings.loss.weights:
            raise ConfigError(f"{listed}, whose loss has no weight; give trainer.loss.weights.extension=1.0.")
        if mirrors:
            raise ConfigError(f"{listed}, whose mirror image nobody knows; give 'data.mirrors=[]'.")

    def _check_extension(self, data: OfflineDataModule) -> None:
        columns, weighed = data.episodes.extension_dim, EXTENSION in self.settings.loss.weights
        if columns and not weighed:
            raise ConfigError(
                f"The data have an extension of {columns} columns, but its loss has no weight; give "
                "trainer.loss.weights.extension=1.0."
            )
        if weighed and not columns:
            raise ConfigError("The data have no extension to be predicted; leave trainer.loss.weights.extension at null.")


def _take_over(model: nn.Module, start: WorldModel, data: OfflineDataModule) -> float:
    """Give a model the weights of another; returns what that one's termination odds were lowered by."""
    predicted, known = getattr(start.dynamics, "extension_dim", 0), data.episodes.extension_dim
    if predicted != known:
        raise CheckpointError(
            f"The world model to start from predicts an extension of {predicted} columns, but the data have {known}; train a model "
            "from the start (trainer.start_from=null)."
        )
    model.load_state_dict(start.dynamics.state_dict())
    return float(start.training.get(ODDS_RATIO, 1.0))


def _freeze_auxiliary(model: nn.Module) -> None:
    freeze = getattr(model, "freeze_auxiliary", None)
    if not callable(freeze):
        raise ConfigError(f"A {type(model).__name__} cannot train a part of itself; give trainer.freeze_auxiliary=false.")
    freeze()


def _lower_termination_odds(model: nn.Module, ratio: float) -> None:
    correct = getattr(model, "correct_termination_odds", None)
    if callable(correct):  # not every model has a head of its own for them
        correct(ratio)
