"""Take fewer rows than a recording has: only where somebody asks for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rwmu.data.episodes import EXTENSION, Episodes
from rwmu.data.formats.recordings import led_to
from rwmu.data.large import GrowingRows
from rwmu.errors import ConfigError, DataError

_SMALLEST = 1e-6  # of a step


def resampled(episodes: Episodes, rate: float, source: str, folder: Path | None = None) -> Episodes:
    """Return the episodes at ``rate`` rows a second, from each one's first row on.

    States and extensions are interpolated, contacts and commands are those of the row before. An action is the mean of those in
    force since the row before (the same, where the policy acted at this rate), a reward their sum. What remains at an episode's end
    and fills no step is left out, unless it holds a termination: then its last row ends the last step.

    Args:
        source: how errors name the data. folder: where rows lie that are too many for memory; None to keep them there.

    Raises:
        ConfigError: the rate makes no sense, or is higher than that of the data. DataError: the data do not say their own.
    """
    step_dt = episodes.attributes.get("step_dt")
    if step_dt is None:
        raise DataError(f"{source} does not say how long a step is, so it cannot be resampled; add the attribute 'step_dt' (s).")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0.0 < rate < np.inf:
        raise ConfigError(f"The rate {rate!r} makes no sense; give rows a second, such as 50.")
    ratio = 1.0 / (rate * float(step_dt))
    if ratio < 1.0 - _SMALLEST:
        raise ConfigError(
            f"{source} has {1.0 / step_dt:g} rows a second, fewer than the {rate:g} asked for; nobody knows what is between."
        )
    rows, lengths = GrowingRows(folder), list[int]()
    for i in range(episodes.num_episodes):
        part = _episode(episodes, i, ratio)
        rows.add({name: part[name] for name in episodes.row_arrays})
        lengths.append(len(part["state"]))
    arrays: dict[str, Any] = {name: torch.from_numpy(values) for name, values in rows.arrays().items()}
    return replace(episodes, **arrays, lengths=torch.tensor(lengths), attributes={**episodes.attributes, "step_dt": 1.0 / rate})


def _episode(episodes: Episodes, index: int, ratio: float) -> dict[str, NDArray[Any]]:
    begin, length = int(episodes.offsets[index]), int(episodes.lengths[index])
    rows = {name: getattr(episodes, name)[begin : begin + length].numpy() for name in episodes.row_arrays}
    fell = rows["termination"]
    times = np.arange(int((length - 1) / ratio + _SMALLEST) + 1) * ratio  # in rows of the recording
    if fell[int(times[-1] + _SMALLEST) + 1 :].any():
        times = np.append(times, length - 1)
    before = np.minimum((times + _SMALLEST).astype(np.int64), length - 1)
    share = np.clip(times - before, 0.0, 1.0)
    after = np.minimum(before + (share > _SMALLEST), length - 1)
    found: dict[str, NDArray[Any]] = {name: rows[name][before] for name in ("contact", "command")}
    for name in ("state", EXTENSION):
        if name in rows:
            mixed = rows[name][before] + share[:, None] * (rows[name][after].astype(np.float64) - rows[name][before])
            found[name] = mixed.astype(np.float32)
    since = np.diff(times)
    found["action"] = led_to((_sums(rows["action"], before, share) / since[:, None]).astype(np.float32))
    found["reward"] = led_to(_sums(rows["reward"][:, None], before, share).astype(np.float32))[:, 0]
    falls = np.cumsum(fell)[before]
    found["termination"] = np.diff(falls, prepend=falls[:1]) > 0
    return found


def _sums(values: NDArray[Any], before: NDArray[np.int64], share: NDArray[np.float64]) -> NDArray[Any]:
    """Return what rows ``[T, X]``, each of the step that led to it, add up to between times ``before + share``, ``[S - 1, X]``."""
    total = np.cumsum(values.astype(np.float64), 0)
    following = values[np.minimum(before + 1, len(values) - 1)]
    return np.asarray(np.diff(total[before] + share[:, None] * following, axis=0))
