"""MOPO-PPO: learn a policy from logged data alone, inside a model that is paid for what it knows (RWM-U, arXiv:2504.16680).

With data D of a robot, collected by any policies:

1. **Fit** an ensemble of E world models p_1 .. p_E to D (:mod:`rwmu.dynamics`), Gaussian NLL of autoregressive forecasts.
2. **Imagine** B episodes at a time (:mod:`rwmu.imagination`): start from histories in D, follow one member each, and pay

       r~ = r(s, a) - lambda * u(s, a),    u: how much the members' means disagree (Eq. 5).

3. **Improve** the policy by PPO on what was imagined (:mod:`rwmu.policy`); repeat 2 and 3.

With E = 1 and lambda = 0 this is base RWM (arXiv:2501.10100) on logged data, to the last bit. No step asks a simulator.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rwmu.algorithms.learner import Learner
from rwmu.algorithms.workplace import Workplace
from rwmu.data.datamodule import OfflineDataModule
from rwmu.dynamics.world_model import WorldModel
from rwmu.files import copy_file
from rwmu.imagination.fitting import save_fitted
from rwmu.policy.learn import learn_policy
from rwmu.policy.rsl_rl import load_actor


class MopoPpo(Learner):
    """The algorithm; :class:`~rwmu.algorithms.learner.Learner` says what it is configured with."""

    def run(self, data: OfflineDataModule, place: Workplace) -> None:
        """Go from data to a policy: ``dynamics.pt`` and ``policy.pt`` among the checkpoints of ``place``; each step once."""
        if place.begins("dynamics"):
            with place.step("dynamics"):
                self.fit(data, place)
        if place.begins("policy"):
            with place.step("policy"):
                self.improve(self.world_model(data, place), data, place)

    # -- 1. fit ---------------------------------------------------------------------------------------------------------------

    def fit(self, data: OfflineDataModule, place: Workplace) -> WorldModel:
        """Fit the ensemble to the training episodes, or take the one that the configuration names."""
        torch.manual_seed(self.seed)
        given = self.trainer.checkpoint
        if given is not None:
            world_model = self.fitter.load(Path(given), data)
        else:
            world_model = self.fitter.fit(data, place.checkpoints / "dynamics", place.loggers, place.progress)
        world_model.save(place.world_model)
        return world_model

    def world_model(self, data: OfflineDataModule, place: Workplace) -> WorldModel:
        """Return the world model of ``place``, frozen.

        The one that the configuration names is copied first: the run stays that of this model, whatever becomes of the file.
        """
        if not place.world_model.is_file() and self.trainer.checkpoint is not None:
            self.fitter.load(Path(self.trainer.checkpoint), data)  # refuses what does not fit
            copy_file(Path(self.trainer.checkpoint), place.world_model)
        return super().world_model(data, place)

    # -- 2. imagine, and 3. improve -------------------------------------------------------------------------------------------

    def improve(self, world_model: WorldModel, data: OfflineDataModule, place: Workplace) -> None:
        """Optimise a policy in imagination, or take the one that the configuration names."""
        torch.manual_seed(self.seed)
        given = self.policy.checkpoint
        if given is not None:
            load_actor(Path(given), self.task.robot)  # refuses what does not fit
            copy_file(Path(given), place.policy)
            return
        penalty, fitted = self.fitted_penalty(world_model, data)
        if fitted:
            save_fitted(place.checkpoints / "penalty.json", world_model.content_hash(), fitted)
        dream = self.dream(world_model, data, penalty)
        arguments: tuple[Any, ...] = (place.checkpoints / "policy", place.loggers("policy"), self.seed, place.progress)
        copy_file(learn_policy(dream, data, self.policy, *arguments), place.policy)
