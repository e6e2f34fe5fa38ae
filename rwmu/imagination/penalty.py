"""Make the imagination pessimistic where the members disagree."""

from __future__ import annotations

from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.records import Prediction
from rwmu.uncertainty.estimates import epistemic


class MopoPenalty:
    """Subtract the members' disagreement from the reward (MOPO-PPO of RWM-U, arXiv:2504.16680).

    Args:
        weight: lambda; 0 gives exactly zero, so that base RWM is this class too.
        step_dt: duration of a control step, s; penalties are rates, as the reward terms are.
    """

    def __init__(self, weight: float, step_dt: float) -> None:
        if not weight >= 0.0:
            raise ConfigError(f"penalty.weight is {weight}, but must be 0 or above: it is subtracted from the reward.")
        self.weight = float(weight)
        self.step_dt = float(step_dt)

    def __call__(self, prediction: Prediction) -> Tensor:
        """Return ``-weight * epistemic * step_dt``, ``[B]``."""
        if self.weight == 0.0:
            return prediction.mean.new_zeros(prediction.mean.shape[1])
        return (-self.weight * self.step_dt) * epistemic(prediction)
