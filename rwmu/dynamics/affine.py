"""One affine map a member, for all members at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``x W^T + b`` of each group: ``[G, N, I], [G, O, I], [G, O] -> [G, N, O]``.

    A single group goes through the plain matrix product, which is faster than a batch of one.
    """
    if weight.shape[0] == 1:
        return functional.linear(x, weight[0], bias[0])
    return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))


class RowLinear(nn.Linear):
    """A linear layer for single models: under ``vmap`` one matrix product a member, however many axes its rows have.

    Of rows with more than one axis, ``torch.nn.Linear`` makes a product each, with a copy of the member's weights.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``[..., I]``; returns ``[..., O]``."""
        rows: Tensor = super().forward(x.reshape(-1, self.in_features))
        return rows.view(*x.shape[:-1], self.out_features)
