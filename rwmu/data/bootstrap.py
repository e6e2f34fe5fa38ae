"""Endless training batches in which every ensemble member draws from its own persistent resample of the episodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, count
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from rwmu.data.episodes import Episodes
from rwmu.data.normalizer import Normalizer
from rwmu.data.settings import DataSettings
from rwmu.data.windows import WindowSampler, gather_rows, require_long_enough
from rwmu.errors import CheckpointError, ConfigError
from rwmu.records import Batch, Window
from rwmu.robots.symmetry import Mirror


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
    do not depend on the number of members. Episodes that come in a later round are resampled by themselves, so that a member keeps
    its resample of those before. Only episodes of at least H + K rows take part. Falls are rare, and a model that is to foresee
    them must see them: hence ``endings``.

    Args:
        episodes: all of them, in physical units.
        rounds: the training episodes, ascending ids (int64), a tensor for each round in which they came: one for offline data.
        normalizer: applied to the states. extension_normalizer: to the extension, if there is one; None leaves it as it is.
        settings: of windows and batches. num_members: E. seed: of the resamples and of the batches.
        mirrors: augmentation beside the identity; each window is drawn as it is or in one of these mirrors, all equally likely.
        device: where the rows lie and the batches are made.
        batches_per_epoch: how many an iteration yields; None for no end. A number lets Lightning resume exactly (without one it
            fetches one batch ahead, which a resumed run then skips).
    """

    def __init__(
        self,
        episodes: Episodes,
        rounds: Sequence[Tensor],
        normalizer: Normalizer,
        settings: DataSettings,
        num_members: int = 1,
        seed: int = 0,
        mirrors: Sequence[Mirror] = (),
        extension_normalizer: Normalizer | None = None,
        device: torch.device | str = "cpu",
        batches_per_epoch: int | None = None,
    ) -> None:
        require_mirrorable(episodes, mirrors)
        length = settings.train_rows
        require_long_enough(episodes.lengths, torch.cat(list(rounds)), length)
        rounds = [ids[episodes.lengths[ids] >= length] for ids in rounds]
        train = episodes.select(torch.cat(rounds))
        self.settings, self.batches_per_epoch = settings, batches_per_epoch
        self._terminated, self._lengths = train.termination[train.offsets + train.lengths - 1], train.lengths
        self._num_rows, self._num_copies = train.num_rows, 1 + len(mirrors)
        resamples = self._resamples([len(ids) for ids in rounds], num_members, seed)
        self.member_episodes = [torch.cat(rounds)[resample] for resample in resamples]
        own = settings.bootstrap in ("episodes", "windows")
        sources = resamples if own else [torch.arange(len(train.lengths))]
        self._samplers = [WindowSampler(train.lengths, source, length, self._terminated) for source in sources]
        self._generators = [_generator(seed, member, "windows") for member in range(len(sources))]
        if settings.bootstrap == "in_batch":
            self._generators += [_generator(seed, member, "rows") for member in range(num_members)]
        if settings.bootstrap == "weights":
            self._weights, self._episode_of_row = _episode_weights(resamples, train.lengths, length), train.episode_of_row
        self._tables = [table.to(device) for table in _tables(train, normalizer, mirrors, extension_normalizer)]

    def _resamples(self, sizes: Sequence[int], num_members: int, seed: int) -> list[Tensor]:
        """Return the episodes of each member, places among the training episodes, of which ``sizes`` came in each round."""
        if self.settings.bootstrap not in ("episodes", "weights"):
            return [torch.arange(sum(sizes))] * num_members
        firsts = list(accumulate((0, *sizes[:-1])))
        numbered = list(zip(range(len(sizes)), firsts, sizes, strict=True))
        return [
            torch.cat([first + _resample(size, seed, member, number) for number, first, size in numbered])
            for member in range(num_members)
        ]

    def termination_odds_ratio(self, scored_rows: float) -> float:
        """Return how many times as often a scored row of a batch is a termination as a row of the training episodes.

        A termination fits only one place of a window, but ``endings`` make it frequent: a head's odds are off by this factor.

        Args:
            scored_rows: rows of a window that the termination head is scored on, in units of its last row's weight.
        """
        falls, rows = int(self._terminated.sum()), self._num_rows - len(self._lengths)
        if falls == 0:
            return 1.0
        windows, size = int((self._lengths - self.settings.train_rows + 1).sum()), self.settings.batch_size
        chosen, first = (round(share * size) / size for share in (self.settings.endings, self.settings.beginnings))
        in_a_window = chosen + (1.0 - chosen - first) * falls / windows
        return in_a_window / scored_rows / (falls / rows)

    def __len__(self) -> int:
        if self.batches_per_epoch is None:
            raise TypeError("These batches have no end.")
        return self.batches_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        for _ in count() if self.batches_per_epoch is None else range(self.batches_per_epoch):
            yield self.batch()

    def batch(self) -> Batch:
        """Draw the next batch."""
        starts = torch.stack([self._draw(*source) for source in zip(self._samplers, self._generators, strict=False)])
        device = self._tables[0].device
        tables = [gather_rows(table, starts.to(device), self.settings.train_rows) for table in self._tables]
        window = Window(*(table.float() for table in tables))
        if self.settings.bootstrap == "in_batch":
            size = self.settings.batch_size
            rows = [torch.randint(size, (size,), generator=generator) for generator in self._generators[1:]]
            return Batch(window, rows=torch.stack(rows).to(device))
        if self.settings.bootstrap == "weights":
            episode = self._episode_of_row[starts[0] % self._num_rows]
            return Batch(window, weight=self._weights[:, episode].to(device))
        return Batch(window)

    def _draw(self, sampler: WindowSampler, generator: torch.Generator) -> Tensor:
        """Return one member's starts ``[B]``; copy m of the data lies m * R rows further on."""
        size = self.settings.batch_size
        starts = sampler.sample(size, generator, self.settings.beginnings, self.settings.endings)
        copies = torch.randint(self._num_copies, (size,), generator=generator)
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


def _tables(episodes: Episodes, normalizer: Normalizer, mirrors: Sequence[Mirror], of_extension: Normalizer | None) -> list[Tensor]:
    """Return state, action, contact, termination and any extension: rows as they are, then once more a mirror; states normalised.

    Mirroring in advance costs memory (260 bytes a row and mirror) and makes a batch nothing but copies of whole windows.
    """
    states = [episodes.state, *(mirror.state(episodes.state) for mirror in mirrors)]
    tables = [
        torch.cat([normalizer.normalize(state) for state in states]),
        torch.cat([episodes.action, *(mirror.action(episodes.action) for mirror in mirrors)]),
        torch.cat([episodes.contact, *(mirror.contact(episodes.contact) for mirror in mirrors)]),
        episodes.termination.repeat(1 + len(mirrors)).unsqueeze(-1),
    ]
    if episodes.extension is not None:
        tables.append(episodes.extension if of_extension is None else of_extension.normalize(episodes.extension))
    return tables


def _episode_weights(resamples: list[Tensor], lengths: Tensor, window: int) -> Tensor:
    """Return ``[E, N]``, how often each episode is in each member's resample, so scaled that a window weighs 1 on average."""
    counts = torch.stack([torch.bincount(resample, minlength=len(lengths)) for resample in resamples]).float()
    windows = (lengths - window + 1).float()
    return counts * windows.sum() / (counts @ windows).unsqueeze(1)


def _resample(number: int, seed: int, member: int, round_: int) -> Tensor:
    purpose = "episodes" if round_ == 0 else f"episodes of round {round_}"
    return torch.randint(max(number, 1), (number,), generator=_generator(seed, member, purpose))


def _generator(seed: int, member: int, purpose: str) -> torch.Generator:
    entropy = np.random.SeedSequence((seed, member, *purpose.encode()))
    return torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0]))
