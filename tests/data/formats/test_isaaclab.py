from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from rwmu.data import formats
from rwmu.data.formats import isaaclab
from rwmu.data.formats.frames import gravity, rotations, upright
from rwmu.errors import ConfigError, DataError
from tests.data.walking import ROBOT

STEPS = 3
TURNED = np.array([np.cos(np.pi / 4), 0.0, 0.0, np.sin(np.pi / 4)])  # w first: the robot looks along the world's y
TILTED = np.array([np.cos(np.pi / 12), np.sin(np.pi / 12), 0.0, 0.0])  # 30 degrees to its right


JOINTS = np.arange(ROBOT.num_joints, dtype=np.float32)
SIM = {"dt": 0.005, "decimation": 4, "render_interval": 4, "num_envs": 1}


def states(first: int, rows: int, quaternion: np.ndarray) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """Return a robot that moves along the world's x at 1 m/s and yaws at 2 rad/s; its joints hold their numbers."""
    at = np.arange(first, first + rows, dtype=np.float32)[:, None]
    return {
        "root_pose": np.tile(np.r_[5.0, 6.0, 0.6, quaternion], (rows, 1)).astype(np.float32),
        "root_velocity": np.tile(np.array([1.0, 0, 0, 0, 0, 2.0], np.float32), (rows, 1)),
        "joint_position": JOINTS + 100 * at,
        "joint_velocity": -(JOINTS + 100 * at),
    }


def write(path: Path, version: int | None = 1, quaternion: np.ndarray = TURNED, **attributes: object) -> Path:  # type: ignore[type-arg]
    """Write what Isaac Lab's recorder writes."""
    with h5py.File(path, "w") as file:
        if version is not None:
            file.attrs["format_version"] = version
        data = file.create_group("data")
        data.attrs["total"] = STEPS
        data.attrs["env_args"] = json.dumps({"env_name": "Isaac-Velocity-Flat-Anymal-D-v0", "type": 2, "sim_args": SIM})
        data.attrs.update(attributes)
        demo = data.create_group("demo_0")
        demo.attrs["num_samples"] = STEPS
        demo.attrs["seed"] = 7
        demo["actions"] = JOINTS + 100 * np.arange(STEPS, dtype=np.float32)[:, None]
        demo["obs"] = np.zeros((STEPS, 48))
        for part, first, rows in (("initial_state", 0, 1), ("states", 1, STEPS)):
            for name, values in states(first, rows, np.roll(quaternion, -1) if version else quaternion).items():
                demo[f"{part}/articulation/robot/{name}"] = values
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Isaac Lab scripts functions as it is imported
def test_isaac_labs_own_handler_writes_and_reads_such_files(tmp_path: Path) -> None:
    datasets, torch = pytest.importorskip("isaaclab.utils.datasets"), pytest.importorskip("torch")
    handler, episode = datasets.HDF5DatasetFileHandler(), datasets.EpisodeData()
    handler.create(str(tmp_path / "theirs.hdf5"), env_name="Isaac-Velocity-Flat-Anymal-D-v0")
    handler.add_env_args({"sim_args": SIM})
    episode.seed = 7
    for row in range(STEPS + 1):
        state = {name: torch.from_numpy(values[0]) for name, values in states(row, 1, np.roll(TURNED, -1)).items()}
        episode.add("states" if row else "initial_state", {"articulation": {"robot": state}})
        if row < STEPS:
            episode.add("actions", torch.from_numpy(JOINTS + 100 * row).float())
    episode.pre_export()
    handler.write_episode(episode)
    handler.close()
    theirs, ours = formats.load(tmp_path / "theirs.hdf5", ROBOT), formats.load(write(tmp_path / "ours.hdf5"), ROBOT)
    assert theirs.content_hash() == ours.content_hash()
    formats.save(ours, tmp_path / "written.hdf5", "isaaclab")
    handler.open(str(tmp_path / "written.hdf5"))
    read = handler.load_episode("demo_0", "cpu").data
    handler.close()
    assert np.allclose(read["states"]["articulation"]["robot"]["joint_position"], states(1, STEPS, TURNED)["joint_position"])
    assert np.allclose(read["actions"], ours.action[1:])


@pytest.mark.parametrize("version", [None, 0, 1])
def test_frames_rows_and_postures_of_either_version(version: int | None, tmp_path: Path) -> None:
    path = write(tmp_path / "data.hdf5", version)
    assert formats.format_of(path).name == "isaaclab"
    episodes, layout = formats.load(path, ROBOT), ROBOT.state_layout
    part = {name: layout.part(episodes.state, name).numpy() for name in ("base_lin_vel", "base_ang_vel", "projected_gravity")}
    assert np.allclose(part["base_lin_vel"], [0, -1, 0], atol=1e-6)
    assert np.allclose(part["base_ang_vel"], [0, 0, 2], atol=1e-6)
    assert np.allclose(part["projected_gravity"], [0, 0, -1], atol=1e-6)
    number = np.arange(12) + 100 * np.arange(STEPS + 1)[:, None]
    assert np.allclose(layout.part(episodes.state, "joint_pos"), number - ROBOT.default_joint_pos.numpy())
    assert np.allclose(layout.part(episodes.state, "joint_vel"), -number)
    assert np.allclose(episodes.action[1:], number[:-1])
    assert not episodes.action[0].any()
    assert episodes.seeds.tolist() == [7]
    assert episodes.attributes["step_dt"] == pytest.approx(0.02)


def test_gravity_of_a_tilted_robot_points_to_its_lower_side(tmp_path: Path) -> None:
    """Rolled by 30 degrees about x, its left side (+y) is up."""
    episodes = formats.load(write(tmp_path / "data.hdf5", quaternion=TILTED), ROBOT)
    down = ROBOT.state_layout.part(episodes.state, "projected_gravity")[0]
    assert down.tolist() == pytest.approx([0.0, -0.5, -np.sqrt(0.75)], abs=1e-6)


def test_the_velocity_of_the_frame_is_that_of_the_centre_of_mass_without_what_turning_adds(tmp_path: Path) -> None:
    """2 rad/s about z add (0, 0.2, 0) at 0.1 m in front of the origin."""
    episodes = formats.load(write(tmp_path / "data.hdf5"), ROBOT, base_com=(0.1, 0.0, 0.0))
    assert ROBOT.state_layout.part(episodes.state, "base_lin_vel")[0].tolist() == pytest.approx([0.0, -1.2, 0.0], abs=1e-6)


def test_joints_are_sorted_by_name(tmp_path: Path) -> None:
    names = list(ROBOT.joint_names[::-1])
    by_option = formats.load(write(tmp_path / "a.hdf5"), ROBOT, joint_names=names)
    by_file = formats.load(write(tmp_path / "b.hdf5", joint_names=json.dumps(names)), ROBOT)
    assert by_option.content_hash() == by_file.content_hash()
    assert np.allclose(ROBOT.state_layout.part(by_file.state, "joint_vel")[0], -np.arange(12)[::-1])
    assert np.allclose(by_file.action[1], np.arange(12)[::-1])
    with pytest.raises(ConfigError, match="knee"):
        formats.load(tmp_path / "a.hdf5", ROBOT, joint_names=[*names[:-1], "knee"])


def test_what_the_recorder_does_not_hold_is_named(tmp_path: Path) -> None:
    episodes = formats.load(write(tmp_path / "data.hdf5"), ROBOT)
    assert episodes.unknown == {"joint_torque", "undesired", "foot", "command", "reward", "termination"}
    assert any("order" in note for note in episodes.attributes["import_notes"])


def test_what_a_term_of_ones_own_records_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "data.hdf5")
    with h5py.File(path, "a") as file:
        demo = file["data/demo_0"]
        demo["terminated"] = np.array([False, False, True])
        demo["states/extra/foot"] = np.ones((STEPS, 4), bool)
        demo["states/extra/joint_torque"] = np.full((STEPS, 12), 3.0)
    episodes = formats.load(path, ROBOT)
    assert episodes.termination.tolist() == [False, False, False, True]
    assert ROBOT.contact_layout.part(episodes.contact, "foot").all(-1).tolist() == [False, True, True, True]
    assert not {"foot", "joint_torque", "termination"} & episodes.unknown


@pytest.mark.parametrize(
    ("without", "culprit"), [("states", "states/articulation"), ("initial_state", "initial_state"), ("actions", "no episode")]
)
def test_a_file_that_lacks_a_part_is_refused(without: str, culprit: str, tmp_path: Path) -> None:
    path = write(tmp_path / "data.hdf5")
    with h5py.File(path, "a") as file:
        del file[f"data/demo_0/{without}"]
    with pytest.raises(DataError, match=culprit):
        formats.load(path, ROBOT, name="isaaclab")


def test_whose_they_are_must_be_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="robot"):
        isaaclab.load(write(tmp_path / "data.hdf5"))


def test_an_upright_frame_has_the_gravity_that_is_asked_for() -> None:
    down = np.random.default_rng(0).normal(size=(50, 3))
    down /= np.linalg.norm(down, axis=-1, keepdims=True)
    assert np.allclose(gravity(rotations(upright(down))), down)
