"""Cut windows of consecutive rows that never cross an episode's boundary."""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.errors import DataError
from rwmu.records import Window


def window_starts(lengths: Tensor, ids: Tensor, length: int) -> Tensor:
    """Return every row at which a window of ``length`` rows fits into one of the episodes ``ids`` (int64, repeats allowed), int64.

    Args:
        lengths: ``[N]`` rows of *all* episodes, in the order of the flat tensors.
    """
    offsets = lengths.cumsum(0) - lengths
    counts = (lengths[ids] - length + 1).clamp(min=0)
    first = offsets[ids] - (counts.cumsum(0) - counts)
    return torch.repeat_interleave(first, counts) + torch.arange(int(counts.sum()))


def spaced_starts(lengths: Tensor, ids: Tensor, length: int, number: int | None = None, seed: int = 0) -> Tensor:
    """Return starts of windows that do not overlap: overlapping windows are not independent evidence.

    Each episode holds as many as fit, at a phase drawn from ``seed`` within the rows left over. With ``number``, at most so many,
    spread evenly over all.
    """
    generator = torch.Generator().manual_seed(seed)
    offsets = lengths.cumsum(0) - lengths
    counts = lengths[ids] // length
    spare = lengths[ids] - counts * length
    phase = (torch.rand(len(ids), generator=generator, dtype=torch.float64) * (spare + 1)).long()
    first = offsets[ids] + phase - length * (counts.cumsum(0) - counts)
    return evenly(torch.repeat_interleave(first, counts) + length * torch.arange(int(counts.sum())), number)


def evenly(starts: Tensor, number: int | None) -> Tensor:
    """Return at most ``number`` of the starts, spread evenly; None for all."""
    return starts if number is None or number >= len(starts) else starts[(torch.arange(number) * len(starts)) // number]


def padded(episodes: Episodes, starts: Tensor, length: int) -> tuple[Window, Tensor]:
    """Return rows from ``starts [B]`` on as windows ``[1, B, length, .]``, physical units, and which are the episode's.

    Beyond an episode's end its last row is repeated, and must not count: False in the ``[B, length]`` bool.
    """
    last = episodes.last_rows[episodes.episode_of_row[starts]].unsqueeze(-1)
    rows = starts.unsqueeze(-1) + torch.arange(length)
    within, rows = rows <= last, torch.minimum(rows, last)
    flags = episodes.contact[rows].float(), episodes.termination[rows].float().unsqueeze(-1)
    return Window(episodes.state[rows], episodes.action[rows], *flags).map(lambda tensor: tensor.unsqueeze(0)), within


def gather_rows(rows: Tensor, starts: Tensor, length: int) -> Tensor:
    """Return ``[..., T, X]``, the ``length`` rows of ``rows [R, X]`` from each of ``starts [...]`` on; copies whole windows."""
    size = rows.shape[-1]
    rows = rows.contiguous()
    # A view whose row i is the window from row i on: one copy of T * X values a window, instead of T of X values.
    every_window = rows.as_strided((len(rows) - length + 1, length * size), (size, 1))
    return every_window.index_select(0, starts.reshape(-1)).view(*starts.shape, length, size)


def gather(episodes: Episodes, starts: Tensor, length: int) -> Window:
    """Return the windows of ``length`` rows from ``starts [...]`` on, ``[..., T, X]``, in physical units.

    The starts must come from :func:`window_starts` or its kin; nothing here checks episode boundaries.
    """
    return rows_of(episodes).map(lambda rows: gather_rows(rows, starts, length).float())


def rows_of(episodes: Episodes) -> Window:
    """Return all rows ``[R, X]`` as one window, without a copy: contacts and terminations are still bool."""
    return Window(episodes.state, episodes.action, episodes.contact, episodes.termination.unsqueeze(-1), episodes.extension)


class WindowSampler:
    """Draw windows uniformly from some episodes, without listing them all.

    Uniform draws rarely hit an episode's first row, or its last, which alone can be a fall: callers may ask for a fraction of each.

    Args:
        lengths: ``[N]`` rows of all episodes. terminated: ``[N]`` bool, those that end in a termination; None for none.
        ids: int64, the episodes to draw from; one that comes twice counts twice.
        length: rows of a window.

    Raises:
        DataError: if none of the episodes is long enough.
    """

    def __init__(self, lengths: Tensor, ids: Tensor, length: int, terminated: Tensor | None = None) -> None:
        counts = (lengths[ids] - length + 1).clamp(min=0)
        require_long_enough(lengths, ids, length)
        self._last = counts.cumsum(0)
        self._first_row = (lengths.cumsum(0) - lengths)[ids]
        self._shift = self._first_row - (self._last - counts)
        self._beginnings = self._first_row[counts > 0]
        self.num_windows = int(self._last[-1])
        fallen = (counts > 0) & (torch.zeros(len(ids), dtype=torch.bool) if terminated is None else terminated[ids])
        self._endings = (self._first_row + counts - 1)[fallen]

    def sample(self, number: int, generator: torch.Generator, beginnings: float = 0.0, endings: float = 0.0) -> Tensor:
        """Return ``number`` starts, int64.

        The fraction ``beginnings`` of them are first rows of episodes; the windows of the fraction ``endings`` end in a
        termination, where there is one.
        """
        draws = torch.randint(self.num_windows, (number,), generator=generator)
        starts = draws + self._shift[torch.searchsorted(self._last, draws, right=True)]
        first = round(beginnings * number)
        last = min(round(endings * number), number - first) if len(self._endings) else 0
        if first:
            starts[:first] = self._beginnings[torch.randint(len(self._beginnings), (first,), generator=generator)]
        if last:
            starts[number - last :] = self._endings[torch.randint(len(self._endings), (last,), generator=generator)]
        return starts


def require_long_enough(lengths: Tensor, ids: Tensor, length: int, what: str = "training") -> None:
    """Raise :class:`DataError` if no episode of ``ids`` has ``length`` rows."""
    if len(ids) == 0:
        raise DataError(f"There is no {what} episode: data.fractions leaves that split empty; give it a share.")
    longest = int(lengths[ids].max())
    if longest < length:
        raise DataError(
            f"No {what} episode is long enough for windows of {length} rows (history + forecast): the longest of "
            f"{len(ids)} has {longest}; shorten data.history or data.forecast, or collect longer episodes."
        )
