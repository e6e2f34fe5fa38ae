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
    begun: dict[int, set[bytes]] = {n: set() for n in sizes[ids].tolist()}  # rows -> what the others begin with
    ended: dict[int, set[bytes]] = {n: set() for n in other_sizes[other_ids].tolist() if n < rows}  # what those are that end there
    for index in other_ids.tolist():
        size = int(other_sizes[index])
        for length in (n for n in begun if n <= size):
            begun[length].add(beginning(others, index, length))
        if size in ended:
            ended[size].add(beginning(others, index, size))

    def found(index: int) -> bool:
        size = int(sizes[index])
        candidates = [(size, begun[size]), *((n, names) for n, names in ended.items() if n < size)]
        return any(beginning(episodes, index, n) in names for n, names in candidates)

    return torch.tensor([found(index) for index in ids.tolist()], dtype=torch.bool)


def beginning(episodes: Episodes, index: int, rows: int | None = None) -> bytes:
    """Return the bits of an episode's first states, or of all of them: what names it."""
    first = int(episodes.offsets[index])
    return episodes.state[first : first + (int(episodes.lengths[index]) if rows is None else rows)].numpy().tobytes()
