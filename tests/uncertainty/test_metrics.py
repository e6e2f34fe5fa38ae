"""The streaming classes: the same numbers in any parts, on any process and over any axes, and words where there is no number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat, dim_zero_sum

from rwmu.errors import DataError
from rwmu.uncertainty import metrics
from rwmu.uncertainty.functional import calibration
from rwmu.uncertainty.measure import Measure
from tests.uncertainty.forecasts import ALL, LABELS, LEVELS, LOGITS, LOWER, MEAN, SIZES, STD, STEPS, TRUTH, UPPER, VALID, B, D, E, K


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
    "falls": Case(lambda **s: metrics.FallForesight((1, 2), **s), (STD.mean((0, 3)), STEPS), (1, 1), ()),
}
EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
# Those that do not compare steps with each other, nor draw groups from another seed at each.
BY_STEP = {name: case for name, case in CASES.items() if "step" in case.keep and name != "adversarial"}
FIRST, SECOND, WHOLE = slice(0, 7), slice(7, B), slice(0, B)


def kept(case: Case, keep: tuple[str, ...]) -> dict[str, Any]:
    return {"keep": keep} if case.keep else {}


def same(first: Measure, second: Measure) -> None:
    assert first.shape == second.shape
    assert torch.equal(first.available, second.available)
    torch.testing.assert_close(first.filled(0.0), second.filled(0.0), rtol=1e-9, atol=1e-9)


@EACH
@pytest.mark.parametrize("every_axis", [False, True], ids=["pooled", "cells"])
def test_parts_and_processes_give_what_one_metric_gives(case: Case, every_axis: bool) -> None:
    settings = kept(case, case.keep if every_axis else ())
    whole = case.metric(WHOLE, **settings).compute()
    same(case.metric(FIRST, SECOND, **settings).compute(), whole)
    merged = case.metric(FIRST, **settings)
    merged.merge_state(case.metric(SECOND, **settings))
    same(merged.compute(), whole)
    # What torchmetrics does over processes, with a gather that hands it the state of the other one.
    here, there = case.metric(FIRST, **settings), case.metric(SECOND, **settings)
    others = iter([getattr(there, name) for name in there._reductions])
    here.dist_sync_fn = lambda own, group: [own, (lambda state: state[0] if isinstance(state, list) else state)(next(others))]
    here.distributed_available_fn = lambda: True
    same(here.compute(), whole)


@EACH
def test_every_state_is_a_sum_or_a_concatenation(case: Case) -> None:
    assert set(case.metric()._reductions.values()) <= {dim_zero_sum, dim_zero_cat}
    assert all(state.dtype == torch.float64 for state in case.metric().metric_state.values() if isinstance(state, Tensor))


@EACH
def test_the_result_has_the_axes_that_were_asked_for(case: Case) -> None:
    sizes = {"member": (E,), "step": (K,), "dim": (D,), "pair": (E, E)}
    leading = case.metric(WHOLE).compute().shape
    if isinstance(case.metric(), metrics.SparsificationCurve):
        leading, trailing = (3,), (20,)
    else:
        trailing = ()
    for keep in [(), *((name,) for name in case.keep), case.keep]:
        expected = (*leading, *(size for name in keep for size in sizes[name]), *trailing)
        assert case.metric(WHOLE, **kept(case, keep)).compute().shape == expected


@pytest.mark.parametrize("case", BY_STEP.values(), ids=BY_STEP)
def test_a_step_computed_apart_is_that_step_of_the_whole(case: Case) -> None:
    result = case.metric(WHOLE, keep=("step",)).compute()
    masked = case.build(keep=())
    masked.update(*case.inputs, valid=(torch.arange(K) == 2)[:, None].expand(K, B))
    leading = len(masked.compute().shape) if not isinstance(masked, metrics.SparsificationCurve) else 1
    same(result[(slice(None),) * leading + (2,)], masked.compute())


@EACH
def test_rows_that_do_not_count_change_nothing(case: Case) -> None:
    valid = (torch.arange(B) >= 7).expand(K, B)
    broken = [tensor.clone().movedim(axis, 0) for tensor, axis in zip(case.inputs, case.rows, strict=True)]
    for tensor in broken:
        if tensor.is_floating_point():
            tensor[:7] = torch.nan
    metric = case.build()
    metric.update(*(tensor.movedim(0, axis) for tensor, axis in zip(broken, case.rows, strict=True)), valid=valid)
    same(metric.compute(), case.metric(SECOND).compute())


@EACH
def test_no_rows_are_said_to_be_none(case: Case) -> None:
    metric = case.build()
    metric.update(*case.inputs, valid=torch.zeros(K, B, dtype=torch.bool))
    reasons = str(metric.compute())
    assert "nan" not in reasons
    assert "no rows" in reasons or "nothing ever falls" in reasons or "output is 0" in reasons or "fewer rows" in reasons
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        untouched = case.build().compute()
    assert not bool(untouched.available.any())


@EACH
def test_what_is_not_finite_is_refused_and_shapes_are_checked(case: Case) -> None:
    bad = [tensor.clone() if tensor.is_floating_point() else tensor for tensor in case.inputs]
    bad[0].view(-1)[0] = torch.inf
    with pytest.raises((DataError, ValueError)):
        case.build().update(*bad)
    with pytest.raises(ValueError, match=r"\(|shape|batches|levels"):
        case.build().update(
            *(tensor[..., :1, :, :] if tensor.ndim > 2 else tensor[:, :3] for tensor in case.inputs[:1]), *case.inputs[1:]
        )
    with pytest.raises(ValueError, match="valid"):
        case.build().update(*case.inputs, valid=VALID[:, :5])
