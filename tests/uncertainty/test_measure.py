from __future__ import annotations

import json

import pytest
import torch

from rwmu.uncertainty.measure import Measure, NotMeasured


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
        float(Measure.missing("none"))


def test_nothing_under_a_reason_is_nan() -> None:
    assert half().filled(-7.0).tolist() == [[1.0, -7.0], [3.0, -7.0]]
    assert torch.isfinite(half().filled(0.0)).all()


def test_a_number_that_is_not_finite_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="lacks a reason"):
        Measure.of(torch.tensor([1.0, torch.nan]))


def test_results_are_double_on_the_cpu_and_cut_from_the_graph() -> None:
    result = Measure.of(torch.ones(2, requires_grad=True, dtype=torch.float32)).tensor()
    assert (result.dtype, result.device.type, result.requires_grad) == (torch.float64, "cpu", False)
