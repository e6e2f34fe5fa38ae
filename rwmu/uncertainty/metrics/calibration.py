"""Streaming calibration: the curve of observed over expected fractions, its errors and its area, and the size of errors by spread.

The first four take the PIT of the truth (:func:`rwmu.uncertainty.functional.calibration.gaussian_pit` or ``sample_pit``) as
``[K, B, D]`` or ``[E, K, B, D]`` and hold counts only. Put several into one ``torchmetrics.MetricCollection``: those of the same
state share one update.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.uncertainty.functional import calibration
from rwmu.uncertainty.measure import Measure, require_positive
from rwmu.uncertainty.metrics.cells import NO_ROWS, RowMetric, SumMetric


class CalibrationCurve(SumMetric):
    """Observed fraction of truths at or below each level, ``[P, *kept]``; a calibrated forecast gives the levels.

    Args:
        levels: P ascending probabilities. kind: as :func:`rwmu.uncertainty.functional.calibration.level_bin`.
    """

    higher_is_better: bool | None = None

    def __init__(
        self,
        steps: int,
        dims: int = 1,
        members: int = 1,
        keep: Collection[str] = (),
        levels: Sequence[float] = calibration.LEVELS,
        kind: calibration.Kind = "interval",
        **kwargs: Any,
    ) -> None:
        self.levels = calibration.ascending_levels(levels)
        self.kind: calibration.Kind = kind
        calibration.level_bin(torch.zeros(1), self.levels, kind)
        sums_of = ("levels", kind, self.levels.tolist())
        super().__init__(steps, dims, members, keep, leading=(len(self.levels) + 1,), sums_of=sums_of, **kwargs)

    def update(self, pit: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch.

        Raises:
            ValueError: if a PIT is no probability.
        """
        counts, pit = self.aligned(valid, pit=pit)
        if not bool(((pit >= 0) & (pit <= 1)).all()):
            raise ValueError("a PIT lies outside 0 and 1; take it from gaussian_pit or sample_pit")
        place = calibration.level_bin(pit.double(), self.levels, self.kind)
        number = self.total[0].numel()
        cell = torch.arange(number, device=pit.device).reshape(self.members, self.steps, 1, self.dims)
        flat = (place * number + cell)[counts[None, :, :, None].expand_as(place)]
        self.add(torch.bincount(flat, minlength=self.total.numel()).reshape(self.total.shape), counts)

    def result(self, total: Tensor, number: Tensor) -> Tensor:
        """Return the curve."""
        return calibration.observed_fraction(total)


class QuantileCalibrationError(CalibrationCurve):
    """Distance of the calibration curve from the diagonal over the levels, a probability ``[*kept]``.

    Args:
        norm: as :func:`rwmu.uncertainty.functional.calibration.calibration_error`.
    """

    higher_is_better = False

    def __init__(self, steps: int, *arguments: Any, norm: calibration.Norm = "mean_absolute", **kwargs: Any) -> None:
        super().__init__(steps, *arguments, **kwargs)
        self.norm: calibration.Norm = norm
        calibration.calibration_error(torch.zeros(1), torch.zeros(1), norm)

    def result(self, total: Tensor, number: Tensor) -> Tensor:
        """Return the error."""
        return calibration.calibration_error(calibration.observed_fraction(total), self.levels, self.norm)


class MiscalibrationArea(CalibrationCurve):
    """Area between the calibration curve and the diagonal, ``[*kept]``: 0 is calibrated, 1/2 the worst."""

    higher_is_better = False

    def result(self, total: Tensor, number: Tensor) -> Tensor:
        """Return the area."""
        return calibration.miscalibration_area(calibration.observed_fraction(total), self.levels.to(total.device))


class AdversarialGroupCalibration(QuantileCalibrationError):
    """Calibration error of the worst random group, for each size of group: ``[2, F, *kept]``, mean over trials and standard error.

    Args:
        fractions: F sizes of groups as parts of all rows. norm, groups, trials, seed: as
            :func:`rwmu.uncertainty.functional.calibration.adversarial_group_calibration`.
    """

    def __init__(
        self,
        steps: int,
        *arguments: Any,
        fractions: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0),
        groups: int = 10,
        trials: int = 10,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(steps, *arguments, **kwargs)
        if not all(0.0 <= fraction <= 1.0 for fraction in fractions) or not fractions or groups < 1 or trials < 2:
            raise ConfigError("Adversarial groups need fractions between 0 and 1, one group or more, and two trials or more.")
        self.fractions, self.groups, self.trials, self.seed = tuple(fractions), groups, trials, seed

    def compute(self) -> Measure:
        """Return the errors."""
        number, total = self.number(), self.pool(self.total)
        result = total.new_zeros(2, len(self.fractions), number.numel())
        for cell, counts in enumerate(total.flatten(1).T if number.ndim else total[None]):
            if counts.sum() >= 2:
                found = calibration.adversarial_group_calibration(
                    counts, self.levels, self.fractions, self.norm, self.groups, self.trials, self.seed + cell
                )
                result[:, :, cell] = torch.stack(found).to(result)
        result = result.reshape(2, len(self.fractions), *number.shape)
        return Measure.of(result, (number == 0, NO_ROWS), (number < 2, "fewer rows than the 2 of the smallest group"))


class ENCE(RowMetric):
    """Expected normalised calibration error, ``[*kept]``, without unit: by how much errors differ from the spread, bin by bin.

    Args:
        num_bins: bins of equally many rows, by ascending spread.
    """

    columns = ("variance", "squared_error")

    def __init__(self, steps: int, *arguments: Any, num_bins: int = 10, **kwargs: Any) -> None:
        super().__init__(steps, *arguments, **kwargs)
        if num_bins < 1:
            raise ConfigError(f"num_bins is {num_bins}, but must be at least 1.")
        self.num_bins = num_bins

    def update(self, mean: Tensor, std: Tensor, truth: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch."""
        counts, mean, std, truth = self.aligned(valid, mean=mean, std=std, truth=truth)
        require_positive(std=std)
        self.store(counts, std.double().square(), (mean - truth).double().square())

    def compute(self) -> Measure:
        """Return the error."""
        counts, variance, squared_error, _ = self.stored(*self.keep)
        return calibration.ence(variance, squared_error, counts, self.num_bins)
