from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rwmu.data.rates import resampled
from rwmu.errors import ConfigError
from tests.data.synthetic import numbered_episodes


def test_states_are_interpolated_actions_averaged_and_rewards_summed() -> None:
    """From 50 Hz to 25: rows 0, 2, 4; actions 1 and 2, then 3 and 4, have led there."""
    half = resampled(numbered_episodes([6, 5]), 25.0, "data")
    assert half.lengths.tolist() == [3, 3]
    assert half.state[:, 0].tolist() == [0, 2, 4, 1000, 1002, 1004]
    assert half.action[:, 0].tolist() == [0, 1.5, 3.5, 0, 1001.5, 1003.5]
    assert half.reward.tolist() == [0, 3, 7, 0, 2003, 2007]
    assert half.attributes["step_dt"] == 0.04


def test_rates_need_no_common_measure() -> None:
    """From 50 Hz to 40: a row every 1.25, of which 4 fit into 5 steps."""
    other = resampled(numbered_episodes([6]), 40.0, "data")
    assert other.state[:, 0].tolist() == [0, 1.25, 2.5, 3.75, 5.0]
    assert other.action[1:, 0].tolist() == pytest.approx([1.5 / 1.25, (1.5 + 1.5) / 1.25, (1.5 + 3) / 1.25, (1 + 5) / 1.25])
    assert other.command[:, 0].tolist() == [0, 1, 2, 3, 5]


def test_the_rate_that_there_is_changes_nothing() -> None:
    episodes = numbered_episodes([6, 1], terminated=[0])
    assert resampled(episodes, 50.0, "data").content_hash() == episodes.content_hash()


@pytest.mark.parametrize("length", [6, 7])
def test_no_fall_is_lost(length: int) -> None:
    """Of 6 rows the last fills no step of two: the fall in it ends a shorter one."""
    fallen = resampled(numbered_episodes([length], terminated=[0]), 25.0, "data")
    assert fallen.termination.tolist() == [False, False, False, True]
    assert float(fallen.state[-1, 0]) == length - 1


@pytest.mark.parametrize("rate", [51.0, 0.0, -1.0, float("nan"), "50", True])
def test_a_rate_that_makes_no_sense_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match=r"rate|rows"):
        resampled(numbered_episodes([6]), rate, "data")


def test_data_that_do_not_say_their_rate_are_refused() -> None:
    with pytest.raises(Exception, match="step_dt"):
        resampled(replace(numbered_episodes([6]), attributes={}), 25.0, "data")


def test_terminations_within_an_episode_are_kept() -> None:
    episodes = numbered_episodes([9])
    episodes.termination[3] = True
    assert torch.equal(resampled(episodes, 25.0, "data").termination, torch.tensor([False, False, True, False, False]))
