"""Episodes with something in every array, for formats that are to lose nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from rwmu.data.episodes import Episodes
from tests.data.walking import walking_episodes


def recorded(lengths: Sequence[int] = (12, 9, 7), falling: Sequence[int] = (1,), extension: bool = False) -> Episodes:
    """Return walks with drawn commands, rewards and levels, and an extension if one is wanted."""
    episodes = walking_episodes(lengths, falling)
    generator = torch.Generator().manual_seed(1)
    reward = torch.rand(episodes.num_rows, generator=generator)
    reward[episodes.offsets] = 0.0
    return replace(
        episodes,
        command=torch.rand(episodes.num_rows, 3, generator=generator),
        reward=reward,
        levels=[f"level{i}" for i in range(len(lengths))],
        extension=torch.rand(episodes.num_rows, 2, generator=generator) if extension else None,
    )
