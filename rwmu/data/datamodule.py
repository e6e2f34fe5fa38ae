"""What Lightning trains on: episodes, split by episode, normalised, cut into windows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from rwmu.data.audit.fitness import audit
from rwmu.data.bootstrap import BootstrapWindows, require_mirrorable
from rwmu.data.episodes import Episodes
from rwmu.data.normalizer import Normalizer
from rwmu.data.splits import DEFAULT_FRACTIONS, split_episodes
from rwmu.data.windows import gather, require_long_enough, spaced_starts
from rwmu.errors import ConfigError, DataError
from rwmu.records import Window
from rwmu.robots.layout import Field, StateLayout
from rwmu.robots.robot import Robot

_log = logging.getLogger(__name__)


class OfflineDataModule(LightningDataModule):
    """Serve training batches ``[E or 1, B, H + K, ·]`` without end and one fixed validation batch ``[B, H + K', ·]``.

    Args:
        episodes: the data, in physical units.
        robot: whose they are.
        fractions: share of the episodes of the splits train, validation, test and calibration.
        seed: of the resamples and the batches, and of the splits unless they have their own.
        split_seed: of the splits and of the windows cut from them for measuring, so that runs of different seeds share them.
        history: H, rows of ground truth.
        forecast: K, rows predicted in training.
        num_members: E.
        batch_size: B, windows a member.
        mirrors: names of ``robot.mirrors`` used as augmentation of the dynamics data.
        bootstrap: how the members' data differ, see :class:`~rwmu.data.bootstrap.BootstrapWindows`.
        beginnings: fraction of each batch that starts at an episode's first row; endings: that ends in a termination.
        validation_horizon: K', rows predicted in validation.
        validation_windows: at most so many.
        batches_per_epoch: see :class:`~rwmu.data.bootstrap.BootstrapWindows`.
        normalizer: one to be used instead of fitting one on the training episodes.

    Attributes:
        splits: name -> episode ids. normalizer: fitted on the training episodes alone.
        extension_normalizer: the same of the extension, None where the data have none.

    Raises:
        DataError, ConfigError: one sentence, for data or sizes that cannot be used.
    """

    def __init__(
        self,
        episodes: Episodes,
        robot: Robot,
        fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
        seed: int = 0,
        history: int = 32,
        forecast: int = 8,
        num_members: int = 1,
        batch_size: int = 256,
        mirrors: Sequence[str] = ("left_right",),
        bootstrap: str = "episodes",
        beginnings: float = 0.0,
        endings: float = 0.0,
        validation_horizon: int = 24,
        validation_windows: int = 512,
        batches_per_epoch: int | None = None,
        normalizer: Normalizer | None = None,
        split_seed: int | None = None,
    ) -> None:
        super().__init__()
        sizes = {"history": history, "forecast": forecast, "batch_size": batch_size, "num_members": num_members}
        sizes |= {"validation_horizon": validation_horizon, "validation_windows": validation_windows}
        _check_options(sizes, mirrors, robot, fractions)
        audit(episodes, robot)
        require_mirrorable(episodes, mirrors)
        self.episodes, self.robot, self.seed = episodes, robot, seed
        self.history, self.forecast = history, forecast
        self.validation_length, self.validation_windows = history + validation_horizon, validation_windows
        self.split_seed = seed if split_seed is None else split_seed
        self.splits = split_episodes(episodes.num_episodes, fractions, self.split_seed, episodes.levels)
        for split, length in (("train", history + forecast), ("validation", self.validation_length)):
            require_long_enough(episodes.lengths, self.splits[split], length, "training" if split == "train" else split)
        _report_short(episodes.lengths, history + forecast)
        self.normalizer = normalizer or Normalizer.fit(episodes.state[episodes.rows_of(self.splits["train"])], robot.state_layout)
        self.extension_normalizer = self._fit_extension()
        self._num_members, self._batch_size, self._bootstrap = num_members, batch_size, bootstrap
        self._mirrors, self._emphasis, self._batches_per_epoch = tuple(mirrors), (beginnings, endings), batches_per_epoch
        self._train: BootstrapWindows | None = None
        self._saved_stream: dict[str, Any] | None = None

    def _fit_extension(self) -> Normalizer | None:
        if self.episodes.extension is None:
            return None
        layout = StateLayout([Field("extension", self.episodes.extension_dim, "1")])
        return Normalizer.fit(self.episodes.extension[self.episodes.rows_of(self.splits["train"])], layout)

    @property
    def train_windows(self) -> BootstrapWindows:
        """Return the stream of training batches, made on first use, on the trainer's device."""
        if self._train is None:
            self._train = BootstrapWindows(
                self.episodes,
                self.splits["train"],
                self.normalizer,
                self.history + self.forecast,
                self._num_members,
                self._batch_size,
                self.seed,
                [self.robot.mirrors[name] for name in self._mirrors],
                self._bootstrap,
                *self._emphasis,
                self._batches_per_epoch,
                device=self.trainer.strategy.root_device if self.trainer is not None else "cpu",
                extension_normalizer=self.extension_normalizer,
            )
            if self._saved_stream is not None:
                self._train.load_state_dict(self._saved_stream)
        return self._train

    def train_dataloader(self) -> BootstrapWindows:
        """Return the batches ``[E or 1, B, H + K, ·]`` themselves: they come whole from memory and need no DataLoader."""
        return self.train_windows

    def val_dataloader(self) -> DataLoader[Window]:
        """Return a loader of one batch ``[B, H + K', ·]``: windows of validation episodes that do not overlap, always the same."""
        windows = [self.windows("validation", self.validation_length, self.validation_windows)]
        return DataLoader(windows, batch_size=None)  # type: ignore[arg-type]  # Lightning takes a bare list for several loaders

    def starts(self, split: str, length: int, number: int | None = None) -> Tensor:
        """Return rows at which at most ``number`` windows of the split begin that do not overlap, ``[B]`` int64."""
        require_long_enough(self.episodes.lengths, self.splits[split], length, split)
        return spaced_starts(self.episodes.lengths, self.splits[split], length, number, self.split_seed)

    def windows(self, split: str, length: int, number: int | None = None, normalizer: Normalizer | None = None) -> Window:
        """Return the windows of :meth:`starts`, ``[B, length, ·]``, states normalised, by ``normalizer`` if one is given."""
        window = gather(self.episodes, self.starts(split, length, number), length)
        state = (normalizer or self.normalizer).normalize(window.state)
        extension = window.extension
        if extension is not None and self.extension_normalizer is not None:
            extension = self.extension_normalizer.normalize(extension)
        return replace(window, state=state, extension=extension)

    def test_windows(self, length: int, number: int | None = None) -> Window:
        """Return windows of test episodes, as :meth:`windows`."""
        return self.windows("test", length, number)

    def state_dict(self) -> dict[str, Any]:
        """Return where the training stream stands; Lightning saves it in its checkpoints."""
        return self._train.state_dict() if self._train is not None else self._saved_stream or {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        self._saved_stream = state_dict or None
        if self._train is not None and state_dict:
            self._train.load_state_dict(state_dict)


def _check_options(sizes: Mapping[str, int], mirrors: Sequence[str], robot: Robot, fractions: Mapping[str, float]) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"data.{name} is {size}, but must be at least 1.")
    for name in mirrors:
        if name not in robot.mirrors:
            raise ConfigError(f"The robot '{robot.name}' has no mirror '{name}'; it has {list(robot.mirrors)}.")
    for name in ("train", "validation"):
        if not fractions.get(name, 0.0) > 0.0:
            raise DataError(
                f"The split '{name}' has no episodes, for its share is {fractions.get(name, 0.0)}; give it a share above 0."
            )


def _report_short(lengths: Tensor, length: int) -> None:
    short = int((lengths < length).sum())
    if short:
        _log.info("%d of %d episodes have fewer than %d rows and give no training window.", short, len(lengths), length)
