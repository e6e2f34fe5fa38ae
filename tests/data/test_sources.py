from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rwmu.data.formats import hdf5
from rwmu.data.sources import obtain
from rwmu.errors import DataError
from tests.data.synthetic import ROBOT, numbered_episodes

EPISODES = numbered_episodes([5, 7])


def collect(path: Path) -> None:
    hdf5.save(EPISODES, path)


def never(path: Path) -> None:
    raise AssertionError(f"collected {path} although it was there")


def test_absent_data_are_collected_once(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "data.h5"
    first = obtain(path, collect, ROBOT)
    again = obtain(path, never, ROBOT)
    assert first.content_hash() == again.content_hash() == EPISODES.content_hash()


def test_absent_data_without_a_collector_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist; collect it with 'python -m rwmu\.collect'"):
        obtain(tmp_path / "data.h5")


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_interrupted_collection_leaves_nothing_and_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.h5"
    with monkeypatch.context() as patch:
        patch.setattr(hdf5, "_write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            obtain(path, collect)
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(obtain(path, collect).state, EPISODES.state)


def test_damaged_file_is_refused_and_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    collect(path)
    damaged = path.read_bytes()[:-100]
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="truncated"):
        obtain(path, never)
    assert path.read_bytes() == damaged


def test_data_made_otherwise_than_asked_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    assert obtain(path, collect, expected={"seed": 3}).num_episodes == 2
    with pytest.raises(DataError, match=r"made with seed = 3, but this run asks for 4; give another data\.path") as error:
        obtain(path, never, expected={"seed": 4})
    assert str(error.value).endswith(".")
