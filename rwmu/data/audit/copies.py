"""Rows that stand in the data twice: they would be trained on and tested on at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rwmu.data.audit.context import Context, place
from rwmu.data.audit.findings import Finding, listed, warning
from rwmu.data.episodes import Episodes

_CHUNK_ROWS = 65536
_FEWEST_ROWS = 5  # in a row, before copies are a stretch
_MANY = 1e-3  # share of rows above which single copies are a warning
_TWICE = "rows would be trained on and tested on, so leave one out"

Indices = NDArray[np.int64]


def copies(episodes: Episodes, context: Context) -> list[Finding]:
    """Find rows that repeat the row before, repeated stretches, whole episodes that come twice, and single copies of rows."""
    if episodes.num_rows < 2:
        return []
    names = row_hashes(episodes.state.numpy())
    frozen = np.zeros(len(names), dtype=bool)
    frozen[1:] = names[1:] == names[:-1]  # across episodes too: a table may have been split where it hung
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    origin = first[inverse]
    copied = (origin != np.arange(len(names))) & ~frozen
    starts, stops = _stretches(copied, origin, episodes.episode_of_row.numpy())
    long = stops - starts >= _FEWEST_ROWS
    single = copied.copy()
    single[episodes.offsets.numpy()] = False  # a simulator may always begin in the same state
    for start, stop in zip(starts[long], stops[long], strict=True):
        single[start:stop] = False
    findings = []
    if frozen.any():
        words = "repeat the state of the row before, the first in {}: the recording hung or ran faster than the sensors"
        findings.append(_rows(episodes, "frozen_rows", np.flatnonzero(frozen), words, "record at the rate of the sensors"))
    findings += _repeated(episodes, starts[long], stops[long], origin)
    if single.any():
        source = place(episodes, int(origin[np.flatnonzero(single)[0]]))
        words = f"are copies of other rows, such as {{}} of {source}"
        findings.append(_rows(episodes, "duplicated_rows", np.flatnonzero(single), words, "leave one of each out"))
    return findings


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
    """Tell copies of whole episodes from stretches that stand in the data twice."""
    offsets, lengths, episode = episodes.offsets.numpy(), episodes.lengths.numpy(), episodes.episode_of_row.numpy()
    of, source = episode[starts], origin[starts]
    whole = (starts == offsets[of]) & (stops - starts == lengths[of]) & (source == offsets[episode[source]])
    findings = []
    if whole.any():
        pairs = list(zip(of[whole].tolist(), episode[source[whole]].tolist(), strict=True))
        words = listed([f"{copy} is a copy of {original}" for copy, original in pairs])
        sentence = f"{len(pairs)} of {episodes.num_episodes} episodes repeat earlier ones ({words}): {_TWICE}."
        findings.append(warning("duplicated_episodes", sentence, count=len(pairs), copy_and_original=pairs[:20]))
    if not whole.all():
        sizes, begin = (stops - starts)[~whole], int(starts[~whole][(stops - starts)[~whole].argmax()])
        number, rows, longest = len(sizes), int(sizes.sum()), int(sizes.max())
        where = f"{place(episodes, begin)} on and from {place(episodes, int(origin[begin]))} on"
        sentence = (
            f"{number} stretches ({rows} rows) stand in the data twice, the longest, of {longest} rows, from {where}: {_TWICE}."
        )
        findings.append(warning("repeated_stretches", sentence, count=number, rows=rows, longest_rows=longest))
    return findings


def _rows(episodes: Episodes, name: str, rows: Indices, words: str, advice: str) -> Finding:
    share = len(rows) / episodes.num_rows
    sentence = f"{len(rows)} rows ({share:.2%}) {words.format(place(episodes, int(rows[0])))}; {advice}."
    return Finding(name, "warning" if share > _MANY else "note", sentence, {"count": len(rows), "share": share})
