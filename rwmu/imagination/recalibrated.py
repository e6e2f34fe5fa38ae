"""A penalty in units of error: what the members' disagreement was worth, at the same depth, on data they were not fitted to."""

from __future__ import annotations

from torch import Tensor

from rwmu.interfaces import Boundary
from rwmu.records import Prediction
from rwmu.settings import NotNegative, Positive, checked
from rwmu.uncertainty.estimates import NOISE, uncertainty_estimate
from rwmu.uncertainty.recalibration import Recalibration


class RecalibratedPenalty:
    """Subtract the error to be expected of the model, summed over dimensions, from the reward.

    The disagreement of each group of dimensions is mapped to the mean absolute error that went with it, at the same step since the
    true history, on the calibration split (or, with a conformal recalibration, to a bound that holds with its probability). At
    horizon k the same disagreement stands for far more error than at one step, and MOPO's penalty
    (:class:`~rwmu.imagination.penalty.MopoPenalty`) cannot know.

    Args:
        weight: lambda; 0 gives exactly zero. step_dt: duration of a control step, s.
        recalibration, sizes: of G disagreements, and dimensions of each of these groups; None before they are fitted.
        typical: ``[K]``, expected error that costs nothing at each step since the history; later steps are treated as the last.
        estimate, dimension_weights: of the disagreement, as :class:`~rwmu.imagination.penalty.MopoPenalty`.
    """

    needs_spread: bool
    boundary: Boundary | None = None

    @checked("penalty")
    def __init__(
        self,
        weight: NotNegative,
        step_dt: Positive,
        recalibration: Recalibration | None = None,
        sizes: list[int] | None = None,
        typical: Tensor | None = None,
        estimate: str = "std",
        dimension_weights: Tensor | None = None,
    ) -> None:
        self.weight, self.step_dt, self.estimate = weight, step_dt, estimate
        self.recalibration, self.typical = recalibration, typical
        self.disagreement = uncertainty_estimate(estimate, dimension_weights, sizes)
        self.needs_spread = estimate in NOISE

    def __call__(self, prediction: Prediction, step: Tensor | None = None) -> Tensor:
        """Return ``-weight * (expected error - typical) * step_dt``, ``[B]``; 0 for the disagreement of one member, which has none.

        Args:
            step: ``[B]`` int64, steps imagined before this one.
        """
        if self.weight == 0.0 or (prediction.num_members == 1 and not self.needs_spread):
            return prediction.mean.new_zeros(prediction.mean.shape[1])
        if self.recalibration is None or step is None:
            raise ValueError("a recalibrated penalty must be fitted, and told the steps since the history")
        expected = self.recalibration.apply(self.disagreement(prediction), step).sum(dim=-1)
        if self.typical is not None:
            expected = expected - self.typical.to(expected)[step.clamp(max=len(self.typical) - 1)]
        return (-self.weight * self.step_dt) * expected
