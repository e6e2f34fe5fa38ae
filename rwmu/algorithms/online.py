"""What an online algorithm is configured with: how it collects, what happens when, how far its model is trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Annotated, Any

import torch
from pydantic import Field

from rwmu.data.episodes import Episodes
from rwmu.data.settings import DataSettings
from rwmu.dynamics.training import TrainerSettings
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import ConfigError, DataError
from rwmu.measure.rollout_error import rollout_error
from rwmu.policy.learn import PolicySettings
from rwmu.policy.rsl_rl import PolicyActor
from rwmu.settings import Count, NotNegative, Positive, WholeNumber, settings
from rwmu.simulators.behaviour import Explorer
from rwmu.simulators.collect import Collector
from rwmu.simulators.env import RobotEnv
from rwmu.simulators.random_streams import RandomStreams

Range = Annotated[tuple[Count, Count], Field(strict=False)]
Scales = Annotated[tuple[NotNegative, ...], Field(strict=False, min_length=1)]

_MOST_DIVERGED = 0.5  # of a round's episodes
_WINDOWS = 200  # on which a forecast is judged


@settings("algorithm.collection")
class Collection:
    """How a round is collected.

    Attributes:
        num_transitions: of a round, at least. num_envs: in which they are collected; every episode begins anew with the round.
        noise_scales: factors on the policy's own action noise, one drawn for each episode; ``[0]`` acts deterministically and
            leaves exploration to the dream.
        correlation_s: how long the noise stays alike, s; 0 for white noise.
        simulator: arguments of the simulator that differ while data are collected (a push, say).
    """

    num_transitions: Count = 10_000
    num_envs: Count = 40
    noise_scales: Scales = (0.0, 0.5, 1.0)
    correlation_s: NotNegative = 0.0
    simulator: Mapping[str, Any] = field(default_factory=dict)

    def collect(self, make_env: Callable[..., RobotEnv], policy: PolicyActor, seed: int, progress: bool = False) -> Episodes:
        """Return episodes of a policy.

        Args:
            make_env: called with ``num_envs``, ``seed`` and what ``simulator`` says. seed: of everything.

        Raises:
            DataError: the simulator diverged too often for what is left to be the robot's.
        """
        env, random = make_env(num_envs=self.num_envs, seed=seed, **self.simulator), RandomStreams(seed)
        noise = (self.noise_scales, self.correlation_s, self.num_envs, env.task.step_dt, random)
        episodes = Collector(env, seed, progress).collect(Explorer(policy, policy.std, *noise), self.num_transitions)
        diverged = int(episodes.attributes["num_diverged"])
        if diverged > _MOST_DIVERGED * episodes.num_episodes:
            raise DataError(
                f"The simulator diverged in {diverged} of {episodes.num_episodes} episodes; give it a smaller time step, or weaker "
                "noise (algorithm.collection.noise_scales)."
            )
        return episodes


@settings("algorithm.schedule")
class Schedule:
    """What happens in which round.

    Attributes:
        rounds: R. warmup_rounds: how many of the first leave the policy as it is.
        replay: transitions that are kept for training; whole rounds are forgotten, the oldest first.
        refit_validations: validations of the model, each after ``trainer.validate_every`` steps, in every round after the first.
        refit_learning_rate: of these; the first round is trained as ``trainer`` says.
        curious_rounds: how many of the first that improve the policy pay for disagreement (``curiosity``, a rate a second) where
            the others charge the penalty.
        least_std: what the standard deviations of the policy's actions are raised to in each round; None leaves them.
        measure_every: rounds between two deployments, whose transitions are not learnt from; 0 for none.
        measure_envs: episodes of each.
    """

    rounds: Count = 60
    warmup_rounds: WholeNumber = 1
    replay: Count = 400_000
    refit_validations: Count = 2
    refit_learning_rate: Positive = 1e-3
    curious_rounds: WholeNumber = 0
    curiosity: NotNegative = 0.5
    least_std: Positive | None = None
    measure_every: WholeNumber = 5
    measure_envs: Count = 32

    def __post_init__(self) -> None:
        if self.warmup_rounds >= self.rounds:
            raise ConfigError(
                f"algorithm.schedule.warmup_rounds is {self.warmup_rounds}, but must be less than rounds ({self.rounds}), for the "
                "policy would never be improved."
            )

    def refitting(self, trainer: TrainerSettings) -> TrainerSettings:
        """Return how a model is trained that has been trained before: short, gently, on whole forecasts."""
        gentle = replace(trainer.optimizer, learning_rate=self.refit_learning_rate, forecast_growth=0.0)
        return replace(trainer, max_steps=self.refit_validations * trainer.validate_every, optimizer=gentle)

    def is_curious(self, number: int) -> bool:
        """Return whether a round pays for disagreement."""
        return number <= self.warmup_rounds + self.curious_rounds

    def measures(self, number: int) -> bool:
        """Return whether the policy is deployed after a round; after the last it is, if ever."""
        return self.measure_every > 0 and (number % self.measure_every == 0 or number == self.rounds)


@settings("algorithm.growth")
class Growth:
    """How long dreams may be, and how much may be learnt in them, by how far the model can be trusted.

    Before a model is fitted to new episodes, it forecasts them. It is trusted for as many steps as its error stays within
    ``trusted_error``; dreams are that long, and updates grow in proportion.

    Attributes:
        trusted_error: root mean square over the state's dimensions, in standard deviations of the data.
        horizon_steps: of dreams, the least and the most. updates: iterations of PPO a round, the least and the most.
    """

    trusted_error: Positive = 0.5
    horizon_steps: Range = (16, 100)
    updates: Range = (10, 30)

    def __post_init__(self) -> None:
        for name in ("horizon_steps", "updates"):
            least, most = getattr(self, name)
            if least > most:
                raise ConfigError(f"algorithm.growth.{name} is [{least}, {most}], but must be the least first.")

    def judge(self, world_model: WorldModel | None, episodes: Episodes) -> dict[str, Any]:
        """Forecast episodes that the model has not seen; return its error at a few horizons and ``trusted_steps``.

        Episodes that are too short for the history and one step say nothing; no model, or none but such episodes, is not trusted.
        """
        curve = [] if world_model is None else self._errors(world_model, episodes)
        trusted = next((k for k, error in enumerate(curve) if not error <= self.trusted_error), len(curve))
        shown = {str(k): curve[k - 1] for k in (1, 8, 24, 100) if k <= len(curve)}
        return {"forecast_error": shown, "trusted_steps": trusted}

    def _errors(self, world_model: WorldModel, episodes: Episodes) -> list[float]:
        longest = min(self.horizon_steps[1], int(episodes.lengths.max()) - world_model.history)
        if longest < 1:
            return []
        found = rollout_error(world_model, episodes, torch.arange(episodes.num_episodes), (longest,), _WINDOWS)
        errors: list[float] = found["curve"]["model"]
        return errors

    def allowed(self, trusted_steps: int) -> dict[str, int]:
        """Return ``horizon_steps`` and ``updates`` of a round whose model is trusted for so many steps."""
        shortest, longest = self.horizon_steps
        fewest, most = self.updates
        share = min(1.0, trusted_steps / longest)
        return {
            "horizon_steps": min(longest, max(shortest, trusted_steps)),
            "updates": fewest + round(share * (most - fewest)),
        }


def refuse(
    collection: Collection,
    schedule: Schedule,
    growth: Growth,
    data: DataSettings,
    trainer: TrainerSettings,
    policy: PolicySettings,
) -> None:
    """Refuse settings that do not go together.

    Raises:
        ConfigError: one sentence.
    """
    if trainer.checkpoint is not None:
        raise ConfigError("trainer.checkpoint names a finished model, but an online run goes on fitting; give trainer.start_from.")
    if policy.init == "clone" and policy.checkpoint is not None:
        raise ConfigError("policy.checkpoint is where an online run starts, so nothing is cloned; give policy=online.")
    if policy.init == "clone" and growth.updates[0] <= policy.critic_warmup_iterations:
        raise ConfigError(
            f"algorithm.growth.updates begins at {growth.updates[0]}, but {policy.critic_warmup_iterations} iterations leave "
            "the clone as it is; give more of them, or a lower policy.critic_warmup_iterations."
        )
    if schedule.replay < max(collection.num_transitions, data.train_rows):
        raise ConfigError(
            f"algorithm.schedule.replay is {schedule.replay} transitions, but must hold a round "
            f"(algorithm.collection.num_transitions is {collection.num_transitions}) and a window ({data.train_rows} rows)."
        )
