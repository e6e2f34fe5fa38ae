from __future__ import annotations

import math

import numpy
import pytest
import torch

from rwmu.measure import statistics


def test_standard_error_of_four_values_by_hand() -> None:
    # mean 2.5, sum of squared deviations 5, unbiased variance 5/3, over 4 values.
    assert statistics.standard_error(torch.tensor([1.0, 2.0, 3.0, 4.0])) == pytest.approx(math.sqrt(5.0 / 3.0 / 4.0))
    assert math.isnan(statistics.standard_error(torch.tensor([1.0])))


def test_pearson_agrees_with_numpy_and_is_nan_without_variation() -> None:
    x, y = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    assert statistics.pearson(x, y) == pytest.approx(numpy.corrcoef(x.numpy(), y.numpy())[0, 1], abs=1e-6)
    assert math.isnan(statistics.pearson(x, torch.ones(50)))


def test_ties_share_their_mean_rank() -> None:
    assert statistics.ranks(torch.tensor([5.0, 1.0, 5.0, 3.0])).tolist() == [2.5, 0.0, 2.5, 1.0]


def test_rank_correlation_ignores_monotone_changes() -> None:
    x = torch.randn(30, generator=torch.Generator().manual_seed(1))
    assert statistics.spearman(x, x.exp()) == pytest.approx(1.0)
    assert statistics.spearman(x, -x) == pytest.approx(-1.0)


def test_area_under_roc_counts_pairs() -> None:
    score, positive = torch.tensor([0.1, 0.4, 0.4, 0.8, 0.2]), torch.tensor([False, True, False, True, False])
    pairs = [(p > n) + 0.5 * (p == n) for p in (0.4, 0.8) for n in (0.1, 0.4, 0.2)]
    assert statistics.area_under_roc(score, positive) == pytest.approx(sum(pairs) / len(pairs))
    assert math.isnan(statistics.area_under_roc(score, torch.zeros(5, dtype=torch.bool)))
