"""Counter-based random numbers: a draw depends on what it is for, never on what was drawn before.

Every draw is a hash of (seed, purpose, tick, environment, column), so that environment 7 sees the same numbers however many
environments and threads there are. The mixing function is SplitMix64's (Steele, Lea and Flood, 2014).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.uint64]
Floats = NDArray[np.float64]

_STEP = 0x9E3779B97F4A7C15
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_MASK = (1 << 64) - 1


def _mix(words: Integers) -> Integers:
    words = (words ^ (words >> np.uint64(30))) * _MULTIPLIERS[0]
    words = (words ^ (words >> np.uint64(27))) * _MULTIPLIERS[1]
    return words ^ (words >> np.uint64(31))


def _purpose_word(purpose: str) -> int:
    """Hash a name with FNV-1a, because Python's own hash changes from process to process."""
    word = 0xCBF29CE484222325
    for byte in purpose.encode():
        word = ((word ^ byte) * 0x100000001B3) & _MASK
    return word


class RandomStreams:
    """Random draws of many environments, each with its own stream.

    Args:
        seed: any integer.
    """

    def __init__(self, seed: int) -> None:
        self.seed = int(seed)

    def words(self, purpose: str, tick: int, envs: NDArray[Any], columns: int) -> Integers:
        """Return 64 random bits for each of ``columns`` draws of each environment index: ``[len(envs), columns]``."""
        start = np.array([self.seed & _MASK, _purpose_word(purpose), tick & _MASK], dtype=np.uint64)
        key = _mix(_mix(_mix(start[:1] + np.uint64(_STEP)) ^ start[1:2]) + start[2:3] * np.uint64(_STEP))
        env_key = _mix(key + (envs.astype(np.uint64) + np.uint64(1)) * np.uint64(_STEP))
        column = (np.arange(columns, dtype=np.uint64) + np.uint64(1)) * np.uint64(_STEP)
        return _mix(env_key[:, None] + column)

    def uniform(self, purpose: str, tick: int, envs: NDArray[Any], columns: int) -> Floats:
        """Return draws in 0 (included) .. 1 (excluded), ``[len(envs), columns]``."""
        return (self.words(purpose, tick, envs, columns) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, purpose: str, tick: int, envs: NDArray[Any], columns: int) -> Floats:
        """Return nearly normal draws (mean 0, standard deviation 1, within +-4.25), ``[len(envs), columns]``.

        Each is a sum of six uniform 20-bit integers: exact, hence the same on every processor, where a logarithm is not.
        """
        words = self.words(purpose, tick, envs, 2 * columns)
        low, chunk = np.uint64((1 << 20) - 1), np.uint64(20)
        sums = (words & low) + ((words >> chunk) & low) + ((words >> (chunk + chunk)) & low)
        total = (sums[:, 0::2] + sums[:, 1::2]).astype(np.float64)
        return np.asarray((total * 2.0**-20 - 3.0) * 1.4142135623730951)
