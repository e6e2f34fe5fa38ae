from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rwmu.data.formats import csv
from rwmu.data.sources import obtain
from rwmu.errors import DataError
from tests.data.formats.test_hdf5 import one_sentence
from tests.data.walking import ROBOT, STEP_DT, table, walking_episodes

ROW_ARRAYS = ("state", "action", "contact", "termination", "lengths")


def write(path: Path, rows: torch.Tensor) -> Path:
    """Write a table as Python itself writes numbers, not as the code under test does."""
    path.write_text("".join(",".join(repr(value) for value in row) + "\n" for row in rows.tolist()))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a table of three episodes, the second of which falls."""
    return write(tmp_path / "data.csv", table(walking_episodes([60, 50, 40], falling=[1])))


def altered(path: Path, line: int, column: int, cell: str) -> Path:
    """Put ``cell`` in ``line`` (from 1) and ``column`` (from 0)."""
    lines = path.read_text().splitlines()
    cells = lines[line - 1].split(",")
    cells[column] = cell
    lines[line - 1] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_columns_are_state_action_contact_termination(tmp_path: Path) -> None:
    names = csv.column_names(ROBOT)
    assert len(names) == 66
    assert (names[0], names[44], names[45], names[57], names[61], names[65]) == (
        *("base_lin_vel[0]", "joint_torque[11]", "action[0]", "undesired[0]", "foot[0]"),
        "termination",
    )
    rows = torch.arange(66.0).repeat(2, 1)
    rows[:, 57:] = torch.tensor([0, 0, 0, 1, 1, 0, 0, 0, 0])
    episodes = csv.load(write(tmp_path / "data.csv", rows))
    assert episodes.state[1].tolist() == list(range(45))
    assert episodes.action.tolist() == [[0.0] * 12, list(range(45, 57))]
    assert episodes.contact[1].tolist() == [False, False, False, True, True, False, False, False]
    assert not episodes.termination.any()


def test_a_table_is_split_where_it_terminates_and_where_it_jumps(path: Path) -> None:
    loaded, expected = csv.load(path, ROBOT), walking_episodes([60, 50, 40], falling=[1])
    for name in ROW_ARRAYS:
        assert torch.equal(getattr(loaded, name), getattr(expected, name)), name
        assert getattr(loaded, name).dtype == getattr(expected, name).dtype, name


def test_the_released_form_is_split_into_its_ten_episodes(tmp_path: Path) -> None:
    """Ten episodes, a termination column of zeros, no mark of a boundary."""
    episodes = walking_episodes([100] * 10)
    loaded = csv.load(write(tmp_path / "data.csv", table(episodes)))
    assert loaded.lengths.tolist() == [100] * 10
    report = loaded.attributes["import_report"]
    assert (report["seams"], report["num_seams"]) == (list(range(100, 1000, 100)), 9)
    assert report["num_terminations"] == 0


def test_a_boundary_that_a_termination_marks_is_no_seam_of_the_report(path: Path) -> None:
    report = csv.load(path).attributes["import_report"]
    assert (report["seams"], report["num_terminations"]) == ([60], 1)


def test_the_number_of_seams_is_logged_and_few_of_many_are_named(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        obtain(path)
    assert "1 unmarked seams" in caplog.text
    report = csv.split_table(table(walking_episodes([8] * 150)), ROBOT, STEP_DT).attributes["import_report"]
    assert report["seams"] == list(range(8, 808, 8))
    assert report["num_seams"] == 149


def test_what_a_table_lacks_is_zero_and_said_to_be_unknown(path: Path) -> None:
    episodes = csv.load(path)
    assert episodes.attributes["unknown"] == ["command", "reward", "seeds"]
    assert not episodes.command.any()
    assert not episodes.reward.any()
    assert episodes.levels == ["unknown"] * 3
    assert (episodes.attributes["robot"], episodes.attributes["step_dt"]) == (ROBOT.name, STEP_DT)


def test_actions_and_terminations_of_first_rows_are_dropped_and_counted() -> None:
    """A simulator that resets before it observes writes the flag beside the first state of the next episode."""
    rows = table(walking_episodes([60, 50, 40]))
    rows[60, -1] = 1.0
    rows[[0, 110], 45] = 0.5
    episodes = csv.split_table(rows, ROBOT, STEP_DT)
    report = episodes.attributes["import_report"]
    assert episodes.lengths.tolist() == [60, 50, 40]
    assert not episodes.termination.any()
    assert not episodes.action[episodes.offsets].any()
    assert (report["num_terminations"], report["num_dropped_terminations"], report["num_dropped_actions"]) == (1, 1, 2)


# -- round trips ----------------------------------------------------------------------------------------------------------


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    saved = walking_episodes([60, 50, 1, 40], falling=[1, 3])
    extremes = torch.tensor([1e-38, -3.4e38, 0.1, 1 / 3, -0.0, 16777217.0])
    saved.state[5, :6] = extremes  # floats whose nine digits are needed
    csv.save(saved, tmp_path / "new folder" / "data.csv")
    loaded = csv.load(tmp_path / "new folder" / "data.csv")
    for name in ROW_ARRAYS:
        assert torch.equal(getattr(loaded, name), getattr(saved, name)), name
    csv.save(loaded, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "new folder" / "data.csv").read_bytes()


def test_an_interrupted_export_leaves_what_was_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, episodes = path.read_bytes(), csv.load(path)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DataError, match=r"data\.csv cannot be written \(No space left on device\)") as error:
        csv.save(episodes, path)
    one_sentence(error)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["data.csv"]


# -- data.path ------------------------------------------------------------------------------------------------------------


def test_a_table_is_a_source_by_its_ending(path: Path) -> None:
    capital = path.rename(path.with_suffix(".CSV"))
    assert obtain(capital, robot=ROBOT).num_episodes == 3


def test_a_table_that_is_missing_is_not_collected(tmp_path: Path) -> None:
    def never(path: Path) -> None:
        raise AssertionError(f"collected {path}")

    with pytest.raises(DataError, match=r"none\.csv does not exist") as error:
        obtain(tmp_path / "none.csv", never, ROBOT)
    one_sentence(error)


# -- bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"\n\r\n\n"])
def test_an_empty_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"data\.csv is empty") as error:
        csv.load(tmp_path / "data.csv")
    one_sentence(error)


def test_a_line_of_another_length_is_named(path: Path) -> None:
    lines = path.read_text().splitlines()
    for wrong, found in ((lines[6] + ",0", 67), (",".join(lines[6].split(",")[:-1]), 65)):
        path.write_text("\n".join([*lines[:6], wrong, *lines[7:]]))
        with pytest.raises(DataError, match=rf"must have 66 columns \(45 state .* but line 7 has {found}") as error:
            csv.load(path)
        assert "12 action + 8 contact + 1 termination" in one_sentence(error)


def test_a_table_of_another_width_is_refused(path: Path) -> None:
    path.write_text("\n".join(line + ",0,0" for line in path.read_text().splitlines()))
    with pytest.raises(DataError, match=r"must have 66 columns .* but line 1 has 68"):
        csv.load(path)
    path.write_text("1;2;3\n")
    with pytest.raises(DataError, match="but line 1 has 1") as error:
        csv.load(path)
    one_sentence(error)


@pytest.mark.parametrize("cell", ["walk", "", "1_0", "0x1", "1.0.0", '"1"'])
def test_a_cell_that_is_no_number_is_named(cell: str, path: Path) -> None:
    with pytest.raises(DataError, match=r"in line 12, column joint_vel\[2\], where a number is expected") as error:
        csv.load(altered(path, 12, 23, cell))
    assert repr(cell) in one_sentence(error)


def test_a_header_is_named_as_such(path: Path) -> None:
    path.write_text(",".join(csv.column_names(ROBOT)) + "\n" + path.read_text())
    with pytest.raises(DataError, match=r"'base_lin_vel\[0\]' in line 1, column base_lin_vel\[0\].*no header") as error:
        csv.load(path)
    one_sentence(error)


@pytest.mark.parametrize(("cell", "value"), [("nan", "nan"), ("inf", "inf"), ("-inf", "-inf"), ("1e39", "inf")])
def test_values_that_are_not_finite_are_named(cell: str, value: str, path: Path) -> None:
    with pytest.raises(DataError, match=rf"the value {value} in line 3, column action\[11\].*1 such values") as error:
        csv.load(altered(path, 3, 56, cell))
    one_sentence(error)


def test_opposite_infinities_do_not_hide_each_other(path: Path) -> None:
    altered(altered(path, 3, 0, "inf"), 4, 1, "-inf")
    with pytest.raises(DataError, match=r"the value inf in line 3, column base_lin_vel\[0\].*2 such values"):
        csv.load(path)


@pytest.mark.parametrize(("column", "name"), [(57, r"undesired\[0\]"), (64, r"foot\[3\]"), (65, "termination")])
def test_flags_that_are_neither_0_nor_1_are_named(column: int, name: str, path: Path) -> None:
    with pytest.raises(DataError, match=rf"the value 0\.5 in line 9, column {name}, where 0 or 1 is expected") as error:
        csv.load(altered(path, 9, column, "0.5"))
    one_sentence(error)


def test_blank_lines_are_no_rows_but_count_as_lines(path: Path) -> None:
    whole = csv.load(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(["", *lines[:5], "", *lines[5:]]) + "\n\n")
    assert torch.equal(csv.load(path).state, whole.state)
    with pytest.raises(DataError, match="in line 8, "):
        csv.load(altered(path, 8, 57, "2"))


def test_a_byte_order_mark_and_windows_line_ends_are_read(path: Path) -> None:
    whole = csv.load(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert torch.equal(csv.load(path).state, whole.state)


def test_a_binary_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(bytes(range(256)) * 10)
    with pytest.raises(DataError, match=r"data\.csv") as error:
        csv.load(tmp_path / "data.csv")
    one_sentence(error)


def test_the_sizes_are_the_robots(path: Path) -> None:
    per_joint = ("joint_names", "joint_axes", "default_joint_pos", "joint_lower", "joint_upper", "action_scale")
    legless = replace(ROBOT, **{name: getattr(ROBOT, name)[:4] for name in per_joint})
    with pytest.raises(
        DataError, match=r"must have 58 columns \(45 state \+ 4 action \+ 8 contact \+ 1 termination.*line 1 has 66"
    ):
        csv.load(path, legless)
