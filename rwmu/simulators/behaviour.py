"""Who acts while data are collected: which policies, how noisily, how often they take turns, and how much is spent on falls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rwmu.interfaces import Actor
from rwmu.simulators.actors import BehaviourPolicy
from rwmu.simulators.random_streams import RandomStreams

SWITCHED = "mixed"  # level of an episode in which more than one policy acted

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Recipe:
    """Shares of what an episode can be; every choice is drawn per episode.

    Attributes:
        levels: behaviour policy -> share of the episodes that it starts.
        noise_scales: factors on the policy's own action noise, drawn alike; 0 acts deterministically, 1 as in training.
        noises: of an episode, drawn alike: how long its noise stays alike and the period of its swing, both in s; see
            :class:`CorrelatedNoise`.
        switching: share of the episodes in which another level takes over now and then.
        switch_interval_s: mean time between two switches, s.
        falls: share of the episodes that are meant to end in a fall: bursts of strong action noise on a walking robot.
        burst_levels: the levels that such episodes start from, alike.
        burst_scale: range of the noise factor within a burst. burst_s, rest_s: mean length of a burst and of the time between, s.
    """

    levels: Mapping[str, float]
    noise_scales: tuple[float, ...] = (0.0, 0.3, 1.0, 1.5)
    noises: tuple[tuple[float, float], ...] = ((0.0, 0.0),)
    switching: float = 0.0
    switch_interval_s: float = 5.0
    falls: float = 0.0
    burst_levels: tuple[str, ...] = ("medium", "good", "expert")
    burst_scale: tuple[float, float] = (2.0, 5.0)
    burst_s: float = 0.4
    rest_s: float = 3.0


_ALL = {"random": 0.06, "stand": 0.1, "poor": 0.2, "medium": 0.2, "good": 0.2, "expert": 0.24}

RECIPES: dict[str, Recipe] = {
    "random": Recipe({"random": 1.0}, noise_scales=(1.0,)),
    "medium": Recipe({"medium": 1.0}, noise_scales=(1.0,)),
    "expert": Recipe({"expert": 1.0}, noise_scales=(1.0,)),
    "mixed": Recipe(_ALL, switching=0.25, falls=0.15),
    # For a robot of which nothing is known: noise about the default posture, weak to violent, quick to slow, and legs that swing.
    "exploration": Recipe(
        {"random": 0.8, "stand": 0.2},
        noise_scales=(0.3, 0.6, 1.0, 1.5, 2.5),
        noises=((0.0, 0.0), (0.05, 0.0), (0.15, 0.0), (0.4, 0.0), (2.0, 0.35), (2.0, 0.5), (2.0, 0.7), (2.0, 1.0)),
    ),
}

OF_POLICIES = "policies"  # name of the recipe of policies that somebody gives


def recipe_of(policies: Sequence[str]) -> Recipe:
    """Return a recipe of given policies, all alike, with the switches and falls of ``mixed``, and with what any robot can do."""
    shares = dict.fromkeys(policies, 0.84 / len(policies)) | {name: _ALL[name] for name in ("random", "stand")}
    return replace(RECIPES["mixed"], levels=shares, burst_levels=tuple(policies))


class Behaviour:
    """Who acts in each environment, episode by episode: one policy, all the time, unless a subclass has it otherwise."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    def begin(self, envs: Indices, tick: int) -> None:
        """Decide what the new episodes of ``envs`` are; ``tick`` counts the steps of the collection."""

    @torch.no_grad()
    def act(self, observation: Tensor, tick: int) -> Tensor:
        """Return actions ``[B, A]`` float32 for observations ``[B, O]``."""
        return self._actor(observation)

    def evolve(self, tick: int) -> None:
        """Decide what changes for the next step."""

    def label(self, env: int) -> str:
        """Return the level of the episode that runs in environment ``env``."""
        return "policy"


class CorrelatedNoise:
    """Standard normal noise of each environment that stays alike for a while, and may swing.

    ``n' = rho n + sqrt(1 - rho^2) e``; where it swings, ``n`` is the real part of a complex number that also turns by one step's
    share of a period. White noise averages out before a leg has moved. Noise that lasts lifts feet and pushes the body about;
    noise that swings moves every joint to and fro, all with one period and with phases that drift, as gaits do.

    Args:
        num_envs, num_actions: B, A.
        step_dt: s. random: draws.
    """

    def __init__(self, num_envs: int, num_actions: int, step_dt: float, random: RandomStreams) -> None:
        self._step_dt, self._random, self._all = step_dt, random, np.arange(num_envs)
        self._noise, self._quadrature = np.zeros((num_envs, num_actions)), np.zeros((num_envs, num_actions))
        self._rho, self._cos, self._sin = (np.full((num_envs, 1), value) for value in (0.0, 1.0, 0.0))

    def begin(self, envs: Indices, correlation_s: NDArray[np.float64], period_s: NDArray[np.float64] | None = None) -> None:
        """Begin episodes, from no noise.

        Args:
            correlation_s: ``[len(envs)]``, within about which the noise decorrelates; 0 for white noise.
            period_s: ``[len(envs)]``, of its swing; 0, or None, where it does not swing.
        """
        self._rho[envs, 0] = correlation_s / (correlation_s + self._step_dt)  # quotients are the same on every processor
        self._noise[envs] = self._quadrature[envs] = 0.0
        period_s = np.zeros(len(envs)) if period_s is None else period_s
        # The tangent of half of the turn of a step, nearly.
        half_angle = np.divide(np.pi * self._step_dt, period_s, out=np.zeros(len(envs)), where=period_s > 0.0)
        self._cos[envs, 0] = (1.0 - half_angle**2) / (1.0 + half_angle**2)
        self._sin[envs, 0] = 2.0 * half_angle / (1.0 + half_angle**2)

    def draw(self, tick: int) -> NDArray[np.float64]:
        """Return the noise of the next step, ``[B, A]``."""
        width, fresh_share = self._noise.shape[1], np.sqrt(1.0 - self._rho**2)
        turned = self._cos * self._noise - self._sin * self._quadrature
        if self._sin.any():
            turned_quadrature = self._sin * self._noise + self._cos * self._quadrature
            fresh = self._random.normal("quadrature", tick, self._all, width)
            self._quadrature = self._rho * turned_quadrature + fresh_share * fresh
        self._noise = self._rho * turned + fresh_share * self._random.normal("action", tick, self._all, width)
        return self._noise.copy()


class Explorer(Behaviour):
    """One policy acts everywhere, with noise whose strength is drawn for each episode.

    Args:
        mean, std: the policy's mean actions ``[B, A]`` of observations ``[B, O]``, and the standard deviation ``[A]`` of its noise.
        noise_scales: factors on ``std``, drawn alike; 0 acts deterministically.
        correlation_s: how long the noise stays alike, s.
        num_envs: B. step_dt: s. random: draws.
    """

    def __init__(
        self,
        mean: Actor,
        std: Tensor,
        noise_scales: Sequence[float],
        correlation_s: float,
        num_envs: int,
        step_dt: float,
        random: RandomStreams,
    ) -> None:
        super().__init__(mean)
        self._std, self._random = std, random
        self._scales, self._correlation_s = tuple(noise_scales), correlation_s
        self._noise = CorrelatedNoise(num_envs, len(std), step_dt, random)
        self._scale = np.zeros(num_envs)

    def begin(self, envs: Indices, tick: int) -> None:
        """Draw how noisy the new episodes of ``envs`` are."""
        draws = self._random.uniform("episode", tick, envs, 1)[:, 0]
        self._scale[envs] = _pick(self._scales, draws)
        self._noise.begin(envs, np.full(len(envs), self._correlation_s))

    @torch.no_grad()
    def act(self, observation: Tensor, tick: int) -> Tensor:
        """Return actions ``[B, A]`` float32 for observations ``[B, O]``."""
        noise = torch.from_numpy((self._scale[:, None] * self._noise.draw(tick)).astype(np.float32))
        return self._actor(observation) + self._std * noise.to(observation.device)


class Mixture(Behaviour):
    """Who acts in each environment, and how noisily: the policies ``levels`` that the recipe names."""

    def __init__(
        self,
        recipe: Recipe,
        levels: Mapping[str, BehaviourPolicy],
        num_envs: int,
        step_dt: float,
        random: RandomStreams,
    ) -> None:
        self._recipe, self._step_dt, self._random = recipe, step_dt, random
        self.names = list(recipe.levels)
        self._actors = [levels[name] for name in self.names]
        shares = np.array([recipe.levels[name] for name in self.names])
        self._cumulative = np.cumsum(shares / shares.sum())
        burst = recipe.burst_levels if recipe.falls > 0.0 else ()
        self._burst_levels = np.array([self.names.index(name) for name in burst], dtype=np.int64)
        self.level, self._all = np.zeros(num_envs, dtype=np.int64), np.arange(num_envs)
        self.switched, self._switches, self._bursts = (np.zeros(num_envs, dtype=bool) for _ in range(3))
        self._scale, self._burst_scale = np.zeros(num_envs), np.zeros(num_envs)
        self._noise = CorrelatedNoise(num_envs, len(self._actors[0].std), step_dt, random)

    def begin(self, envs: Indices, tick: int) -> None:
        """Draw what the new episodes of ``envs`` are."""
        recipe, draws = self._recipe, self._random.uniform("episode", tick, envs, 5)
        self.level[envs] = self._pick_level(draws[:, 0])
        self._scale[envs] = self._pick_scale(draws[:, 1])
        self._bursts[envs] = draws[:, 2] < recipe.falls
        self._switches[envs] = (draws[:, 3] < recipe.switching) & ~self._bursts[envs]
        self._burst_scale[envs] = 0.0
        self.switched[envs] = False
        noises = _pick(recipe.noises, self._random.uniform("correlation", tick, envs, 1)[:, 0])
        self._noise.begin(envs, noises[:, 0], noises[:, 1])
        bursting = envs[self._bursts[envs]]
        if len(bursting):
            chosen = (draws[self._bursts[envs], 4] * len(self._burst_levels)).astype(np.int64)
            self.level[bursting] = self._burst_levels[chosen]

    def act(self, observation: Tensor, tick: int) -> Tensor:
        """Return actions ``[B, A]`` float32 for observations ``[B, O]``."""
        rows = observation.cpu().numpy()
        noise = self._noise.draw(tick) * np.maximum(self._scale, self._burst_scale)[:, None]
        action = np.empty_like(noise)
        for index, actor in enumerate(self._actors):
            mine = self.level == index
            if mine.any():
                action[mine] = actor.mean(rows[mine]) + actor.std * noise[mine]
        return torch.from_numpy(action.astype(np.float32))

    def label(self, env: int) -> str:
        """Return the level of the episode that runs in environment ``env``."""
        return SWITCHED if self.switched[env] else self.names[self.level[env]]

    def evolve(self, tick: int) -> None:
        """Switch levels, start and stop bursts, for the next step."""
        recipe, draws = self._recipe, self._random.uniform("evolve", tick, self._all, 4)
        switching = self._switches & (draws[:, 0] < self._step_dt / recipe.switch_interval_s)
        level = np.where(switching, self._pick_level(draws[:, 1]), self.level)
        self.switched |= level != self.level
        self.level = level
        self._scale = np.where(switching, self._pick_scale(draws[:, 2]), self._scale)
        in_burst = self._burst_scale > 0.0
        mean_s = np.where(in_burst, recipe.burst_s, recipe.rest_s)
        toggled = self._bursts & (draws[:, 3] < self._step_dt / mean_s)
        low, high = recipe.burst_scale
        new_scale = np.where(in_burst, 0.0, low + (high - low) * draws[:, 2])
        self._burst_scale = np.where(toggled, new_scale, self._burst_scale)

    def _pick_level(self, draws: NDArray[np.float64]) -> Indices:
        return np.minimum(np.searchsorted(self._cumulative, draws, side="right"), len(self.names) - 1).astype(np.int64)

    def _pick_scale(self, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        return _pick(self._recipe.noise_scales, draws)


def _pick(choices: Sequence[float] | Sequence[tuple[float, ...]], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the choice, a number or a row of them, that each draw in 0..1 falls on, all equally likely."""
    known = np.array(choices)
    return np.asarray(known[(draws * len(known)).astype(np.int64)])
