from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from rwmu.data.episodes import Episodes
from rwmu.data.formats import hdf5
from rwmu.data.windows import gather, window_starts
from rwmu.errors import DataError
from rwmu.robots.layout import Field, StateLayout
from tests.data.synthetic import ROBOT, numbered_episodes

LENGTHS = [6, 4, 1, 9]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    hdf5.save(numbered_episodes(LENGTHS, terminated=[1]), tmp_path / "data.h5")
    return tmp_path / "data.h5"


def one_sentence(error: pytest.ExceptionInfo[DataError]) -> str:
    """Return the message, having checked that it is a single line ending in one full stop."""
    message = str(error.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_what_is_loaded_is_what_was_saved(path: Path) -> None:
    saved, loaded = numbered_episodes(LENGTHS, terminated=[1]), hdf5.load(path, ROBOT)
    for name in ("state", "action", "contact", "termination", "command", "reward", "lengths", "seeds"):
        assert torch.equal(getattr(loaded, name), getattr(saved, name)), name
        assert getattr(loaded, name).dtype == getattr(saved, name).dtype, name
    assert loaded.levels == saved.levels
    assert loaded.attributes == saved.attributes
    assert loaded.content_hash() == saved.content_hash()


def test_the_file_pairs_the_observation_with_the_action_chosen_there(path: Path) -> None:
    """observations[t], actions[t] and observations[t + 1] are rows t, t + 1 and t + 1 of the episode."""
    with h5py.File(path, "r") as file:
        for i, length in enumerate(LENGTHS):
            group = file[f"episode_{i}"]
            rows = 1000 * i + np.arange(length)
            assert (group["observations"][:, 0] == rows).all()
            assert (group["actions"][:, 0] == rows[1:]).all()
            assert (group["rewards"][:] == rows[1:]).all()
            assert (group["infos/command"][:, 0] == rows).all()
            assert group["infos/contact"].shape == (length, 8)


def test_the_file_is_in_minaris_layout(path: Path) -> None:
    with h5py.File(path, "r") as file:
        assert file.attrs["total_episodes"] == 4
        assert file.attrs["total_steps"] == sum(LENGTHS) - 4
        group = file["episode_1"]
        assert {"observations", "actions", "rewards", "terminations", "truncations", "infos"} == set(group)
        assert (group.attrs["id"], group.attrs["seed"], group.attrs["total_steps"]) == (1, 78, 3)
        assert group.attrs["policy_level"] == "level1"
        assert group["terminations"][:].tolist() == [False, False, True]
        assert group["truncations"][:].tolist() == [False, False, False]
        assert file["episode_0/truncations"][:].tolist() == [False] * 4 + [True]


def test_windows_of_a_loaded_file_pair_each_state_with_the_action_that_follows(path: Path) -> None:
    episodes = hdf5.load(path)
    starts = window_starts(episodes.lengths, torch.arange(4), 4)
    window = gather(episodes, starts, 4)
    state, next_action = window.state[:, :-1, 0], window.action[:, 1:, 0]
    assert torch.equal(next_action, state + 1)


def test_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.h5 does not exist") as error:
        hdf5.load(tmp_path / "nothing.h5")
    one_sentence(error)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused_and_left_alone(path: Path, kept: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match=r"truncated|no HDF5") as error:
        hdf5.load(path)
    one_sentence(error)
    assert path.stat().st_size == int(kept * len(content))


def test_any_other_file_is_refused(path: Path) -> None:
    path.write_text("state,action\n1,2\n")
    with pytest.raises(DataError, match="no HDF5"):
        hdf5.load(path)


def test_altered_value_does_not_match_the_hash(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["episode_3/observations"][4, 7] += 1.0
    with pytest.raises(DataError, match="altered") as error:
        hdf5.load(path)
    one_sentence(error)


def replace_dataset(path: Path, name: str, values: np.ndarray) -> None:  # type: ignore[type-arg]
    with h5py.File(path, "a") as file:
        del file[name]
        file[name] = values


def test_one_episode_with_other_columns_is_named(path: Path) -> None:
    replace_dataset(path, "episode_1/actions", np.zeros((3, 11), np.float32))
    with pytest.raises(DataError, match=r"actions of shape \(3, 11\) in episode 1, not \(3, 12\)") as error:
        hdf5.load(path)
    one_sentence(error)


def test_off_by_one_actions_are_refused(path: Path) -> None:
    """As many actions as observations is the ambiguity that the format excludes."""
    replace_dataset(path, "episode_1/actions", np.zeros((4, 12), np.float32))
    with pytest.raises(DataError, match=r"actions of shape \(4, 12\) in episode 1, not \(3, 12\)"):
        hdf5.load(path)


@pytest.mark.parametrize(("array", "found"), [("state", 44), ("action", 13), ("contact", 4)])
def test_columns_that_are_not_the_robots_are_refused(tmp_path: Path, array: str, found: int) -> None:
    episodes = numbered_episodes([5, 5])
    values = getattr(episodes, array)
    values = torch.cat([values, values], dim=-1)[:, :found]
    hdf5.save(replace(episodes, **{array: values}), tmp_path / "data.h5")
    with pytest.raises(DataError, match=f"has {found} {array} columns, but the robot 'anymal_d' has") as error:
        hdf5.load(tmp_path / "data.h5", ROBOT)
    one_sentence(error)


def test_data_of_another_robot_are_refused(path: Path) -> None:
    with pytest.raises(DataError, match="is of the robot 'anymal_d', but this run is for 'go1'") as error:
        hdf5.load(path, replace(ROBOT, name="go1"))
    one_sentence(error)


def test_same_sizes_in_another_order_are_refused(tmp_path: Path) -> None:
    layout = StateLayout([Field("base_ang_vel", 3, "rad/s"), Field("base_lin_vel", 3, "m/s"), *ROBOT.state_layout.fields[2:]])
    hdf5.save(numbered_episodes([5], replace(ROBOT, state_layout=layout)), tmp_path / "data.h5")
    with pytest.raises(DataError, match=r"has the state columns base_ang_vel \(3, rad/s\), base_lin_vel") as error:
        hdf5.load(tmp_path / "data.h5", ROBOT)
    one_sentence(error)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_no_numbers_are_found_by_episode_row_and_column(tmp_path: Path, value: float) -> None:
    episodes = numbered_episodes(LENGTHS)
    episodes.state[10 + 1 + 3, ROBOT.state_layout["joint_vel"].start + 2] = value
    hdf5.save(episodes, tmp_path / "data.h5")
    with pytest.raises(DataError, match=rf"the value {value} in joint_vel\[2\] of episode 3, row 3 \(1 such values") as error:
        hdf5.load(tmp_path / "data.h5", ROBOT)
    one_sentence(error)


@pytest.mark.parametrize(("array", "name"), [("action", r"action\[1\]"), ("command", r"command\[1\]"), ("reward", "reward")])
def test_other_arrays_are_checked_for_numbers_too(tmp_path: Path, array: str, name: str) -> None:
    episodes = numbered_episodes(LENGTHS)
    getattr(episodes, array)[(7, 1) if array != "reward" else 7] = float("nan")
    hdf5.save(episodes, tmp_path / "data.h5")
    with pytest.raises(DataError, match=rf"the value nan in {name} of episode 1, row 1 "):
        hdf5.load(tmp_path / "data.h5")


def test_file_without_episodes_is_refused(tmp_path: Path) -> None:
    nothing = numbered_episodes([3]).select(torch.zeros(0, dtype=torch.int64))
    hdf5.save(nothing, tmp_path / "data.h5")
    with pytest.raises(DataError, match="holds no episode"):
        hdf5.load(tmp_path / "data.h5")


def test_interrupted_save_leaves_the_old_file_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def interrupt(episodes: Episodes, file: h5py.File) -> None:
        file.attrs["half"] = True
        raise KeyboardInterrupt

    monkeypatch.setattr(hdf5, "_write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        hdf5.save(numbered_episodes([7]), path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["data.h5"]


def test_unwritable_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written .*; choose a folder that can") as error:
        hdf5.save(numbered_episodes([3]), tmp_path / "file" / "data.h5")
    one_sentence(error)
