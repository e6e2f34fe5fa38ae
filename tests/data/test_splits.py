from __future__ import annotations

import pytest
import torch

from rwmu.data.splits import DEFAULT_FRACTIONS, extend_splits, split_episodes
from rwmu.errors import ConfigError, DataError

FRACTIONS = {"train": 0.7, "validation": 0.1, "test": 0.1, "calibration": 0.1}


@pytest.mark.parametrize("number", [20, 101, 997])
@pytest.mark.parametrize("seed", range(4))
def test_every_episode_is_in_exactly_one_split(number: int, seed: int) -> None:
    splits = split_episodes(number, FRACTIONS, seed)
    assert list(splits) == list(FRACTIONS)
    assert torch.cat(list(splits.values())).sort().values.tolist() == list(range(number))
    for name, share in FRACTIONS.items():
        assert abs(len(splits[name]) - share * number) < 1.0
        assert splits[name].dtype == torch.int64


def test_the_seed_decides() -> None:
    one, same, other = (split_episodes(100, FRACTIONS, seed) for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in FRACTIONS)
    assert not torch.equal(one["test"], other["test"])


@pytest.mark.parametrize("seed", range(4))
def test_every_split_gets_its_share_of_every_level(seed: int) -> None:
    levels = ["good"] * 300 + ["poor"] * 100 + ["random"] * 40
    levels = [levels[i] for i in torch.randperm(440, generator=torch.Generator().manual_seed(seed)).tolist()]
    splits = split_episodes(440, FRACTIONS, seed, levels)
    for name, share in FRACTIONS.items():
        for level, number in (("good", 300), ("poor", 100), ("random", 40)):
            found = sum(levels[i] == level for i in splits[name].tolist())
            assert abs(found - share * number) <= 2.0, (name, level)


def test_default_fractions_are_whole() -> None:
    assert sum(DEFAULT_FRACTIONS.values()) == pytest.approx(1.0)
    assert list(DEFAULT_FRACTIONS) == ["train", "validation", "test", "calibration"]


def test_split_that_would_be_empty_is_named() -> None:
    with pytest.raises(
        DataError, match=r"The split 'calibration' would get none of the 3 episodes with a share of 0\.1; collect more"
    ):
        split_episodes(3, {"train": 0.7, "validation": 0.2, "calibration": 0.1})


def test_share_of_zero_is_an_empty_split_on_purpose() -> None:
    splits = split_episodes(5, {"train": 0.8, "validation": 0.2, "test": 0.0})
    assert [len(ids) for ids in splits.values()] == [4, 1, 0]


@pytest.mark.parametrize("fractions", [{"train": 0.7, "test": 0.2}, {"train": 1.2, "test": -0.2}, {"train": float("nan")}])
def test_impossible_fractions_are_refused(fractions: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must not be negative and must add up to 1"):
        split_episodes(100, fractions)


def test_splits_depend_on_names_and_shares_not_on_how_they_are_written() -> None:
    shares = {"train": 0.75, "validation": 0.05, "test": 0.1, "calibration": 0.1}
    for names in (["test", "calibration", "train", "validation"], ["calibration", "validation", "test", "train"]):
        other = split_episodes(83, {name: shares[name] for name in names}, seed=5)
        grown = extend_splits(other, {name: shares[name] for name in names}, 5, ["a", "b"] * 10)
        for name, ids in split_episodes(83, shares, seed=5).items():
            assert torch.equal(other[name], ids)
        for name, ids in extend_splits(split_episodes(83, shares, seed=5), shares, 5, ["a", "b"] * 10).items():
            assert torch.equal(grown[name], ids)


def test_names_of_ones_own_come_behind_in_the_order_of_the_alphabet() -> None:
    one, other = ({"train": 0.5, **dict.fromkeys(names, 0.25)} for names in ("ab", "ba"))
    assert all(torch.equal(ids, split_episodes(20, other)[name]) for name, ids in split_episodes(20, one).items())
