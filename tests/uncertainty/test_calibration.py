"""Calibration curves, errors and areas against uncertainty-toolbox, torch-uncertainty and SciPy, and on known data."""

from __future__ import annotations

import math

import numpy
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error

from rwmu.uncertainty.functional import calibration
from tests.uncertainty.oracles import outside, torch_uncertainty

PERCENT = torch.linspace(0.0, 1.0, 100, dtype=torch.float64)  # the levels of uncertainty-toolbox
HUNDREDTHS = torch.arange(1, 100, dtype=torch.float64) / 100


def forecasts(rows: int = 400, scale: float = 0.6) -> tuple[Tensor, Tensor, Tensor]:
    """Means, standard deviations that are ``scale`` times the true ones, and truths."""
    generator = torch.Generator().manual_seed(0)
    mean, true_std, noise = torch.randn(3, rows, generator=generator, dtype=torch.float64)
    true_std = true_std.exp()
    return mean, scale * true_std, mean + 0.3 * true_std + true_std * noise


def curve(mean: Tensor, std: Tensor, truth: Tensor, levels: Tensor) -> Tensor:
    """Count the truths between the central intervals of the levels, and return what is observed of these."""
    place = torch.bucketize((2.0 * torch.special.ndtr((truth - mean) / std) - 1.0).abs(), levels)
    return calibration.observed_fraction(torch.bincount(place, minlength=len(levels) + 1))


def ence(std: Tensor, error: Tensor, num_bins: int = 10) -> float:
    bins = calibration.variance_bin(std.square(), num_bins)
    return float(calibration.ence(*(torch.bincount(bins, values.square().double(), num_bins) for values in (std, error))))


def test_the_fraction_up_to_each_level_is_counted_from_below() -> None:
    assert calibration.observed_fraction(torch.tensor([1, 2, 0, 1])).tolist() == [0.25, 0.75, 0.75]


def test_errors_and_area_agree_with_uncertainty_toolbox() -> None:
    toolbox = outside("uncertainty_toolbox.metrics_calibration")
    observed, flat = curve(*forecasts(), PERCENT), [tensor.numpy() for tensor in forecasts()]
    numpy.testing.assert_allclose(observed.numpy(), toolbox.get_proportion_lists_vectorized(*flat)[1], atol=1e-12)
    expected = toolbox.mean_absolute_calibration_error(*flat), toolbox.miscalibration_area(*flat)
    ours = calibration.calibration_error(observed, PERCENT), calibration.miscalibration_area(observed, PERCENT)
    assert list(map(float, ours)) == pytest.approx(expected, abs=1e-12)


def test_error_agrees_with_torch_uncertainty() -> None:
    metric = torch_uncertainty("metrics/regression/quantile_calibration.py").QuantileCalibrationError(num_bins=15, norm="l1")
    mean, std, truth = forecasts()
    metric.update(torch.distributions.Normal(mean, std), truth)
    levels = torch.linspace(0.05, 0.95, 15, dtype=torch.float64)
    error = calibration.calibration_error(curve(mean, std, truth, levels), levels)
    assert float(error) == pytest.approx(float(metric.compute()), abs=1e-6)


def test_half_the_spread_has_a_known_curve_and_area() -> None:
    # A std half as large as it should be: the interval of probability p holds the truth with 2 Phi(z_p / 2) - 1 = erf(z_p / 8^0.5).
    truth = torch.randn(400_000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    observed = curve(torch.zeros(1).double(), torch.tensor([0.5]).double(), truth, HUNDREDTHS)
    torch.testing.assert_close(observed, torch.erf(torch.erfinv(HUNDREDTHS) / 2.0), atol=0.005, rtol=0)
    # Under that curve lies P(|x| < |y| / 2) of two standard normals: 1 - (2 / pi) atan(2), for their angle is uniform.
    area = 0.5 - (1.0 - 2.0 / math.pi * math.atan(2.0))
    assert float(calibration.miscalibration_area(observed, HUNDREDTHS)) == pytest.approx(area, abs=0.003)


def test_area_of_a_crossing_line_is_two_triangles() -> None:
    # Observed 0.5 at 0.25 and at 0.75: gaps 0.25 and -0.25; triangles of 1/2 * 1/4 * 1/4, four of them.
    levels = torch.tensor([0.25, 0.75], dtype=torch.float64)
    area = calibration.miscalibration_area(torch.tensor([0.5, 0.5], dtype=torch.float64), levels)
    assert float(area) == pytest.approx(4 * 0.5 * 0.25 * 0.25)


def test_ence_agrees_with_scipys_bins() -> None:
    stats = outside("scipy.stats")
    mean, std, truth = forecasts(1000)
    order = numpy.argsort(std.numpy())
    bins = numpy.empty(1000)
    bins[order] = numpy.arange(1000) // 100
    variance, squared = (std**2).numpy(), ((mean - truth) ** 2).numpy()
    rmv, rmse = (numpy.sqrt(stats.binned_statistic(bins, values, bins=10)[0]) for values in (variance, squared))
    assert ence(std, mean - truth) == pytest.approx(float(numpy.mean(numpy.abs(rmv - rmse) / rmv)), rel=1e-12)


def test_ence_by_hand() -> None:
    """Four rows in two bins by ascending spread, whatever their order.

    Spreads 1 and 7 have root mean square sqrt((1 + 49) / 2) = 5, their errors 2 and 14 have sqrt((4 + 196) / 2) = 10:
    |5 - 10| / 5 = 1. Spreads 17 and 31 have sqrt((289 + 961) / 2) = 25, their errors 5 and 5: |25 - 5| / 25 = 0.8. The mean of both
    bins is 0.9.
    """
    assert ence(torch.tensor([31.0, 1.0, 17.0, 7.0]), torch.tensor([5.0, -2.0, -5.0, 14.0]), 2) == pytest.approx(0.9)


def test_ence_of_errors_twice_the_spread_is_one() -> None:
    std = torch.linspace(0.1, 3.0, 100_000, dtype=torch.float64)
    error = 2.0 * std * torch.randn(100_000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert ence(std, error) == pytest.approx(1.0, abs=0.02)


def test_heads_are_judged_as_by_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(4)
    probability = (3.0 * torch.randn(500, generator=generator)).sigmoid()
    truth = (torch.rand(500, generator=generator) < probability).float()
    ours = calibration.binned_error(calibration.probability_bins(probability, truth, 15))
    assert float(ours) == pytest.approx(float(binary_calibration_error(probability, truth.long(), n_bins=15)), rel=1e-5)


def test_heads_by_hand() -> None:
    # 0.9 five times and right three times; 0.1 twice and true once.
    truth = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    probability = torch.tensor([0.9, 0.9, 0.9, 0.9, 0.9, 0.1, 0.1])
    bins = calibration.probability_bins(probability, truth, 15)
    assert float(calibration.binned_error(bins)) == pytest.approx((5 * 0.3 + 2 * 0.4) / 7)
