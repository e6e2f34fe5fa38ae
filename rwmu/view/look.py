"""Colours of doubt and words of verdicts: what the page and the recording show alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rwmu.view.judgement import Scale, Verdict

# Blue up to the median of what is usual, orange at the upper tenth, red at the upper hundredth and beyond.
STOPS = np.array([(0, 114, 178), (240, 170, 0), (200, 30, 20)], dtype=np.float64)
BADGES = {
    Verdict.SURE_AND_RIGHT: "#0072B2",
    Verdict.DOUBTS_AND_RIGHT: "#B57A00",
    Verdict.DOUBTS_AND_ERRS: "#C81E14",
    Verdict.SURE_AND_ERRS: "#7B1FA2",
}


def colour(value: float, scale: Scale) -> tuple[int, int, int]:
    """Return the colour of a disagreement, 0 to 255."""
    red, green, blue = colours([value], scale)[0].tolist()
    return red, green, blue


def colours(values: list[float], scale: Scale) -> NDArray[np.uint8]:
    """Return the colours of disagreements, ``[N, 3]``, 0 to 255."""
    places = np.array([scale.place(value) for value in values])
    channels = [np.interp(places, [1 / 3, 2 / 3, 1.0], STOPS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8)


def relative(values: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    """Return values in units of the upper hundredth of what is usual; 0 where that is 0, as the disagreement of one member."""
    return values / scale.extreme if scale.extreme > 0.0 else np.zeros_like(values)
