"""What every format that is written keeps of the episodes, and how it is told from the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rwmu.data import formats
from rwmu.errors import ConfigError, MissingExtraError, UserError
from tests.data.formats.recorded import recorded
from tests.data.walking import ROBOT

NEEDED = {"minari": "minari", "lerobot": "pyarrow"}
FOLDERS = ("minari", "lerobot")
EXACT = ("rwmu", "robomimic", *FOLDERS)
WRITTEN = (*EXACT, "isaaclab")
UNREAD = ("stats", "tasks")  # parts of a LeRobot dataset that only LeRobot needs


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_what_is_read(name: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDED.get(name, "h5py"))
    saved, path = recorded(extension=True), tmp_path / "walk-v0"
    formats.save(saved, path, name)
    assert formats.format_of(path).name == name, "the content tells"
    loaded = formats.load(path, ROBOT)
    if name in EXACT:
        assert loaded.content_hash() == saved.content_hash()
    for array in (*saved.row_arrays, "lengths", "seeds"):
        assert torch.allclose(getattr(loaded, array).double(), getattr(saved, array).double(), atol=2e-6), array
    assert loaded.levels == saved.levels
    assert loaded.attributes == saved.attributes
    assert not list(tmp_path.glob(".*")), "nothing half written is left"


@pytest.mark.parametrize("name", WRITTEN)
def test_a_damaged_source_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDED.get(name, "h5py"))
    path = tmp_path / "walk-v0"
    formats.save(recorded(), path, name)
    for file in [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file() and file.stem not in UNREAD]:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError) as error:
            formats.load(path, ROBOT, name)
        assert "\n" not in str(error.value)
        file.write_bytes(content)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_is_there_is_never_replaced(name: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDED[name])
    (tmp_path / "walk-v0").mkdir()
    (tmp_path / "walk-v0" / "mine").write_text("mine")
    with pytest.raises(UserError, match="there already"):
        formats.save(recorded(), tmp_path / "walk-v0", name)
    assert (tmp_path / "walk-v0" / "mine").read_text() == "mine"


def test_an_unknown_name_or_option_is_refused_with_its_like(tmp_path: Path) -> None:
    formats.save(recorded(), tmp_path / "data.h5", "robomimic")
    with pytest.raises(ConfigError, match="robomimic"):
        formats.load(tmp_path / "data.h5", name="robomimick")
    with pytest.raises(ConfigError, match="step_dt"):
        formats.load(tmp_path / "data.h5", step_td=0.02)


def test_whoever_lacks_a_library_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    from rwmu.data.formats import lerobot, minari

    for module in (lerobot, minari):
        with pytest.raises(MissingExtraError, match=r"rwmu\[formats\]"):
            module.save(recorded(), tmp_path / "walk-v0")
    assert not list(tmp_path.iterdir())
