from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from rwmu.data.datamodule import NormalizerPolicy, OfflineDataModule
from rwmu.data.episodes import Episodes
from rwmu.data.normalizer import Normalizer
from rwmu.data.settings import DataSettings
from rwmu.errors import ConfigError, DataError
from rwmu.records import Batch, Window
from tests.data.synthetic import ROBOT, numbered_episodes, varied_episodes

LENGTHS = [30, 45, 12, 60, 38, 51, 44, 29, 33, 70] * 4
FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.1, "calibration": 0.1}


def module(**options: Any) -> OfflineDataModule:
    names = ("episodes", "seed", "num_members", "batches_per_epoch", "normalizer")
    others = {name: options.pop(name) for name in names if name in options}
    sizes = {"fractions": FRACTIONS, "history": 8, "forecast": 4, "batch_size": 6, "validation_horizon": 10, "seed": 4}
    arguments: dict[str, Any] = {"episodes": varied_episodes(LENGTHS), "num_members": 2} | others
    return OfflineDataModule(
        robot=ROBOT, settings=DataSettings(**sizes | {key.removeprefix("split_"): v for key, v in options.items()}), **arguments
    )


def test_splits_are_disjoint_and_whole() -> None:
    splits = module().splits
    assert list(splits) == ["train", "validation", "test", "calibration"]
    assert torch.cat(list(splits.values())).sort().values.tolist() == list(range(len(LENGTHS)))


def test_another_seed_draws_other_batches_from_the_same_splits() -> None:
    one, other, otherwise = module(seed=1, split_seed=4), module(seed=2, split_seed=4), module(seed=1, split_seed=9)
    assert torch.equal(one.splits["test"], other.splits["test"])
    assert torch.equal(one.windows("test", 9).state, other.windows("test", 9).state)
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
    assert torch.equal(data.windows("test", 5).state[:, 0] * 2.0, data.episodes.state[starts])


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
    assert caplog.records[-1].args == (16, 40, 35)


def test_no_episode_long_enough_is_one_sentence() -> None:
    with pytest.raises(
        DataError, match=r"No training episode is long enough for windows of 104 rows \(history \+ forecast\).*has 70"
    ):
        module(history=100)
    with pytest.raises(DataError, match=r"No validation episode is long enough for windows of 108 rows"):
        module(validation_horizon=100)
    with pytest.raises(DataError, match=r"No test episode is long enough for windows of 99 rows"):
        module().windows("test", 99)


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
    with pytest.raises(ConfigError, match=f"data.fractions.{split}"):
        module(fractions=fractions)


@pytest.mark.parametrize("option", ["history", "forecast", "batch_size", "num_members", "validation_horizon", "validation_windows"])
@pytest.mark.parametrize("value", [0, 2.5, "4", True])
def test_impossible_sizes_are_refused(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"data.{option} is "):
        module(**{option: value})


def test_unknown_mirror_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'leftright'; did you mean 'left_right'"):
        module(mirrors=["leftright"])


# -- further rounds -----------------------------------------------------------------------------------------------------------


def round_of(number: int, seed: int) -> Episodes:
    """Return episodes that no other round has; falls are new episodes' own."""
    return varied_episodes([40] * number, seed)


def extended(*rounds: tuple[int, int], policy: NormalizerPolicy = "keep", **options: Any) -> OfflineDataModule:
    data = module(**options)
    for number, seed in rounds:
        data.extend(round_of(number, seed), policy)
    return data


def test_no_episode_moves_and_every_split_gets_its_share_of_all() -> None:
    before, data = module(), module()
    for number, seed in ((7, 1), (1, 2), (24, 3)):
        earlier, count = dict(data.splits), data.episodes.num_episodes
        data.extend(round_of(number, seed))
        for name, ids in data.splits.items():
            assert torch.equal(ids[ids < count], earlier[name])
            assert torch.equal(ids, ids.sort().values)
            assert abs(len(ids) - FRACTIONS[name] * data.episodes.num_episodes) < 1.5
    assert torch.cat(list(data.splits.values())).sort().values.tolist() == list(range(72))
    assert torch.equal(data.episodes.state[: before.episodes.num_rows], before.episodes.state)
    again = extended((7, 1), (1, 2), (24, 3))
    assert all(torch.equal(again.splits[name], ids) for name, ids in data.splits.items())


def test_two_rounds_are_not_split_alike() -> None:
    data = extended((40, 1), (40, 2))
    test = data.splits["test"]
    assert (test[(test >= 40) & (test < 80)] - 40).tolist() != (test[test >= 80] - 80).tolist()


def test_a_split_far_below_its_share_is_filled_first() -> None:
    data = module(fractions={"train": 0.6, "validation": 0.4})
    data._splits = {"train": torch.arange(39), "validation": torch.tensor([39])}
    data.extend(round_of(10, 1))
    assert [len(ids) for ids in data.splits.values()] == [39, 11]


def test_the_oldest_rounds_are_forgotten_but_for_their_test_episodes() -> None:
    data, whole = extended((24, 1), (24, 2)), extended((24, 1), (24, 2))  # rounds of 40, 24 and 24 episodes of 39 transitions
    data.forget(50 * 39)
    for name, ids in data.splits.items():
        kept = whole.splits[name] if name == "test" else whole.splits[name][whole.splits[name] >= 40]
        assert torch.equal(ids, kept)
    assert set(torch.cat(data.train_windows.member_episodes).tolist()) <= set(data.splits["train"].tolist())
    data.forget(1)
    assert int(data.splits["train"].min()) >= 64, "the latest round stays, however large"
    data.extend(round_of(24, 3))
    assert abs(len(data.splits["test"]) - FRACTIONS["test"] * data.episodes.num_episodes) < 1.5, "shares are of all episodes"


def test_forgetting_all_that_is_long_enough_is_one_sentence() -> None:
    data = module()
    data.extend(varied_episodes([3] * 40, 1))
    with pytest.raises(DataError, match="not forgotten"):
        data.forget(100)


@pytest.mark.parametrize("policy", ["keep", "refit"])
def test_the_normaliser_is_kept_or_fitted_on_all_training_episodes(policy: NormalizerPolicy) -> None:
    before, data = module().normalizer, extended((20, 1), policy=policy)
    if policy == "keep":
        assert torch.equal(data.normalizer.mean, before.mean)
    else:
        states = data.episodes.state[data.episodes.rows_of(data.splits["train"])].double()
        torch.testing.assert_close(data.normalizer.mean, states.mean(0).float())
        assert not torch.equal(data.normalizer.mean, before.mean)
    assert torch.equal(extended((20, 1), policy=policy).normalizer.std, data.normalizer.std)


@pytest.mark.parametrize("bootstrap", ["episodes", "windows", "weights", "in_batch", "none"])
def test_a_resumed_stream_of_two_rounds_goes_on_as_an_unbroken_one(bootstrap: str) -> None:
    """Two batches, a round, one batch, a break, one batch: inputs and the stream's state are all that a resumed run has."""
    unbroken = module(bootstrap=bootstrap)
    for _ in range(2):
        unbroken.train_windows.batch()
    unbroken.extend(round_of(20, 1))
    first = unbroken.train_windows.batch()
    saved = unbroken.state_dict()
    expected = unbroken.train_windows.batch()
    resumed = extended((20, 1), bootstrap=bootstrap)
    resumed.load_state_dict(saved)
    assert torch.equal(resumed.train_windows.batch().window.state, expected.window.state)
    fresh = module(bootstrap=bootstrap)
    assert not torch.equal(fresh.train_windows.batch().window.state, first.window.state), "the stream goes on, not anew"


def test_a_member_keeps_its_resample_of_the_first_round() -> None:
    before, after = module().train_windows.member_episodes, extended((20, 1)).train_windows.member_episodes
    for old, new in zip(before, after, strict=True):
        assert torch.equal(new[: len(old)], old)
        assert (new[len(old) :] >= 40).all()


def test_episodes_that_do_not_fit_are_not_added() -> None:
    data, odd = module(), varied_episodes([30] * 3)
    odd.state[3, 0] = float("nan")
    for episodes in (odd, replace(varied_episodes([30]), attributes={**odd.attributes, "step_dt": 0.01})):
        with pytest.raises(DataError):
            data.extend(episodes)
    with pytest.raises(ConfigError, match="refit"):
        data.extend(varied_episodes([30]), "fresh")  # type: ignore[arg-type]
    assert data.episodes.num_episodes == len(LENGTHS)


# -- Lightning ----------------------------------------------------------------------------------------------------------------


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
