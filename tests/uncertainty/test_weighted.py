"""Weighted correlations are those of rows repeated as often as they were drawn."""

import pytest
import torch
from scipy import stats

from rwmu.uncertainty.functional import ranking
from rwmu.uncertainty.functional.ranking import weighted_correlation, weighted_partial, weighted_ranks, weighted_within_step


def rows(seed=0, number=40):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(number, generator=generator, dtype=torch.float64).mul(3).round()  # with ties
    y = x + torch.randn(number, generator=generator, dtype=torch.float64)
    times = torch.randint(0, 4, (5, number), generator=generator).double()
    return x, y, times


@pytest.mark.parametrize(("relation", "oracle"), [("rank", stats.spearmanr), ("linear", stats.pearsonr)])
def test_a_weight_is_a_number_of_equal_rows(relation, oracle):
    x, y, times = rows()
    found = weighted_correlation(x, y, times, relation)
    for index, drawn in enumerate(times.long()):
        expected = oracle(x.repeat_interleave(drawn).numpy(), y.repeat_interleave(drawn).numpy()).statistic
        assert float(found[index]) == pytest.approx(expected, abs=1e-12)


def test_the_unit_of_what_is_correlated_does_not_matter():
    x, y, times = rows()
    expected = weighted_correlation(x, y, times, "linear")
    torch.testing.assert_close(weighted_correlation(1e-9 * x, 1e9 * y, times, "linear"), expected, rtol=1e-9, atol=0)
    assert weighted_correlation(torch.full_like(x, 0.1), y, times, "linear").isnan().all(), "a constant does not vary in any unit"


def test_ranks_of_ties_and_of_rows_that_were_not_drawn():
    # Drawn: 1, 5, 5, 5, 7: places 0 | 1-3 | 4, counted from 0.
    values, times = torch.tensor([5.0, 1.0, 7.0, 3.0, 5.0]), torch.tensor([[1.0, 1.0, 1.0, 0.0, 2.0]])
    assert weighted_ranks(values, times)[0, [0, 1, 2, 4]].tolist() == [2.5, 0.5, 4.5, 2.5]


@pytest.mark.parametrize("relation", ["rank", "linear"])
def test_weights_of_one_give_the_functions_of_the_package(relation):
    generator = torch.Generator().manual_seed(1)
    error = torch.rand(6, 30, generator=generator, dtype=torch.float64) * torch.arange(1, 7)[:, None]
    uncertainty = error + torch.rand(6, 30, generator=generator, dtype=torch.float64)
    valid = torch.rand(6, 30, generator=generator) > 0.3
    step = torch.arange(6)[:, None].expand(6, 30).double()
    weights = valid.double()[None]
    within = weighted_within_step(uncertainty, error, weights, relation)
    assert float(within) == pytest.approx(float(ranking.within_step_correlation(uncertainty, error, valid, relation)), abs=1e-12)
    flat = uncertainty.flatten(), error.flatten(), step.flatten()
    partial = weighted_partial(*flat, weights.flatten(1), relation)
    assert float(partial) == pytest.approx(float(ranking.partial_correlation(*flat, valid.flatten(), relation)), abs=1e-12)


def test_a_draw_without_variation_has_no_correlation():
    x, y = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 9.0])
    found = weighted_correlation(x, y, torch.tensor([[3.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    assert bool(found[0].isnan())
    assert float(found[1]) == pytest.approx(1.0)
