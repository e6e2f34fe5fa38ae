"""The study's means over seeds and their intervals, against scipy and by counting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats

from experiments.shared_vs_independent import returns, robust
from experiments.shared_vs_independent.cells import SEEDS
from experiments.shared_vs_independent.returns import Returns


@pytest.mark.parametrize("number", [1, 3, 4, 5, 9, 10, 15])
def test_the_interquartile_mean_is_scipys(number: int) -> None:
    scores = np.random.default_rng(number).standard_normal((6, number))
    expected = scipy.stats.trim_mean(scores, 0.25, axis=1)
    np.testing.assert_allclose(robust.interquartile_mean(scores), expected, rtol=1e-12)


def test_the_interval_over_seeds_is_scipys_percentile_bootstrap() -> None:
    """Where episodes add nothing, drawing seeds alone is what Agarwal et al. do for one task, up to the draws' own luck."""
    each = np.random.default_rng(3).normal(20.0, 2.0, 8)
    ours = robust.of_resampled(each.tolist(), np.repeat(each[:, None], robust.RESAMPLES, axis=1), episodes=40)

    def iqm(sample: Any, axis: int = -1) -> Any:
        return scipy.stats.trim_mean(sample, 0.25, axis=axis)

    theirs = scipy.stats.bootstrap((each,), iqm, method="percentile", n_resamples=20_000, rng=np.random.default_rng(0))
    assert ours.value == pytest.approx(iqm(each), abs=1e-12)
    assert ours.low is not None
    assert ours.high is not None
    assert [ours.low, ours.high] == pytest.approx(list(theirs.confidence_interval), abs=0.15)
    assert ours.high - ours.low > 1.5, "wide beside the tolerance"


def test_a_combined_interval_has_the_spread_of_seeds_and_that_of_episodes() -> None:
    """Three seeds, standard deviation 1: Student's half-width is 4.303 / sqrt(3); the episodes' own are 3 below and 1 above."""
    found = robust.combined([1.0, 2.0, 3.0], [(-2.0, 2.0), (-1.0, 3.0), (0.0, 4.0)], 40)
    over_seeds = scipy.stats.t.ppf(0.975, 2) / np.sqrt(3.0)
    assert found.value == 2.0
    assert found.low == pytest.approx(2.0 - np.hypot(3.0, over_seeds), abs=1e-3)
    assert found.high == pytest.approx(2.0 + np.hypot(1.0, over_seeds), abs=1e-3)
    assert (found.seeds, found.episodes) == (3, 40)
    limited = robust.combined([1.0, 2.0, 3.0], [(-2.0, 2.0), (-1.0, 3.0), (0.0, 4.0)], 40, (0.0, 4.0))
    assert (limited.low, limited.high) == (0.0, 4.0)


def test_students_quantiles() -> None:
    for number, quantile in robust.STUDENT.items():
        assert quantile == pytest.approx(scipy.stats.t.ppf(0.975, number - 1), abs=5e-3)


def test_one_seed_has_the_interval_of_its_episodes_or_none() -> None:
    assert robust.combined([1.0], [(0.5, 1.5)]).text() == "1.00 [0.50, 1.50]"
    assert robust.combined([1.0], [None]).text() == "1.00 (1 seed: 1.00)"
    assert robust.combined([], []).text() == "not run yet"


def test_fewer_than_five_seeds_are_not_resampled_but_shown() -> None:
    found = robust.of_resampled([1.0, 2.0, 4.5], np.ones((3, 100)), episodes=40)
    assert (found.value, found.low, found.each) == (2.5, None, (1.0, 2.0, 4.5))
    assert found.text(1) == "2.5 (3 seeds: 1.0, 2.0, 4.5)"
    assert "5 seeds" in found.reason


def test_the_coverage_that_the_module_speaks_of() -> None:
    """The percentile interval of the interquartile mean of n normal scores: 90 % with five seeds, 75 % with three."""
    generator = np.random.default_rng(0)
    for number, expected in ((5, 0.90), (3, 0.75)):
        scores = generator.standard_normal((4000, number))
        means = robust.interquartile_mean(scores[:, robust.seed_draws(number, 400)])
        low, high = np.quantile(means, robust.ENDS, axis=1)
        assert ((low <= 0.0) & (high >= 0.0)).mean() == pytest.approx(expected, abs=0.02)


def test_luck_of_a_seed_with_an_episode_widens_an_interval_and_luck_of_seeds_does_not() -> None:
    """Returns of five seeds and 40 episodes, each of a luck of its own: the page says that the interval is nearly twice too wide.

    Drawing seeds alone, it has the width of five means' own spread; what all seeds share, it would not see.
    """
    generator = np.random.default_rng(0)
    drawn, alone = [], []
    for _ in range(30):
        luck = [Returns((0.0,), SEEDS, generator.standard_normal((1, 5, 40)), complete=True) for _ in range(2)]
        for widths, seeds_alone in ((drawn, False), (alone, True)):
            found = returns.pooled([(luck[0], luck[1])], seeds_alone)
            widths.append(float(found.high or 0.0) - float(found.low or 0.0))
    needed = 2 * 1.96 * np.sqrt(2.0 / (5 * 40))  # of a mean; an interquartile mean needs a little more
    assert 1.4 * needed < np.mean(drawn) < 2.2 * needed
    assert 0.75 * needed < np.mean(alone) < 1.3 * needed


def test_more_seeds_than_there_are_quantiles_for_are_refused() -> None:
    with pytest.raises(ValueError, match="5 seeds, not for 6"):
        robust.combined([1.0] * 6, [None] * 6)


def test_episodes_add_to_the_spread_of_the_seeds() -> None:
    """Five equal seeds, whose number depends on the episodes drawn: the interval is that of the draws."""
    draws = np.linspace(0.0, 1.0, 2001)[None].repeat(5, axis=0)
    found = robust.of_resampled([0.5] * 5, draws, episodes=40)
    assert (found.value, found.episodes) == (0.5, 40)
    assert found.low == pytest.approx(0.025, abs=1e-6)
    assert found.high == pytest.approx(0.975, abs=1e-6)
