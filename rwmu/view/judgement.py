"""Does the model know that it does not know? What is usual is measured on episodes that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rwmu.dynamics.world_model import WorldModel
from rwmu.imagination.rehearsal import rehearse
from rwmu.measure.one_step import predict_one_step
from rwmu.measure.windows import Selection
from rwmu.uncertainty.estimates import Estimate

_WINDOWS = 128  # of 16 forecasts each of a next row
_DREAMS = 128
# Blue up to the median of what is usual, orange at the upper tenth, red at the upper hundredth and beyond.
STOPS = np.array([(0, 114, 178), (240, 170, 0), (200, 30, 20)], dtype=np.float64)


@dataclass(frozen=True)
class Scale:
    """What a quantity is on held-out episodes: in the middle, at the upper tenth, and at the upper hundredth."""

    median: float
    upper: float
    extreme: float

    @classmethod
    def of(cls, values: Tensor) -> Scale:
        """Return the scale of values ``[N]``."""
        return cls(*torch.quantile(values.double(), torch.tensor([0.5, 0.9, 0.99], dtype=torch.float64)).tolist())

    def place(self, value: float) -> float:
        """Return where a value lies: 1/3 is the median, 2/3 the upper tenth, 1 the upper hundredth or beyond; 0 if all are 0."""
        if self.extreme == 0.0:
            return 0.0
        return float(np.interp(value, [0.0, self.median, self.upper, self.extreme], [0.0, 1 / 3, 2 / 3, 1.0]))

    def colours(self, values: Iterable[float]) -> NDArray[np.uint8]:
        """Return the colours of values, ``[N, 3]``, 0 to 255."""
        places = np.array([self.place(value) for value in values])
        channels = [np.interp(places, [1 / 3, 2 / 3, 1.0], STOPS[:, channel]) for channel in range(3)]
        return np.stack(channels, axis=1).astype(np.uint8)

    def relative(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values in units of the upper hundredth; 0 where that is 0, as the disagreement of one member."""
        return values / self.extreme if self.extreme > 0.0 else np.zeros_like(values)


@dataclass(frozen=True)
class Usual:
    """The scales of disagreement and error: of forecasts of the next row, and of all steps of dreams of a length."""

    next_disagreement: Scale
    next_error: Scale
    disagreement: Scale
    error: Scale

    @classmethod
    def measured(cls, world_model: WorldModel, held_out: Selection, estimate: Estimate, steps: int) -> Usual:
        """Measure on held-out episodes, their actions given.

        Raises:
            DataError: no episode is longer than the history.
        """
        dreams = rehearse(world_model, held_out.episodes, held_out.ids, steps, _DREAMS)
        ahead = predict_one_step(world_model, held_out, _WINDOWS)
        return cls(
            next_disagreement=Scale.of(estimate(ahead.prediction)),
            next_error=Scale.of(ahead.error()),
            disagreement=Scale.of(dreams.disagreement(estimate)[dreams.valid]),
            error=Scale.of(dreams.error.square().mean(-1).sqrt()[dreams.valid]),
        )


class Verdict(Enum):
    """Whether the model errs, and whether it doubts; each beyond the upper hundredth of what is usual."""

    SURE_AND_RIGHT = "right, and sure"
    DOUBTS_AND_ERRS = "wrong, and knows it"
    SURE_AND_ERRS = "wrong, and does not know it"
    DOUBTS_AND_RIGHT = "right, but in doubt"


def verdict(disagreement: float, error: float, usual_disagreement: Scale, usual_error: Scale) -> Verdict:
    """Return the verdict on a forecast, or on the mean over a few."""
    if error > usual_error.extreme:
        return Verdict.DOUBTS_AND_ERRS if disagreement > usual_disagreement.extreme else Verdict.SURE_AND_ERRS
    return Verdict.DOUBTS_AND_RIGHT if disagreement > usual_disagreement.extreme else Verdict.SURE_AND_RIGHT
