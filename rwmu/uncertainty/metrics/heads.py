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
from rwmu.uncertainty.functional.calibration import binned_error, probability_bins
from rwmu.uncertainty.measure import Measure
from rwmu.uncertainty.metrics.cells import CellMetric, pool, tell_apart

Rate = Literal["recall", "specificity", "precision"]
# Which counts a rate divides, and how rows are called without which there is none.
_RATES = {
    "recall": ("tp", "fn", "no positive row, so nothing to be found"),
    "specificity": ("tn", "fp", "no negative row, so no false alarm to be had"),
    "precision": ("tp", "fp", "never predicted, so no prediction to be right"),
}


def _require_labels(truth: Tensor) -> None:
    if not bool(((truth == 0) | (truth == 1)).all()):
        raise ValueError("the truth of a head must be 0 or 1 on every row that counts")


class HeadRate(CellMetric):
    """Recall, specificity or precision of heads at a threshold, ``[*kept]``: a probability.

    Args:
        steps: K. heads: C. rate: ``recall`` (of true rows, those found), ``specificity`` (of false rows, those left alone) or
            ``precision`` (of rows found, those true).
        threshold: probability from which a head counts as set.
    """

    higher_is_better = True
    tp: Tensor
    fp: Tensor
    tn: Tensor
    fn: Tensor

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
        super().__init__(steps, heads, members, keep, **kwargs)
        if rate not in _RATES or not 0.0 < threshold < 1.0:
            raise ConfigError(
                f"rate and threshold are {rate!r} and {threshold}, but must be of {', '.join(_RATES)} and within 0 and 1."
            )
        self.rate, self.threshold = rate, threshold
        tell_apart(self, threshold)
        for name in ("tp", "fp", "tn", "fn"):
            self.add_state(name, torch.zeros(self.cells, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, truth: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch."""
        counts, logits, truth = self.aligned(valid, logits=logits, truth=truth)
        _require_labels(truth)
        found, true = logits.double().sigmoid() > self.threshold, truth.bool().expand_as(logits)
        for name, rows in {"tp": found & true, "fp": found & ~true, "tn": ~found & ~true, "fn": ~found & true}.items():
            setattr(self, name, getattr(self, name) + (rows & counts[None, :, :, None]).sum(dim=2))

    def compute(self) -> Measure:
        """Return the rate."""
        right, wrong, reason = _RATES[self.rate]
        rows = pool(self.tp + self.fp + self.tn + self.fn, self.keep)
        hits, misses = pool(getattr(self, right), self.keep), pool(getattr(self, wrong), self.keep)
        return Measure.of(hits / (hits + misses).clamp(min=1.0), (rows == 0, "no rows"), (hits + misses == 0, reason))


class HeadCalibrationError(CellMetric):
    """Expected calibration error of heads, ``[*kept]``: mean over bins of |predicted - observed frequency|, a probability.

    Args:
        steps: K. heads: C. num_bins: bins of equal width in probability.
    """

    predicted: Tensor
    observed: Tensor
    number: Tensor

    def __init__(
        self, steps: int, heads: int = 1, members: int = 1, keep: Collection[str] = (), num_bins: int = 15, **kwargs: Any
    ) -> None:
        super().__init__(steps, heads, members, keep, **kwargs)
        if num_bins < 1:
            raise ConfigError(f"num_bins is {num_bins}, but must be at least 1.")
        self.num_bins = num_bins
        tell_apart(self, num_bins)
        for name in ("predicted", "observed", "number"):
            self.add_state(name, torch.zeros(num_bins, *self.cells, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, truth: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch."""
        counts, logits, truth = self.aligned(valid, logits=logits, truth=truth)
        _require_labels(truth)
        probability = logits.double().sigmoid()
        probability, truth = (tensor.movedim(2, -1) for tensor in (probability, truth.double().expand_as(logits)))  # [E, K, C, B]
        found = probability_bins(probability, truth, counts[None, :, None].expand_as(truth), self.num_bins).movedim(-1, 1)
        self.predicted, self.observed, self.number = self.predicted + found[0], self.observed + found[1], self.number + found[2]

    def compute(self) -> Measure:
        """Return the error."""
        bins = torch.stack([pool(sums, self.keep).movedim(0, -1) for sums in (self.predicted, self.observed, self.number)])
        return Measure.of(binned_error(bins), (bins[2].sum(dim=-1) == 0, "no rows"))
