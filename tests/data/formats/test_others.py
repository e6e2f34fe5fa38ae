"""Files as Minari, LeRobot and robomimic themselves, or their users, write and read them."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from rwmu.data import formats
from rwmu.data.episodes import Episodes
from rwmu.data.formats.recordings import by_field
from rwmu.errors import ConfigError, DataError
from tests.data.formats.recorded import recorded
from tests.data.walking import ROBOT

NAMES = [field.name for field in ROBOT.state_layout.fields]


@pytest.fixture(scope="module")
def one() -> Episodes:
    """Return an episode of six steps that ends in a fall."""
    return recorded((7,), (0,))


def fields(episodes: Episodes) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return by_field(ROBOT.state_layout, episodes.state.numpy())


# -- robomimic ----------------------------------------------------------------------------------------------------------------


def test_robomimic_without_next_observations_loses_the_last_step_and_says_so(one: Episodes, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "demo.hdf5", "w") as file:
        demo = file.create_group("data/demo_3")
        demo["actions"] = one.action[1:]
        demo["rewards"] = one.reward[1:]
        demo["dones"] = np.array([0, 0, 0, 0, 0, 1])
        for name, values in fields(one).items():
            demo[f"obs/{name}"] = values[:-1]
    episodes = formats.load(tmp_path / "demo.hdf5", ROBOT, step_dt=0.02)
    assert torch.equal(episodes.state, one.state[:-1])
    assert torch.equal(episodes.action, one.action[:-1])
    assert torch.equal(episodes.reward, one.reward[:-1])
    assert not episodes.termination.any()
    assert "termination" in episodes.unknown, "dones do not tell falls from time-outs"
    assert any("last step" in note for note in episodes.attributes["import_notes"])


def test_robomimic_finds_what_is_written_in_its_layout(one: Episodes, tmp_path: Path) -> None:
    formats.save(one, tmp_path / "demo.hdf5", "robomimic")
    with h5py.File(tmp_path / "demo.hdf5") as file:
        demo = file["data/demo_0"]
        assert (file["data"].attrs["total"], demo.attrs["num_samples"]) == (6, 6)
        assert json.loads(file["data"].attrs["env_args"])["env_kwargs"]["control_freq"] == 50.0
        assert np.array_equal(demo["obs/joint_vel"][1:], demo["next_obs/joint_vel"][:-1])
        assert demo["dones"][:].tolist() == [0, 0, 0, 0, 0, 1]
        assert demo["states"].shape == (6, 45)


def test_a_split_of_robomimic_is_read_alone_where_it_is_asked_for(tmp_path: Path) -> None:
    saved, path = recorded(), tmp_path / "demo.hdf5"
    formats.save(saved, path, "robomimic")
    with h5py.File(path, "a") as file:
        file["mask/train"], file["mask/valid"] = [b"demo_2", b"demo_0"], [b"demo_1"]
    everything = formats.load(path, ROBOT)
    assert everything.num_episodes == 3
    assert any("valid" in note for note in everything.attributes["import_notes"])
    assert torch.equal(formats.load(path, ROBOT, mask="train").state, saved.select(torch.tensor([0, 2])).state)
    with pytest.raises(ConfigError, match="valid"):
        formats.load(path, ROBOT, mask="val")


# -- Minari -------------------------------------------------------------------------------------------------------------------


def test_minari_itself_loads_and_samples_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    saved = recorded()
    formats.save(saved, tmp_path / "walk-v0", "minari")
    dataset = minari.load_dataset("walk-v0")
    assert (dataset.total_episodes, dataset.total_steps) == (3, 25)
    fell = next(iter(dataset.iterate_episodes([1])))
    assert np.array_equal(fell.observations, saved.state[12:21])
    assert np.array_equal(fell.actions, saved.action[13:21])
    assert (fell.terminations[-1], fell.truncations[-1]) == (True, False)
    assert len(dataset.sample_episodes(2)) == 2


@pytest.mark.filterwarnings("ignore::UserWarning")  # minari misses an author and other things
def test_a_dict_space_of_minari_is_read_by_the_names_of_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: Episodes
) -> None:
    minari, spaces = pytest.importorskip("minari"), pytest.importorskip("gymnasium.spaces")
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    observed = fields(one) | {"camera": np.zeros((7, 2), np.float32)}
    box = {name: spaces.Box(-np.inf, np.inf, values.shape[1:], np.float32) for name, values in observed.items()}
    flags = np.zeros(6, bool)
    buffer = EpisodeBuffer(
        0, 5, None, observed, list(one.action[1:].numpy()), list(one.reward[1:].numpy()), list(flags), list(flags)
    )
    action = spaces.Box(-np.inf, np.inf, (12,), np.float32)
    minari.create_dataset_from_buffers("theirs-v0", [buffer], observation_space=spaces.Dict(box), action_space=action)
    episodes = formats.load(tmp_path / "theirs-v0", ROBOT, step_dt=0.02)
    assert torch.equal(episodes.state, one.state)
    assert torch.equal(episodes.action, one.action)
    assert episodes.unknown == {"undesired", "foot", "command"}
    with pytest.raises(DataError, match="step_dt"):
        formats.load(tmp_path / "theirs-v0", ROBOT)


def test_a_path_that_is_no_id_of_minari_is_refused(tmp_path: Path, one: Episodes) -> None:
    pytest.importorskip("minari")
    with pytest.raises(DataError, match="ID"):
        formats.save(one, tmp_path / "walk", "minari")


# -- LeRobot ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pyarrow")
    path = tmp_path_factory.mktemp("lerobot") / "walk"
    formats.save(recorded(), path, "lerobot")
    return path


def test_lerobots_structure(dataset: Path) -> None:
    import pyarrow.parquet as parquet

    info = json.loads((dataset / "meta" / "info.json").read_text())
    sizes = {key: info[key] for key in ("codebase_version", "fps", "total_episodes", "total_frames", "chunks_size", "video_path")}
    expected = {"codebase_version": "v3.0", "fps": 50, "total_episodes": 3, "total_frames": 25, "chunks_size": 1000}
    assert sizes == expected | {"video_path": None}
    frames = parquet.read_table(dataset / info["data_path"].format(chunk_index=0, file_index=0)).to_pydict()
    assert set(frames) == set(info["features"])
    assert frames["index"] == list(range(25))
    assert frames["frame_index"][:12] == [*range(11), 0]
    ends = [(frames["next.done"][row], frames["next.truncated"][row]) for row in (9, 10, 18)]
    assert ends == [(False, False), (True, True), (True, False)], "a time-out, then a fall"
    assert info["features"]["action"]["names"] == list(ROBOT.joint_names)
    about = parquet.read_table(dataset / "meta" / "episodes" / "chunk-000" / "file-000.parquet").to_pydict()
    assert (about["dataset_from_index"], about["dataset_to_index"], about["length"]) == ([0, 11, 19], [11, 19, 25], [11, 8, 6])
    assert about["data/file_index"] == about["meta/episodes/chunk_index"] == [0, 0, 0]


def test_lerobot_itself_loads_what_is_written(dataset: Path) -> None:
    """In an environment of its own, of Python 3.12 (``make test-lerobot``)."""
    datasets = pytest.importorskip("lerobot.datasets.lerobot_dataset")
    saved = recorded()
    around = {"observation.state": [-0.02, 0.0], "action": [0.0, 0.02]}
    loaded = datasets.LeRobotDataset("rwmu/walk", root=dataset, delta_timestamps=around)
    assert (loaded.num_episodes, len(loaded), loaded.fps) == (3, 25, 50)
    begin, later = loaded[11], loaded[12]  # the second episode's first frames
    assert torch.equal(later["observation.state"], saved.state[12:14])
    assert torch.equal(later["action"], saved.action[14:16])
    assert begin["observation.state_is_pad"].tolist() == [True, False]
    assert begin["task"] == "follow the commanded velocity"
    assert np.allclose(
        loaded.meta.stats["action"]["max"], saved.action.numpy()[[*range(1, 12), *range(13, 21), *range(22, 28)]].max(0)
    )


def test_lerobots_statistics_are_those_of_the_frames(dataset: Path) -> None:
    import pyarrow.parquet as parquet

    saved = recorded()
    kept = np.ones(saved.num_rows, bool)
    kept[[11, 20, 27]] = False  # last rows have no frame
    stats = json.loads((dataset / "meta" / "stats.json").read_text())["observation.state"]
    states = saved.state.numpy()[kept].astype(np.float64)
    assert set(stats) == {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"}
    assert np.allclose(stats["std"], states.std(0))
    assert np.allclose(stats["q90"], np.quantile(states, 0.9, axis=0))
    assert stats["count"] == [25]
    about = parquet.read_table(dataset / "meta" / "episodes" / "chunk-000" / "file-000.parquet").to_pydict()
    assert np.allclose(about["stats/action/mean"][1], saved.action.double().numpy()[13:21].mean(0))


def test_pandas_reads_lerobots_tasks_as_lerobot_does(dataset: Path) -> None:
    tasks = pytest.importorskip("pandas").read_parquet(dataset / "meta" / "tasks.parquet")
    assert tasks.index.name == "task"
    assert tasks["task_index"].tolist() == [0]


def test_a_foreign_lerobot_dataset_is_read_by_the_names_of_its_columns(one: Episodes, tmp_path: Path) -> None:
    """Without rwmu's additions, its joints in another order: the last step is lost, which is said."""
    pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    from rwmu.data.formats.parquet import table_of
    from rwmu.data.formats.recordings import labels

    names = labels(ROBOT.state_layout, ROBOT.joint_names)[::-1]
    features = {
        "observation.state": {"dtype": "float32", "shape": [45], "names": names},
        "action": {"dtype": "float32", "shape": [12], "names": {"motors": [f"{joint}.pos" for joint in ROBOT.joint_names[::-1]]}},
    }
    folders = [tmp_path / "data" / "chunk-000", tmp_path / "meta" / "episodes" / "chunk-000"]
    for folder in folders:
        folder.mkdir(parents=True)
    info = {"codebase_version": "v3.0", "fps": 50, "robot_type": "unheard_of", "features": features}
    (tmp_path / "meta" / "info.json").write_text(json.dumps(info))
    state, action = (np.ascontiguousarray(values.numpy()[:, ::-1]) for values in (one.state[:-1], one.action[1:]))
    frames = {"observation.state": state, "action": action, "episode_index": np.zeros(6, np.int64)}
    parquet.write_table(table_of(frames), folders[0] / "file-000.parquet")
    parquet.write_table(table_of({"episode_index": np.array([0]), "length": np.array([6])}), folders[1] / "file-000.parquet")
    episodes = formats.load(tmp_path, ROBOT)
    assert torch.equal(episodes.state, one.state[:-1])
    assert torch.equal(episodes.action, one.action[:-1])
    assert any("last step" in note for note in episodes.attributes["import_notes"])
    with pytest.raises(DataError, match="unheard_of"):
        formats.load(tmp_path)
