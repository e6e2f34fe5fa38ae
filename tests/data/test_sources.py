from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rwmu.data import formats
from rwmu.data.episodes import Episodes
from rwmu.data.formats import csv, hdf5
from rwmu.data.formats.registry import _FORMATS
from rwmu.data.sources import holds_collected, obtain
from rwmu.errors import DataError
from rwmu.files import alone
from tests.data.synthetic import ROBOT, numbered_episodes

EPISODES = numbered_episodes([5, 7])
EPISODES = replace(EPISODES, attributes={**EPISODES.attributes, "recipe": "mixed"})


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
    with pytest.raises(DataError, match="does not exist"):
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
    with pytest.raises(DataError, match=r"seed = 3, .* 4.*data\.path") as error:
        obtain(path, never, expected={"seed": 4})
    assert "delete" not in str(error.value)


def test_whoever_comes_second_waits_and_finds_what_the_first_has_collected(tmp_path: Path) -> None:
    path, made = tmp_path / "data.h5", list[str]()
    (tmp_path / ".data.h5.7.partial.h5").write_text("left by a killed process")
    begun, go_on = threading.Event(), threading.Event()

    def collect_once(name: str) -> None:
        with alone(path):
            if path.exists():
                made.append(f"{name} found it")
                return
            begun.set()
            assert go_on.wait(10.0)
            collect(path)
            made.append(f"{name} collected it")

    first, second = (threading.Thread(target=collect_once, args=(name,)) for name in ("first", "second"))
    first.start()
    assert begun.wait(10.0)
    second.start()
    second.join(0.2)
    assert second.is_alive(), "it waits"
    go_on.set()
    first.join()
    second.join()
    assert made == ["first collected it", "second found it"]
    assert list(tmp_path.iterdir()) == [path], "nothing else is left"


def test_somebodys_own_data_are_not_to_be_deleted(tmp_path: Path) -> None:
    hdf5.save(numbered_episodes([5, 7]), tmp_path / "own.h5")
    with pytest.raises(DataError, match=r"data\.recipe=null") as error:
        obtain(tmp_path / "own.h5", never, expected={"recipe": "mixed"})
    assert "delete" not in str(error.value)


# -- formats ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test register formats that no other test sees."""
    monkeypatch.setattr("rwmu.data.formats.registry._FORMATS", list(_FORMATS))


@pytest.mark.usefixtures("registry")
def test_a_users_own_format_is_read_and_written_by_its_ending(tmp_path: Path) -> None:
    kept: dict[Path, Episodes] = {}
    formats.register(formats.Format("memory", (".mem",), lambda path, _: kept[path], lambda e, path: kept.update({path: e})))
    assert holds_collected("a.mem")
    formats.save(EPISODES, tmp_path / "a.MEM")
    assert obtain(tmp_path / "a.MEM") is EPISODES
    obtain(tmp_path / "b.mem", lambda path: formats.save(EPISODES, path))
    assert list(kept) == [tmp_path / "a.MEM", tmp_path / "b.mem"]


@pytest.mark.usefixtures("registry")
def test_of_formats_with_one_ending_the_content_decides(tmp_path: Path) -> None:
    """HDF5 of another layout, told by an attribute; a file whose content nobody knows goes to the latest."""

    def recognises(path: Path) -> bool:
        return b"other" in path.read_bytes()

    formats.register(formats.Format("other", (".h5",), lambda path, robot: EPISODES, recognises=recognises))
    hdf5.save(EPISODES, tmp_path / "ours.h5")
    (tmp_path / "theirs.h5").write_bytes(b"other")
    assert formats.format_of(tmp_path / "ours.h5") is hdf5.FORMAT
    assert formats.load(tmp_path / "theirs.h5") is EPISODES
    with pytest.raises(DataError, match="only read"):
        formats.save(EPISODES, tmp_path / "new.h5")
    assert not holds_collected(tmp_path / "new.h5")


def test_a_file_without_a_known_ending_is_known_by_its_content_or_refused(tmp_path: Path) -> None:
    hdf5.save(EPISODES, tmp_path / "data")
    assert formats.format_of(tmp_path / "data") is hdf5.FORMAT
    assert formats.format_of("Table.CSV") is csv.FORMAT
    for path in (tmp_path / "absent.bag", tmp_path):
        with pytest.raises(DataError, match=r"\.h5"):
            formats.format_of(path)
