"""``python -m rwmu.data.audit``: what it prints, its exit status, its JSON, and what a run makes of the findings."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from rwmu.data.audit.__main__ import main
from rwmu.data.episodes import Episodes
from rwmu.data.formats import csv, hdf5
from rwmu.data.normalizer import Normalizer
from rwmu.robots.anymal_d import STATE_LAYOUT
from tests.conftest import Command
from tests.data.planted import FAULTS, constant_gravity
from tests.data.walking import ROBOT


def audited(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command; return its status and what it printed."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def saved(episodes: Episodes, path: Path) -> Path:
    (csv if path.suffix == ".csv" else hdf5).save(episodes, path)
    return path


def checkpoint(path: Path, episodes: Episodes, **changes: object) -> Path:
    normalizer = Normalizer.fit(episodes.state, STATE_LAYOUT).to_dict()
    torch.save({"normalizer": normalizer, "robot": ROBOT.name, "data_hash": episodes.content_hash(), **changes}, path)
    return path


# -- what it prints -----------------------------------------------------------------------------------------------------------


def test_sound_data_print_one_line_and_leave_with_0(
    sound: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(sound, tmp_path / "data.h5")
    expected = f"{path}, 4800 rows in 80 episodes: 0 errors, 0 warnings, 0 notes.\n"
    assert audited(capsys, path) == (0, expected, "")
    monkeypatch.setattr("sys.argv", ["audit", str(path)])
    with pytest.warns(RuntimeWarning, match=r"rwmu\.data\.audit\.__main__"), pytest.raises(SystemExit) as stop:
        runpy.run_module("rwmu.data.audit", run_name="__main__")
    assert stop.value.code == 0
    assert capsys.readouterr().out == expected


def test_a_table_is_read_and_its_seams_are_named(sound: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = audited(capsys, saved(sound, tmp_path / "data.csv"))
    assert status == 0
    assert "0 errors, 0 warnings, 3 notes" in out
    assert {line.split()[1] for line in out.splitlines() if line.startswith("note")} == {
        "table_seams",
        "command_unknown",
        "reward_unknown",
    }


def test_data_of_another_step_than_the_tasks_are_an_error_as_in_a_run(
    sound: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(sound, tmp_path / "data.h5")
    status, out, _ = audited(capsys, path, "--step-dt", 0.04)
    assert status == 1
    assert "step_dt_of_the_task" in out
    for odd in ("0", "-0.02", "inf", "nan", "soon"):
        status, _, err = audited(capsys, path, "--step-dt", odd)
        assert (status, "step" in err) == (2, True)


@pytest.mark.parametrize("form", ["h5", "csv"])
def test_warnings_leave_with_0_and_errors_with_1(
    form: str, sound: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for fault, status in (("actions a row early", 0), ("gravity of 9.81", 1)):
        plant, name, severity = FAULTS[fault]
        found, out, err = audited(capsys, saved(plant(sound), tmp_path / f"data.{form}"))
        assert (found, err) == (status, "")
        assert out.splitlines()[2].split()[:2] == [severity, name]


def test_findings_are_written_as_json(sound: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(constant_gravity(sound), tmp_path / "data.h5")
    assert audited(capsys, path, "--json", tmp_path / "new" / "audit.json")[0] == 1
    written = json.loads((tmp_path / "new" / "audit.json").read_text())
    assert (written["path"], written["rows"], written["episodes"]) == (str(path), 4800, 80)
    (finding,) = written["findings"]
    assert (finding["name"], finding["severity"]) == ("constant_state", "error")
    assert finding["numbers"]["values"] == [0.0, 0.0, -1.0]
    status, _, err = audited(capsys, path, "--json", tmp_path)
    assert status == 2
    assert "cannot be written" in err


# -- what cannot be read, or used ---------------------------------------------------------------------------------------------


def test_what_cannot_be_read_leaves_with_2_and_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    (tmp_path / "narrow.csv").write_text("1,2,3\n")
    for name, words in (("absent.h5", "absent"), ("text.h5", "no HDF5"), ("narrow.csv", "66")):
        status, out, err = audited(capsys, tmp_path / name)
        assert (status, out) == (2, "")
        assert words in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("form", ["h5", "csv"])
def test_values_that_are_no_numbers_are_an_error(
    form: str, sound: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = sound.state.clone()
    state[70, 1] = float("inf")
    status, out, _ = audited(capsys, saved(replace(sound, state=state), tmp_path / f"data.{form}"))
    assert status == 1
    assert "error    non_finite" in out
    assert "base_lin_vel[1]" in out
    assert "not_checked" in out


def test_contacts_other_than_0_and_1_are_an_error(sound: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, data = saved(sound, tmp_path / "data.csv"), saved(sound, tmp_path / "data.h5")
    lines = table.read_text().splitlines()
    cells = lines[4].split(",")
    cells[-2] = "0.5"
    table.write_text("\n".join([*lines[:4], ",".join(cells), *lines[5:]]) + "\n")
    contact = sound.contact[:60].numpy().astype(np.float32)
    with h5py.File(data, "a") as file:
        del file["episode_0/infos/contact"]
        file["episode_0/infos/contact"] = contact
    assert audited(capsys, data)[0] == 0, "0 and 1 are flags in any type"
    contact[7, 3] = 0.5
    with h5py.File(data, "a") as file:
        file["episode_0/infos/contact"][...] = contact
    for path, words in ((table, "value 0.5 in line 5, column foot[3]"), (data, "0.5 in infos/contact of episode 0, row 7")):
        status, out, _ = audited(capsys, path)
        assert status == 1
        assert words in " ".join(out.split())


def test_another_robots_data_are_said_to_be_so(sound: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = saved(replace(sound, attributes={**sound.attributes, "robot": "spot"}), tmp_path / "data.h5")
    status, out, _ = audited(capsys, foreign, "--robot", "anymal_d")
    assert (status, "'spot'" in out) == (1, True)


# -- checkpoints --------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_these_data_fits_and_one_of_other_units_does_not(
    sound: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(sound, tmp_path / "data.h5")
    status, out, _ = audited(capsys, path, "--checkpoint", checkpoint(tmp_path / "dynamics.pt", sound))
    assert (status, out.count("\n")) == (0, 1)
    in_degrees = replace(sound, state=57.3 * sound.state)
    status, out, _ = audited(capsys, path, "--checkpoint", checkpoint(tmp_path / "dynamics.pt", in_degrees))
    said = " ".join(out.split())
    assert status == 0
    assert "warning normalizer_mismatch" in said
    assert "note checkpoint_data" in said
    status, out, _ = audited(capsys, path, "--checkpoint", checkpoint(tmp_path / "dynamics.pt", sound, robot="spot", data_hash=""))
    assert status == 1
    assert "checkpoint_robot" in out


def test_a_checkpoint_without_a_normaliser_leaves_with_2(
    sound: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(sound, tmp_path / "data.h5")
    torch.save({"model_state_dict": {}}, tmp_path / "model.pt")
    (tmp_path / "text.pt").write_text("no checkpoint")
    for name, words in (("model.pt", "normaliser"), ("text.pt", "text.pt"), ("absent.pt", "absent.pt")):
        status, _, err = audited(capsys, path, "--checkpoint", tmp_path / name)
        assert status == 2
        assert words in err


# -- robots -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["anymal_d", "rwmu.robots.anymal_d.anymal_d", "task.yaml"])
def test_a_robot_may_be_named_by_its_name_its_dotted_name_or_a_task(
    wanted: str, sound: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("task.yaml").write_text("robot: {_target_: rwmu.robots.anymal_d.anymal_d}\n")
    nameless = {key: value for key, value in sound.attributes.items() if key != "robot"}
    path = saved(replace(sound, attributes=nameless), tmp_path / "data.h5")
    assert audited(capsys, path, "--robot", wanted)[0] == 0
    status, _, err = audited(capsys, path)
    assert (status, "--robot" in err) == (2, True)


@pytest.mark.parametrize("wanted", ["nobody", "no.such.robot", "absent.yaml", "os.sep.join"])
def test_an_unknown_robot_is_said(wanted: str, sound: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = audited(capsys, saved(sound, tmp_path / "data.h5"), "--robot", wanted)
    assert (status, wanted in err) == (2, True)


def test_a_files_robot_is_a_plain_name_so_that_no_file_chooses_what_is_imported(
    sound: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = replace(sound, attributes={**sound.attributes, "robot": "os.getcwd"})
    status, _, err = audited(capsys, saved(foreign, tmp_path / "data.h5"))
    assert (status, "os.getcwd" in err) == (2, True)


# -- before training ----------------------------------------------------------------------------------------------------------

_OWN = ("scale=smoke", "machine.progress=false", "data.recipe=null", "stages=[data]")


def test_a_run_keeps_the_findings_and_says_warnings_once(sound: Episodes, workplace: Path, command: Command) -> None:
    path = saved(replace(sound, reward=0.0 - sound.reward), workplace / "data.h5")
    outcome = command("train", *_OWN, f"data.path={path}")
    assert outcome.status == 0, outcome.err
    run = (workplace / "runs" / "latest").resolve()
    (finding,) = json.loads((run / "measured" / "audit.json").read_text())["audit"]
    assert finding["name"] == "reward_mismatch"
    assert (outcome.out + outcome.err).count("reward_mismatch") == 1


def test_a_run_stops_on_errors_with_one_sentence(sound: Episodes, workplace: Path, command: Command) -> None:
    """The step must be the task's."""
    path = saved(sound, workplace / "data.h5")
    outcome = command("train", *_OWN, f"data.path={path}", "task.step_dt=0.04")
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert "0.02 s" in outcome.err
