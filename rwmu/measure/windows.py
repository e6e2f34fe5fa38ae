"""Rows of true episodes as a model is given them, and what it says of each one step ahead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.data.windows import evenly as evenly
from rwmu.data.windows import padded
from rwmu.dynamics.unroll import predict_rows
from rwmu.dynamics.world_model import WorldModel
from rwmu.records import Prediction, Window

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


@dataclass(frozen=True)
class Foretold:
    """Rows that were predicted one step ahead from the true rows before them, at least H of these; states normalised.

    Attributes:
        prediction: ``[E, N, .]``.
        before, truth: ``[N, D]``, the row before and the row itself. contact: ``[N, C]``, its true flags.
        row: ``[N]`` int64, in the dataset.
    """

    prediction: Prediction
    before: Tensor
    truth: Tensor
    contact: Tensor
    row: Tensor


@torch.no_grad()
def foretell(world_model: WorldModel, episodes: Episodes, starts: Tensor, chunk: int) -> Iterator[Foretold]:
    """Predict the ``chunk`` rows after each history (those that the episode has), teacher-forced, some windows at a time.

    Args:
        starts: ``[B]``, first rows of the histories.
    """
    history = world_model.history
    for batch in torch.split(starts, BATCH) if len(starts) else ():
        window, within = true_window(world_model, episodes, batch, history + chunk)
        predicted = predict_rows(world_model.dynamics, window, history)  # [E, B, chunk, .]
        counts = within[:, history:]
        yield Foretold(
            prediction=predicted.map(lambda tensor, counts=counts: tensor[:, counts]),
            before=window.state[0, :, history - 1 : -1][counts],
            truth=window.state[0, :, history:][counts],
            contact=window.contact[0, :, history:][counts],
            row=(batch[:, None] + torch.arange(history, history + chunk))[counts],
        )
