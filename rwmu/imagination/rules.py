"""The rules of imagined episodes: how long they last, what ends them, what disturbs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rwmu.errors import ConfigError

STEP_RULES = ("termination", "max_tilt", "sample_aleatoric", "clip")  # how a dream goes on and ends, however it is used


@dataclass(frozen=True)
class DreamRules:
    """Configure imagined episodes.

    Attributes:
        horizon_steps: time-out of an imagined episode; what follows is bootstrapped from the value function.
        termination: ``sample`` draws the termination from the predicted probability; a number terminates above that probability
            (falls are rare: heads seldom exceed 0.5); None ignores the head.
        max_tilt: terminates where the z of the projected gravity exceeds it (-1 upright, 0 on the side); None ignores tilt.
        sample_aleatoric: scale of the predicted noise added to the state fed back; 0 feeds back the mean.
        clip: the normalised state fed back is clamped to +-clip; None does not clamp.
        alive_bonus: reward a second of being alive. A penalty larger than the task's reward makes falling attractive; this, or
            ``termination_penalty``, mends it. Changes the imagined objective only, never the task.
        termination_penalty: subtracted once from the reward on termination.
        max_epistemic: an episode whose members disagree more than this is cut short as if timed out; None never does. For a
            threshold that is known beforehand; ``penalty=truncation`` takes it from the data.
        push_interval_s: mean time between pushes; None for none.
        push_velocity: largest planar velocity that a push adds along x and y, m/s.
        command_resample_steps: how often a new command is drawn; None as the task says.
        random_start: spread the environments' first time-outs over the horizon.
        pool_size: how many warmed-up histories are kept to start from; None for as many as environments.
        pool_refresh_steps: after how many steps the pool is drawn anew.
    """

    horizon_steps: int = 100
    termination: Literal["sample"] | float | None = "sample"
    max_tilt: float | None = -0.5
    sample_aleatoric: float = 0.0
    clip: float | None = 12.0
    alive_bonus: float = 0.0
    termination_penalty: float = 0.0
    max_epistemic: float | None = None
    push_interval_s: float | None = None
    push_velocity: float = 0.5
    command_resample_steps: int | None = None
    random_start: bool = True
    pool_size: int | None = None
    pool_refresh_steps: int = 240

    def __post_init__(self) -> None:
        for name in ("horizon_steps", "pool_refresh_steps", "pool_size", "command_resample_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"imagination.{name} is {value}, but must be 1 or above.")
        for name in ("sample_aleatoric", "alive_bonus", "termination_penalty", "push_velocity"):
            if not getattr(self, name) >= 0.0:
                raise ConfigError(f"imagination.{name} is {getattr(self, name)}, but must be 0 or above.")
        for name in ("clip", "max_epistemic", "push_interval_s"):
            value = getattr(self, name)
            if value is not None and not value > 0.0:
                raise ConfigError(f"imagination.{name} is {value}, but must be above 0, or null to switch it off.")
        termination = self.termination
        valid = termination == "sample" if isinstance(termination, str) else termination is None or 0.0 < termination < 1.0
        if not valid:
            raise ConfigError(f"imagination.termination is {termination!r}, but must be 'sample', a probability in 0..1 or null.")
