"""The streaming classes: the same numbers in any parts, on any process and over any axes, and words where there is no number."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat, dim_zero_sum

from rwmu.errors import DataError
from rwmu.uncertainty import metrics
from tests.uncertainty.cases import CASES, Case, kept, said, same
from tests.uncertainty.forecasts import VALID, B, D, E, K

EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
# Those that do not compare steps with each other, nor draw groups from another seed at each.
BY_STEP = {name: case for name, case in CASES.items() if "step" in case.keep and name != "adversarial"}
FIRST, SECOND, WHOLE = slice(0, 7), slice(7, B), slice(0, B)


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
    none_counts, no_batch, untouched = (case.build(**kept(case, case.keep)) for _ in range(3))
    none_counts.update(*case.inputs, valid=torch.zeros(K, B, dtype=torch.bool))
    no_batch.update(*case.take(slice(0, 0)))
    results = [none_counts.compute(), no_batch.compute()]
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        results.append(untouched.compute())
    for result in results:
        assert result.shape == case.metric(WHOLE, **kept(case, case.keep)).compute().shape
        assert set(said(result)) <= {"not measured: no rows", "not measured: no step has a correlation (no rows)"}


@EACH
def test_batches_without_rows_change_nothing(case: Case) -> None:
    none = slice(0, 0)
    same(case.metric(none, FIRST, none, SECOND, none).compute(), case.metric(FIRST, SECOND).compute())


def test_every_class_is_tried() -> None:
    assert {type(case.build()).__name__ for case in CASES.values()} == set(metrics.__all__)


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
