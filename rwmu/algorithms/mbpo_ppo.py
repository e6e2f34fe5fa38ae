"""MBPO-PPO: a robot that learns as it goes, mostly in its dreams (RWM, arXiv:2501.10100, Algorithm 1).

With a policy (of random weights, or one to be tuned) and first data of any kind, each round:

1. **Collect** some thousand transitions with the policy, falls and all, and add them to the replay D.
2. **Fit** the world models to D, from where they are. What they forecast of the new episodes before tells how far to trust them.
3. **Imagine** from histories in D, for as many steps as the forecasts are good for, and pay r - lambda * u (first, maybe, + u).
4. **Improve** the policy by PPO on what was imagined, a few iterations.

With E = 1 and lambda = 0 this is base RWM. It resumes to the last bit from anywhere in any round.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from rwmu.algorithms.learner import Learner
from rwmu.algorithms.online import Collection, Growth, Schedule, refuse
from rwmu.algorithms.rounds import Rounds, deployed, figures_of, seed_of
from rwmu.algorithms.workplace import Workplace
from rwmu.data import formats
from rwmu.data.datamodule import OfflineDataModule
from rwmu.data.settings import DataSettings
from rwmu.dynamics.world_model import WorldModel
from rwmu.files import copy_file, read_torch, write_torch
from rwmu.imagination.penalty import DisagreementBonus
from rwmu.interfaces import Penalty
from rwmu.loggers import no_loggers
from rwmu.measure.settings import EvaluationSettings
from rwmu.policy.learn import Onward, learn_policy
from rwmu.policy.optimise import RESUME_FILE
from rwmu.policy.rsl_rl import PolicyActor, load_actor, new_actor
from rwmu.simulators.env import RobotEnv


@dataclass(frozen=True, kw_only=True)
class MbpoPpo(Learner):
    """The algorithm.

    Attributes:
        make_env: makes the simulator, called with ``num_envs``, ``seed`` and what ``collection.simulator`` says.
        collection, schedule, growth: of the rounds. evaluation: how a policy is measured between them.
    """

    make_env: Callable[..., RobotEnv]
    evaluation: EvaluationSettings
    collection: Collection
    schedule: Schedule
    growth: Growth
    grows_data: ClassVar[bool] = True

    def check(self, data: DataSettings) -> None:
        """Refuse, before anything is collected, settings that do not go together."""
        refuse(self.collection, self.schedule, self.growth, data, self.trainer, self.policy)

    def run(self, data: OfflineDataModule, place: Workplace) -> None:
        """Go from first data to a policy, round by round; what is done is not done again."""
        rounds = Rounds(place)
        for number in range(1, self.schedule.rounds + 1):
            rounds.once("data", number, self.collect, data)
            self._extend(number, rounds, data)
            rounds.once("dynamics", number, self.fit, data)
            rounds.once("policy", number, self.improve, data)
            if self.schedule.measures(number):
                rounds.once("deployment", number, self.measure, data)
            rounds.close(number)
        rounds.hand_over("dynamics", place.world_model)
        rounds.hand_over("policy", place.policy)

    # -- 1. collect -----------------------------------------------------------------------------------------------------------

    def collect(self, number: int, rounds: Rounds, data: OfflineDataModule) -> None:
        """Let the policy act and keep what happened, once the world model has foretold it."""
        path = rounds.episodes(number)
        if not path.is_file():
            how = (self._policy_after(number - 1, rounds), seed_of(self.seed, number), rounds.place.progress)
            formats.save(self.collection.collect(self.make_env, *how), path)
        forecast = self.growth.judge(self._model_before(number, rounds, data), episodes := formats.load(path))
        rounds.note(number, **figures_of(data.episodes, episodes), **forecast, **self.growth.allowed(forecast["trusted_steps"]))

    def _policy_after(self, number: int, rounds: Rounds) -> PolicyActor:
        if path := self._latest_policy(number, rounds):
            return load_actor(path, self.task.robot)
        return new_actor(self.policy.ppo, self.task, self.seed)

    def _latest_policy(self, number: int, rounds: Rounds) -> Path | None:
        return rounds.latest("policy.pt", number) or (Path(given) if (given := self.policy.checkpoint) else None)

    def _extend(self, number: int, rounds: Rounds, data: OfflineDataModule) -> None:
        while data.num_rounds <= number:
            data.extend(formats.load(rounds.episodes(data.num_rounds)))
            data.forget(self.schedule.replay)

    def data_in(self, data: OfflineDataModule, place: Workplace) -> OfflineDataModule:
        """Return the data with the rounds that have been collected."""
        self._extend((rounds := Rounds(place)).collected(), rounds, data)
        return data

    # -- 2. fit ---------------------------------------------------------------------------------------------------------------

    def fit(self, number: int, rounds: Rounds, data: OfflineDataModule) -> None:
        """Fit the ensemble to the replay, from where it is."""
        torch.manual_seed(seed_of(self.seed, number))
        fitter, loggers, training = self.fitter, rounds.place.loggers, rounds.folder(number) / "training"
        if number > 1:
            fitter, loggers = replace(fitter, settings=self.schedule.refitting(self.trainer)), no_loggers
            data.load_state_dict(dict(read_torch(rounds.stream(number - 1), "place in the windows", "that of the round before")))
        before = self._model_before(number, rounds, data)
        fitter.fit(data, training, loggers, rounds.place.progress, start=before).save(rounds.model(number))
        write_torch(rounds.stream(number), data.state_dict())
        shutil.rmtree(training)

    def _model_before(self, number: int, rounds: Rounds, data: OfflineDataModule) -> WorldModel | None:
        path = rounds.model(number - 1) if number > 1 else self.trainer.start_from
        return None if path is None else self.fitter.load(Path(path), data, of_these_data=False)

    # -- 3. imagine, and 4. improve -------------------------------------------------------------------------------------------

    def improve(self, number: int, rounds: Rounds, data: OfflineDataModule) -> None:
        """Improve the policy in dreams of the new model, unless it is too early."""
        told, done = rounds.of(number), rounds.of(number - 1).get("iterations", 0)
        iterations = done + (told["updates"] if number > self.schedule.warmup_rounds else 0)
        if iterations > done:
            seed, place, folder = seed_of(self.seed, number), rounds.place, rounds.place.checkpoints / "policy"
            torch.manual_seed(seed)
            rules = replace(self.imagination, horizon_steps=told["horizon_steps"])
            world_model = self.fitter.load(rounds.model(number), data)
            dream = self.dream(world_model, data, self._penalty(number, world_model, data), rules, seed)
            onward = Onward(self._latest_policy(number - 1, rounds), done, self.schedule.least_std)
            where = (folder, place.loggers("policy"), seed, place.progress, onward)
            copy_file(learn_policy(dream, data, replace(self.policy, iterations=iterations), *where), rounds.policy(number))
            (folder / RESUME_FILE).unlink()  # of this dream: the next round begins in another
        rounds.note(number, iterations=iterations)

    def _penalty(self, number: int, world_model: WorldModel, data: OfflineDataModule) -> Penalty:
        if self.schedule.is_curious(number):
            return DisagreementBonus(self.schedule.curiosity, self.task.step_dt)
        return self.fitted_penalty(world_model, data)[0]

    def measure(self, number: int, rounds: Rounds, data: OfflineDataModule) -> None:
        """Deploy the policy in the simulator and in its dream; nobody learns from it."""
        env = self.make_env(num_envs=self.schedule.measure_envs, seed=self.evaluation.seed)
        both = self._policy_after(number, rounds), self.fitter.load(rounds.model(number), data)
        rounds.note(number, deployed=deployed(env, *both, data, self.evaluation, self.imagination))
