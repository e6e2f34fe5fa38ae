"""Data larger than memory: rows are mapped from a file, and nothing else changes."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rwmu.data import formats, large
from rwmu.data.audit import checks
from rwmu.data.formats import hdf5
from rwmu.data.normalizer import Normalizer
from rwmu.errors import DataError
from tests.data.formats.recorded import recorded
from tests.data.synthetic import ROBOT, varied_episodes
from tests.data.walking import ROBOT as WALKER


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file of episodes, whose rows are too many for memory from now on."""
    hdf5.save(varied_episodes([30, 40, 25]), tmp_path / "data.h5")
    monkeypatch.setattr(large, "IN_MEMORY", 0)
    return tmp_path / "data.h5"


def test_mapped_rows_are_the_rows(stored: Path) -> None:
    mapped = hdf5.load(stored)
    rows = large.GrowingRows(stored.parent)
    rows.add({"state": np.ones((2, 3))})
    assert isinstance(rows.arrays()["state"], np.memmap)
    assert mapped.content_hash() == varied_episodes([30, 40, 25]).content_hash()
    assert [path.name for path in stored.parent.iterdir()] == ["data.h5"]


def test_a_disk_without_room_is_named(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(DataError, match="no room"):
        hdf5.load(stored)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match=r"other\.h5"):
        hdf5.save(varied_episodes([30]), stored.with_name("other.h5"))
    assert [path.name for path in stored.parent.iterdir()] == ["data.h5"]


@pytest.mark.parametrize("name", ["rwmu", "isaaclab", "robomimic", "minari", "lerobot"])
def test_every_format_reads_and_writes_rows_that_are_mapped_as_it_does_others(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in {"minari": ["minari"], "lerobot": ["pyarrow"]}.get(name, []):
        pytest.importorskip(module)
    saved = recorded(extension=True)
    formats.save(saved, tmp_path / "small-v0", name)
    small = formats.load(tmp_path / "small-v0", WALKER, name)
    monkeypatch.setattr(large, "IN_MEMORY", 0)
    monkeypatch.setattr("rwmu.data.formats.lerobot._AT_A_TIME", 40)
    monkeypatch.setattr("rwmu.data.formats.lerobot._FILE_MB", 0)  # a file for each episode
    monkeypatch.setattr("rwmu.data.formats.parquet._BLOCK_ROWS", 5)
    formats.save(saved, tmp_path / "large-v0", name)
    mapped = formats.load(tmp_path / "large-v0", WALKER, name)
    assert mapped.content_hash() == small.content_hash()
    assert mapped.attributes == small.attributes
    if name == "lerobot":
        one, other = (json.loads((tmp_path / each / "meta" / "stats.json").read_text()) for each in ("small-v0", "large-v0"))
        assert one.keys() == other.keys()
        for feature, found in one.items():
            for kind, numbers in found.items():
                assert numbers == pytest.approx(other[feature][kind]), (feature, kind)


def test_rows_of_a_normaliser_are_those_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    states, rows = varied_episodes([30, 40, 25]).state, torch.tensor([3, 4, 9, 50, 80, 81, 90])
    monkeypatch.setattr("rwmu.data.normalizer._CHUNK_ROWS", 3)
    some, alone = (Normalizer.fit(*each) for each in ((states, ROBOT.state_layout, rows), (states[rows], ROBOT.state_layout)))
    assert torch.equal(some.mean, alone.mean)
    assert torch.equal(some.std, alone.std)


def test_of_many_rows_every_nth_episode_is_audited(monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = varied_episodes([60] * 9)
    monkeypatch.setattr(checks, "_MOST_ROWS", 200)
    said = {finding.name: finding for finding in checks.examine(episodes, ROBOT)}
    assert said["every_nth"].numbers == {"every": 3, "episodes": 9}
    episodes.state[60 * 4, 0] = torch.nan  # of an episode that is left out
    assert {finding.severity for finding in checks.examine(episodes, ROBOT)} == {"error", "note"}
