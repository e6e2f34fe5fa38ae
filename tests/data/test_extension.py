"""Further privileged quantities: they travel with their rows, and data without them are what they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rwmu.data.audit import audit
from rwmu.data.bootstrap import BootstrapWindows
from rwmu.data.datamodule import OfflineDataModule
from rwmu.data.episodes import Episodes, concatenate
from rwmu.data.formats import hdf5
from rwmu.data.normalizer import Normalizer
from rwmu.data.settings import DataSettings
from rwmu.data.windows import gather
from rwmu.errors import ConfigError, DataError
from tests.data.synthetic import ROBOT, numbered_episodes, varied_episodes


def extended(episodes: Episodes) -> Episodes:
    """Return the episodes with an extension that says the number of its row, and ten times that plus one."""
    number = torch.arange(episodes.num_rows).float()
    return replace(episodes, extension=torch.stack([number, 10.0 * number + 1.0], dim=1))


def data_module(episodes: Episodes, **options: object) -> OfflineDataModule:
    arguments = {"history": 4, "forecast": 2, "validation_horizon": 3, "batch_size": 6, "mirrors": ()} | options
    return OfflineDataModule(episodes, ROBOT, DataSettings(**arguments))  # type: ignore[arg-type]


def test_rows_are_selected_joined_and_gathered_with_their_extension() -> None:
    episodes = extended(numbered_episodes([5, 7, 6]))
    chosen = episodes.select(torch.tensor([2, 0]))
    assert chosen.extension is not None
    assert chosen.extension[:, 0].tolist() == [*range(12, 18), *range(5)]
    joined = concatenate([chosen, chosen])
    assert joined.extension is not None
    assert torch.equal(joined.extension, chosen.extension.repeat(2, 1))
    window = gather(episodes, torch.tensor([5, 12]), 3)
    assert window.extension is not None
    assert window.extension[..., 1].tolist() == [[51.0, 61.0, 71.0], [121.0, 131.0, 141.0]]
    assert gather(numbered_episodes([5]), torch.tensor([0]), 3).extension is None


def test_its_values_are_part_of_the_hash_only_where_there_are_any() -> None:
    plain = numbered_episodes([5, 7])
    assert plain.content_hash() == "50fb0dac76082dd5d691e6a7eae0414f917075a3b226bd129abe6ac2d6853754"
    episodes = extended(plain)
    assert episodes.content_hash() != plain.content_hash()
    assert episodes.extension is not None
    assert replace(plain, extension=episodes.extension + 1.0).content_hash() != episodes.content_hash()


def test_a_file_keeps_it_and_one_without_it_has_none(tmp_path: Path) -> None:
    episodes = extended(varied_episodes([20, 30]))
    hdf5.save(episodes, tmp_path / "with.h5")
    loaded = hdf5.load(tmp_path / "with.h5", ROBOT)
    assert loaded.extension is not None
    assert episodes.extension is not None
    assert torch.equal(loaded.extension, episodes.extension), "row 0 of every episode too"
    assert loaded.content_hash() == episodes.content_hash()
    hdf5.save(replace(episodes, extension=None), tmp_path / "without.h5")
    assert hdf5.load(tmp_path / "without.h5", ROBOT).extension is None


def unfit(extension: Tensor) -> str:
    with pytest.raises(DataError) as error:
        audit(replace(numbered_episodes([5]), extension=extension))
    return str(error.value)


def test_extensions_that_cannot_be_are_refused() -> None:
    assert "float64" in unfit(torch.zeros(5, 2).double())
    assert "(5,)" in unfit(torch.zeros(5))
    assert "(5, 0)" in unfit(torch.zeros(5, 0))
    assert "there are 4" in unfit(torch.zeros(4, 2))
    assert "extension[1] of episode 0, row 3" in unfit(
        torch.zeros(5, 2).index_put((torch.tensor(3), torch.tensor(1)), torch.tensor(torch.nan))
    )
    with pytest.raises(DataError, match=r"\[2, 0\]"):
        concatenate([extended(numbered_episodes([5])), numbered_episodes([5])])


def test_training_and_validation_windows_have_it_normalised_on_training_episodes() -> None:
    data = data_module(extended(varied_episodes([30] * 20)))
    assert data.episodes.extension is not None
    rows = data.episodes.extension[data.episodes.rows_of(data.splits["train"])]
    mean, std = rows.double().mean(0), rows.double().std(0, unbiased=False)
    batch = next(iter(data.train_dataloader()))
    windows = (batch.window, data.windows("validation", 7))
    for window in windows:
        assert window.extension is not None
        physical = window.extension.double() * std + mean
        torch.testing.assert_close(physical[..., 1], 10.0 * physical[..., 0] + 1.0, rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(
            physical.diff(dim=-2)[..., 0], torch.ones(()).double().expand_as(physical.diff(dim=-2)[..., 0]), rtol=0, atol=1e-3
        )
    state = data.normalizer.denormalize(batch.window.state)
    assert batch.window.extension is not None
    number = (batch.window.extension[..., 0].double() * std[0] + mean[0]).round().long()
    torch.testing.assert_close(state, data.episodes.state[number], rtol=1e-3, atol=1e-2)  # of the same rows


def test_mirrors_are_refused() -> None:
    episodes = extended(varied_episodes([30] * 20))
    with pytest.raises(ConfigError, match=r"data\.mirrors=\[\]"):
        data_module(episodes, mirrors=("left_right",))
    normalizer = Normalizer(torch.zeros(45), torch.ones(45))
    with pytest.raises(ConfigError, match=r"data\.mirrors=\[\]"):
        BootstrapWindows(
            episodes, [torch.arange(20)], normalizer, DataSettings(history=4, forecast=2), mirrors=[ROBOT.mirrors["left_right"]]
        )
