"""Endless training batches in which every ensemble member draws from its own persistent resample of the episodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, count
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from rwmu.data.episodes import Episodes
from rwmu.data.normalizer import Normalizer, normalized
from rwmu.data.settings import DataSettings
from rwmu.data.windows import WindowSampler, gather_rows, require_long_enough, rows_of
from rwmu.errors import CheckpointError, ConfigError
from rwmu.numerics import stream
from rwmu.records import Batch, Window
from rwmu.robots.symmetry import Images, Mirror, SignedPermutation


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
        train = torch.cat(rounds)
        self.settings, self.batches_per_epoch = settings, batches_per_epoch
        terminated = episodes.termination[episodes.last_rows]
        self._lengths, self._falls = episodes.lengths[train], int(terminated[train].sum())
        self.member_episodes = [train[places] for places in self._resamples([len(ids) for ids in rounds], num_members, seed)]
        own = settings.bootstrap in ("episodes", "windows")
        sources = self.member_episodes if own else [train]
        self._samplers = [WindowSampler(episodes.lengths, source, length, terminated) for source in sources]
        self._generators = [stream(seed, member, *b"windows") for member in range(len(sources))]
        if settings.bootstrap == "in_batch":
            self._generators += [stream(seed, member, *b"rows") for member in range(num_members)]
        if settings.bootstrap == "weights":
            self._weights, self._offsets = _episode_weights(self.member_episodes, episodes.lengths, length, train), episodes.offsets
        self._normalizer, self._extension_normalizer = normalizer, extension_normalizer
        self._num_images, self._images = 1 + len(mirrors), _images(mirrors, episodes) if mirrors else {}
        self._rows = rows_of(episodes).map(lambda rows: rows.to(device))

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
        falls, rows = self._falls, int(self._lengths.sum()) - len(self._lengths)
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
        drawn = [self._draw(*source) for source in zip(self._samplers, self._generators, strict=False)]
        starts, images = (torch.stack(each) for each in zip(*drawn, strict=True))
        window, device = self._window(starts, images), self._rows.state.device
        if self.settings.bootstrap == "in_batch":
            size = self.settings.batch_size
            rows = [torch.randint(size, (size,), generator=generator) for generator in self._generators[1:]]
            return Batch(window, rows=torch.stack(rows).to(device))
        if self.settings.bootstrap == "weights":
            episode = torch.searchsorted(self._offsets, starts[0], right=True) - 1
            return Batch(window, weight=self._weights[:, episode].to(device))
        return Batch(window)

    def _draw(self, sampler: WindowSampler, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return where one member's windows start, and which image of each it sees (0 for none), ``[B]`` int64 each."""
        size = self.settings.batch_size
        starts = sampler.sample(size, generator, self.settings.beginnings, self.settings.endings)
        return starts, torch.randint(self._num_images, (size,), generator=generator)

    def _window(self, starts: Tensor, images: Tensor) -> Window:
        """Return the windows from ``starts [E or 1, B]`` on, mirrored and normalised."""
        place, length = starts.to(self._rows.state.device), self.settings.train_rows
        window = self._rows.map(lambda rows: gather_rows(rows, place, length).float())
        which = images[..., None]  # one image a window
        window = replace(window, **{name: turned(which, getattr(window, name)) for name, turned in self._images.items()})
        return normalized(window, self._normalizer, self._extension_normalizer)

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


def _images(mirrors: Sequence[Mirror], episodes: Episodes) -> dict[str, Images]:
    """Return the identity and the mirrors of state, action and contact."""
    names = ("state", "action", "contact")
    same = {name: SignedPermutation.identity(getattr(episodes, name).shape[1]) for name in names}
    return {name: Images.stack([same[name], *(getattr(mirror, name) for mirror in mirrors)]) for name in names}


def _episode_weights(resamples: list[Tensor], lengths: Tensor, window: int, train: Tensor) -> Tensor:
    """Return ``[E, N]``, how often each episode is in each member's resample, so scaled that a window weighs 1 on average."""
    counts = torch.stack([torch.bincount(resample, minlength=len(lengths)) for resample in resamples]).float()
    windows = torch.zeros(len(lengths)).index_put((train,), (lengths[train] - window + 1).float())
    return counts * windows.sum() / (counts @ windows).unsqueeze(1)


def _resample(number: int, seed: int, member: int, round_: int) -> Tensor:
    purpose = "episodes" if round_ == 0 else f"episodes of round {round_}"
    return torch.randint(max(number, 1), (number,), generator=stream(seed, member, *purpose.encode()))
