"""What Lightning trains on: episodes, split by episode, normalised, cut into windows."""

from __future__ import annotations

import logging
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from pydantic import InstanceOf
from torch import Tensor
from torch.utils.data import DataLoader

from rwmu.data.bootstrap import BootstrapWindows, require_mirrorable
from rwmu.data.episodes import Episodes, concatenate
from rwmu.data.fitness import audit
from rwmu.data.normalizer import Normalizer, normalized
from rwmu.data.settings import DataSettings
from rwmu.data.splits import extend_splits, split_episodes
from rwmu.data.windows import gather, require_long_enough, spaced_starts
from rwmu.records import Window
from rwmu.robots.layout import Field, StateLayout
from rwmu.robots.robot import Robot
from rwmu.settings import Count, checked, choose

NormalizerPolicy = Literal["keep", "refit"]

_log = logging.getLogger(__name__)


class OfflineDataModule(LightningDataModule):
    """Serve training batches ``[E or 1, B, H + K, ·]`` without end and one fixed validation batch ``[B, H + K', ·]``.

    Args:
        episodes: the data, in physical units, of ``robot``.
        settings: of the windows and splits.
        seed, num_members, batches_per_epoch: see :class:`~rwmu.data.bootstrap.BootstrapWindows`.
        normalizer: one to be used instead of fitting one on the training episodes.

    Attributes:
        normalizer: fitted on the training episodes alone.
        extension_normalizer: the same of the extension, None where the data have none.

    Raises:
        DataError, ConfigError: one sentence, for data or sizes that cannot be used.
    """

    @checked("data")
    def __init__(
        self,
        episodes: InstanceOf[Episodes],
        robot: InstanceOf[Robot],
        settings: InstanceOf[DataSettings],
        seed: int = 0,
        num_members: Count = 1,
        batches_per_epoch: Count | None = None,
        normalizer: InstanceOf[Normalizer] | None = None,
    ) -> None:
        super().__init__()
        for name in settings.mirrors:
            choose(f"data.mirrors, for the robot '{robot.name}',", name, robot.mirrors)
        self.settings, self._num_members, self._batches_per_epoch = settings, num_members, batches_per_epoch
        audit(episodes, robot)
        require_mirrorable(episodes, settings.mirrors)
        self.episodes, self.robot, self.seed = episodes, robot, seed
        self.history, self.forecast = settings.history, settings.forecast
        self._first_of_round: list[int] = []  # the first episode of every later round
        self._first_kept: dict[str, int] = {}  # split -> the first episode that is not forgotten
        self._splits = split_episodes(episodes.num_episodes, settings.fractions, settings.seed, episodes.levels)
        for split, length in (("train", settings.train_rows), ("validation", settings.validation_rows)):
            require_long_enough(episodes.lengths, self.splits[split], length, "training" if split == "train" else split)
        short = int((episodes.lengths < settings.train_rows).sum())
        if short:
            _log.info(
                "%d of %d episodes are shorter than the %d rows of a training window.",
                short,
                len(episodes.lengths),
                settings.train_rows,
            )
        self.normalizer = normalizer or self._fit_normalizer()
        self.extension_normalizer = self._fit_extension()
        self._train: BootstrapWindows | None = None
        self._saved_stream: dict[str, Any] | None = None

    def extend(self, episodes: Episodes, normalizer: NormalizerPolicy = "keep") -> None:
        """Add a round of new episodes, as an online algorithm collects them.

        Every split gets its share of all episodes; none that there were moves. A member keeps its resample of the old episodes and
        draws one of the new; its stream of windows goes on where it was. All of that follows from the seeds and the rounds so far:
        a resumed run adds the same rounds in the same order and then loads the stream's state.

        Args:
            episodes: new ones of the same robot.
            normalizer: ``keep`` the one that there is, in whose units a model goes on, or ``refit`` it on all training episodes.

        Raises:
            DataError, ConfigError: one sentence, for episodes that cannot be added.
        """
        choose("The normaliser's policy", normalizer, ("keep", "refit"))
        audit(episodes, self.robot)
        first, joined = self.episodes.num_episodes, concatenate([self.episodes, episodes])
        self._splits = extend_splits(self._splits, self.settings.fractions, self.settings.seed, episodes.levels)
        self.episodes = joined
        self._first_of_round.append(first)
        if normalizer == "refit":
            self.normalizer, self.extension_normalizer = self._fit_normalizer(), self._fit_extension()
        self._begin_stream_anew()

    def forget(self, num_transitions: int) -> None:
        """Leave out the oldest rounds until the others have at most ``num_transitions``; the latest stays.

        Test episodes stay, and so do validation episodes where none of those that remain is long enough.

        Raises:
            DataError: no training episode that is left is long enough.
        """
        lengths = self.episodes.lengths
        transitions = torch.cat([torch.zeros(1, dtype=torch.int64), (lengths - 1).cumsum(0)])
        firsts = [0, *self._first_of_round]
        kept = next((n for n in firsts if int(transitions[-1] - transitions[n]) <= num_transitions), firsts[-1])
        train, validation = (ids[ids >= kept] for ids in (self._splits["train"], self._splits["validation"]))
        require_long_enough(lengths, train, self.settings.train_rows, "training (of those not forgotten)")
        judging = bool((lengths[validation] >= self.settings.validation_rows).any())
        self._first_kept = {name: kept for name in self._splits if name != "test" and (name != "validation" or judging)}
        self._begin_stream_anew()

    def _begin_stream_anew(self) -> None:
        """Let the stream of windows be made of the episodes that there are now, going on where it stands."""
        if self._train is not None:
            self._saved_stream, self._train = self._train.state_dict(), None

    @property
    def splits(self) -> dict[str, Tensor]:
        """Return name -> sorted ids of the episodes of each split, int64, without what is forgotten."""
        return {name: ids[ids >= self._first_kept.get(name, 0)] for name, ids in self._splits.items()}

    @property
    def num_rounds(self) -> int:
        """Return how often episodes have come, the first ones included."""
        return 1 + len(self._first_of_round)

    def _fit_normalizer(self) -> Normalizer:
        return Normalizer.fit(self.episodes.state, self.robot.state_layout, self.episodes.rows_of(self.splits["train"]))

    def _fit_extension(self) -> Normalizer | None:
        if self.episodes.extension is None:
            return None
        layout = StateLayout([Field("extension", self.episodes.extension_dim, "1")])
        return Normalizer.fit(self.episodes.extension, layout, self.episodes.rows_of(self.splits["train"]))

    @property
    def train_rounds(self) -> list[Tensor]:
        """Return the training episodes' ids, a tensor for each round in which they came."""
        train = self.splits["train"]
        return list(train.tensor_split(torch.searchsorted(train, torch.tensor(self._first_of_round, dtype=torch.int64))))

    @property
    def data_hash(self) -> str:
        """Return the hash that names the episodes."""
        return self.episodes.content_hash()

    @property
    def train_windows(self) -> BootstrapWindows:
        """Return the stream of training batches, made on first use, on the trainer's device."""
        if self._train is None:
            self._train = BootstrapWindows(
                self.episodes,
                self.train_rounds,
                self.normalizer,
                self.settings,
                self._num_members,
                self.seed,
                [self.robot.mirrors[name] for name in self.settings.mirrors],
                self.extension_normalizer,
                self.trainer.strategy.root_device if self.trainer is not None else "cpu",
                self._batches_per_epoch,
            )
            if self._saved_stream is not None:
                self._train.load_state_dict(self._saved_stream)
        return self._train

    def train_dataloader(self) -> BootstrapWindows:
        """Return the batches ``[E or 1, B, H + K, ·]`` themselves: they come whole from memory and need no DataLoader."""
        return self.train_windows

    def val_dataloader(self) -> DataLoader[Window]:
        """Return a loader of one batch ``[B, H + K', ·]``: windows of validation episodes that do not overlap, always the same."""
        windows = [self.windows("validation", self.settings.validation_rows, self.settings.validation_windows)]
        return DataLoader(windows, batch_size=None)  # type: ignore[arg-type]  # Lightning takes a bare list for several loaders

    def starts(self, split: str, length: int, number: int | None = None) -> Tensor:
        """Return rows at which at most ``number`` windows of the split begin that do not overlap, ``[B]`` int64."""
        require_long_enough(self.episodes.lengths, self.splits[split], length, split)
        return spaced_starts(self.episodes.lengths, self.splits[split], length, number, self.settings.seed)

    def windows(self, split: str, length: int, number: int | None = None, normalizer: Normalizer | None = None) -> Window:
        """Return the windows of :meth:`starts`, ``[B, length, ·]``, states normalised, by ``normalizer`` if one is given."""
        window = gather(self.episodes, self.starts(split, length, number), length)
        return normalized(window, normalizer or self.normalizer, self.extension_normalizer)

    def state_dict(self) -> dict[str, Any]:
        """Return where the training stream stands; Lightning saves it in its checkpoints."""
        return self._train.state_dict() if self._train is not None else self._saved_stream or {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        self._saved_stream = state_dict or None
        if self._train is not None and state_dict:
            self._train.load_state_dict(state_dict)
