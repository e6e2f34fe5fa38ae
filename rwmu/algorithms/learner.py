"""What the algorithms share: a task, a world model's recipe, a penalty, a dream, a policy's recipe."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import nn

from rwmu.algorithms.workplace import Workplace
from rwmu.data.datamodule import OfflineDataModule
from rwmu.data.settings import DataSettings
from rwmu.data.windows import window_starts
from rwmu.dynamics.fit import Fitter
from rwmu.dynamics.training import TrainerSettings
from rwmu.dynamics.world_model import WorldModel
from rwmu.imagination.env import ImaginedEnv
from rwmu.imagination.fitting import PenaltyRecipe
from rwmu.imagination.rules import DreamRules
from rwmu.interfaces import Penalty
from rwmu.policy.learn import PolicySettings
from rwmu.tasks.velocity import VelocityTask

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Learner:
    """Learn a policy inside a learnt model.

    Attributes:
        task: what is rewarded and observed, in the dream as in the simulator.
        dynamics: the ensemble's class and its sizes. trainer: how it is fitted.
        penalty: u and lambda, or how they are fitted to a model. imagination: how dreams go on and end.
        policy: how PPO starts and goes on.
        seed: of models, dreams and policies.
        grows_data: whether it collects; a model that it starts from may then have been trained on other data.
    """

    task: VelocityTask
    dynamics: partial[nn.Module]
    trainer: TrainerSettings
    penalty: PenaltyRecipe | Penalty
    imagination: DreamRules
    policy: PolicySettings
    seed: int = 0
    grows_data: ClassVar[bool] = False

    def check(self, data: DataSettings) -> None:
        """Refuse, before anything is collected, settings that do not go together."""

    def run(self, data: OfflineDataModule, place: Workplace) -> None:
        """Go from data to a policy: ``dynamics.pt`` and ``policy.pt`` among the checkpoints of ``place``; each step once."""
        raise NotImplementedError

    def world_model(self, data: OfflineDataModule, place: Workplace) -> WorldModel:
        """Return the world model of ``place``, frozen; ``data`` are those of :meth:`data_in`."""
        return self.fitter.load(place.world_model, data)

    def data_in(self, data: OfflineDataModule, place: Workplace) -> OfflineDataModule:
        """Return the data that a run has, which began with ``data``: those themselves, extended by what it has collected."""
        return data

    @property
    def fitter(self) -> Fitter:
        """Return what fits world models."""
        return Fitter(self.dynamics, self.trainer, self.seed)

    def fitted_penalty(self, world_model: WorldModel, data: OfflineDataModule) -> tuple[Penalty, dict[str, Any]]:
        """Return the penalty, fitted (if it is a recipe) to what this model does not know of held-out episodes, and the fit."""
        if not isinstance(self.penalty, PenaltyRecipe):
            return self.penalty, {}
        return self.penalty.fit(world_model, data, self.imagination.horizon_steps, self.task.step_dt)

    def dream(
        self,
        world_model: WorldModel,
        data: OfflineDataModule,
        penalty: Penalty,
        rules: DreamRules | None = None,
        seed: int | None = None,
    ) -> ImaginedEnv:
        """Return the imagined environment: every history of the training episodes may be a start.

        Args:
            rules, seed: None for the learner's own.
        """
        rules, seed = rules or self.imagination, self.seed if seed is None else seed
        starts = window_starts(data.episodes.lengths, data.splits["train"], world_model.history)
        env = ImaginedEnv(world_model, self.task, data.episodes, starts, penalty, rules, seed)
        if rules.device == "auto":
            _log.info("Imagination and policy run on %s (imagination.device=auto).", env.device)
        return env
