"""Rows of true episodes as a model is given them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.data.windows import padded
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


def true_window(world_model: WorldModel, episodes: Episodes, starts: Tensor, length: int) -> tuple[Window, Tensor]:
    """Return :func:`~rwmu.data.windows.padded` windows with states normalised."""
    window, within = padded(episodes, starts, length)
    return replace(window, state=world_model.normalizer.normalize(window.state)), within
