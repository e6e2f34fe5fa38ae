"""Endless training batches in which every ensemble member draws from its own persistent resample of the episodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from rwmu.data.episodes import Episodes
from rwmu.data.normalizer import Normalizer
from rwmu.data.windows import WindowSampler, gather_rows, require_long_enough
from rwmu.errors import CheckpointError, ConfigError
from rwmu.records import Batch, Window
from rwmu.robots.symmetry import Mirror

BOOTSTRAPS = ("episodes", "windows", "weights", "in_batch", "none")


class BootstrapWindows(IterableDataset[Batch]):
    """Yield batches of windows with normalised states.

    How members' data differ is a choice (``bootstrap``):

    - ``episodes``: every member draws its own windows ``[E, B, T, ·]`` from its own resample of the episodes.
    - ``windows``: every member draws its own windows from all episodes.
    - ``weights``: all members see the same windows ``[1, B, T, ·]``; each weighs them by how often the episode is in its resample.
    - ``in_batch``: all see the same windows and each trains on a fresh resample of them, as published (which lets every member see
      all data in the end).
    - ``none``: all train on the same windows.

    A member's resample of the episodes is drawn once, with replacement, from ``(seed, member)``; so are its windows, so that they
    do not depend on the number of members. Where windows are common, a shared base reads each history once for all members. Only
    episodes of at least ``length`` rows take part.

    Args:
        episodes: all of them, in physical units.
        ids: the training episodes, int64.
        normalizer: applied to the states.
        length: T, rows of a window.
        num_members: E.
        batch_size: B, windows a member.
        seed: of the resamples and of the batches.
        mirrors: augmentation beside the identity; each window is drawn as it is or in one of these mirrors, all equally likely.
        bootstrap: a name of ``BOOTSTRAPS``.
        beginnings: fraction of each batch that starts at the first row of an episode.
        endings: fraction of each batch that ends in a termination. Falls are rare; a model that is to foresee them must see them.
        batches_per_epoch: how many an iteration yields; None for no end. A number lets Lightning resume exactly (without one
            it fetches one batch ahead, which a resumed run then skips).
        device: where the rows lie and the batches are made.
        extension_normalizer: applied to the extension, if the data have one; None leaves it as it is.
    """

    def __init__(
        self,
        episodes: Episodes,
        ids: Tensor,
        normalizer: Normalizer,
        length: int,
        num_members: int,
        batch_size: int,
        seed: int = 0,
        mirrors: Sequence[Mirror] = (),
        bootstrap: str = "episodes",
        beginnings: float = 0.0,
        endings: float = 0.0,
        batches_per_epoch: int | None = None,
        device: torch.device | str = "cpu",
        extension_normalizer: Normalizer | None = None,
    ) -> None:
        if bootstrap not in BOOTSTRAPS:
            raise ConfigError(f"data.bootstrap is '{bootstrap}', but must be one of {list(BOOTSTRAPS)}.")
        for name, value in (("num_members", num_members), ("batch_size", batch_size)):
            if value < 1:
                raise ConfigError(f"{name} is {value}, but must be at least 1.")
        for name, fraction in (("beginnings", beginnings), ("endings", endings), ("beginnings + endings", beginnings + endings)):
            if not 0.0 <= fraction <= 1.0:
                raise ConfigError(f"data.{name} is {fraction}, but must be a fraction in 0..1.")
        require_mirrorable(episodes, mirrors)
        require_long_enough(episodes.lengths, ids, length)
        ids = ids[episodes.lengths[ids] >= length]
        train = episodes.select(ids)
        self.length, self.batch_size, self.batches_per_epoch = length, batch_size, batches_per_epoch
        self.beginnings, self.endings = beginnings, endings
        self._bootstrap, self.num_members = bootstrap, num_members
        everything = torch.arange(train.num_episodes)
        resampled = bootstrap in ("episodes", "weights")
        resamples = [_resample(train.num_episodes, seed, m) if resampled else everything for m in range(num_members)]
        self.member_episodes = [ids[resample] for resample in resamples]
        terminated = train.termination[train.offsets + train.lengths - 1]
        own = bootstrap in ("episodes", "windows")
        sources = resamples if own else [everything]
        self._samplers = [WindowSampler(train.lengths, source, length, terminated) for source in sources]
        self._generators = [_generator(seed, member, "windows") for member in range(len(sources))]
        if bootstrap == "in_batch":
            self._generators += [_generator(seed, member, "rows") for member in range(num_members)]
        elif bootstrap == "weights":
            self._weights = _episode_weights(resamples, train.lengths, length)
            self._episode_of_row = train.episode_of_row
        windows = int((train.lengths - length + 1).sum())
        self._falls_rows_windows = (int(terminated.sum()), train.num_rows - train.num_episodes, windows)
        self._num_rows, self._num_copies = train.num_rows, 1 + len(mirrors)
        self._tables = [table.to(device) for table in _tables(train, normalizer, mirrors)]
        if train.extension is not None:
            extension = train.extension if extension_normalizer is None else extension_normalizer.normalize(train.extension)
            self._tables.append(extension.to(device))

    def termination_odds_ratio(self, scored_rows: float) -> float:
        """Return how many times as often a scored row of a batch is a termination as a row of the training episodes.

        A termination fits only one place of a window, which makes it rare; ``endings`` make it frequent. A head trained on these
        batches is off by this factor in the odds.

        Args:
            scored_rows: rows of a window that the termination head is scored on, in units of its last row's weight.
        """
        falls, rows, windows = self._falls_rows_windows
        if falls == 0:
            return 1.0
        chosen, first = (round(share * self.batch_size) / self.batch_size for share in (self.endings, self.beginnings))
        in_a_window = chosen + (1.0 - chosen - first) * falls / windows
        return in_a_window / scored_rows / (falls / rows)

    def __len__(self) -> int:
        if self.batches_per_epoch is None:
            raise TypeError("These batches have no end.")
        return self.batches_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        drawn = 0
        while self.batches_per_epoch is None or drawn < self.batches_per_epoch:
            yield self.batch()
            drawn += 1

    def batch(self) -> Batch:
        """Draw the next batch."""
        sources = zip(self._samplers, self._generators, strict=False)
        starts = torch.stack([self._draw(sampler, generator) for sampler, generator in sources])
        device = self._tables[0].device
        tables = [gather_rows(table, starts.to(device), self.length) for table in self._tables]
        window = Window(*(table.float() for table in tables))
        if self._bootstrap == "in_batch":
            size = (self.batch_size,)
            rows = [torch.randint(self.batch_size, size, generator=generator) for generator in self._generators[1:]]
            return Batch(window, rows=torch.stack(rows).to(device))
        if self._bootstrap == "weights":
            episode = self._episode_of_row[starts[0] % self._num_rows]
            return Batch(window, weight=self._weights[:, episode].to(device))
        return Batch(window)

    def _draw(self, sampler: WindowSampler, generator: torch.Generator) -> Tensor:
        """Return one member's starts ``[B]``; copy m of the data lies m * R rows further on."""
        starts = sampler.sample(self.batch_size, generator, self.beginnings, self.endings)
        copies = torch.randint(self._num_copies, (self.batch_size,), generator=generator)
        return starts + copies * self._num_rows

    def state_dict(self) -> dict[str, Any]:
        """Return where each member's stream of windows stands."""
        return {"generators": torch.stack([generator.get_state() for generator in self._generators])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        if len(state["generators"]) != len(self._generators):
            raise CheckpointError(
                f"The checkpoint has {len(state['generators'])} streams of data, but this run has {len(self._generators)}: "
                "it had another number of members or another data.bootstrap."
            )
        for generator, saved in zip(self._generators, state["generators"], strict=True):
            generator.set_state(saved.cpu().clone())  # a copy: torch crashes on a view of a larger tensor


def require_mirrorable(episodes: Episodes, mirrors: Sequence[object]) -> None:
    """Raise :class:`ConfigError` if the data are to be mirrored and have an extension, of which no mirror image is known."""
    if mirrors and episodes.extension is not None:
        raise ConfigError("The data have an extension, whose mirror image nobody knows; give data.mirrors=[].")


def _tables(episodes: Episodes, normalizer: Normalizer, mirrors: Sequence[Mirror]) -> list[Tensor]:
    """Return state, action, contact and termination rows: as they are, then once more a mirror; states mirrored, then normalised.

    Mirroring in advance costs memory (260 bytes a row and mirror) and makes a batch nothing but copies of whole windows.
    """
    states = [episodes.state, *(mirror.state(episodes.state) for mirror in mirrors)]
    actions = [episodes.action, *(mirror.action(episodes.action) for mirror in mirrors)]
    contacts = [episodes.contact, *(mirror.contact(episodes.contact) for mirror in mirrors)]
    terminations = [episodes.termination.unsqueeze(-1)] * (1 + len(mirrors))
    return [
        torch.cat([normalizer.normalize(state) for state in states]),
        torch.cat(actions),
        torch.cat(contacts),
        torch.cat(terminations),
    ]


def _episode_weights(resamples: list[Tensor], lengths: Tensor, window: int) -> Tensor:
    """Return ``[E, N]``, how often each episode is in each member's resample, so scaled that a window weighs 1 on average."""
    counts = torch.stack([torch.bincount(resample, minlength=len(lengths)) for resample in resamples]).float()
    windows = (lengths - window + 1).float()
    return counts * windows.sum() / (counts @ windows).unsqueeze(1)


def _resample(number: int, seed: int, member: int) -> Tensor:
    return torch.randint(number, (number,), generator=_generator(seed, member, "episodes"))


def _generator(seed: int, member: int, purpose: str) -> torch.Generator:
    entropy = np.random.SeedSequence((seed, member, *purpose.encode()))
    return torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0]))
