from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rwmu.data.episodes import Episodes, concatenate
from rwmu.errors import DataError
from tests.data.synthetic import numbered_episodes

LENGTHS = [3, 5, 1, 4]


def test_offsets_and_episode_of_each_row() -> None:
    episodes = numbered_episodes(LENGTHS)
    assert (episodes.num_episodes, episodes.num_rows) == (4, 13)
    assert episodes.offsets.tolist() == [0, 3, 8, 9]
    assert torch.equal(episodes.episode_of_row, episodes.state[:, 0].long() // 1000)


def test_returns_add_up_each_episode_by_itself() -> None:
    assert numbered_episodes(LENGTHS).returns().tolist() == [1 + 2, 4 * 1000 + 10, 0, 3 * 3000 + 6]


def test_select_takes_whole_episodes_in_the_asked_order_and_twice_if_asked() -> None:
    chosen = numbered_episodes(LENGTHS, terminated=[3]).select(torch.tensor([3, 0, 3]))
    assert chosen.state[:, 0].tolist() == [3000, 3001, 3002, 3003, 0, 1, 2, 3000, 3001, 3002, 3003]
    assert chosen.lengths.tolist() == [4, 3, 4]
    assert chosen.levels == ["level1", "level0", "level1"]
    assert chosen.seeds.tolist() == [80, 77, 80]
    assert chosen.termination.nonzero().flatten().tolist() == [3, 10]


def test_concatenating_the_parts_gives_the_whole() -> None:
    episodes = numbered_episodes(LENGTHS)
    joined = concatenate([episodes.select(torch.tensor([0, 1])), episodes.select(torch.tensor([2, 3]))])
    assert joined.content_hash() == episodes.content_hash()


def test_sets_of_different_robots_are_not_joined() -> None:
    one = numbered_episodes([3])
    other = replace(one, attributes={**one.attributes, "robot": "go1"})
    with pytest.raises(DataError, match="differ in 'robot'"):
        concatenate([one, other])
    with pytest.raises(DataError, match="no episodes to join"):
        concatenate([])


@pytest.mark.parametrize("name", ["state", "action", "contact", "termination", "command", "reward", "lengths", "levels", "seeds"])
def test_the_hash_sees_every_array(name: str) -> None:
    episodes = numbered_episodes([4, 4])
    changed: dict[str, object] = {"levels": ["level0", "other"], "lengths": torch.tensor([5, 3])}
    if name == "lengths":  # rows stay, the boundary moves; row 0 of the second episode must then be an empty first row again
        episodes.action[5] = 0.0
        episodes.reward[5] = 0.0
    elif name != "levels":
        value = getattr(episodes, name).clone()
        value[-1] = ~value[-1] if value.dtype == torch.bool else value[-1] + 1
        changed[name] = value
    other = replace(episodes, **{name: changed[name]})
    assert other.content_hash() != episodes.content_hash()


def test_the_hash_names_the_content_and_not_its_origin() -> None:
    episodes = numbered_episodes([4, 4])
    moved = replace(episodes, attributes={"command_line": "another"}, state=episodes.state.t().contiguous().t())
    assert moved.content_hash() == episodes.content_hash()


def test_rows_must_match_the_lengths() -> None:
    episodes = numbered_episodes([4, 4])
    with pytest.raises(DataError, match="7 of 'state', but there are 8"):
        replace(episodes, lengths=torch.tensor([4, 3]))
    with pytest.raises(DataError, match="2 of 'levels', but there are 1"):
        replace(episodes, levels=["level0"])
    with pytest.raises(DataError, match="Episode 1 has no rows"):
        replace(episodes, lengths=torch.tensor([8, 0]))


def test_other_number_formats_are_refused_by_name() -> None:
    episodes = numbered_episodes([4])
    with pytest.raises(DataError, match=r"'state' is of torch\.float64, but torch\.float32 was expected"):
        replace(episodes, state=episodes.state.double())


@pytest.mark.parametrize("name", ["action", "reward", "termination"])
def test_nothing_leads_to_a_first_row(name: str) -> None:
    """A producer that pairs (s_t, a_t) instead of (a_t, s_t) is caught here."""
    episodes: Episodes = numbered_episodes([4, 4])
    value = getattr(episodes, name).clone()
    value[4] = True if name == "termination" else 1.0
    with pytest.raises(DataError, match=f"first row of an episode has a non-zero {name}"):
        replace(episodes, **{name: value})
