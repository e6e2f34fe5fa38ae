"""Episodes that two datasets have in common: another recording may still hold what a model was fitted on."""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes

ROWS = 20  # episodes that are the same for so long are taken for the same


def begin_alike(episodes: Episodes, ids: Tensor, others: Episodes, other_ids: Tensor, rows: int = ROWS) -> Tensor:
    """Return which episodes begin as some episode of another dataset does.

    Two episodes begin alike if the states of their first ``rows`` rows, or of all rows of the shorter one if it has fewer, are
    equal to the last bit: so are those of a longer and a shorter collection with one seed, where one may have cut an episode short.

    Args:
        ids: ``[N]`` int64, episodes to judge. other_ids: int64, episodes of ``others`` to compare them with.

    Returns:
        ``[N]`` bool.
    """
    sizes, other_sizes = episodes.lengths.clamp(max=rows), others.lengths.clamp(max=rows)
    own_sizes = set(sizes[ids].tolist())
    begun: dict[tuple[int, int], set[bytes]] = {}  # rows of the other and rows compared -> what the others begin with
    for index in other_ids.tolist():
        size = int(other_sizes[index])
        for length in {min(size, own) for own in own_sizes}:
            begun.setdefault((size, length), set()).add(beginning(others, index, length))

    def found(index: int) -> bool:
        own = int(sizes[index])
        return any(beginning(episodes, index, n) in names for (size, n), names in begun.items() if n == min(own, size))

    return torch.tensor([found(index) for index in ids.tolist()], dtype=torch.bool)


def beginning(episodes: Episodes, index: int, rows: int | None = None) -> bytes:
    """Return the bits of an episode's first states, or of all of them: what names it."""
    first = int(episodes.offsets[index])
    return episodes.state[first : first + (int(episodes.lengths[index]) if rows is None else rows)].numpy().tobytes()
