"""``python -m rwmu.data.convert``: what it writes, says and refuses, and its exit status."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rwmu.data import formats
from rwmu.data.convert import main
from rwmu.data.episodes import Episodes
from rwmu.data.formats import csv, hdf5
from rwmu.data.replay import paid_where_unknown, repaid
from rwmu.tasks.velocity import VelocityTask
from tests.data.formats.recorded import recorded
from tests.data.formats.test_isaaclab import write as write_isaaclab
from tests.data.walking import ROBOT, table, walking_episodes


def converted(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def test_a_published_table_becomes_a_dataset_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, dataset, back = tmp_path / "a.csv", tmp_path / "a.h5", tmp_path / "b.csv"
    np.savetxt(source, table(walking_episodes([60, 50, 40], falling=[1])).numpy(), "%.9g", ",")
    assert converted(source, dataset) == 0
    assert "table_seams" in capsys.readouterr().out, "the audit is told"
    assert converted(dataset, back) == 0
    assert "cannot hold commands" in capsys.readouterr().out
    assert csv.load(back).content_hash() == csv.load(source).content_hash() == hdf5.load(dataset).content_hash()
    assert set(hdf5.load(dataset).unknown) == set(csv.UNKNOWN)


def test_what_a_recorder_lacks_is_said_and_leaves_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_isaaclab(tmp_path / "a.hdf5")
    assert converted(source, tmp_path / "a.h5", "--robot", "anymal_d") == 1
    said = capsys.readouterr().out
    for culprit in ("joint_torque", "falls", "undesired", "reward_unknown", "import_note"):
        assert culprit in said
    assert "joint_torque[" not in said, "nobody is sent to check a sensor that there is not"
    assert hdf5.load(tmp_path / "a.h5", ROBOT).num_rows == 4


def test_unknown_rewards_are_computed_where_all_is_known(tmp_path: Path) -> None:
    episodes = recorded()
    unpaid = replace(episodes, reward=torch.zeros_like(episodes.reward)).with_attributes(unknown=["reward", "seeds"])
    hdf5.save(unpaid, tmp_path / "a.h5")
    converted(tmp_path / "a.h5", tmp_path / "b.hdf5", "--to", "robomimic")
    paid = formats.load(tmp_path / "b.hdf5")
    task = VelocityTask(ROBOT)
    assert torch.allclose(paid.reward, repaid(unpaid, task).reward)
    assert paid.unknown == {"seeds"}


@pytest.mark.parametrize(("lacking", "paid"), [("command", False), ("foot", False), ("joint_torque", False), ("termination", True)])
def test_rewards_are_not_guessed(lacking: str, paid: bool) -> None:
    episodes = recorded().with_attributes(unknown=["reward", lacking])
    assert ("reward" not in paid_where_unknown(episodes, VelocityTask(ROBOT)).unknown) == paid


def test_a_rate_is_taken_where_it_is_asked_for(tmp_path: Path) -> None:
    hdf5.save(recorded(), tmp_path / "a.h5")
    converted(tmp_path / "a.h5", tmp_path / "b.h5", "--rate", "25")
    assert hdf5.load(tmp_path / "b.h5").attributes["step_dt"] == 0.04


@pytest.fixture
def there(tmp_path: Path) -> tuple[Path, Episodes]:
    hdf5.save(recorded(), tmp_path / "there.h5")
    return tmp_path, recorded()


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (("there.h5", "mine.csv"), "mine.csv"),
        (("there.h5", "there.h5", "--overwrite"), "there.h5"),
        (("none.csv", "b.h5"), "none.csv"),
        (("there.h5", "b.txt"), "txt"),
        (("there.h5", "b.npz"), "table"),
        (("there.h5", "b.h5", "--to", "isaaclib"), "isaaclab"),
        (("there.h5", "b.h5", "--robot", "spot"), "spot"),
        (("there.h5", "b.h5", "--robot", "go1"), "go1"),
        (("there.h5", "b.h5", "--rate", "99"), "99"),
    ],
)
def test_it_refuses_in_one_sentence_and_changes_nothing(
    arguments: tuple[str, ...],
    culprit: str,
    there: tuple[Path, Episodes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, episodes = there
    (folder / "mine.csv").write_text("mine")
    monkeypatch.chdir(folder)
    assert converted(*arguments) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert culprit in said
    assert {path.name for path in folder.iterdir()} == {"there.h5", "mine.csv"}
    assert (folder / "mine.csv").read_text() == "mine"
    assert hdf5.load(folder / "there.h5").content_hash() == episodes.content_hash()


def test_a_file_is_replaced_where_that_is_asked_for(there: tuple[Path, Episodes]) -> None:
    folder, episodes = there
    (folder / "old.h5").write_text("old")
    converted(folder / "there.h5", folder / "old.h5", "--overwrite")
    assert hdf5.load(folder / "old.h5").content_hash() == episodes.content_hash()
