"""Rows that stand in the data twice: they would be trained on and tested on at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rwmu.data.audit.findings import Finding, listed, place
from rwmu.data.episodes import Episodes

_CHUNK_ROWS = 65536
_FEWEST_ROWS = 5  # in a row, before copies are a stretch
_MANY = 1e-3  # share of rows above which single copies are a warning

Indices = NDArray[np.int64]


def copies(episodes: Episodes) -> list[Finding]:
    """Find rows that repeat the row before, repeated stretches, whole episodes that come twice, and single copies of rows."""
    if episodes.num_rows < 2:
        return []
    names = row_hashes(episodes.state.numpy())
    episode, offsets = episodes.episode_of_row.numpy(), episodes.offsets.numpy()
    frozen = np.zeros(len(names), dtype=bool)
    frozen[1:] = names[1:] == names[:-1]  # across episodes too: a table may have been split where it hung
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    origin = first[inverse]
    copied = (origin != np.arange(len(names))) & ~frozen
    starts, stops = _stretches(copied, origin, episode)
    long = stops - starts >= _FEWEST_ROWS
    single = copied.copy()
    single[offsets] = False  # a simulator may always begin in the same state
    for start, stop in zip(starts[long], stops[long], strict=True):
        single[start:stop] = False
    return [
        *_frozen_rows(episodes, frozen),
        *_repeated(episodes, starts[long], stops[long], origin),
        *_single_rows(episodes, np.flatnonzero(single), origin),
    ]


def row_hashes(rows: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return 64 bits a row ``[R]``, equal for rows that are equal to the last bit and hardly ever else."""
    bits = np.ascontiguousarray(rows).view(np.uint32)
    weights = np.random.default_rng(0).integers(1, 2**63, bits.shape[1], dtype=np.uint64) | np.uint64(1)
    parts = [(bits[k : k + _CHUNK_ROWS].astype(np.uint64) * weights).sum(1) for k in range(0, len(bits), _CHUNK_ROWS)]
    return np.concatenate(parts)


def _stretches(copied: NDArray[np.bool_], origin: Indices, episode: Indices) -> tuple[Indices, Indices]:
    """Return where stretches of copies begin and end: rows of one episode that are copied in order."""
    rows = np.flatnonzero(copied)
    if not len(rows):
        return rows, rows
    goes_on = (np.diff(rows) == 1) & (np.diff(origin[rows]) == 1) & (np.diff(episode[rows]) == 0)
    begins = np.flatnonzero(np.r_[True, ~goes_on])
    return rows[begins], rows[np.r_[begins[1:] - 1, len(rows) - 1]] + 1


def _repeated(episodes: Episodes, starts: Indices, stops: Indices, origin: Indices) -> list[Finding]:
    offsets, lengths, episode = episodes.offsets.numpy(), episodes.lengths.numpy(), episodes.episode_of_row.numpy()
    of = episode[starts]
    source = origin[starts]
    whole = (starts == offsets[of]) & (stops - starts == lengths[of]) & (source == offsets[episode[source]])
    findings = []
    if whole.any():
        pairs = list(zip(of[whole].tolist(), episode[source[whole]].tolist(), strict=True))
        words = listed([f"{copy} is a copy of {original}" for copy, original in pairs])
        findings.append(
            Finding(
                "duplicated_episodes",
                "warning",
                f"{len(pairs)} of {episodes.num_episodes} episodes repeat earlier ones from their first row on ({words}): the same "
                "rows would be trained on and tested on, so leave them out.",
                {"count": len(pairs), "copy_and_original": pairs[:20]},
            )
        )
    parts = ~whole
    if parts.any():
        sizes = (stops - starts)[parts]
        begin = int(starts[parts][sizes.argmax()])
        copy, original = place(episodes, begin), place(episodes, int(origin[begin]))
        findings.append(
            Finding(
                "repeated_stretches",
                "warning",
                f"{len(sizes)} stretches ({int(sizes.sum())} rows) stand in the data twice, the longest, of {int(sizes.max())} "
                f"rows, from {copy} on and from {original} on: the same rows would be trained on and tested on, so leave one of "
                "each out.",
                {"count": len(sizes), "rows": int(sizes.sum()), "longest_rows": int(sizes.max())},
            )
        )
    return findings


def _frozen_rows(episodes: Episodes, frozen: NDArray[np.bool_]) -> list[Finding]:
    rows = np.flatnonzero(frozen)
    if not len(rows):
        return []
    share = len(rows) / episodes.num_rows
    sentence = (
        f"{len(rows)} rows ({share:.2%}) repeat the state of the row before, the first in {place(episodes, int(rows[0]))}: the "
        "recording hung or ran faster than the sensors; leave them out or record at the rate of the sensors."
    )
    return [Finding("frozen_rows", "warning" if share > _MANY else "note", sentence, {"count": len(rows), "share": share})]


def _single_rows(episodes: Episodes, rows: Indices, origin: Indices) -> list[Finding]:
    if not len(rows):
        return []
    share = len(rows) / episodes.num_rows
    sentence = (
        f"{len(rows)} rows ({share:.2%}) are copies of other rows, such as {place(episodes, int(rows[0]))} of "
        f"{place(episodes, int(origin[rows[0]]))}; leave one of each out."
    )
    return [Finding("duplicated_rows", "warning" if share > _MANY else "note", sentence, {"count": len(rows), "share": share})]
