"""Orientations as other tools write them, and the base's frame."""

from __future__ import annotations

import numpy as np

from rwmu.data.formats.recordings import Array


def rotations(quaternion: Array) -> Array:
    """Return the matrices ``[T, 3, 3]`` of quaternions ``[T, 4]``, w first; they turn the base's vectors into the world's."""
    w, x, y, z = (quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def to_base(rotation: Array, vectors: Array) -> Array:
    """Return the world's vectors ``[T, 3]`` in the base's frame, which ``rotation [T, 3, 3]`` turns into the world's."""
    return np.asarray(np.einsum("tji,tj->ti", rotation, vectors))


def gravity(rotation: Array) -> Array:
    """Return the direction of gravity in the base's frame, ``[T, 3]``."""
    return -rotation[:, 2]


def upright(gravity: Array) -> Array:
    """Return quaternions ``[T, 4]``, w first, of heading 0 in whose frames gravity points as ``[T, 3]`` say."""
    up = -gravity / np.linalg.norm(gravity, axis=-1, keepdims=True)
    roll, pitch = 0.5 * np.arctan2(up[:, 1], up[:, 2]), 0.5 * np.arcsin(np.clip(-up[:, 0], -1.0, 1.0))
    (cr, sr), (cp, sp) = ((np.cos(half), np.sin(half)) for half in (roll, pitch))
    return np.stack([cr * cp, sr * cp, cr * sp, -sr * sp], -1)
