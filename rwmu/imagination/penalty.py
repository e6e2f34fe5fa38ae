"""Make the imagination pessimistic where the members disagree, or expect noise."""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.dynamics.unroll import unroll
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import ConfigError
from rwmu.interfaces import Boundary
from rwmu.records import Prediction, Window
from rwmu.settings import NotNegative, Positive, checked
from rwmu.uncertainty.estimates import NOISE, Estimate, epistemic, uncertainty_estimate


class MopoPenalty:
    """Subtract the members' disagreement from the reward: MOPO-PPO of RWM-U (arXiv:2504.16680v3, Eq. 5), after MOPO.

    The paper writes ``r - lambda u`` with the variance over members of their means as u (Eq. 4); its code, and this class by
    default, takes the standard deviation, summed over dimensions, times the duration of a step:

        r~ = r - lambda * (sum_d std_b mu_b,d - typical) * dt.

    The members' means are those after the rows that were imagined, which follow one member each (the published imagination; Eq. 4
    follows the mean). MOPO's own u (arXiv:2005.13239) is the members' largest sigma: ``estimate="noise_largest"``.

    Args:
        weight: lambda; 0 gives exactly zero, so that base RWM is this class too.
        step_dt: duration of a control step, s; penalties are rates, as the reward terms are.
        typical: disagreement that costs nothing, see :func:`typical_disagreement`; 0 as published. A penalty that is larger than
            the task's reward makes falling attractive, for it ends the penalty. A constant taken off it is the same as a reward of
            ``weight * typical`` a second for being alive, and changes nothing else.
        estimate: of the disagreement, a name of :data:`rwmu.uncertainty.estimates.EPISTEMIC`; or, in its place, of the noise that
            the members expect, a name of :data:`~rwmu.uncertainty.estimates.NOISE`, as MOPO itself has it.
        rectified: disagreement below ``typical`` earns nothing. Else standing still, of which the data hold much, is paid for what
            the members know of it, and a policy that starts from random weights learns to stand.
        dimension_weights: ``[D]``, see :func:`~rwmu.uncertainty.estimates.uncertainty_estimate`; None weighs all alike.
    """

    needs_spread: bool
    boundary: Boundary | None = None

    @checked("penalty")
    def __init__(
        self,
        weight: NotNegative,
        step_dt: Positive,
        typical: float = 0.0,
        estimate: str = "std",
        rectified: bool = False,
        dimension_weights: Tensor | None = None,
    ) -> None:
        self.weight, self.step_dt, self.typical, self.estimate, self.rectified = weight, step_dt, typical, estimate, rectified
        self.disagreement: Estimate = uncertainty_estimate(estimate, dimension_weights)
        self.needs_spread = estimate in NOISE

    def __call__(self, prediction: Prediction, step: Tensor | None = None) -> Tensor:
        """Return ``-weight * (disagreement - typical) * step_dt``, ``[B]``, at most 0 if rectified; ``step`` changes nothing."""
        if self.weight == 0.0:
            return prediction.mean.new_zeros(prediction.mean.shape[1])
        excess = self.disagreement(prediction) - self.typical
        return (-self.weight * self.step_dt) * (excess.clamp(min=0.0) if self.rectified else excess)


def no_penalty(weight: float, step_dt: float, **fitted: object) -> MopoPenalty:
    """Return a penalty of nothing.

    Raises:
        ConfigError: a weight is given, of which nothing would come.
    """
    if weight:
        raise ConfigError(f"penalty.weight is {weight}, but penalty=none costs nothing; choose penalty=mopo, or penalty.weight=0.")
    return MopoPenalty(0.0, step_dt)


class DisagreementBonus:
    """Pay for the members' disagreement instead of charging it: the dream leads where the model has most to learn.

    For the first rounds of an online run, whose robot would else stand where the first data left it (Pathak et al.,
    arXiv:1906.04161). A dream that pays for disagreement breeds more of it, so what is paid for a step has an end.

    Args:
        weight: of the bonus, which is a rate a second.
        step_dt: duration of a control step, s.
        most: disagreement beyond which no more is paid, in normalised units.
    """

    needs_spread = False
    boundary: Boundary | None = None

    @checked("penalty")
    def __init__(self, weight: NotNegative, step_dt: Positive, most: Positive = 10.0) -> None:
        self.weight, self.step_dt, self.most = weight, step_dt, most

    def __call__(self, prediction: Prediction, step: Tensor | None = None) -> Tensor:
        """Return ``weight * disagreement * step_dt``, ``[B]``; ``step`` changes nothing."""
        return (self.weight * self.step_dt) * epistemic(prediction).clamp(max=self.most)


@torch.no_grad()
def typical_disagreement(world_model: WorldModel, window: Window, estimate: Estimate = epistemic) -> float:
    """Return the members' mean disagreement in predicting what follows the histories of ``window [B, T, .]``, normalised."""
    rows = window.map(lambda tensor: tensor.unsqueeze(0))
    rollout = unroll(world_model.dynamics, rows, world_model.history)
    return float(torch.stack([estimate(rollout.at(k)) for k in range(len(rollout.mean))]).mean())
