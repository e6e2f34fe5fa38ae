"""Split data by whole episodes, so that no split sees a row of another's episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rwmu.errors import ConfigError, DataError
from rwmu.numerics import stream

DEFAULT_FRACTIONS = {"train": 0.8, "validation": 0.06, "test": 0.07, "calibration": 0.07}


def split_episodes(
    num_episodes: int, fractions: Mapping[str, float] = DEFAULT_FRACTIONS, seed: int = 0, levels: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Return the sorted episode ids (int64) of each named split; together they are all episodes, each once.

    Args:
        fractions: name -> share of the episodes; they add up to 1. A share of 0 gives an empty split on purpose.
        levels: the policy level of each episode; every split then gets its share of every level.

    Raises:
        ConfigError: for fractions that are none.
        DataError: if a split with a share above 0 would get no episode.
    """
    if any(not share >= 0.0 for share in fractions.values()) or abs(sum(fractions.values()) - 1.0) > 1e-6:
        raise ConfigError(f"The split fractions {dict(fractions)} must not be negative and must add up to 1.")
    fractions = _in_order(fractions)
    counts = _apportion(num_episodes, fractions)
    for name, share in fractions.items():
        if share > 0.0 and counts[name] == 0:
            raise DataError(
                f"The split '{name}' would get none of the {num_episodes} episodes with a share of {share:g}; collect more "
                "episodes or give it a larger share in data.fractions."
            )
    return _draw(counts, torch.Generator().manual_seed(seed), levels)


def extend_splits(
    splits: Mapping[str, Tensor], fractions: Mapping[str, float], seed: int, levels: Sequence[str]
) -> dict[str, Tensor]:
    """Return the splits with new episodes, numbered on from those that there are, which stay where they are.

    Each split gets so many of the new ones (whose ``levels`` are given) that its part of all comes as near to its share as it can.
    """
    fractions = _in_order(fractions)
    old = sum(len(ids) for ids in splits.values())
    missing = {name: max(share * (old + len(levels)) - len(splits[name]), 0.0) for name, share in fractions.items()}
    counts = _apportion(len(levels), {name: value / sum(missing.values()) for name, value in missing.items()})
    # The number of old episodes goes into the seed, so that no two rounds are drawn alike.
    drawn = _draw(counts, stream(seed, old), levels)
    return {name: torch.cat([splits[name], old + drawn[name]]) for name in fractions}


def _in_order(fractions: Mapping[str, float]) -> dict[str, float]:
    """Return shares in an order of their own: who gets an episode follows from names and shares, not from how they were written."""
    known = list(DEFAULT_FRACTIONS)
    names = sorted(fractions, key=lambda name: (known.index(name) if name in known else len(known), name))
    return {name: fractions[name] for name in names}


def _draw(counts: Mapping[str, int], generator: torch.Generator, levels: Sequence[str] | None) -> dict[str, Tensor]:
    """Draw ``counts`` episodes for each split, with its share of every level; ids are sorted."""
    order = torch.randperm(sum(counts.values()), generator=generator)
    if levels is not None:
        order = torch.tensor(sorted(order.tolist(), key=lambda i: levels[i]), dtype=torch.int64)
    # Each split takes evenly spaced places of the order, so that it gets its share of every stretch of equal level.
    shifts = [torch.rand(1, generator=generator, dtype=torch.float64) for _ in counts]
    places = torch.cat([(torch.arange(n) + shift) / max(n, 1) for n, shift in zip(counts.values(), shifts, strict=True)])
    owner = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(list(counts.values())))
    owner = owner[places.argsort(stable=True)]
    return {name: order[owner == i].sort().values for i, name in enumerate(counts)}


def _apportion(number: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Divide ``number`` in proportion to ``fractions``, giving what rounding leaves to the largest remainders."""
    exact = {name: number * share for name, share in fractions.items()}
    counts = {name: int(value + 1e-9) for name, value in exact.items()}
    neediest = sorted(fractions, key=lambda name: counts[name] - exact[name])
    for name in neediest[: number - sum(counts.values())]:
        counts[name] += 1
    return counts
