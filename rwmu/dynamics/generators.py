"""One stream of random numbers a member, for the initialisation."""

from __future__ import annotations

import torch


def member_seed(seed: int, member: int) -> int:
    """Return the seed of a member's stream, which depends on the seed and its index, not on how many members there are."""
    return (seed + 1) * 1_000_003 + member


def member_generators(seed: int, num_members: int) -> list[torch.Generator]:
    """Return one random generator a member."""
    return [torch.Generator().manual_seed(member_seed(seed, member)) for member in range(num_members)]
