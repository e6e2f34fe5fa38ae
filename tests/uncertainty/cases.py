"""Every streaming class, what it is fed, and the comparison of two results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from rwmu.uncertainty import metrics
from rwmu.uncertainty.functional import calibration
from rwmu.uncertainty.measure import Measure
from tests.uncertainty.forecasts import ALL, LABELS, LEVELS, LOGITS, LOWER, MEAN, SIZES, STD, TRUTH, UPPER, VALID, D, E, K


@dataclass(frozen=True)
class Case:
    """A metric, what it is fed, and in which axis of each of those the rows are."""

    build: Callable[..., Metric]
    inputs: tuple[Tensor, ...]
    rows: tuple[int, ...]
    keep: tuple[str, ...] = ALL

    def metric(self, *parts: slice, masked: bool = False, **settings: Any) -> Metric:
        metric = self.build(**settings)
        for part in parts:
            metric.update(*self.take(part), **({"valid": VALID[:, part]} if masked else {}))
        return metric

    def take(self, rows: slice | Tensor) -> list[Tensor]:
        return [tensor.movedim(axis, 0)[rows].movedim(0, axis) for tensor, axis in zip(self.inputs, self.rows, strict=True)]


def sized(metric: type[Metric], **more: Any) -> Callable[..., Metric]:
    return lambda **settings: metric(**{**SIZES, **more, **settings})


def pit() -> Tensor:
    return calibration.gaussian_pit(MEAN, STD, TRUTH)


GAUSSIAN = ((MEAN, STD, TRUTH), (2, 2, 1))
INTERVALS = ((LOWER, UPPER, TRUTH), (3, 3, 1))
ERRORS = ((STD, (MEAN - TRUTH).abs()), (2, 2))
HEADS = ((LOGITS, LABELS), (2, 1))
SAMPLED = {"steps": K, "dims": D}
CASES = {
    "nll": Case(sized(metrics.GaussianNLL), *GAUSSIAN),
    "crps": Case(sized(metrics.GaussianCRPS), *GAUSSIAN),
    "sharpness": Case(sized(metrics.Sharpness), (STD,), (2,)),
    "sample_crps": Case(lambda **s: metrics.SampleCRPS(K, D, **s), (MEAN, TRUTH), (2, 1), ("step", "dim")),
    "energy": Case(lambda **s: metrics.EnergyScore(K, D, **s), (MEAN, TRUTH), (2, 1), ("step",)),
    "coverage": Case(sized(metrics.Coverage, levels=LEVELS), *INTERVALS),
    "width": Case(sized(metrics.IntervalWidth, levels=LEVELS), *INTERVALS),
    "interval_score": Case(sized(metrics.IntervalScore, levels=LEVELS), *INTERVALS),
    "curve": Case(sized(metrics.CalibrationCurve), (pit(),), (2,)),
    "calibration_error": Case(sized(metrics.QuantileCalibrationError, kind="quantile"), (pit(),), (2,)),
    "area": Case(sized(metrics.MiscalibrationArea), (pit(),), (2,)),
    "adversarial": Case(sized(metrics.AdversarialGroupCalibration), (pit(),), (2,)),
    "ence": Case(sized(metrics.ENCE, num_bins=3), *GAUSSIAN),
    "rank": Case(sized(metrics.ErrorCorrelation), *ERRORS),
    "linear": Case(sized(metrics.ErrorCorrelation, relation="linear"), *ERRORS),
    "within_step": Case(sized(metrics.ErrorCorrelation, depth="within_step"), *ERRORS, ("member", "dim")),
    "partial": Case(sized(metrics.ErrorCorrelation, depth="partial"), *ERRORS, ("member", "dim")),
    "step_counter": Case(sized(metrics.ErrorCorrelation, depth="step_counter"), *ERRORS, ("member", "dim")),
    "ause": Case(sized(metrics.AUSE), *ERRORS),
    "sparsification": Case(sized(metrics.SparsificationCurve), *ERRORS),
    "recall": Case(lambda **s: metrics.HeadRate(K, D, E, **s), *HEADS),
    "specificity": Case(lambda **s: metrics.HeadRate(K, D, E, rate="specificity", **s), *HEADS),
    "precision": Case(lambda **s: metrics.HeadRate(K, D, E, rate="precision", **s), *HEADS),
    "head_calibration": Case(lambda **s: metrics.HeadCalibrationError(K, D, E, **s), *HEADS),
    "cosine": Case(lambda **s: metrics.OutputCosine(E, K, D, **s), (MEAN,), (2,), ("step", "dim", "pair")),
    "disagreement": Case(lambda **s: metrics.PairwiseDisagreement(E, K, D, **s), (MEAN,), (2,), ("step", "dim", "pair")),
    "error_correlation": Case(
        lambda **s: metrics.MemberErrorCorrelation(E, K, D, **s), (MEAN, TRUTH), (2, 1), ("step", "dim", "pair")
    ),
    "effective": Case(lambda **s: metrics.EffectiveMembers(E, K, D, **s), (MEAN, TRUTH), (2, 1), ("step", "dim")),
}


def kept(case: Case, keep: tuple[str, ...]) -> dict[str, Any]:
    return {"keep": keep} if case.keep else {}


def same(first: Measure, second: Measure) -> None:
    assert first.shape == second.shape
    assert torch.equal(first.available, second.available)
    torch.testing.assert_close(first.filled(0.0), second.filled(0.0), rtol=1e-9, atol=1e-9)


def said(result: Measure) -> list[float | str]:
    """Return the cells of a result in one list."""
    plain = [result.plain()]
    while isinstance(plain[0], list):
        plain = [cell for part in plain for cell in part]
    return plain
