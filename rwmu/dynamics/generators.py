"""One stream of random numbers a member, and weights drawn from them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def member_seed(seed: int, member: int) -> int:
    """Return the seed of a member's stream, which depends on the seed and its index, not on how many members there are."""
    return (seed + 1) * 1_000_003 + member


def member_generators(seed: int, num_members: int) -> list[torch.Generator]:
    """Return one random generator a member."""
    return [torch.Generator().manual_seed(member_seed(seed, member)) for member in range(num_members)]


def uniform(shape: Sequence[int], bound: float, generators: Sequence[torch.Generator]) -> nn.Parameter:
    """Return ``[G, *shape]`` weights, uniform in +-``bound``, each copy's from its own of G generators."""
    return nn.Parameter(torch.stack([torch.empty(*shape).uniform_(-bound, bound, generator=g) for g in generators]))
