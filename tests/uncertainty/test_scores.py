"""Scores of single forecasts against scoringrules, uncertainty-toolbox, torch and SciPy, and by hand."""

from __future__ import annotations

import math

import numpy
import pytest
import torch

from rwmu.errors import ConfigError
from rwmu.uncertainty.functional import scores
from tests.uncertainty.oracles import outside


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MEAN, STD, TRUTH = draws(3, 7, 4), draws(3, 7, 4, seed=1).exp(), draws(7, 4, seed=2)
SAMPLES = draws(9, 6, 5, 3, seed=3)
TARGET = draws(6, 5, 3, seed=4)


def test_gaussian_nll_by_hand_and_against_torch() -> None:
    one = scores.gaussian_nll(torch.tensor(1.0), torch.tensor(2.0), torch.tensor(3.0))
    assert float(one) == pytest.approx(0.5 + math.log(2.0) + 0.5 * math.log(2 * math.pi))
    expected = -torch.distributions.Normal(MEAN, STD).log_prob(TRUTH)
    torch.testing.assert_close(scores.gaussian_nll(MEAN, STD, TRUTH), expected)


def test_gaussian_nll_and_crps_agree_with_uncertainty_toolbox() -> None:
    toolbox = outside("uncertainty_toolbox.metrics_scoring_rule")
    flat = (MEAN[0].flatten().numpy(), STD[0].flatten().numpy(), TRUTH.flatten().numpy())
    nll, crps = (function(MEAN[0], STD[0], TRUTH).mean() for function in (scores.gaussian_nll, scores.gaussian_crps))
    assert float(nll) == pytest.approx(toolbox.nll_gaussian(*flat), rel=1e-12)
    assert float(crps) == pytest.approx(toolbox.crps_gaussian(*flat), rel=1e-12)


def test_gaussian_crps_agrees_with_scoringrules_and_by_hand() -> None:
    # At the centre of a standard normal: 2 phi(0) - 1 / sqrt(pi).
    centre = scores.gaussian_crps(torch.zeros(1), torch.ones(1), torch.zeros(1))
    assert float(centre) == pytest.approx(2.0 / math.sqrt(2 * math.pi) - 1.0 / math.sqrt(math.pi), abs=1e-7)
    expected = outside("scoringrules").crps_normal(TRUTH.numpy(), MEAN.numpy(), STD.numpy())
    numpy.testing.assert_allclose(scores.gaussian_crps(MEAN, STD, TRUTH).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize(("estimator", "theirs"), [("fair", "fair"), ("plain", "nrg")])
def test_sample_scores_agree_with_scoringrules(estimator: scores.Estimator, theirs: str) -> None:
    rules = outside("scoringrules")
    expected = rules.crps_ensemble(TARGET.numpy(), SAMPLES.numpy(), m_axis=0, estimator=theirs)
    numpy.testing.assert_allclose(scores.sample_crps(SAMPLES, TARGET, estimator).numpy(), expected, rtol=1e-10)
    energy = rules.es_ensemble(TARGET.numpy(), SAMPLES.movedim(0, 2).numpy(), estimator=theirs)
    numpy.testing.assert_allclose(scores.energy_score(SAMPLES, TARGET, estimator).numpy(), energy, rtol=1e-10)


def test_sample_scores_by_hand() -> None:
    # Samples 0, 1, 3 of truth 1: mean distance 1; distances among pairs 1, 3, 2, twice each.
    samples, truth = torch.tensor([0.0, 3.0, 1.0]), torch.tensor(1.0)
    assert float(scores.sample_crps(samples, truth, "fair")) == pytest.approx(1.0 - 12.0 / (2 * 6))
    assert float(scores.sample_crps(samples, truth, "plain")) == pytest.approx(1.0 - 12.0 / (2 * 9))
    # One dimension's energy score is its CRPS.
    torch.testing.assert_close(scores.energy_score(SAMPLES[..., :1], TARGET[..., :1]), scores.sample_crps(SAMPLES, TARGET)[..., 0])
    # One sample, plain: the distance.
    assert float(scores.sample_crps(samples[:1], truth, "plain")) == 1.0


def test_the_fair_estimator_is_unbiased_and_the_plain_one_is_not() -> None:
    # Two samples of a standard normal, truth of the same: the expected score is 1 / sqrt(pi), plain adds half as much again.
    samples, truth = draws(2, 400_000, seed=5), draws(400_000, seed=6)
    fair, plain = (float(scores.sample_crps(samples, truth, estimator).mean()) for estimator in ("fair", "plain"))
    assert fair == pytest.approx(1.0 / math.sqrt(math.pi), abs=0.005)
    assert plain == pytest.approx(1.5 / math.sqrt(math.pi), abs=0.005)


def test_one_sample_is_too_few_to_be_fair() -> None:
    for function in (scores.sample_crps, scores.energy_score):
        with pytest.raises(ConfigError, match="fair estimator compares samples with each other and has one"):
            function(SAMPLES[:1], TARGET)
    with pytest.raises(ConfigError, match="must be one of fair, plain"):
        scores.sample_crps(SAMPLES, TARGET, "unfair")  # type: ignore[arg-type]


def test_gaussian_intervals_are_scipys() -> None:
    norm = outside("scipy.stats").norm
    lower, upper = scores.gaussian_interval(MEAN, STD, (0.5, 0.9, 0.99))
    for index, level in enumerate((0.5, 0.9, 0.99)):
        low, high = norm.interval(level, MEAN.numpy(), STD.numpy())
        numpy.testing.assert_allclose(lower[index].numpy(), low, rtol=1e-9, atol=1e-9)
        numpy.testing.assert_allclose(upper[index].numpy(), high, rtol=1e-9, atol=1e-9)


def test_sample_intervals_stand_at_r_over_s_plus_one() -> None:
    # Nine samples 1 ... 9: a level of 0.8 reaches from the first to the ninth, 0.5 from 2.5 to 7.5; 0.99 cannot be reached.
    samples = torch.arange(1.0, 10.0)[torch.randperm(9, generator=torch.Generator().manual_seed(0))]
    lower, upper = scores.sample_interval(samples, (0.5, 0.8, 0.99))
    torch.testing.assert_close(lower, torch.tensor([2.5, 1.0, 1.0]))
    torch.testing.assert_close(upper, torch.tensor([7.5, 9.0, 9.0]))
    ours = scores.sample_interval(SAMPLES, (0.6,))[0][0]
    numpy.testing.assert_allclose(ours.numpy(), numpy.quantile(SAMPLES.numpy(), 0.2, axis=0, method="weibull"), rtol=1e-9)


def test_sample_intervals_cover_at_their_level() -> None:
    lower, upper = scores.sample_interval(draws(9, 50_000, seed=7), (0.6, 0.8))
    covered = scores.inside(lower, upper, draws(50_000, seed=8)).double().mean(1)
    torch.testing.assert_close(covered, torch.tensor([0.6, 0.8], dtype=torch.float64), atol=0.01, rtol=0)


def test_the_ends_of_an_interval_lie_inside() -> None:
    truth = torch.tensor([0.9, 1.0, 2.0, 3.0, 3.1])
    assert scores.inside(torch.tensor(1.0), torch.tensor(3.0), truth).tolist() == [False, True, True, True, False]


def test_interval_score_by_hand_and_against_scoringrules() -> None:
    # Width 2, two above the upper end, at a level of 90 %: 2 + 2 / 0.1 * 2.
    score = scores.interval_score(torch.tensor([[1.0]]), torch.tensor([[3.0]]), torch.tensor([5.0]), (0.9,))
    assert float(score) == pytest.approx(42.0, rel=1e-5)
    lower, upper = scores.gaussian_interval(MEAN, STD, (0.5, 0.9))
    ours = scores.interval_score(lower, upper, TRUTH, (0.5, 0.9))
    for index, level in enumerate((0.5, 0.9)):
        theirs = outside("scoringrules").interval_score(
            numpy.broadcast_to(TRUTH.numpy(), MEAN.shape), lower[index].numpy(), upper[index].numpy(), 1.0 - level
        )
        numpy.testing.assert_allclose(ours[index].numpy(), theirs, rtol=1e-9)


def test_interval_score_agrees_with_uncertainty_toolbox() -> None:
    toolbox = outside("uncertainty_toolbox.metrics_scoring_rule")
    levels = numpy.linspace(0.01, 0.99, 99)
    lower, upper = scores.gaussian_interval(MEAN[0], STD[0], levels)
    theirs = toolbox.interval_score(MEAN[0].flatten().numpy(), STD[0].flatten().numpy(), TRUTH.flatten().numpy())
    assert float(scores.interval_score(lower, upper, TRUTH, levels).mean()) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("levels", [(), (0.0, 0.5), (0.5, 1.0), (68.3,)])
def test_levels_are_probabilities(levels: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="strictly between 0 and 1"):
        scores.gaussian_interval(MEAN, STD, levels)
