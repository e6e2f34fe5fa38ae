"""What a dataset is made of: which policies act, how noisily, how often they take turns, and how much is spent on falls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rwmu.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """Shares of what an episode can be; every choice is drawn per episode.

    Attributes:
        levels: behaviour policy -> share of the episodes that it starts.
        noise_scales: factors on the policy's own action noise, drawn alike; 0 acts deterministically, 1 as in training.
        switching: share of the episodes in which another level takes over now and then.
        switch_interval_s: mean time between two switches, s.
        falls: share of the episodes that are meant to end in a fall: bursts of strong action noise on a walking robot.
        burst_levels: the levels that such episodes start from, alike.
        burst_scale: range of the noise factor within a burst. burst_s, rest_s: mean length of a burst and of the time between, s.
    """

    levels: Mapping[str, float]
    noise_scales: tuple[float, ...] = (0.0, 0.3, 1.0, 1.5)
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
}


def recipe_named(name: str) -> Recipe:
    """Return a recipe by name."""
    if name not in RECIPES:
        raise ConfigError(f"There is no data recipe '{name}'; there are {', '.join(RECIPES)}.")
    return RECIPES[name]
