"""Calibration curves, errors and areas against uncertainty-toolbox, torch-uncertainty and SciPy, and on known data."""

from __future__ import annotations

import math

import numpy
import pytest
import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.uncertainty.functional import calibration
from tests.uncertainty.oracles import outside, torch_uncertainty

PERCENT = torch.linspace(0.0, 1.0, 100, dtype=torch.float64)  # the levels of uncertainty-toolbox


def forecasts(rows: int = 400, scale: float = 0.6) -> tuple[Tensor, Tensor, Tensor]:
    """Means, standard deviations that are ``scale`` times the true ones, and truths."""
    generator = torch.Generator().manual_seed(0)
    mean, true_std, noise = torch.randn(3, rows, generator=generator, dtype=torch.float64)
    true_std = true_std.exp()
    return mean, scale * true_std, mean + 0.3 * true_std + true_std * noise


def curve(pit: Tensor, levels: Tensor, kind: calibration.Kind = "interval") -> Tensor:
    place = calibration.level_bin(pit, levels, kind)
    return calibration.observed_fraction(torch.bincount(place, minlength=len(levels) + 1))


def arrays(mean: Tensor, std: Tensor, truth: Tensor) -> tuple[numpy.ndarray, ...]:
    return mean.numpy(), std.numpy(), truth.numpy()


def test_curve_by_hand() -> None:
    pit = torch.tensor([0.1, 0.5, 0.5, 0.95], dtype=torch.float64)
    levels = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    assert curve(pit, levels, "quantile").tolist() == [0.25, 0.75, 0.75]
    # Central intervals of 0.8, 0, 0 and 0.9 just hold the truths.
    assert curve(pit, levels, "interval").tolist() == [0.5, 0.5, 1.0]


@pytest.mark.parametrize("kind", ["interval", "quantile"])
def test_errors_and_area_agree_with_uncertainty_toolbox(kind: calibration.Kind) -> None:
    toolbox = outside("uncertainty_toolbox.metrics_calibration")
    mean, std, truth = forecasts()
    # The toolbox's residual is the mean less the truth: its quantiles are those of the mirrored forecast.
    pit = calibration.gaussian_pit(mean, std, truth) if kind == "interval" else calibration.gaussian_pit(truth, std, mean)
    observed = curve(pit, PERCENT, kind)
    flat = arrays(mean, std, truth)
    numpy.testing.assert_allclose(observed.numpy(), toolbox.get_proportion_lists_vectorized(*flat, prop_type=kind)[1], atol=1e-12)
    mean_absolute = toolbox.mean_absolute_calibration_error(*flat, prop_type=kind)
    root_mean_square = toolbox.root_mean_squared_calibration_error(*flat, prop_type=kind)
    area = toolbox.miscalibration_area(*flat, prop_type=kind)
    assert float(calibration.calibration_error(observed, PERCENT)) == pytest.approx(mean_absolute, abs=1e-12)
    assert float(calibration.calibration_error(observed, PERCENT, "root_mean_square")) == pytest.approx(root_mean_square, abs=1e-12)
    assert float(calibration.miscalibration_area(observed, PERCENT)) == pytest.approx(area, abs=1e-12)


@pytest.mark.parametrize(("norm", "theirs"), [("mean_absolute", "l1"), ("root_mean_square", "l2"), ("maximum", "max")])
def test_error_agrees_with_torch_uncertainty(norm: calibration.Norm, theirs: str) -> None:
    metric = torch_uncertainty("metrics/regression/quantile_calibration.py").QuantileCalibrationError(num_bins=15, norm=theirs)
    mean, std, truth = forecasts()
    metric.update(torch.distributions.Normal(mean, std), truth)
    levels = torch.linspace(0.05, 0.95, 15, dtype=torch.float64)
    observed = curve(calibration.gaussian_pit(mean, std, truth), levels)
    assert float(calibration.calibration_error(observed, levels, norm)) == pytest.approx(float(metric.compute()), abs=1e-6)


def test_pit_agrees_with_scipy() -> None:
    mean, std, truth = forecasts()
    expected = outside("scipy.stats").norm.cdf(truth.numpy(), mean.numpy(), std.numpy())
    numpy.testing.assert_allclose(calibration.gaussian_pit(mean, std, truth).numpy(), expected, rtol=1e-9)


def test_pit_of_samples_counts_places() -> None:
    samples = torch.tensor([[0.0], [1.0], [2.0]])
    for truth, place in ((-1.0, 0.125), (0.5, 0.375), (1.0, 0.5), (3.0, 0.875)):
        assert float(calibration.sample_pit(samples, torch.tensor([truth]))) == place


def test_calibrated_forecasts_lie_on_the_diagonal() -> None:
    generator = torch.Generator().manual_seed(1)
    pit = torch.rand(200_000, generator=generator, dtype=torch.float64)
    levels = calibration.ascending_levels(calibration.LEVELS)
    assert float(calibration.calibration_error(curve(pit, levels), levels)) < 0.003
    assert float(calibration.miscalibration_area(curve(pit, levels), levels)) < 0.003


def test_half_the_spread_has_a_known_curve_and_area() -> None:
    # A std half as large as it should be: the interval of probability p holds the truth with 2 Phi(z_p / 2) - 1 = erf(z_p / 8^0.5).
    mean, std, truth = (
        torch.zeros(400_000),
        torch.full((400_000,), 0.5),
        torch.randn(400_000, generator=torch.Generator().manual_seed(2)),
    )
    levels = calibration.ascending_levels(calibration.LEVELS)
    observed = curve(calibration.gaussian_pit(mean, std, truth), levels)
    expected = torch.erf(torch.erfinv(levels) / 2.0)
    torch.testing.assert_close(observed, expected, atol=0.005, rtol=0)
    # Under that curve lies P(|x| < |y| / 2) of two standard normals: 1 - (2 / pi) atan(2), for their angle is uniform.
    area = 0.5 - (1.0 - 2.0 / math.pi * math.atan(2.0))
    assert float(calibration.miscalibration_area(observed, levels)) == pytest.approx(area, abs=0.003)


def test_area_of_a_crossing_line_is_two_triangles() -> None:
    # Observed 0.5 at 0.25 and at 0.75: gaps 0.25 and -0.25; triangles of 1/2 * 1/4 * 1/4, four of them.
    levels = torch.tensor([0.25, 0.75], dtype=torch.float64)
    area = calibration.miscalibration_area(torch.tensor([0.5, 0.5], dtype=torch.float64), levels)
    assert float(area) == pytest.approx(4 * 0.5 * 0.25 * 0.25)


def test_adversarial_groups_agree_with_uncertainty_toolbox() -> None:
    toolbox = outside("uncertainty_toolbox.metrics_calibration")
    mean, std, truth = forecasts(200)
    numpy.random.seed(0)
    settings = {"num_group_bins": 4, "num_trials": 20, "num_group_draws": 10}
    theirs = toolbox.adversarial_group_calibration(*arrays(mean, std, truth), cali_type="mean_abs", **settings)
    place = calibration.level_bin(calibration.gaussian_pit(mean, std, truth), PERCENT)
    histogram = torch.bincount(place, minlength=101)
    worst, error = calibration.adversarial_group_calibration(histogram, PERCENT, theirs.group_size, trials=20)
    noise = numpy.sqrt(theirs.score_stderr**2 / 20 + error.numpy() ** 2) + 1e-9  # theirs is the deviation, ours its error
    assert (numpy.abs(worst.numpy() - theirs.score_mean) < 5.0 * noise).all()
    # The largest group is all rows, every time.
    assert float(worst[-1]) == pytest.approx(toolbox.mean_absolute_calibration_error(*arrays(mean, std, truth)), abs=1e-12)
    assert float(error[-1]) == pytest.approx(0.0, abs=1e-12)


def test_adversarial_groups_of_two_by_hand() -> None:
    # Two rows of three, two of which lie below the level: a group errs by 0 (one below) or 1/2 (both); m on average over 10 trials,
    # whose unbiased variance is then m (1/2 - m) 10/9.
    worst, error = calibration.adversarial_group_calibration(
        torch.tensor([2.0, 1.0]), torch.tensor([0.5], dtype=torch.float64), (0.0,), groups=1
    )
    assert 0.0 < float(worst) < 0.5
    assert float(error) == pytest.approx(math.sqrt(float(worst) * (0.5 - float(worst)) / 9.0), rel=1e-12)


def test_ence_agrees_with_scipys_bins() -> None:
    stats = outside("scipy.stats")
    mean, std, truth = forecasts(1000)
    order = numpy.argsort(std.numpy())
    bins = numpy.empty(1000)
    bins[order] = numpy.arange(1000) // 100
    variance, squared = (std**2).numpy(), ((mean - truth) ** 2).numpy()
    rmv, rmse = (numpy.sqrt(stats.binned_statistic(bins, values, bins=10)[0]) for values in (variance, squared))
    ours = calibration.ence(std.square(), (mean - truth).square(), torch.ones(1000, dtype=torch.bool), 10)
    assert float(ours) == pytest.approx(float(numpy.mean(numpy.abs(rmv - rmse) / rmv)), rel=1e-12)


def test_ence_by_hand() -> None:
    # Two bins: spread 1 and error 2, spread 4 and error 2; one row more that does not count.
    variance = torch.tensor([16.0, 1.0, 16.0, 1.0, 0.5])
    squared_error = torch.tensor([4.0, 4.0, 4.0, 4.0, 1e9])
    valid = torch.tensor([True] * 4 + [False])
    assert float(calibration.ence(variance, squared_error, valid, 2)) == pytest.approx((1.0 / 1.0 + 2.0 / 4.0) / 2)


def test_ence_of_errors_twice_the_spread_is_one() -> None:
    std = torch.linspace(0.1, 3.0, 100_000, dtype=torch.float64)
    error = 2.0 * std * torch.randn(100_000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    every = torch.ones(100_000, dtype=torch.bool)
    assert float(calibration.ence(std.square(), error.square(), every)) == pytest.approx(1.0, abs=0.02)


def test_ence_says_what_it_lacks() -> None:
    some = torch.ones(3, dtype=torch.bool)
    assert calibration.ence(torch.ones(3), torch.ones(3), some, 4).plain() == "not measured: fewer rows than the 4 bins"
    assert calibration.ence(torch.ones(3), torch.full((3,), 9.0), some, 3).plain() == 2.0  # a row a bin: |1 - 3| / 1
    assert calibration.ence(torch.ones(3), torch.ones(3), ~some, 4).plain() == "not measured: no rows"
    assert "variance is 0" in calibration.ence(torch.zeros(3), torch.ones(3), some, 2).plain()


def test_senseless_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="ascend strictly"):
        calibration.ascending_levels((0.5, 0.4))
    with pytest.raises(ConfigError, match="'interval' or 'quantile'"):
        calibration.level_bin(torch.zeros(1), PERCENT, "both")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'mean_absolute'"):
        calibration.calibration_error(PERCENT, PERCENT, "l1")  # type: ignore[arg-type]
