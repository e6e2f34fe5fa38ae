from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from rwmu.data.datamodule import OfflineDataModule
from rwmu.data.normalizer import Normalizer
from rwmu.errors import ConfigError, DataError
from rwmu.records import Batch, Window
from tests.data.synthetic import ROBOT, numbered_episodes, varied_episodes

LENGTHS = [30, 45, 12, 60, 38, 51, 44, 29, 33, 70] * 4
FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.1, "calibration": 0.1}


def module(**options: Any) -> OfflineDataModule:
    settings: dict[str, Any] = {
        "episodes": varied_episodes(LENGTHS),
        "robot": ROBOT,
        "fractions": FRACTIONS,
        "history": 8,
        "forecast": 4,
        "num_members": 2,
        "batch_size": 6,
        "validation_horizon": 10,
    } | options
    return OfflineDataModule(**settings)


def test_splits_are_disjoint_and_whole() -> None:
    splits = module().splits
    assert list(splits) == ["train", "validation", "test", "calibration"]
    assert torch.cat(list(splits.values())).sort().values.tolist() == list(range(len(LENGTHS)))


def test_another_seed_draws_other_batches_from_the_same_splits() -> None:
    one, other, otherwise = module(seed=1, split_seed=4), module(seed=2, split_seed=4), module(seed=1, split_seed=9)
    assert torch.equal(one.splits["test"], other.splits["test"])
    assert torch.equal(one.test_windows(9).state, other.test_windows(9).state)
    assert not torch.equal(one.train_windows.batch().window.state, other.train_windows.batch().window.state)
    assert not torch.equal(one.splits["test"], otherwise.splits["test"])


def test_the_normaliser_knows_the_training_episodes_only() -> None:
    """Whatever stands in the other splits, the normaliser stays the same."""
    episodes = varied_episodes(LENGTHS)
    data = module(episodes=episodes)
    expected = episodes.state[episodes.rows_of(data.splits["train"])].double().mean(0)
    torch.testing.assert_close(data.normalizer.mean, expected.float())
    for split in ("validation", "test", "calibration"):
        episodes.state[episodes.rows_of(data.splits[split])] += 1000.0
    again = module(episodes=episodes)
    assert torch.equal(again.normalizer.mean, data.normalizer.mean)
    assert torch.equal(again.normalizer.std, data.normalizer.std)


def test_a_given_normaliser_is_used() -> None:
    normalizer = Normalizer(torch.zeros(45), torch.full((45,), 2.0), ROBOT.state_layout.names())
    data = module(normalizer=normalizer, batch_size=4)
    assert data.normalizer is normalizer
    starts = data.starts("test", 5)
    assert torch.equal(data.test_windows(5).state[:, 0] * 2.0, data.episodes.state[starts])


def test_batches_have_the_stated_shapes() -> None:
    data = module()
    batch = next(iter(data.train_dataloader())).window
    assert batch.state.shape == (2, 6, 12, 45)
    assert batch.termination.shape == (2, 6, 12, 1)
    (validation,) = list(data.val_dataloader())
    assert validation.state.shape[1:] == (18, 45)
    assert validation.action.shape[1:] == (18, 12)


@pytest.mark.parametrize(("split", "number"), [("validation", None), ("test", 3), ("calibration", None)])
def test_windows_of_a_split_stay_in_it_and_do_not_overlap(split: str, number: int | None) -> None:
    normalizer = Normalizer(torch.zeros(45), torch.ones(45))
    data = module(episodes=numbered_episodes(LENGTHS), normalizer=normalizer)
    rows = data.windows(split, 11, number).state[..., 0]
    assert torch.equal(rows, rows[:, :1] + torch.arange(11))
    assert set((rows[:, 0] // 1000).long().tolist()) <= set(data.splits[split].tolist())
    assert len(rows.unique()) == rows.numel()
    assert number is None or len(rows) == number


def test_validation_is_always_the_same() -> None:
    one, other = (next(iter(module().val_dataloader())) for _ in range(2))
    assert torch.equal(one.state, other.state)
    data = module(validation_windows=5)
    assert len(next(iter(data.val_dataloader())).state) == 5


def test_short_episodes_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        module(history=20, forecast=15)
    assert "16 of 40 episodes have fewer than 35 rows and give no training window." in caplog.text


def test_no_episode_long_enough_is_one_sentence() -> None:
    with pytest.raises(
        DataError, match=r"No training episode is long enough for windows of 104 rows \(history \+ forecast\).*has 70"
    ):
        module(history=100)
    with pytest.raises(DataError, match=r"No validation episode is long enough for windows of 108 rows"):
        module(validation_horizon=100)
    with pytest.raises(DataError, match=r"No test episode is long enough for windows of 99 rows"):
        module().test_windows(99)


def test_constant_column_is_named() -> None:
    episodes = varied_episodes(LENGTHS)
    episodes.state[:, ROBOT.state_layout["joint_torque"].start + 5] = 3.5
    with pytest.raises(DataError, match=r"joint_torque\[5\] never varies in the training episodes \(it is always 3\.5\)"):
        module(episodes=episodes)


def test_values_that_are_no_numbers_are_refused_even_from_memory() -> None:
    episodes = varied_episodes(LENGTHS)
    episodes.state[3, 0] = float("nan")
    with pytest.raises(DataError, match=r"The data has the value nan in base_lin_vel\[0\] of episode 0, row 3"):
        module(episodes=episodes)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_needed_splits_must_have_episodes(split: str) -> None:
    fractions = {"train": 0.5, "validation": 0.5} | {split: 0.0} | {"test": 0.5}
    with pytest.raises(DataError, match=f"The split '{split}' has no episodes"):
        module(fractions=fractions)


@pytest.mark.parametrize("option", ["history", "forecast", "batch_size", "num_members", "validation_horizon", "validation_windows"])
@pytest.mark.parametrize("value", [0, -3])
def test_impossible_sizes_are_refused(option: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"data.{option} is {value}, but must be at least 1"):
        module(**{option: value})


def test_unknown_mirror_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no mirror 'leftright'; it has \['identity', 'left_right'"):
        module(mirrors=["leftright"])


class Recorder(LightningModule):
    """Remember the batches that the trainer hands over."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[Tensor] = []
        self.validated: list[Tensor] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.seen.append(batch.window.state.clone())
        return self.weight.sum()

    def validation_step(self, batch: Window, batch_idx: int) -> None:
        self.validated.append(batch.state.clone())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


# Lightning's own use of a class that PyTorch is about to retire.
lightning_warnings = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")


def trainer(steps: int, **options: Any) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return Trainer(accelerator="cpu", max_steps=steps, num_sanity_val_steps=0, log_every_n_steps=1, **(quiet | options))


@lightning_warnings
def test_lightning_trains_on_it_and_a_resumed_run_sees_the_batches_of_an_unbroken_one(tmp_path: Path) -> None:
    unbroken, first, second = Recorder(), Recorder(), Recorder()
    trainer(8).fit(unbroken, datamodule=module(batches_per_epoch=3))
    half = trainer(4)
    half.fit(first, datamodule=module(batches_per_epoch=3))
    half.save_checkpoint(tmp_path / "half.ckpt")
    trainer(8).fit(second, datamodule=module(batches_per_epoch=3), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert len(unbroken.seen) == 8
    assert (len(first.seen), len(second.seen)) == (4, 4)
    for expected, seen in zip(unbroken.seen, first.seen + second.seen, strict=True):
        assert torch.equal(expected, seen)
    assert torch.equal(unbroken.validated[0], next(iter(module().val_dataloader())).state)


@lightning_warnings
def test_lightning_trains_on_batches_without_end() -> None:
    recorder = Recorder()
    trainer(5, limit_val_batches=0).fit(recorder, datamodule=module())
    assert len(recorder.seen) == 5
