"""Rows of true episodes as a model is given them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.dynamics.world_model import WorldModel
from rwmu.records import Window

BATCH = 256  # windows at once


@dataclass(frozen=True)
class Selection:
    """Some episodes of a dataset: a test split, or a calibration split.

    Attributes:
        episodes: the dataset. ids: int64, which of its episodes.
    """

    episodes: Episodes
    ids: Tensor


def evenly(values: Tensor, number: int | None) -> Tensor:
    """Return at most ``number`` of the values ``[N]``, spread evenly over them; all for None."""
    if number is None or number >= len(values):
        return values
    return values[(torch.arange(number) * len(values)) // number]


def true_window(world_model: WorldModel, episodes: Episodes, starts: Tensor, length: int) -> tuple[Window, Tensor]:
    """Return rows from ``starts [B]`` on as one window ``[1, B, length, .]``, states normalised, and which are the episode's.

    Beyond an episode's end its last row is repeated, and must not count: False in the ``[B, length]`` bool.
    """
    last = (episodes.offsets + episodes.lengths - 1)[episodes.episode_of_row[starts]]
    rows = starts[:, None] + torch.arange(length)
    within = rows <= last[:, None]
    rows = torch.minimum(rows, last[:, None])
    flags = episodes.contact[rows].float(), episodes.termination[rows].float().unsqueeze(-1)
    window = Window(world_model.normalizer.normalize(episodes.state[rows]), episodes.action[rows], *flags)
    return window.map(lambda tensor: tensor.unsqueeze(0).float()), within
