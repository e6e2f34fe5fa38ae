"""Means over seeds and their intervals: against scipy, by counting, and on luck that is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from rwmu.uncertainty import pairing
from rwmu.uncertainty.pairing import Estimate, Floats


@pytest.mark.parametrize("number", [1, 3, 4, 5, 9, 10, 15])
def test_the_interquartile_mean_is_scipys(number: int) -> None:
    scores = np.random.default_rng(number).standard_normal((6, number))
    np.testing.assert_allclose(pairing.interquartile_mean(scores), scipy.stats.trim_mean(scores, 0.25, axis=1), rtol=1e-12)


def test_the_interval_over_seeds_is_scipys_percentile_bootstrap() -> None:
    """Where episodes add nothing, drawing seeds alone is what Agarwal et al. do for one task, up to the draws' own luck."""
    each = np.random.default_rng(3).normal(20.0, 2.0, 8)
    ours = pairing.over_seeds_and_episodes(np.repeat(each[:, None], 1 + pairing.RESAMPLES, axis=1), episodes=40)

    def iqm(sample: Any, axis: int = -1) -> Any:
        return scipy.stats.trim_mean(sample, 0.25, axis=axis)

    theirs = scipy.stats.bootstrap((each,), iqm, method="percentile", n_resamples=20_000, rng=np.random.default_rng(0))
    assert ours.value == pytest.approx(iqm(each), abs=1e-12)
    assert [ours.low, ours.high] == pytest.approx(list(theirs.confidence_interval), abs=0.15)
    assert float(ours.high or 0.0) - float(ours.low or 0.0) > 1.5, "wide beside the tolerance"


def test_a_combined_interval_has_the_spread_of_seeds_and_that_of_episodes() -> None:
    """Three seeds, standard deviation 1: Student's half-width is 4.303 / sqrt(3); the episodes' own are 3 below and 1 above."""
    found = pairing.combined([1.0, 2.0, 3.0], [(-2.0, 2.0), (-1.0, 3.0), (0.0, 4.0)], 40)
    over_seeds = scipy.stats.t.ppf(0.975, 2) / np.sqrt(3.0)
    assert (found.value, found.counts) == (2.0, "3 × 40")
    assert found.low == pytest.approx(2.0 - np.hypot(3.0, over_seeds), abs=1e-3)
    assert found.high == pytest.approx(2.0 + np.hypot(1.0, over_seeds), abs=1e-3)
    limited = pairing.combined([1.0, 2.0, 3.0], [(-2.0, 2.0), (-1.0, 3.0), (0.0, 4.0)], 40, (0.0, 4.0))
    assert (limited.low, limited.high) == (0.0, 4.0)


def test_students_quantiles() -> None:
    for number, quantile in pairing.STUDENT.items():
        assert quantile == pytest.approx(scipy.stats.t.ppf(0.975, number - 1), abs=5e-3)
    with pytest.raises(ValueError, match="6"):
        pairing.combined([1.0] * 6, [None] * 6)


def test_one_seed_has_the_interval_of_its_episodes_or_none() -> None:
    one = pairing.combined([1.0], [(0.5, 1.5)])
    assert (one.value, one.low, one.high) == (1.0, 0.5, 1.5)
    assert pairing.combined([1.0], [None]).low is None


@pytest.mark.parametrize(("seeds", "falls", "has_interval"), [(5, None, True), (3, None, False), (5, 5, True), (5, 4, False)])
def test_too_few_seeds_or_falls_have_no_interval(seeds: int, falls: int | None, has_interval: bool) -> None:
    scores = np.random.default_rng(0).standard_normal((seeds, 101))
    found = pairing.over_seeds_and_episodes(scores, 40, falls)
    assert (found.low is not None, found.few) == (has_interval, not has_interval)
    assert found.each == tuple(scores[:, 0])


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.02, 0.05, "within"), (-0.02, 0.051, "open"), (0.051, 0.2, "beyond"), (0.05, 0.2, "open"), (None, None, "open")],
)
def test_an_advantage_against_a_margin(low: float | None, high: float | None, verdict: str) -> None:
    assert Estimate(0.0, low, high).against(0.05) == verdict


def test_the_coverage_that_the_module_speaks_of() -> None:
    """The percentile interval of the interquartile mean of n normal scores: 90 % with five seeds, 75 % with three."""
    generator = np.random.default_rng(0)
    for number, expected in ((5, 0.90), (3, 0.75)):
        scores = generator.standard_normal((4000, number))
        means = pairing.interquartile_mean(scores[:, pairing.seed_draws(number, 400)])
        low, high = np.quantile(means, pairing.ENDS, axis=1)
        assert ((low <= 0.0) & (high >= 0.0)).mean() == pytest.approx(expected, abs=0.02)


def test_episodes_add_to_the_spread_of_the_seeds() -> None:
    """Five equal seeds, whose number depends on the episodes drawn: the interval is that of the draws."""
    draws = np.concatenate([[0.5], np.linspace(0.0, 1.0, 2001)])[None].repeat(5, axis=0)
    found = pairing.over_seeds_and_episodes(draws, episodes=40)
    assert (found.value, found.episodes) == (0.5, 40)
    assert (found.low, found.high) == pytest.approx((0.025, 0.975), abs=1e-6)


def test_draws_of_episodes_are_of_the_episodes_that_there_are() -> None:
    times = pairing.episode_draws([7, 2, 2, 5], resamples=50)
    assert times.shape == (51, 8)
    assert times[0].tolist() == [0, 0, 1, 0, 0, 1, 0, 1]
    assert bool((times.sum(dim=1) == 3).all())
    assert float(times[:, [0, 1, 3, 4, 6]].abs().sum()) == 0.0
    assert torch.equal(times, pairing.episode_draws([2, 5, 7], resamples=50)), "the same episodes have the same draws"


# -- the best of several options --------------------------------------------------------------------------------------------------


def of_one_episode(table: list[list[float]]) -> Floats:
    """Return scores of options by seeds, of one episode each."""
    return np.array(table)[:, :, None]


def test_the_best_option_is_chosen_anew_in_every_draw() -> None:
    """Every seed is lucky at an option of its own: at a fixed one, draws without its lucky seed gain nothing."""
    lucky, nothing = of_one_episode((9.0 * np.eye(5)).tolist()), np.zeros((1, 5, 1))
    fixed = pairing.best_difference([(lucky[:1], nothing)])
    anew = pairing.best_difference([(np.full((5, 5, 1), 1.0) * lucky.mean(axis=0), nothing)])
    assert (fixed.value, fixed.low) == (0.0, 0.0), "an interquartile mean leaves one lucky seed out"
    assert anew.low == pytest.approx(1.8)
    two = of_one_episode([[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 3.0, 3.0, 3.0]])
    assert pairing.best_option(two) == 1
    assert pairing.share_of_wins(two)[1] > 0.9


def test_other_seeds_choose_a_seeds_option() -> None:
    """Each seed is best at an option of its own by luck: those chosen by the others do not have that luck."""
    lucky = of_one_episode([[9.0, 1.0, 1.0], [1.0, 9.0, 1.0], [1.0, 1.0, 9.0]])
    assert pairing.chosen_by_others(lucky) == [1.0, 1.0, 1.0]
    assert pairing.chosen_by_others(of_one_episode([[5.0, 6.0, 7.0], [1.0, 1.0, 1.0]])) == [5.0, 6.0, 7.0]
    assert pairing.chosen_by_others_difference([(lucky, np.zeros((1, 3, 1)))]) == 1.0


def test_a_difference_is_of_means_and_paired_by_episode() -> None:
    """Seeds 1, 2, 3, 4, 90 less 0, 0, 0, 0, 80: interquartile means 3 and 0, though of the pairs 3.33."""
    luck = np.random.default_rng(0).standard_normal((1, 1, 8))
    first, second = (np.array(seeds)[None, :, None] + luck for seeds in ((1.0, 2.0, 3.0, 4.0, 90.0), (0.0, 0.0, 0.0, 0.0, 80.0)))
    assert pairing.best_difference([(first, second)]).value == pytest.approx(3.0)
    same = pairing.best_difference([(first + 1.0, first)] * 2)
    assert (same.value, same.low, same.high) == pytest.approx((1.0, 1.0, 1.0)), "luck that both have cancels"
    base = np.full((1, 5, 8), 20.0)
    assert pairing.best_difference([(base + 1.0, base)], relative=True).value == pytest.approx(0.05)


def test_luck_of_a_seed_with_an_episode_widens_an_interval_and_luck_of_seeds_does_not() -> None:
    """Five seeds and 40 episodes, each of a luck of its own: nearly twice too wide, as the module says; not so for seeds alone."""
    generator, widths = np.random.default_rng(0), {True: [], False: []}
    for _ in range(30):
        luck = [generator.standard_normal((1, 5, 40)) for _ in range(2)]
        for seeds_alone, found in widths.items():
            one = pairing.best_difference([(luck[0], luck[1])], seeds_alone=seeds_alone)
            found.append(float(one.high or 0.0) - float(one.low or 0.0))
    needed = 2 * 1.96 * np.sqrt(2.0 / (5 * 40))  # of a mean; an interquartile mean needs a little more
    assert 1.4 * needed < np.mean(widths[False]) < 2.2 * needed
    assert 0.75 * needed < np.mean(widths[True]) < 1.3 * needed
