from __future__ import annotations

import math

import numpy
import pytest
import torch

from rwmu.uncertainty.functional import summary


def test_standard_error_of_four_values_by_hand() -> None:
    # mean 2.5, sum of squared deviations 5, unbiased variance 5/3, over 4 values.
    assert summary.standard_error(torch.tensor([1.0, 2.0, 3.0, 4.0])) == pytest.approx(math.sqrt(5.0 / 3.0 / 4.0))
    assert math.isnan(summary.standard_error(torch.tensor([1.0])))


def test_correlations_agree_with_numpy_and_are_nan_where_there_is_none() -> None:
    x, y = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    assert summary.correlation(x, y, "linear") == pytest.approx(numpy.corrcoef(x.numpy(), y.numpy())[0, 1], abs=1e-6)
    assert summary.correlation(x, x.exp()) == pytest.approx(1.0)
    assert summary.correlation(x, -x) == pytest.approx(-1.0)
    assert math.isnan(summary.correlation(x, torch.ones(50)))
    assert math.isnan(summary.correlation(x[:0], y[:0]))
    assert math.isnan(summary.correlation(x, y.index_fill(0, torch.tensor([3]), torch.inf)))


def test_nothing_of_nothing_is_no_number() -> None:
    assert math.isnan(summary.mean(torch.empty(0)))
    assert math.isnan(summary.ratio(1.0, 0.0))
    assert summary.ratio(1.0, 4.0) == 0.25


@pytest.mark.parametrize(("share", "number", "low", "high"), [(0.0, 128, 0.0, 0.029137), (0.5, 10, 0.236593, 0.763407)])
def test_the_interval_of_a_share_is_wilsons(share: float, number: int, low: float, high: float) -> None:
    assert summary.share_interval(share, number) == pytest.approx((low, high), abs=1e-5)
