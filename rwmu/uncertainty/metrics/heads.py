"""The contact and termination heads on held-out rows: are their probabilities right, and what do they find?

Logits are ``[K, B, C]`` or ``[E, K, B, C]``, as a rollout holds them (to judge the mean over members, give the logit of the mean
probability), truth ``[K, B, C]`` of 0 and 1. ``dim`` is the axis of the heads (contacts by number, or the one termination).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.settings import choose
from rwmu.uncertainty.functional.calibration import binned_error, probability_bins
from rwmu.uncertainty.measure import Measure
from rwmu.uncertainty.metrics.cells import NO_ROWS, SumMetric

Rate = Literal["recall", "specificity", "precision"]
# Which sums a rate divides, and how rows are called without which there is none.
_HIT, _FALSE_ALARM, _LEFT_ALONE, _MISSED = range(4)
_RATES = {
    "recall": (_HIT, _MISSED, "no positive row, so nothing to be found"),
    "specificity": (_LEFT_ALONE, _FALSE_ALARM, "no negative row, so no false alarm to be had"),
    "precision": (_HIT, _FALSE_ALARM, "never predicted, so no prediction to be right"),
}


class HeadMetric(SumMetric):
    """What metrics of heads take."""

    def judged(self, logits: Tensor, truth: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return which rows count ``[K, B]``, probabilities and truth ``[E, K, B, C]``.

        Raises:
            ValueError: if a truth is neither 0 nor 1.
        """
        counts, logits, truth = self.aligned(valid, logits=logits, truth=truth)
        if not bool(((truth == 0) | (truth == 1)).all()):
            raise ValueError("the truth of a head must be 0 or 1 on every row that counts")
        return counts, logits.double().sigmoid(), truth.double().expand_as(logits)


class HeadRate(HeadMetric):
    """Recall, specificity or precision of heads at a threshold, ``[*kept]``: a probability.

    Args:
        steps: K. heads: C. rate: ``recall`` (of true rows, those found), ``specificity`` (of false rows, those left alone) or
            ``precision`` (of rows found, those true).
        threshold: probability from which a head counts as set.
    """

    higher_is_better = True

    def __init__(
        self,
        steps: int,
        heads: int = 1,
        members: int = 1,
        keep: Collection[str] = (),
        rate: Rate = "recall",
        threshold: float = 0.5,
        **kwargs: Any,
    ) -> None:
        choose("The rate", rate, _RATES)
        if not 0.0 < threshold < 1.0:
            raise ConfigError(f"The threshold of a head is {threshold}, but must be within 0 and 1.")
        super().__init__(steps, heads, members, keep, leading=(4,), sums_of=("decisions", threshold), **kwargs)
        self.rate, self.threshold = rate, threshold

    def update(self, logits: Tensor, truth: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch."""
        counts, probability, truth = self.judged(logits, truth, valid)
        found, true = probability > self.threshold, truth.bool()
        self.add_rows(torch.stack([found & true, found & ~true, ~found & ~true, ~found & true]), counts)

    def compute(self) -> Measure:
        """Return the rate."""
        right, wrong, reason = _RATES[self.rate]
        decisions = self.pool(self.total)
        number = decisions[right] + decisions[wrong]
        return Measure.of(decisions[right] / number.clamp(min=1.0), (self.number() == 0, NO_ROWS), (number == 0, reason))


class HeadCalibrationError(HeadMetric):
    """Expected calibration error of heads, ``[*kept]``: mean over bins of |predicted - observed frequency|, a probability.

    Args:
        steps: K. heads: C. num_bins: bins of equal width in probability.
    """

    def __init__(
        self, steps: int, heads: int = 1, members: int = 1, keep: Collection[str] = (), num_bins: int = 15, **kwargs: Any
    ) -> None:
        if num_bins < 1:
            raise ConfigError(f"num_bins is {num_bins}, but must be at least 1.")
        super().__init__(steps, heads, members, keep, leading=(3, num_bins), sums_of=("bins", num_bins), **kwargs)
        self.num_bins = num_bins

    def update(self, logits: Tensor, truth: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch."""
        counts, *rows = self.judged(logits, truth, valid)
        probability, truth = (tensor.movedim(2, -1) for tensor in rows)  # [E, K, C, B]
        bins = probability_bins(probability, truth, counts[None, :, None].expand_as(truth), self.num_bins)
        self.add(bins.movedim(-1, 1), counts)

    def result(self, total: Tensor, number: Tensor) -> Tensor:
        """Return the error."""
        return binned_error(total.movedim(1, -1))
