"""Data that identify themselves: a window is within one episode if its numbers are consecutive."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rwmu.data.windows import WindowSampler, gather, gather_rows, spaced_starts, window_starts
from rwmu.errors import DataError
from tests.data.synthetic import numbered_episodes

LENGTHS = [12, 5, 1, 30, 4, 17, 5]
EPISODES = numbered_episodes(LENGTHS, terminated=[3])
ALL = torch.arange(len(LENGTHS))


def numbers(starts: Tensor, length: int) -> Tensor:
    """Return episode * 1000 + row of every row of every window."""
    return gather(EPISODES, starts, length).state[..., 0]


@pytest.mark.parametrize("length", [1, 2, 5, 12, 30])
def test_windows_are_all_that_fit_and_none_crosses_an_episode(length: int) -> None:
    window = numbers(window_starts(EPISODES.lengths, ALL, length), length)
    assert torch.equal(window, window[:, :1] + torch.arange(length))
    assert (window[:, 0] // 1000 == window[:, -1] // 1000).all()
    expected = [1000 * i + row for i, rows in enumerate(LENGTHS) for row in range(rows - length + 1)]
    assert window[:, 0].tolist() == expected


def test_only_the_asked_episodes_are_cut() -> None:
    window = numbers(window_starts(EPISODES.lengths, torch.tensor([5, 0]), 10), 10)
    assert (window[:, 0] // 1000).long().unique().tolist() == [0, 5]


def test_no_window_fits_where_all_episodes_are_short() -> None:
    assert len(window_starts(EPISODES.lengths, ALL, 31)) == 0


@pytest.mark.parametrize("length", [1, 4, 5, 7])
@pytest.mark.parametrize("seed", range(5))
def test_spaced_windows_do_not_share_a_row(length: int, seed: int) -> None:
    window = numbers(spaced_starts(EPISODES.lengths, ALL, length, seed=seed), length)
    assert torch.equal(window, window[:, :1] + torch.arange(length))
    assert (window[:, 0] // 1000 == window[:, -1] // 1000).all()
    assert len(window.unique()) == window.numel()
    assert len(window) == sum(rows // length for rows in LENGTHS)


def test_spaced_windows_thin_out_evenly() -> None:
    every, few = spaced_starts(EPISODES.lengths, ALL, 4), spaced_starts(EPISODES.lengths, ALL, 4, number=5)
    assert len(few) == 5
    assert set(few.tolist()) <= set(every.tolist())
    assert len(EPISODES.episode_of_row[few].unique()) >= 3


def test_spaced_windows_begin_at_different_phases() -> None:
    """Else every episode's first window would begin with the reset transient."""
    firsts = {int(spaced_starts(EPISODES.lengths, torch.tensor([3]), 20, seed=seed)[0]) - 18 for seed in range(40)}
    assert min(firsts) == 0
    assert max(firsts) == 10


def test_gather_keeps_leading_axes_and_all_arrays_together() -> None:
    starts = window_starts(EPISODES.lengths, ALL, 5)[:12].view(2, 3, 2)
    window = gather(EPISODES, starts, 5)
    assert window.state.shape == (2, 3, 2, 5, 45)
    assert window.action.shape == (2, 3, 2, 5, 12)
    assert window.contact.shape == (2, 3, 2, 5, 8)
    assert window.termination.shape == (2, 3, 2, 5, 1)
    assert all(tensor.dtype == torch.float32 for tensor in (window.state, window.action, window.contact, window.termination))
    bits = (window.contact * 2 ** torch.arange(8)).sum(-1)
    assert torch.equal(bits, window.state[..., 0] % 256)
    assert torch.equal(window.action[..., 1:, 0], window.state[..., 1:, 0])


def test_the_action_of_a_row_is_zero_only_at_an_episodes_first_row() -> None:
    window = gather(EPISODES, window_starts(EPISODES.lengths, ALL, 4), 4)
    first_row = window.state[..., 0] % 1000 == 0
    assert torch.equal(window.action[..., 0] == 0, first_row)


def test_termination_is_seen_in_the_last_row_of_the_last_window() -> None:
    window = gather(EPISODES, window_starts(EPISODES.lengths, ALL, 4), 4)
    assert window.state[..., 0][window.termination[..., 0] == 1.0].tolist() == [3029.0]


def test_a_window_beyond_the_last_row_is_an_error_and_not_garbage() -> None:
    with pytest.raises((IndexError, RuntimeError)):
        gather_rows(EPISODES.state, torch.tensor([EPISODES.num_rows - 3]), 4)


def test_sampler_draws_every_window_equally_often() -> None:
    ids = torch.tensor([1, 3, 3, 2])  # episode 3 counts twice, episode 2 is too short
    sampler = WindowSampler(EPISODES.lengths, ids, 5)
    starts = sampler.sample(40000, torch.Generator().manual_seed(0))
    counts = torch.bincount(starts, minlength=EPISODES.num_rows)
    expected = torch.zeros(EPISODES.num_rows)
    expected[window_starts(EPISODES.lengths, torch.tensor([1]), 5)] = 1.0
    expected[window_starts(EPISODES.lengths, torch.tensor([3]), 5)] = 2.0
    assert sampler.num_windows == 1 + 2 * 26
    assert torch.equal(counts > 0, expected > 0)
    frequency = counts[expected > 0] / 40000 * sampler.num_windows / expected[expected > 0]
    assert (frequency - 1.0).abs().max() < 0.15  # 755 draws a window: five standard deviations are 0.18


def test_sampler_puts_the_asked_share_at_the_beginning_of_episodes() -> None:
    sampler = WindowSampler(EPISODES.lengths, torch.tensor([0, 3, 5, 2]), 12)
    starts = sampler.sample(1000, torch.Generator().manual_seed(0), beginnings=0.25)
    window = numbers(starts, 12)
    assert torch.equal(window, window[:, :1] + torch.arange(12))
    first_rows = window[:, 0] % 1000 == 0
    assert first_rows[:250].all()
    assert set((window[:250, 0] // 1000).tolist()) == {0.0, 3.0, 5.0}
    assert first_rows[250:].float().mean() < 0.2


def test_sampler_puts_the_asked_share_at_the_falls() -> None:
    terminated = torch.zeros(EPISODES.num_episodes, dtype=torch.bool)
    terminated[[0, 1, 2, 3]] = True  # episode 2 is too short for a window that ends where it fell
    sampler = WindowSampler(EPISODES.lengths, torch.tensor([0, 3, 5, 2]), 12, terminated)
    last_rows = numbers(sampler.sample(1000, torch.Generator().manual_seed(0), endings=0.25), 12)[750:, -1]
    fallen = {1000.0 * episode + int(EPISODES.lengths[episode]) - 1 for episode in (0, 3)}
    assert set(last_rows.tolist()) == fallen
    none = WindowSampler(EPISODES.lengths, torch.tensor([5]), 12, terminated)
    assert len(none.sample(10, torch.Generator().manual_seed(0), endings=0.5)) == 10


def test_sampler_of_short_episodes_says_what_lengths_there_are() -> None:
    with pytest.raises(DataError, match=r"windows of 40 rows .*: the longest of 7 has 30; shorten") as error:
        WindowSampler(EPISODES.lengths, ALL, 40)
    assert str(error.value).endswith(".")


def test_shares_that_round_to_more_than_there_are_windows_give_no_more() -> None:
    fallen = torch.ones(EPISODES.num_episodes, dtype=torch.bool)
    sampler = WindowSampler(EPISODES.lengths, ALL, 4, fallen)
    assert len(sampler.sample(3, torch.Generator().manual_seed(0), beginnings=0.5, endings=0.5)) == 3
