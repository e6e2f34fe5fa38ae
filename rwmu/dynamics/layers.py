"""What every model is made of: one affine map a member, and weights drawn from a stream of random numbers a member."""

from __future__ import annotations

from collections.abc import Sequence

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


def member_seed(seed: int, member: int) -> int:
    """Return the seed of a member's stream, which depends on the seed and its index, not on how many members there are."""
    return (seed + 1) * 1_000_003 + member


def member_generators(seed: int, num_members: int) -> list[torch.Generator]:
    """Return one random generator a member."""
    return [torch.Generator().manual_seed(member_seed(seed, member)) for member in range(num_members)]


def uniform(shape: Sequence[int], bound: float, generators: Sequence[torch.Generator]) -> nn.Parameter:
    """Return ``[G, *shape]`` weights, uniform in +-``bound``, each copy's from its own of G generators."""
    return nn.Parameter(torch.stack([torch.empty(*shape).uniform_(-bound, bound, generator=g) for g in generators]))
