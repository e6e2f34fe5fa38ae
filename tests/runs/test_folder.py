"""Run folders are new, found again, and remember what is finished."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from types import SimpleNamespace

import pytest

from rwmu.errors import ConfigError, UserError
from rwmu.runs import folder as run_folder
from rwmu.runs.folder import RunFolder, followed


def test_two_runs_of_one_second_have_two_folders(tmp_path: Path) -> None:
    first, second = (RunFolder.create(tmp_path / "runs", "rwm_base", 4) for _ in range(2))
    for folder in (first, second):
        folder.lead()
    assert first.path != second.path
    assert all("rwm_base-seed4" in folder.path.name for folder in (first, second))
    assert (tmp_path / "runs/latest").resolve() == second.path.resolve()
    assert not (tmp_path / "runs/latest").readlink().is_absolute(), "the folder can be moved as a whole"


def test_a_run_that_fails_before_it_has_begun_leaves_nothing_and_latest_where_it_was(tmp_path: Path) -> None:
    first = RunFolder.create(tmp_path, "x", 0)
    first.lead()
    failed = RunFolder.create(tmp_path, "x", 0)
    failed.lead()
    (failed.path / "config.yaml").write_text("seed: 0")
    failed.withdraw()
    assert sorted(tmp_path.iterdir()) == [first.path, tmp_path / "latest"]
    assert (tmp_path / "latest").resolve() == first.path.resolve()
    first.withdraw()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_leaves_latest_to_one_that_began_meanwhile(tmp_path: Path) -> None:
    failed, other = (RunFolder.create(tmp_path, "x", 0) for _ in range(2))
    failed.lead()
    other.lead()
    failed.withdraw()
    assert (tmp_path / "latest").resolve() == other.path.resolve()


@pytest.mark.parametrize("refusal", [OSError(errno.EPERM, "not permitted"), NotImplementedError()])
def test_where_there_are_no_links_a_text_names_the_latest_run(
    refusal: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise refusal

    monkeypatch.setattr(Path, "symlink_to", refuse)
    for _ in range(2):
        folder = RunFolder.create(tmp_path, "x", 0)
        (folder.path / "config.yaml").write_text("seed: 0")
        folder.lead()
    assert RunFolder.resume(tmp_path / "latest").path == folder.path.resolve()
    assert followed(tmp_path / "latest/checkpoints/policy.pt") == folder.path / "checkpoints/policy.pt"
    assert followed(tmp_path / "other/policy.pt") == tmp_path / "other/policy.pt"


def test_a_latest_that_is_somebodys_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "latest").write_text("my notes")
    with pytest.raises(UserError, match="latest"):
        RunFolder.create(tmp_path, "x", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["latest"]


def test_what_is_half_written_goes_with_the_next_who_works_on_the_run(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x", 0)
    (folder.checkpoints / ".resume.pt.7.partial.pt").write_text("half")
    with folder.held():
        assert list(folder.checkpoints.iterdir()) == []


def test_an_error_that_names_no_file_names_the_run(tmp_path: Path) -> None:
    """Of a logger on a full disk, say."""
    folder = RunFolder.create(tmp_path, "x", 0)

    def log() -> None:
        with folder.held():
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=folder.path.name):
        log()


def test_a_folder_in_the_way_is_never_taken(tmp_path: Path) -> None:
    stem = "20260101-000000-x-seed0"
    first = run_folder._make_new(tmp_path, stem)
    (first / "precious").write_text("mine")
    assert run_folder._make_new(tmp_path, stem).name == f"{stem}-2"
    assert (first / "precious").read_text() == "mine"


def test_seconds_add_up_over_sessions_and_finished_stages_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, clock = RunFolder.create(tmp_path, "x", 0), iter([0.0, 2.0, 10.0, 10.5])
    monkeypatch.setattr("rwmu.runs.folder.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    folder.serve(("dynamics", "policy"), {}, progress=False)
    with pytest.raises(KeyboardInterrupt), folder.step("dynamics"):
        raise KeyboardInterrupt
    assert folder.finished() == []
    assert folder.begins("dynamics")
    with folder.step("dynamics"):
        folder.world_model.touch()
    assert folder.finished() == ["dynamics"]
    assert not folder.begins("dynamics")
    assert not folder.begins("report"), "nobody has asked for it"
    assert folder.seconds()["dynamics"] == 2.5
    assert RunFolder(folder.path).finished() == ["dynamics"]


def test_a_stage_that_has_lost_what_it_made_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(tmp_path, "x", 0)
    folder.serve(("dynamics",), {}, progress=False)
    monkeypatch.setattr(RunFolder, "how_to_resume", "resume=x")
    with folder.step("dynamics"):
        folder.world_model.touch()
    folder.require_whole()
    folder.world_model.unlink()
    assert folder.begins("dynamics")
    with pytest.raises(UserError, match=r"dynamics\.pt is gone.*resume="):
        folder.require_whole()


def test_every_round_of_an_online_run_has_its_own_steps(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x", 0)
    folder.serve(("dynamics",), {}, progress=False)
    with folder.step("dynamics", 1):
        pass
    assert [folder.begins("dynamics", round) for round in (0, 1, 2)] == [True, False, True]


def test_a_name_is_one_folder(tmp_path: Path) -> None:
    for odd in ("a/b", ""):
        with pytest.raises(ConfigError, match=r"names the run's folder"):
            RunFolder.create(tmp_path, odd, 0)


def test_only_run_folders_are_resumed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run folder"):
        RunFolder.resume(tmp_path)


def test_a_run_is_worked_on_by_one_process_at_a_time(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x", 0)
    with folder.held():
        other = RunFolder(folder.path)
        with pytest.raises(UserError, match="Another process is working on"), other.held():
            raise AssertionError("held twice")
    with other.held():
        pass


def test_where_there_are_no_locks_nobody_is_kept_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with RunFolder.create(tmp_path, "x", 0).held():
        pass


def test_a_damaged_folder_says_what_is_damaged_and_what_to_do(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x", 0)
    (folder.path / "config.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"config.yaml is not, or not all of, the configuration of a run"):
        folder.config()
    for damaged in ('{"finished": ["da', "[]", "{}"):
        (folder.path / "stages.json").write_text(damaged)
        with pytest.raises(UserError, match=r"stages.json is damaged.*delete it, and every stage"):
            folder.finished()


def test_a_file_in_the_way_of_the_output_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another with runs_dir"):
        RunFolder.create(tmp_path / "file" / "runs", "x", 0)
