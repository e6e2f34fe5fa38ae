"""Scores and intervals of Gaussians against scoringrules, uncertainty-toolbox, torch and SciPy, and by hand."""

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


def test_half_widths_are_scipys() -> None:
    norm = outside("scipy.stats").norm
    ours = scores.half_widths(STD, (0.5, 0.9, 0.99))
    for index, level in enumerate((0.5, 0.9, 0.99)):
        numpy.testing.assert_allclose(ours[index].numpy(), norm.interval(level, 0.0, STD.numpy())[1], rtol=1e-9)


@pytest.mark.parametrize("levels", [(), (0.0, 0.5), (0.5, 1.0), (68.3,)])
def test_levels_are_probabilities(levels: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="strictly between 0 and 1"):
        scores.half_widths(STD, levels)
