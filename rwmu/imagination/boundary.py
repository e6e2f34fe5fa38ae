"""End imagined episodes where the members' disagreement leaves what was seen on data: truncation, and MOReL's halting."""

from __future__ import annotations

import math

from torch import Tensor

from rwmu.imagination.penalty import MopoPenalty
from rwmu.interfaces import Boundary
from rwmu.records import Prediction
from rwmu.settings import NotNegative, Positive, checked


class BoundaryPenalty(MopoPenalty):
    """End episodes that leave the known region, where the members disagree no more than a threshold: its own boundary.

    Without ``kappa`` they are **truncated**: cut short as if timed out, so that the value function stands for what would follow.
    With it they are **halted**, as in MOReL (arXiv:2005.05951, Definition 1): the step into the unknown is paid -kappa and the
    episode terminates. (MOReL's absorbing state pays -kappa at every later step too: a terminal reward of -kappa / (1 - discount).)

    Args:
        threshold: greatest disagreement of the known region; infinity, the default, ends nothing.
        kappa: terminal penalty, a sum and not a rate; None to truncate. It must outweigh what a policy could still have earned, or
            leaving the known region is attractive.
        weight, typical, estimate, dimension_weights: as :class:`~rwmu.imagination.penalty.MopoPenalty`, within the known region.
    """

    @checked("penalty")
    def __init__(
        self,
        step_dt: Positive,
        threshold: Positive = math.inf,
        kappa: Positive | None = None,
        weight: NotNegative = 0.0,
        typical: float = 0.0,
        estimate: str = "std",
        dimension_weights: Tensor | None = None,
    ) -> None:
        super().__init__(weight, step_dt, typical, estimate, dimension_weights=dimension_weights)
        self.threshold, self.halting_reward = threshold, None if kappa is None else -kappa
        self.boundary: Boundary | None = self

    def crossed(self, prediction: Prediction) -> Tensor:
        """Return which rows disagree more than the threshold, ``[B]`` bool."""
        return self.disagreement(prediction) > self.threshold
