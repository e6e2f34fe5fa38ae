"""Correlations and sparsification against SciPy and torch-uncertainty, and on known data."""

from __future__ import annotations

import math

import numpy
import pytest
import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.uncertainty.functional import ranking, sparsification
from tests.uncertainty.oracles import outside, torch_uncertainty


def rows(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Uncertainties with ties, related errors, and which rows count."""
    generator = torch.Generator().manual_seed(seed)
    uncertainty = torch.randint(20, shape, generator=generator).double()
    error = (uncertainty + 8.0 * torch.randn(shape, generator=generator, dtype=torch.float64)).abs()
    return uncertainty, error, torch.rand(shape, generator=generator) < 0.8


def every(tensor: Tensor) -> Tensor:
    return torch.ones_like(tensor, dtype=torch.bool)


def test_ranks_share_ties_as_scipys_do() -> None:
    stats = outside("scipy.stats")
    uncertainty, _, valid = rows(4, 60)
    ours = ranking.weighted_ranks(uncertainty, valid.double()) - 0.5
    for row in range(4):
        keep = valid[row].numpy()
        numpy.testing.assert_array_equal(ours[row].numpy()[keep] + 1, stats.rankdata(uncertainty[row].numpy()[keep]))


@pytest.mark.parametrize(("relation", "theirs"), [("rank", "spearmanr"), ("linear", "pearsonr")])
def test_correlations_are_scipys(relation: ranking.Relation, theirs: str) -> None:
    stats = outside("scipy.stats")
    uncertainty, error, valid = rows(3, 5, 40)
    ours = ranking.correlation(uncertainty, error, valid, relation).tensor()
    for i in range(3):
        for j in range(5):
            keep = valid[i, j]
            expected = getattr(stats, theirs)(uncertainty[i, j][keep], error[i, j][keep]).statistic
            assert float(ours[i, j]) == pytest.approx(expected, abs=1e-12)


def test_depth_alone_makes_a_correlation_that_the_other_two_see_through() -> None:
    # Uncertainty and error both grow with the step and are otherwise unrelated: a step counter would do as well.
    generator = torch.Generator().manual_seed(1)
    step = torch.arange(10.0)[:, None].expand(10, 2000)
    uncertainty, error = (step + 0.5 * torch.rand(10, 2000, generator=generator) for _ in range(2))
    flat = [tensor.flatten() for tensor in (uncertainty, error, step)]
    for relation in ranking.RELATIONS:
        assert float(ranking.correlation(*flat[:2], every(flat[0]), relation)) > 0.95
        assert abs(float(ranking.within_step_correlation(uncertainty, error, every(error), relation))) < 0.03
        assert abs(float(ranking.partial_correlation(*flat, every(flat[0]), relation))) < 0.03


def test_within_a_step_a_perfect_order_is_one_whatever_the_depth_does() -> None:
    # The error shrinks with the step while the uncertainty grows; at each step they agree.
    noise = torch.rand(4, 50, generator=torch.Generator().manual_seed(2))
    step = torch.arange(4.0)[:, None]
    uncertainty, error = noise + 10.0 * step, noise.exp() + 100.0 - 10.0 * step
    assert float(ranking.within_step_correlation(uncertainty, error, every(error))) == pytest.approx(1.0)
    assert float(ranking.correlation(uncertainty.flatten(), error.flatten(), every(error.flatten()))) < -0.5


def test_partial_correlation_is_that_of_the_residuals() -> None:
    stats = outside("scipy.stats")
    uncertainty, error, _ = rows(200)
    step = torch.arange(200).double() % 7
    error = error + step
    for relation in ranking.RELATIONS:
        columns = [tensor.numpy() for tensor in (uncertainty, error, step)]
        if relation == "rank":
            columns = [stats.rankdata(column) for column in columns]
        design = numpy.stack([columns[2], numpy.ones(200)], axis=1)
        residuals = [column - design @ numpy.linalg.lstsq(design, column, rcond=None)[0] for column in columns[:2]]
        ours = ranking.partial_correlation(uncertainty, error, step, every(error), relation)
        assert float(ours) == pytest.approx(stats.pearsonr(*residuals).statistic, abs=1e-10)


def test_within_step_average_weighs_with_rows_or_as_told() -> None:
    # Step 0: three rows in order (1); step 1: four rows, reversed (-1), a fifth does not count; step 2: one row, left out.
    uncertainty = torch.arange(5.0).expand(3, 5)
    error = torch.stack([torch.arange(5.0), -torch.arange(5.0) + 9.0, torch.arange(5.0)])
    valid = torch.arange(5) < torch.tensor([3, 4, 1])[:, None]
    assert float(ranking.within_step_correlation(uncertainty, error, valid)) == pytest.approx((3.0 - 4.0) / 7.0)
    weights = torch.tensor([3.0, 1.0, 9.0])
    assert float(ranking.within_step_correlation(uncertainty, error, valid, weights=weights)) == pytest.approx((3.0 - 1.0) / 4.0)


def test_correlations_say_what_they_lack() -> None:
    varied, same = torch.arange(6.0), torch.ones(6)
    some, two, none = every(same), torch.arange(6) < 2, torch.zeros(6, dtype=torch.bool)
    correlate = ranking.correlation
    assert correlate(same, varied, some).plain() == "not measured: the uncertainty is the same in every row"
    assert correlate(varied, same, some, "linear").plain() == "not measured: the error is the same in every row"
    assert correlate(varied, varied, two).plain() == "not measured: fewer rows than the 3 needed"
    assert correlate(varied, varied, none).plain() == "not measured: no rows"
    partial = ranking.partial_correlation
    three = partial(varied, varied.cos(), varied % 2, torch.arange(6) < 3)
    assert three.plain() == "not measured: fewer rows than the 4 needed"
    assert bool(partial(varied, varied.cos(), varied % 2, torch.arange(6) < 4).available)
    assert "every row is of the same step" in partial(varied, varied, same, some).plain()
    assert "the step index alone explains" in partial(varied, varied.square(), varied, some).plain()
    assert (
        "no step has a correlation (the uncertainty is"
        in ranking.within_step_correlation(same[None], varied[None], some[None]).plain()
    )
    with pytest.raises(ConfigError, match="rank, linear"):
        correlate(varied, varied, some, "kendall")  # type: ignore[arg-type]


def test_linear_correlation_of_tiny_numbers_survives() -> None:
    x = torch.arange(5.0, dtype=torch.float64)
    assert float(ranking.correlation(1e-200 * x, 1e150 * x + 3.0, every(x), "linear")) == pytest.approx(1.0)


def test_ause_agrees_with_torch_uncertainty() -> None:
    metric = torch_uncertainty("metrics/sparsification.py").AUSE()
    generator = torch.Generator().manual_seed(3)
    score = torch.rand(500, generator=generator, dtype=torch.float64)
    error = (score + torch.randn(500, generator=generator, dtype=torch.float64)).abs()
    metric.update(score, error)
    assert float(sparsification.ause(score, error, every(score))) == pytest.approx(float(metric.compute()), abs=1e-9)
    ours = sparsification.sparsification_curve(score, error, every(score), [index / 500 for index in range(500)])
    torch.testing.assert_close(ours.tensor(), metric.partial_compute()[0])


def test_sparsification_by_hand() -> None:
    # Errors 1, 2, 3, 4 (mean 2.5); the uncertainty removes 3 first, then 4, then 2. A fifth row does not count.
    uncertainty = torch.tensor([0.0, 1.0, 3.0, 2.0, 9.0], dtype=torch.float64)
    error = torch.tensor([1.0, 2.0, 3.0, 4.0, 100.0], dtype=torch.float64)
    valid = torch.tensor([True] * 4 + [False])
    removed = (0.0, 0.25, 0.5, 0.75)
    curves = [
        sparsification.sparsification_curve(uncertainty, error, valid, removed, order).tensor()
        for order in ("uncertainty", "oracle", "random")
    ]
    expected = torch.tensor([[2.5, 7.0 / 3.0, 1.5, 1.0], [2.5, 2.0, 1.5, 1.0], [2.5] * 4], dtype=torch.float64) / 2.5
    torch.testing.assert_close(torch.stack(curves), expected)
    gap = torch.tensor([0.0, 1.0 / 3.0, 0.0, 0.0]) / 2.5
    assert float(sparsification.ause(uncertainty, error, valid)) == pytest.approx(float(torch.trapezoid(gap, dx=0.25)))


def test_oracle_is_zero_and_a_constant_uncertainty_is_chance() -> None:
    _, error, valid = rows(300)
    for norm in ("mean", "root_mean_square"):
        assert float(sparsification.ause(error, error, valid, norm=norm)) == 0.0
        constant = float(sparsification.ause(torch.zeros(300), error, valid, norm=norm))
        assert constant == pytest.approx(float(sparsification.ause(error, error, valid, "random", norm)), abs=1e-12)
        assert constant > 0.1
    # A reversed order is worse than chance.
    assert float(sparsification.ause(-error, error, valid)) > float(sparsification.ause(error, error, valid, "random"))


def test_chance_on_exponential_errors_has_a_known_area() -> None:
    # The smallest part q of exponential errors has mean 1 + (1 - q) ln(1 - q) / q; 1 less that integrates to pi^2 / 6 - 1.
    error = -torch.log(torch.rand(200_000, generator=torch.Generator().manual_seed(4), dtype=torch.float64))
    area = float(sparsification.ause(error, error, every(error), "random"))
    assert area == pytest.approx(math.pi**2 / 6.0 - 1.0, abs=0.005)


def test_root_mean_square_pools_squares() -> None:
    uncertainty, error = torch.arange(3.0), torch.tensor([1.0, 2.0, 2.0])
    curve = sparsification.sparsification_curve(
        uncertainty, error, every(error), (0.0, 1.0 / 3.0), norm="root_mean_square"
    ).tensor()
    assert curve.tolist() == pytest.approx([1.0, math.sqrt(2.5 / 3.0)])


def test_sparsification_says_what_it_lacks() -> None:
    values, some = torch.arange(3.0), torch.ones(3, dtype=torch.bool)
    assert sparsification.ause(values, torch.zeros(3), some).plain() == "not measured: there is no error at all"
    assert sparsification.ause(values, values, torch.arange(3) < 1).plain() == "not measured: fewer rows than the 2 needed"
    assert sparsification.sparsification_curve(values, values, ~some, (0.0, 0.5)).plain() == ["not measured: no rows"] * 2
    with pytest.raises(ConfigError, match="up to less than 1"):
        sparsification.sparsification_curve(values, values, some, (1.0,))
    with pytest.raises(ConfigError, match="'oracle' or 'random'"):
        sparsification.ause(values, values, some, "best")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'mean' or 'root_mean_square'"):
        sparsification.ause(values, values, some, norm="median")  # type: ignore[arg-type]
