"""Streaming scores of forecasts: means of :mod:`rwmu.uncertainty.functional.scores` over rows.

Shapes of all: forecasts ``[K, B, D]`` or ``[E, K, B, D]``, samples ``[S, K, B, D]``, ends of intervals ``[L, K, B, D]`` or
``[L, E, K, B, D]``, truth ``[K, B, D]``, ``valid [K, B]`` (None: every row counts). Units: those of the state, here normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rwmu.settings import choose
from rwmu.uncertainty.functional import scores
from rwmu.uncertainty.measure import Measure, require_finite, require_positive
from rwmu.uncertainty.metrics.cells import SumMetric


class GaussianMetric(SumMetric):
    """Mean of a score of Gaussians."""

    score: ClassVar[Callable[..., Tensor]]

    def update(self, mean: Tensor, std: Tensor, truth: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch."""
        counts, mean, std, truth = self.aligned(valid, mean=mean, std=std, truth=truth)
        require_positive(std=std)
        self.add_rows(self.score(mean.double(), std.double(), truth.double()), counts)


class GaussianNLL(GaussianMetric):
    """Mean negative log density of the truth under Gaussians, nats a dimension."""

    score = staticmethod(scores.gaussian_nll)


class GaussianCRPS(GaussianMetric):
    """Mean continuous ranked probability score of Gaussians, in the unit of the state."""

    score = staticmethod(scores.gaussian_crps)


class Sharpness(SumMetric):
    """Root mean variance of the forecasts, in the unit of the state: how certain they are (Chung et al. 2021)."""

    def update(self, std: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch."""
        counts, std = self.aligned(valid, std=std)
        require_positive(std=std)
        self.add_rows(std.double().square(), counts)

    def result(self, total: Tensor, number: Tensor) -> Tensor:
        """Return the root mean variance."""
        return (total / number).sqrt()


class SampleCRPS(SumMetric):
    """Mean continuous ranked probability score of samples ``[S, K, B, D]``, in the unit of the state.

    Args:
        estimator: ``fair`` or ``plain``, see :func:`rwmu.uncertainty.functional.scores.sample_crps`. A fair estimator of one sample
            is nothing, and says so.
    """

    lone: Tensor
    score: ClassVar[Callable[..., Tensor]] = staticmethod(scores.sample_crps)

    def __init__(
        self, steps: int, dims: int = 1, keep: Collection[str] = (), estimator: scores.Estimator = "fair", **kwargs: Any
    ) -> None:
        choose("The estimator", estimator, scores.ESTIMATORS)
        super().__init__(steps, dims, 1, keep, sums_of=(type(self).__name__, estimator), **kwargs)
        self.estimator: scores.Estimator = estimator
        self.state_dim = dims
        self.add_sums("lone")

    def update(self, samples: Tensor, truth: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch.

        Raises:
            ValueError: if a shape does not fit.
        """
        expected = (self.steps, self.state_dim)
        if samples.ndim != 4 or samples.shape[1:] != truth.shape or (truth.shape[0], truth.shape[2]) != expected:
            raise ValueError(
                f"{type(self).__name__} takes samples [S, K, B, D] and truth [K, B, D] with K, D = {expected}, "
                f"not {tuple(samples.shape)} and {tuple(truth.shape)}"
            )
        counts = self.which_count(valid, truth.shape[1], truth.device)
        if valid is not None:
            samples, truth = (torch.where(counts[:, :, None], tensor, torch.ones_like(tensor)) for tensor in (samples, truth))
        require_finite(samples=samples, truth=truth)
        if self.estimator == "fair" and len(samples) < 2:
            self.lone = self.lone + counts.any().double()
            return
        score = self.score(samples.double(), truth.double(), self.estimator)
        self.add_rows(score.reshape(1, *counts.shape, self.dims), counts)

    def compute(self) -> Measure:
        """Return the mean score of the kept cells."""
        if bool(self.lone > 0):
            reason = "one sample (or member): the fair estimator compares two or more"
            return Measure.missing(reason, self.number().shape)
        return super().compute()


class EnergyScore(SampleCRPS):
    """Mean energy score of samples ``[S, K, B, D]`` of the whole state, in its (normalised) unit; there is no axis ``dim`` to keep.

    Args:
        steps: K. state_dim: D. estimator: as of :class:`SampleCRPS`.
    """

    axes = ("member", "step")
    score = staticmethod(scores.energy_score)

    def __init__(
        self, steps: int, state_dim: int, keep: Collection[str] = (), estimator: scores.Estimator = "fair", **kwargs: Any
    ) -> None:
        super().__init__(steps, 1, keep, estimator, **kwargs)
        self.state_dim = state_dim


class IntervalMetric(SumMetric):
    """What metrics of central intervals share; a result has the levels as its first axis, ``[L, *kept]``.

    Args:
        levels: L probabilities with which the intervals should hold the truth. The ends come from
            :func:`rwmu.uncertainty.functional.scores.gaussian_interval` or :func:`...sample_interval` of the same levels.
    """

    def __init__(
        self, levels: Sequence[float], steps: int, dims: int = 1, members: int = 1, keep: Collection[str] = (), **kwargs: Any
    ) -> None:
        self.levels = tuple(scores.as_levels(levels).tolist())
        sums_of = (type(self).__name__, *self.levels)
        super().__init__(steps, dims, members, keep, leading=(len(self.levels),), sums_of=sums_of, **kwargs)

    def update(self, lower: Tensor, upper: Tensor, truth: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch.

        Raises:
            ValueError: if a shape does not fit, or a lower end is above an upper one.
        """
        if len(lower) != len(self.levels) or lower.shape != upper.shape:
            raise ValueError(f"ends are {tuple(lower.shape)} and {tuple(upper.shape)}, but there are {len(self.levels)} levels")
        parts = [self.aligned(valid, lower=low, upper=high, truth=truth) for low, high in zip(lower, upper, strict=True)]
        counts, _, _, truth = parts[0]
        lower, upper = (torch.stack([part[place] for part in parts]).double() for place in (1, 2))
        if not bool((lower <= upper).all()):
            raise ValueError("a lower end of an interval is above its upper end")
        self.add_rows(self.score(lower, upper, truth.double()), counts)

    def score(self, lower: Tensor, upper: Tensor, truth: Tensor) -> Tensor:
        """Return ``[L, E, K, B, D]`` of ends of this shape and truth ``[1, K, B, D]``."""
        raise NotImplementedError


class Coverage(IntervalMetric):
    """Fraction of truths that lie in their interval (interval coverage probability, PICP), to compare with the levels."""

    higher_is_better = None

    def score(self, lower: Tensor, upper: Tensor, truth: Tensor) -> Tensor:
        """Return 1 inside and 0 outside."""
        return scores.inside(lower, upper, truth).double()


class IntervalWidth(IntervalMetric):
    """Mean width of the intervals, in the unit of the state; only to be read beside the coverage."""

    def score(self, lower: Tensor, upper: Tensor, truth: Tensor) -> Tensor:
        """Return the width."""
        return upper - lower


class IntervalScore(IntervalMetric):
    """Mean interval score, in the unit of the state (Gneiting and Raftery 2007, Eq. 43): width and coverage in one proper score."""

    def score(self, lower: Tensor, upper: Tensor, truth: Tensor) -> Tensor:
        """Return the score."""
        return scores.interval_score(lower, upper, truth, self.levels)
