"""A log of a robot with names, units, signs and a rate of its own, and the YAML that says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from rwmu.data import formats
from rwmu.data.episodes import Episodes
from rwmu.errors import ConfigError, DataError, UserError
from rwmu.robots.go1 import go1

ROBOT = go1()
ROWS, RATE = 41, 200.0
THEIRS = {joint: f"m{number}" for number, joint in enumerate(ROBOT.joint_names[::-1])}
FEET = [f"force_{leg}" for leg in range(4)]
Described = Callable[..., Path]


def log() -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """Return 41 rows at 200 Hz: joints in degrees and of another sense, targets that change every fourth row, a fall at the end."""
    generator = np.random.default_rng(0)
    columns: dict[str, np.ndarray] = {"t": 12.0 + np.arange(ROWS) / RATE, "fell": np.arange(ROWS) == ROWS - 1}  # type: ignore[type-arg]
    for joint, default in zip(ROBOT.joint_names, ROBOT.default_joint_pos.tolist(), strict=True):
        angle = default + 0.2 * generator.uniform(-1, 1, ROWS).cumsum() / ROWS
        columns[f"q_{THEIRS[joint]}"] = -np.degrees(angle)
        columns[f"dq_{THEIRS[joint]}"] = generator.normal(size=ROWS)
        columns[f"tau_{THEIRS[joint]}"] = generator.normal(size=ROWS)
        columns[f"target_{THEIRS[joint]}"] = np.degrees(default + 0.25 * generator.normal(size=ROWS // 4 + 1)).repeat(4)[:ROWS]
    for name in (*("vx", "vy", "vz"), *("wx", "wy", "wz")):
        columns[name] = generator.normal(size=ROWS)
    half = 0.1 * generator.normal(size=ROWS)
    columns |= {"qw": np.cos(half), "qx": np.sin(half), "qy": np.zeros(ROWS), "qz": np.zeros(ROWS)}
    return columns | {name: generator.uniform(0, 40, ROWS) for name in FEET}


MAPPING: dict[str, Any] = {
    "format": "table",
    "robot": "go1",
    "time": "t",
    "joints": THEIRS,
    "columns": {
        "base_lin_vel": {"columns": ["vx", "vy", "vz"], "frame": "world"},
        "base_ang_vel": {"columns": ["wx", "wy", "wz"], "unit": "deg/s", "sign": [1, -1, -1]},
        "orientation": ["qw", "qx", "qy", "qz"],
        "joint_pos": {"columns": "q_{joint}", "unit": "deg", "sign": -1, "absolute": True},
        "joint_vel": "dq_{joint}",
        "joint_torque": "tau_{joint}",
        "action": {"columns": "target_{joint}", "unit": "deg", "absolute": True},
        "foot": {"columns": FEET, "above": 20.0},
        "termination": "fell",
    },
}


@pytest.fixture
def described(tmp_path: Path) -> Described:
    """Return what writes the log and a YAML with changes, and returns the YAML's path."""

    def write(suffix: str = ".npz", **changes: Any) -> Path:
        path = tmp_path / f"log{suffix}"
        if suffix == ".npz":
            np.savez(path, **log())
        elif suffix == ".csv":
            columns = {name: values.astype(float) for name, values in log().items()}
            rows = [",".join(columns), *(",".join(map(repr, map(float, row))) for row in zip(*columns.values(), strict=True))]
            path.write_text("\n".join(rows) + "\n")
        else:
            import pyarrow.parquet as parquet

            from rwmu.data.formats.parquet import table_of

            parquet.write_table(table_of(log()), path)
        (tmp_path / "log.yaml").write_text(yaml.safe_dump(MAPPING | {"source": path.name} | changes))
        return tmp_path / "log.yaml"

    return write


def part(episodes: Episodes, name: str) -> np.ndarray:  # type: ignore[type-arg]
    return ROBOT.state_layout.part(episodes.state, name).numpy()


def column(name: str) -> np.ndarray:  # type: ignore[type-arg]
    """Return a column for each joint of the robot, in its order."""
    columns = log()
    return np.stack([columns[f"{name}_{THEIRS[joint]}"] for joint in ROBOT.joint_names], -1)


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".csv"])
def test_a_log_is_read_as_its_mapping_says(suffix: str, described: Described) -> None:
    if suffix != ".npz":
        pytest.importorskip("pyarrow")
    episodes, columns = formats.load(described(suffix), ROBOT), log()
    default, scale = ROBOT.default_joint_pos.numpy(), ROBOT.action_scale.numpy()
    assert episodes.attributes["step_dt"] == pytest.approx(0.005)
    assert np.allclose(part(episodes, "joint_pos"), np.radians(-column("q")) - default, atol=1e-6)
    assert np.allclose(part(episodes, "joint_vel"), column("dq"))
    assert np.allclose(episodes.action[1:], ((np.radians(column("target")) - default) / scale)[:-1], atol=1e-5)
    assert np.allclose(part(episodes, "base_ang_vel")[:, 1], -np.radians(columns["wy"]))
    roll = 2 * np.arctan2(columns["qx"], columns["qw"])
    assert np.allclose(part(episodes, "projected_gravity")[:, 1], -np.sin(roll), atol=1e-6)
    assert np.allclose(part(episodes, "base_lin_vel")[:, 1], np.cos(roll) * columns["vy"] + np.sin(roll) * columns["vz"], atol=1e-6)
    assert np.array_equal(ROBOT.contact_layout.part(episodes.contact, "foot")[:, 2], columns[FEET[2]] > 20.0)
    assert episodes.termination.nonzero().squeeze(-1).tolist() == [ROWS - 1]
    assert episodes.unknown == {"undesired", "command", "reward", "seeds"}


def test_a_rate_is_taken_only_where_it_is_asked_for(described: Described) -> None:
    """At 50 Hz every fourth row is left, with the action that was held since the row before."""
    every, some = formats.load(described()), formats.load(described(rate=50))
    assert (every.num_rows, some.num_rows) == (41, 11)
    assert some.attributes["step_dt"] == pytest.approx(0.02)
    assert torch.equal(some.state, every.state[::4])
    assert torch.allclose(some.action[1:], every.action[1::4], atol=1e-6)
    assert some.termination[-1]
    with pytest.raises(ConfigError, match="200"):
        formats.load(described(rate=400))


def test_episodes_begin_where_a_column_says_or_the_time_jumps(described: Described, tmp_path: Path) -> None:
    columns = log()
    columns["t"][30:] += 1.0
    columns["run"] = (np.arange(ROWS) >= 10).astype(int)
    path = described(episode="run", action_of="this")
    np.savez(tmp_path / "log.npz", **columns)
    episodes = formats.load(path)
    assert episodes.lengths.tolist() == [10, 20, 11]
    assert any("jumps" in note for note in episodes.attributes["import_notes"])
    scale, default = ROBOT.action_scale.numpy(), ROBOT.default_joint_pos.numpy()
    assert np.allclose(episodes.action[1:10].numpy() * scale + default, np.radians(column("target"))[1:10], atol=1e-6), (
        "of the same row"
    )


def test_a_fall_before_the_first_row_is_dropped_and_said(described: Described, tmp_path: Path) -> None:
    path = described()
    np.savez(tmp_path / "log.npz", **(log() | {"fell": np.arange(ROWS) == 0}))
    episodes = formats.load(path)
    assert not episodes.termination.any()
    assert any("first rows" in note for note in episodes.attributes["import_notes"])


def test_several_files_are_joined(described: Described, tmp_path: Path) -> None:
    path = described(source="log*.npz")
    np.savez(tmp_path / "log2.npz", **log())
    assert formats.load(path).lengths.tolist() == [ROWS, ROWS]


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_logs_that_are_mapped_are_read_as_others_are(
    suffix: str, described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if suffix != ".npz":
        pytest.importorskip("pyarrow")
    path = described(suffix, source=f"log*{suffix}", rate=50)
    shutil.copyfile(tmp_path / f"log{suffix}", tmp_path / f"log2{suffix}")
    small = formats.load(path)
    monkeypatch.setattr("rwmu.data.large.IN_MEMORY", 0)
    monkeypatch.setattr("rwmu.data.formats.parquet._BLOCK_ROWS", 5)
    mapped = formats.load(path)
    assert (small.num_episodes, mapped.content_hash()) == (2, small.content_hash())


def test_integers_with_gaps_are_numbers_and_words_are_none(described: Described, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow
    import pyarrow.parquet as parquet

    path, table = described(".parquet"), pyarrow.table({name: pyarrow.array(values) for name, values in log().items()})
    fell = pyarrow.array([None, *[0] * (ROWS - 2), 1], pyarrow.int64())
    table = table.set_column(table.schema.get_field_index("fell"), "fell", fell).append_column("who", pyarrow.array(["me"] * ROWS))
    parquet.write_table(table, tmp_path / "log.parquet")
    assert formats.load(path).termination.nonzero().squeeze(-1).tolist() == [ROWS - 1]
    path.write_text(path.read_text().replace("termination: fell", "termination: who"))
    with pytest.raises(DataError, match="who"):
        formats.load(path)


def columns_but(**changes: Any) -> dict[str, Any]:
    return {"columns": MAPPING["columns"] | changes}


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        (columns_but(joint_pos="angle_{joint}"), "angle_m11"),
        (columns_but(joint_pso="q_{joint}"), "joint_pos"),
        (columns_but(base_lin_vel={"columns": ["vx", "vy", "vz"], "unit": "deg"}), "deg"),
        (columns_but(base_lin_vel={"columns": ["vx", "vy", "vz"], "unit": "furlong"}), "furlong"),
        (columns_but(base_lin_vel={"columns": ["vx", "vy"]}), "base_lin_vel"),
        (columns_but(joint_vel={"columns": "dq_{joint}", "sign": [1, -1]}), "sign"),
        (columns_but(joint_vel={"columns": "dq_{joint}", "absolute": True}), "absolute"),
        (columns_but(joint_vel={"columns": "dq_{joint}", "factor": 2.0}), "factor"),
        ({"columns": {name: of for name, of in MAPPING["columns"].items() if name != "orientation"}}, "orientation"),
        ({"columns": {name: of for name, of in MAPPING["columns"].items() if name != "action"}}, "actions"),
        ({"columns": None}, "columns"),
        ({"joints": {"left_knee": "m0"}}, "left_knee"),
        ({"time": None}, "step_dt"),
        ({"time": "fell"}, "fell"),
        ({"robot": "anymal"}, "anymal"),
        ({"source": "nothing*.npz"}, "nothing"),
        ({"source": 3}, "source"),
        ({"source": "log.yaml"}, "YAML"),
        ({"format": ["table"]}, "format"),
        ({"rate": "50 Hz"}, "rate"),
        ({"columns": ["vx"]}, "columns"),
        ({"columns": {"joint_pos": 3}}, "columns"),
        ({"joints": ["m0"]}, "joints"),
        ({"action_of": "yesterday"}, "action_of"),
        ({"colums": {}}, "colums"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused_naming_the_culprit(
    changes: dict[str, Any], culprit: str, described: Described
) -> None:
    with pytest.raises(UserError, match=culprit) as error:
        formats.load(described(**changes))
    assert "\n" not in str(error.value)


def test_data_of_another_robot_than_the_runs_are_refused(described: Described) -> None:
    from rwmu.robots.anymal_d import anymal_d

    with pytest.raises(DataError, match="go1"):
        formats.load(described(), anymal_d())


def test_a_table_without_a_mapping_says_what_is_missing(described: Described, tmp_path: Path) -> None:
    described()
    with pytest.raises(DataError, match="YAML"):
        formats.load(tmp_path / "log.npz", ROBOT)
