"""Rows of true episodes as a model is given them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.data.windows import evenly, padded
from rwmu.dynamics.world_model import WorldModel
from rwmu.records import Window
from rwmu.uncertainty.baselines import KnownStates

BATCH = 256  # windows at once
KNOWN_STATES = 20_000  # of the training episodes, evenly: the distance to these takes seconds, to all of a million minutes


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


def known_states(world_model: WorldModel, trained_on: Selection | None) -> KnownStates | None:
    """Return states that the model was trained on, evenly chosen; None where its training episodes are not at hand."""
    if trained_on is None or not len(trained_on.ids):
        return None
    rows = evenly(trained_on.episodes.rows_of(trained_on.ids), KNOWN_STATES)
    return KnownStates.of(world_model.normalizer.normalize(trained_on.episodes.state[rows]))
