"""Files: nothing is overwritten but what the same command wrote, and what cannot be read is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rwmu.data.audit.__main__ import main
from rwmu.data.formats import hdf5
from rwmu.errors import DataError
from tests.data.walking import walking_episode


def audit_status(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def test_findings_overwrite_neither_the_data_nor_any_other_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, notes = tmp_path / "data.h5", tmp_path / "notes.json"
    hdf5.save(walking_episode(50, seed=0), data)
    notes.write_text('{"mine": 1}')
    before = data.read_bytes()
    for target in (data, notes):
        assert audit_status(data, "--json", target) == 2
        assert f"{target} is there already and holds no findings of an audit" in capsys.readouterr().err
    assert (data.read_bytes(), notes.read_text()) == (before, '{"mine": 1}')
    findings = tmp_path / "findings.json"
    for window in (40, 51):  # an earlier audit's findings are replaced
        audit_status(data, "--json", findings, "--window", window)
    assert "51" in json.dumps(json.loads(findings.read_text())["findings"])


def test_no_rows_are_no_window(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hdf5.save(walking_episode(50, seed=0), tmp_path / "data.h5")
    for window in (0, -5):
        assert audit_status(tmp_path / "data.h5", f"--window={window}") == 2
        assert "window" in capsys.readouterr().err


def test_files_are_written_for_old_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In no newer form than that of HDF5 1.10: left to itself, HDF5 2.0 writes what earlier ones cannot read."""
    asked = []

    class Spied(h5py.File):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            asked.append(self.libver)

    monkeypatch.setattr(hdf5.h5py, "File", Spied)
    hdf5.save(walking_episode(50, seed=0), tmp_path / "data.h5")
    assert asked == [("v110", "v110")]


def test_a_folder_in_place_of_data_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        hdf5.load(tmp_path)


def test_zeros_of_either_sign_in_first_rows_come_back(tmp_path: Path) -> None:
    """First rows are not in the file; the -0 of a negated reward is another bit, and would be another hash."""
    walk = walking_episode(50, seed=0)
    negated = replace(walk, reward=-walk.reward)
    assert negated.reward[0].signbit()
    hdf5.save(negated, tmp_path / "negated.h5")
    assert hdf5.load(tmp_path / "negated.h5").content_hash() != walk.content_hash()


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"step_dt": "fast"}, "has the step 'fast'"),
        ({"step_dt": 0.0}, "must be seconds, above 0"),
        ({"layout": [["joints"]]}, "'layout' that cannot be read"),
        ({"layout": 7}, "'layout' that cannot be read"),
        ({"layout": None}, "does not say what its state columns are"),
    ],
)
def test_attributes_that_cannot_be_read_are_refused_in_one_sentence(attributes: dict[str, Any], words: str, tmp_path: Path) -> None:
    walk = walking_episode(50, seed=0)
    hdf5.save(replace(walk, attributes={**walk.attributes, **attributes}), tmp_path / "odd.h5")
    with pytest.raises(DataError, match=words):
        hdf5.load(tmp_path / "odd.h5")


def test_a_file_of_another_make_is_refused_in_one_sentence_that_advises_no_deletion(tmp_path: Path) -> None:
    """What is missing is named; nobody's recordings are to be deleted."""
    path = tmp_path / "data.h5"

    def changed(change: Callable[[h5py.File], object]) -> str:
        hdf5.save(walking_episode(50, seed=0), path)
        with h5py.File(path, "r+") as file:
            change(file)
        with pytest.raises(DataError) as error:
            hdf5.load(path)
        assert "delete" not in str(error.value)
        assert "collect" not in str(error.value)
        return str(error.value)

    def emptied(file: h5py.File) -> None:
        del file["episode_0/observations"]
        file["episode_0"].create_group("observations")

    assert "layout" in changed(emptied)
    assert "layout" in changed(lambda file: file.attrs.__setitem__("attributes", "[1, 2]"))
    assert "'complete'" in changed(lambda file: file.attrs.__delitem__("complete"))
    assert "'total_episodes'" in changed(lambda file: file.attrs.__delitem__("total_episodes"))
    assert "end" in changed(lambda file: file.attrs.__setitem__("complete", False))
    assert "policy_level" in changed(lambda file: file["episode_0"].attrs.__delitem__("policy_level"))
    assert "'contact'" in changed(lambda file: file.__delitem__("episode_0/infos/contact"))


def test_a_file_that_another_process_writes_and_one_that_may_not_be_read_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.h5"
    hdf5.save(walking_episode(50, seed=0), path)
    for error, word in ((BlockingIOError(11, "locked"), "locked"), (PermissionError(13, "denied"), "permissions")):

        def refuse(*_: object, error: OSError = error) -> None:
            raise error

        monkeypatch.setattr(hdf5.h5py, "File", refuse)
        with pytest.raises(DataError, match=word):
            hdf5.load(path)


def test_strings_stored_as_bytes_of_a_fixed_length_are_read(tmp_path: Path) -> None:
    walk = walking_episode(50, seed=0)
    hdf5.save(walk, tmp_path / "data.h5")
    with h5py.File(tmp_path / "data.h5", "r+") as file:
        for attributes, name in (
            (file.attrs, "attributes"),
            (file.attrs, "content_hash"),
            (file["episode_0"].attrs, "policy_level"),
        ):
            attributes[name] = np.bytes_(attributes[name])
    loaded = hdf5.load(tmp_path / "data.h5")
    assert (loaded.levels, loaded.attributes) == (["walk"], walk.attributes)
