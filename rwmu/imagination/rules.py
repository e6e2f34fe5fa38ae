"""The rules of imagined episodes: how many, how long they last, what ends them, what disturbs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from rwmu.settings import Count, NotNegative, Positive, Tilt, choose, settings

_OF_A_STEP = ("termination", "max_tilt", "sample_aleatoric", "clip")
# Of the environments themselves: they cannot change while the environments go on.
_FIXED = ("num_envs", "device", "random_start", "pool_size")


@settings("imagination")
class DreamRules:
    """Configure imagined episodes.

    Attributes:
        num_envs: B, environments that dream at a time.
        device: of the environments and the policy: ``cpu``, ``cuda``, or ``auto`` for CUDA where there is one.
        horizon_steps: time-out of an imagined episode; what follows is bootstrapped from the value function.
        termination: ``sample`` draws the termination from the predicted probability; a number terminates above that probability
            (falls are rare: heads seldom exceed 0.5); None ignores the head.
        max_tilt: terminates where the z of the projected gravity exceeds it (-1 upright, 0 on the side); None ignores tilt.
        sample_aleatoric: scale of the predicted noise added to the state fed back; 0 feeds back the mean.
        clip: the normalised state fed back is clamped to +-clip; None does not clamp.
        alive_bonus: reward a second of being alive. A penalty larger than the task's reward makes falling attractive; this, or
            ``termination_penalty``, mends it. Changes the imagined objective only, never the task.
        termination_penalty: subtracted once from the reward on termination.
        push_interval_s: mean time between pushes; None for none.
        push_velocity: largest planar velocity that a push adds along x and y, m/s.
        command_resample_steps: how often a new command is drawn; None as the task says.
        random_start: spread the environments' first time-outs over the horizon.
        pool_size: how many warmed-up histories are kept to start from; None for as many as environments.
        pool_refresh_steps: after how many steps the pool is drawn anew.
    """

    num_envs: Count = 512
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    horizon_steps: Count = 100
    termination: Literal["sample"] | Annotated[float, Field(gt=0.0, lt=1.0)] | None = "sample"
    max_tilt: Tilt | None = -0.5
    sample_aleatoric: NotNegative = 0.0
    clip: Positive | None = 12.0
    alive_bonus: NotNegative = 0.0
    termination_penalty: NotNegative = 0.0
    push_interval_s: Positive | None = None
    push_velocity: NotNegative = 0.5
    command_resample_steps: Count | None = None
    random_start: bool = True
    pool_size: Count | None = None
    pool_refresh_steps: Count = 240

    def of_a_step(self) -> dict[str, Any]:
        """Return how a dream goes on and ends, by name: what a dream that is only to be measured takes over of its rules."""
        return {name: getattr(self, name) for name in _OF_A_STEP}

    def varied(self, changes: Mapping[str, Any], where: str = "imagination") -> DreamRules:
        """Return these rules with changes, by name, for the same environments; ``where`` names them in the error.

        Raises:
            ConfigError: there is no such rule, it is of the environments themselves, or its value makes no sense.
        """
        known = [field.name for field in fields(self) if field.name not in _FIXED]
        for name in changes:
            choose(where, name, known)
        return replace(self, **changes)
