"""Monotone regression of one number on another: pool adjacent violators, and the function that comes of it."""

from __future__ import annotations

import torch
from torch import Tensor


def pool_adjacent_violators(value: Tensor, weight: Tensor) -> Tensor:
    """Return the non-decreasing ``[N]`` with the least weighted squared distance from ``value [N]``.

    Neighbours that decrease are pooled into their weighted mean until none does (Barlow et al., "Statistical Inference under Order
    Restrictions", 1972, section 1.2).
    """
    means: list[float] = []
    weights: list[float] = []
    counts: list[int] = []
    for mean, mass in zip(value.tolist(), weight.tolist(), strict=True):
        count = 1
        while means and means[-1] >= mean:
            before = weights.pop()
            mean = (means.pop() * before + mean * mass) / (before + mass)
            mass += before
            count += counts.pop()
        means.append(mean)
        weights.append(mass)
        counts.append(count)
    return torch.tensor(means, dtype=torch.float64).repeat_interleave(torch.tensor(counts, dtype=torch.int64))


def isotonic_knots(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Regress ``y [N]`` on ``x [N]`` without letting it decrease.

    Equal x are one observation: their mean y, with their number as its weight.

    Returns:
        Knots ``[Q]`` of x, strictly increasing, and of y: both ends of every stretch of constant y.
    """
    distinct, place, count = torch.unique(x.double(), return_inverse=True, return_counts=True)
    mean = torch.zeros_like(distinct).index_add_(0, place, y.double()) / count
    fitted = pool_adjacent_violators(mean, count.double())
    changes = torch.ones(len(fitted) + 1, dtype=torch.bool)
    changes[1:-1] = fitted[1:] != fitted[:-1]
    ends = changes[:-1] | changes[1:]
    return distinct[ends], fitted[ends]


def interpolate(x: Tensor, knots_x: Tensor, knots_y: Tensor) -> Tensor:
    """Return the piecewise linear function of the knots ``[..., Q]`` at ``x [...]``, each x with its own knots.

    Below the first knot it stays at its value. **Above the last it grows in proportion to x**: held constant, what is more
    uncertain than anything seen would pass for as good as the worst that was seen, and an optimiser would find out.
    """
    position = torch.searchsorted(knots_x.contiguous(), x.unsqueeze(-1).contiguous()).clamp(max=knots_x.shape[-1] - 1)
    before = (position - 1).clamp(min=0)
    x0, x1 = (knots_x.gather(-1, index).squeeze(-1) for index in (before, position))
    y0, y1 = (knots_y.gather(-1, index).squeeze(-1) for index in (before, position))
    share = torch.where(x1 > x0, (x - x0) / (x1 - x0).clamp(min=torch.finfo(x.dtype).tiny), 1.0).clamp(0.0, 1.0)
    last_x, last_y = knots_x[..., -1], knots_y[..., -1]
    return torch.where(x > last_x, last_y * x / last_x, y0 + share * (y1 - y0))
