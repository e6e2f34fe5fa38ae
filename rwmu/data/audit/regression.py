"""Least squares, as the checks use it: what some columns tell of others, and what they leave unexplained."""

from __future__ import annotations

import torch
from torch import Tensor


def regress(known: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
    """Regress ``told [..., S, Y]`` on ``known [..., S, X]``, both float64.

    Returns:
        The weights ``[..., X, Y]`` and the mean squared residual ``[..., Y]``.
    """
    size = known.square().mean(-2, keepdim=True).sqrt().clamp(min=1e-12)
    scaled = known / size
    # Constant columns make the normal equations singular; a ridge too small to matter keeps them solvable.
    ridge = 1e-9 * known.shape[-2] * torch.eye(known.shape[-1], dtype=known.dtype)
    weights = torch.linalg.solve(scaled.mT @ scaled + ridge, scaled.mT @ told)
    return weights / size.mT, (told - scaled @ weights).square().mean(-2)
