"""Counter-based draws: independent of company, well spread, and different for every purpose."""

from __future__ import annotations

import numpy as np

from rwmu.simulators.random_streams import RandomStreams

ENVS = np.arange(256)


def test_a_draw_does_not_depend_on_the_other_environments() -> None:
    streams = RandomStreams(3)
    everyone = streams.uniform("start", 5, ENVS, 4)
    np.testing.assert_array_equal(streams.uniform("start", 5, ENVS[[7, 200]], 4), everyone[[7, 200]])
    np.testing.assert_array_equal(streams.uniform("start", 5, ENVS, 2), everyone[:, :2])


def test_seed_purpose_and_tick_change_every_draw() -> None:
    reference = RandomStreams(3).words("start", 5, ENVS, 4)
    for other in (
        RandomStreams(4).words("start", 5, ENVS, 4),
        RandomStreams(3).words("command", 5, ENVS, 4),
        RandomStreams(3).words("start", 6, ENVS, 4),
    ):
        assert not (reference == other).any()


def test_neighbouring_streams_are_not_shifted_copies() -> None:
    words = RandomStreams(0).words("start", 0, ENVS, 16)
    assert len(np.unique(words)) == words.size


def test_uniform_draws_fill_the_unit_interval() -> None:
    draws = RandomStreams(1).uniform("start", 0, np.arange(2000), 50)
    assert draws.min() >= 0.0
    assert draws.max() < 1.0
    assert abs(draws.mean() - 0.5) < 0.005
    assert abs(draws.var() - 1 / 12) < 0.001
    correlation = np.corrcoef(draws.T)[np.triu_indices(50, 1)]
    assert np.abs(correlation).max() < 0.12  # about five standard errors


def test_normal_draws_have_the_moments_of_the_normal_distribution() -> None:
    draws = RandomStreams(1).normal("action", 0, np.arange(20000), 6)
    assert abs(draws.mean()) < 0.01
    assert abs(draws.std() - 1.0) < 0.01
    assert abs((draws**4).mean() - 2.8) < 0.08  # kurtosis of six uniform draws: 3 - 6/(5*6)


def test_negative_and_large_seeds_are_allowed() -> None:
    draws = [RandomStreams(seed).uniform("x", 0, ENVS[:1], 1)[0, 0] for seed in (-1, 0, 2**63)]
    assert len(set(draws)) == 3
