from __future__ import annotations

import json

import pytest
import torch

from rwmu.errors import DataError
from rwmu.uncertainty.measure import Measure, NotMeasured, require_finite, require_positive


def half() -> Measure:
    """Two numbers between two reasons."""
    entries = torch.tensor([[1.0, torch.nan], [3.0, torch.inf]])
    return Measure.of(entries, (torch.tensor([[False, True], [False, False]]), "too few"), (torch.tensor([False, True]), "none"))


def test_the_first_reason_that_holds_stands_in_place_of_a_number() -> None:
    assert half().plain() == [[1.0, "not measured: too few"], [3.0, "not measured: none"]]
    assert json.loads(json.dumps(half().plain())) == half().plain()
    assert half().available.tolist() == [[True, False], [True, False]]
    assert half().reason() == "too few; none"
    assert "too few" in repr(half())


def test_reading_a_reason_as_a_number_raises_it() -> None:
    with pytest.raises(NotMeasured, match="Not measured: too few; none"):
        half().tensor()
    with pytest.raises(NotMeasured, match=r"^Not measured: none\.$"):
        float(half()[1, 1])
    assert float(half()[1, 0]) == 3.0
    assert half()[:, 0].tensor().tolist() == [1.0, 3.0]


def test_nothing_under_a_reason_is_nan() -> None:
    assert half().filled(-7.0).tolist() == [[1.0, -7.0], [3.0, -7.0]]
    assert torch.isfinite(half().filled(0.0)).all()


def test_a_number_that_is_not_finite_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="lacks a reason"):
        Measure.of(torch.tensor([1.0, torch.nan]))


def test_results_are_double_on_the_cpu_and_cut_from_the_graph() -> None:
    result = Measure.of(torch.ones(2, requires_grad=True, dtype=torch.float32)).tensor()
    assert (result.dtype, result.device.type, result.requires_grad) == (torch.float64, "cpu", False)


def test_stacking_keeps_each_reason() -> None:
    stacked = Measure.stack([Measure.missing("a"), Measure.of(torch.tensor(2.0, dtype=torch.float64)), Measure.missing("b")])
    assert stacked.plain() == ["not measured: a", 2.0, "not measured: b"]
    again = Measure.stack([stacked, stacked[[2, 0, 1]]])
    assert again.plain()[1] == ["not measured: b", "not measured: a", 2.0]
    assert again.shape == (2, 3)
    assert len(again) == 2


def test_data_that_no_score_can_count_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="'mean' holds 2 values of 3 that are not finite"):
        require_finite(mean=torch.tensor([1.0, torch.nan, -torch.inf]), truth=torch.zeros(3))
    with pytest.raises(DataError, match="'std' holds 1 values of 2 that are not above 0"):
        require_positive(std=torch.tensor([0.0, 1.0]))
