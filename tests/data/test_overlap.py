"""Episodes that two datasets have in common are found, also where one of them ends earlier."""

from __future__ import annotations

import torch

from rwmu.data.episodes import concatenate
from rwmu.data.overlap import begin_alike
from tests.fakes import random_episodes


def test_whole_episodes_and_beginnings_are_found() -> None:
    common, own, other = random_episodes([30, 40], seed=0), random_episodes([25], seed=1), random_episodes([35], seed=2)
    first, second = concatenate([own, common]), concatenate([common, other])
    assert begin_alike(first, torch.arange(3), second, torch.arange(3)).tolist() == [False, True, True]
    assert begin_alike(first, torch.tensor([2, 0]), second, torch.tensor([0, 2])).tolist() == [False, False]
    second.state[second.offsets[1] + 25 :] += 1.0  # one goes another way later, one at once
    second.state[second.offsets[0] + 1] += 1.0
    assert begin_alike(first, torch.arange(3), second, torch.arange(3)).tolist() == [False, False, True]


def test_an_episode_cut_short_is_the_same_one() -> None:
    # Collections with one seed, the shorter of which ended in the midst of an episode.
    longer = random_episodes([30, 40, 50])
    for rows in (7, 20, 33):
        shorter = random_episodes([rows])
        shorter.state.copy_(longer.state[30 : 30 + rows])
        for one, other, expected in ((longer, shorter, [False, True, False]), (shorter, longer, [True])):
            found = begin_alike(one, torch.arange(one.num_episodes), other, torch.arange(other.num_episodes))
            assert found.tolist() == expected


def test_a_beginning_shorter_than_what_is_compared_is_no_match() -> None:
    # One of the others ends after 3 rows; that does not make 3 equal rows of two long episodes enough.
    first, second = random_episodes([30], seed=0), random_episodes([3, 30], seed=1)
    second.state[3:6] = first.state[:3]
    assert begin_alike(first, torch.arange(1), second, torch.arange(2)).tolist() == [False]
