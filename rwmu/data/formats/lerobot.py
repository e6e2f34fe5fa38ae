"""Read and write LeRobot datasets of version 3.0 (by pyarrow, of the extra ``formats``).

::

    meta/info.json            codebase_version, fps, features {name: dtype, shape, names}, data_path, ...
    meta/stats.json           feature -> min, max, mean, std, count, quantiles
    meta/tasks.parquet        task, task_index
    meta/episodes/...parquet  one row an episode: length, where its frames lie, statistics
    data/...parquet           one row a frame: features, timestamp, frame_index, episode_index, index, task_index
    meta/rwmu.json            only of datasets that are written here: the attributes of their Episodes

A frame holds a state, the action chosen there and what it led to (``next.*``). The last state of an episode has no frame; here it
stands in ``last/FEATURE`` of the episode's row in ``meta/episodes``, which LeRobot leaves alone. Of datasets without, the last step
of every episode is left out. Columns are found by the ``names`` of ``observation.state`` and ``action``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import InstanceOf

from rwmu.data.episodes import EXTENSION, Episodes
from rwmu.data.formats.parquet import arrow, read_blocks, read_columns, table_of
from rwmu.data.formats.recordings import Array, Recording, join, labels, led_to, progress, seconds, whose
from rwmu.data.formats.registry import Format, in_layout
from rwmu.data.large import GrowingRows
from rwmu.errors import ConfigError, DataError
from rwmu.files import read_json, write_json, writing_folder
from rwmu.robots import robot_named
from rwmu.robots.layout import StateLayout
from rwmu.robots.robot import Robot
from rwmu.settings import Positive, checked

Columns = dict[str, tuple[str, list[int] | None]]  # field -> feature, and which of its columns (None for all)

_VERSION = "v3.0"
_STATE, _ACTION = "observation.state", "action"
_BESIDE = ("contact", "command", EXTENSION)  # observation.NAME each
_LED_TO = ("next.reward", "next.done", "next.truncated")
_PLACE = "{folder}/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_LAST, _LEVEL, _SEED, _OURS = "last/", "rwmu/level", "rwmu/seed", "meta/rwmu.json"
_FILE_MB, _FILES_A_CHUNK = 100, 1000
_AT_A_TIME = 2**25  # numbers of which statistics are taken
_QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
_TASK = "follow the commanded velocity"

# -- reading --------------------------------------------------------------------------------------------------------------------


@checked("")
def load(path: Path, robot: InstanceOf[Robot] | None = None, step_dt: Positive | None = None) -> Episodes:
    """Read a dataset's folder.

    Args:
        step_dt: s; None for that of ``fps``.
    """
    source = f"The LeRobot dataset {path}"
    if not _is_one(path):
        raise DataError(f"{path} is no LeRobot dataset, for it has no meta/info.json; give its folder.")
    info = read_json(path / "meta" / "info.json", "download it again")
    if info.get("codebase_version") != _VERSION:
        raise DataError(
            f"{source} is of version {info.get('codebase_version')}; convert it to {_VERSION} with LeRobot's own script."
        )
    ours = read_json(path / _OURS, "write it again") if (path / _OURS).is_file() else {}
    own = whose(robot, ours.get("robot", info.get("robot_type")), source)
    with in_layout(source, "LeRobot"):
        lasting = [_LAST + feature for feature in info["features"]]
        about = _joined(sorted(path.glob("meta/episodes/*/*.parquet")), [*lasting, _LEVEL, _SEED, "episode_index"])
        notes = [] if _LAST + _STATE in about else ["The last state of an episode has no frame, so that its last step is left out."]
        columns = _named_columns(info["features"], own, notes, source)
        found, fps = _recordings(path, columns, about), float(info["fps"])
        return join(found, own, seconds(step_dt, ours.get("step_dt", 1.0 / fps), source), source, path.parent, notes, ours)


def _is_one(path: Path) -> bool:
    return (path / "meta" / "info.json").is_file()


def _joined(paths: Sequence[Path], wanted: Sequence[str]) -> dict[str, Array]:
    parts = [read_columns(path, wanted) for path in paths]
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else {})}


def _named_columns(features: Mapping[str, Any], robot: Robot, notes: list[str], source: str) -> Columns:
    """Return the fields that a dataset has.

    Columns without the names that :func:`~rwmu.data.formats.recordings.labels` gives are taken in their order, if they are as many
    as the robot has.
    """
    for feature in (_STATE, _ACTION):
        if feature not in features:
            raise DataError(f"{source} has no {feature}; a world model needs it.")
    fields = {field.name for layout in (robot.state_layout, robot.contact_layout) for field in layout.fields}
    found: Columns = {name: (f"observation.{name}", None) for name in (*fields, *_BESIDE)}
    found = {name: place for name, place in found.items() if place[0] in features}
    state, joints = _names(features[_STATE]), list(robot.joint_names)
    for field in robot.state_layout.fields:
        wanted = labels(StateLayout([field]), joints)
        if set(wanted) <= set(state):
            found[field.name] = _STATE, [state.index(name) for name in wanted]
    if not any(feature == _STATE for feature, _ in found.values()) and features[_STATE]["shape"] == [robot.state_layout.size]:
        notes.append(f"The columns of {_STATE} have no known names and are taken in the order of '{robot.name}'.")
        every = np.arange(robot.state_layout.size)
        found |= {field.name: (_STATE, every[robot.state_layout[field.name]].tolist()) for field in robot.state_layout.fields}
    action = [name.removesuffix(".pos") for name in _names(features[_ACTION])]
    known = set(joints) <= set(action)
    if not known:
        notes.append(f"The columns of {_ACTION} have no joints' names and are taken in the order of '{robot.name}'.")
    return found | {"action": (_ACTION, [action.index(joint) for joint in joints] if known else None)}


def _names(feature: Mapping[str, Any]) -> list[str]:
    """Return the names of a feature's columns, which may be nested by kind."""
    names = feature.get("names") or []
    return [str(name) for part in names.values() for name in part] if isinstance(names, Mapping) else [str(name) for name in names]


def _recordings(path: Path, columns: Columns, about: Mapping[str, Array]) -> Iterator[Recording]:
    features = {feature for feature, _ in columns.values()}
    found = _by_episode(sorted(path.glob("data/*/*.parquet")), ["episode_index", *features, *_LED_TO])
    for number, part in enumerate(progress(found, "reading", len(about.get("episode_index", ())) or None)):
        last = {name: about[_LAST + name][number : number + 1] for name in features if _LAST + name in about}
        level, seed = (about[name][number] if name in about else None for name in (_LEVEL, _SEED))
        yield Recording(_rows(part, last, columns), str(level or "unknown"), None if seed is None else int(seed))


def _by_episode(paths: Sequence[Path], wanted: Sequence[str]) -> Iterator[dict[str, Array]]:
    """Yield the frames of each episode, whose blocks may end anywhere."""
    rest: dict[str, Array] = {}
    for path in paths:
        for block in read_blocks(path, wanted):
            frames = {name: np.concatenate([rest[name], values]) for name, values in block.items()} if rest else block
            *bounds, begin = [0, *(np.flatnonzero(np.diff(frames["episode_index"])) + 1).tolist()]
            for first, end in pairwise([*bounds, begin]):
                yield {name: values[first:end] for name, values in frames.items()}
            rest = {name: values[begin:] for name, values in frames.items()}
    if rest:
        yield rest


def _rows(frames: Mapping[str, Array], last: Mapping[str, Array], columns: Columns) -> dict[str, Array]:
    """Return an episode's rows of its T frames and its last observations; without these, of T - 1 steps."""
    known = len(frames["episode_index"]) - (not last)  # frames of which is known what they led to
    rows: dict[str, Array] = {}
    for name, (feature, at) in columns.items():
        values = (
            frames[feature][:known]
            if name == "action"
            else np.concatenate([frames[feature], last.get(feature, frames[feature][:0])])
        )
        values = values if at is None else values[:, at]
        rows[name] = led_to(values) if name == "action" else values
    reward, done, truncated = (frames[name][:known] if name in frames else None for name in _LED_TO)
    if reward is not None:
        rows["reward"] = led_to(reward)
    if done is not None and truncated is not None:
        rows["termination"] = led_to(done.astype(bool) & ~truncated.astype(bool))
    return rows


# -- writing --------------------------------------------------------------------------------------------------------------------


def save(episodes: Episodes, path: str | Path) -> None:
    """Write a dataset's folder.

    Raises:
        MissingExtraError: pyarrow is not installed. UserError: the path is there already, or cannot be written.
    """
    path = Path(path)
    source = f"The data for {path}"
    step_dt = seconds(None, episodes.attributes.get("step_dt"), source)
    files, num_episodes, num_frames = _files(episodes), 0, 0
    with writing_folder(path) as folder:
        everything = GrowingRows(folder)
        for number, ids in enumerate(progress(files, "writing")):
            part = episodes.select(torch.tensor(ids, dtype=torch.int64))
            features, last = _features(part)
            frames = features | _numbered(part, step_dt, num_episodes, num_frames)
            _write_table(folder / _place("data", number), frames)
            _write_table(folder / _place("meta/episodes", number), _about_episodes(part, number, frames, last))
            everything.add(frames)
            num_episodes, num_frames = num_episodes + len(ids), num_frames + len(frames[_ACTION])
        frames = everything.arrays()
        _write_table(folder / "meta" / "tasks.parquet", {"task_index": [0], "task": [_TASK]}, index="task")
        write_json(folder / "meta" / "stats.json", {name: statistics(values) for name, values in frames.items()})
        write_json(folder / "meta" / "info.json", _info(episodes, frames, num_episodes, step_dt))
        write_json(folder / _OURS, episodes.attributes)


def _features(episodes: Episodes) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the features of all frames by name, and the observations of the episodes' last rows."""
    after = np.ones(episodes.num_rows, dtype=bool)
    after[episodes.offsets.numpy()] = False
    before, last = np.roll(after, -1), episodes.last_rows.numpy()
    observed = {_STATE: episodes.state.numpy()}
    observed |= {f"observation.{name}": getattr(episodes, name).numpy() for name in _BESIDE if name in (*episodes.row_arrays,)}
    observed = {name: values.astype(np.float32) for name, values in observed.items()}
    terminated, ended = episodes.termination.numpy()[after], np.zeros(episodes.num_rows, dtype=bool)
    ended[last] = True
    done = terminated | ended[after]
    features = {name: values[before] for name, values in observed.items()} | {_ACTION: episodes.action.numpy()[after]}
    features |= dict(zip(_LED_TO, (episodes.reward.numpy()[after], done, done & ~terminated), strict=True))
    return features, {name: values[last] for name, values in observed.items()}


def _numbered(episodes: Episodes, step_dt: float, first_episode: int, first_frame: int) -> dict[str, Array]:
    """Return what LeRobot numbers frames by, of a part of the episodes."""
    lengths = (episodes.lengths - 1).numpy()
    episode = first_episode + np.repeat(np.arange(len(lengths)), lengths)
    index = np.arange(len(episode))
    frame = index - np.repeat(lengths.cumsum() - lengths, lengths)
    numbers = {"frame_index": frame, "episode_index": episode, "index": first_frame + index, "task_index": np.zeros_like(index)}
    return {"timestamp": (frame * step_dt).astype(np.float32)} | numbers


def _files(episodes: Episodes) -> list[list[int]]:
    """Return the episodes of each file, none of which is larger than a hundred megabytes but for a longer episode.

    An episode without a step has no frame and is left out.
    """
    size = 4 * sum(getattr(episodes, name)[:1].numel() for name in episodes.row_arrays)  # bytes of a frame, and somewhat more
    parts, rows = [list[int]()], 0
    for i, length in enumerate((episodes.lengths - 1).tolist()):
        if parts[-1] and (rows + length) * size > _FILE_MB * 2**20:
            parts.append([])
            rows = 0
        if length:
            parts[-1].append(i)
        rows += length
    return parts


def _place(folder: str, number: int) -> str:
    chunk, file = divmod(number, _FILES_A_CHUNK)
    return _PLACE.format(folder=folder, chunk_index=chunk, file_index=file)


def _about_episodes(episodes: Episodes, number: int, frames: Mapping[str, Array], last: Mapping[str, Array]) -> dict[str, Any]:
    """Return the columns of ``meta/episodes`` for the episodes of the file of that number."""
    lengths = (episodes.lengths - 1).numpy()
    ends, (chunk, file) = lengths.cumsum(), (np.full_like(lengths, place) for place in divmod(number, _FILES_A_CHUNK))
    begins, each = ends - lengths, {name: list[dict[str, list[float]]]() for name in frames}
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        for name, values in frames.items():
            each[name].append(statistics(values[begin:end]))
    columns = {
        "episode_index": frames["episode_index"][begins],
        "tasks": [[_TASK]] * len(lengths),
        "length": lengths,
        "dataset_from_index": frames["index"][begins],
        "dataset_to_index": frames["index"][ends - 1] + 1,
        **{f"{folder}/chunk_index": chunk for folder in ("data", "meta/episodes")},
        **{f"{folder}/file_index": file for folder in ("data", "meta/episodes")},
        _LEVEL: list(episodes.levels),
        _SEED: episodes.seeds.numpy(),
    }
    stats = {f"stats/{name}/{kind}": [found[kind] for found in values] for name, values in each.items() for kind in values[0]}
    return columns | {_LAST + name: values for name, values in last.items()} | stats


def statistics(values: Array) -> dict[str, list[float]]:
    """Return LeRobot's statistics of ``[F]`` or ``[F, X]``: one number a column, and how many rows there were."""
    columns, found = values.reshape(len(values), -1), dict[str, list[float]]()
    some = max(1, _AT_A_TIME // len(columns))
    for first in range(0, columns.shape[1], some):
        rows = columns[:, first : first + some].astype(np.float64)
        each = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
        quantiles = zip(_QUANTILES, np.quantile(rows, _QUANTILES, axis=0), strict=True)
        for name, numbers in (each | {f"q{round(100 * share):02d}": numbers for share, numbers in quantiles}).items():
            found.setdefault(name, []).extend(numbers.tolist())
    return found | {"count": [len(columns)]}


def _info(episodes: Episodes, frames: Mapping[str, Array], num_episodes: int, step_dt: float) -> dict[str, Any]:
    rate = 1.0 / step_dt
    return {
        "codebase_version": _VERSION,
        "robot_type": episodes.attributes.get("robot"),
        "total_episodes": num_episodes,
        "total_frames": len(frames[_ACTION]),
        "total_tasks": 1,
        "chunks_size": _FILES_A_CHUNK,
        "data_files_size_in_mb": _FILE_MB,
        "video_files_size_in_mb": 200,
        "fps": round(rate) if abs(rate - round(rate)) < 1e-6 else rate,
        "splits": {"train": f"0:{num_episodes}"},
        "data_path": _PLACE.replace("{folder}", "data"),
        "video_path": None,
        "features": {name: _feature(name, values, episodes) for name, values in frames.items()},
    }


def _feature(name: str, values: Array, episodes: Episodes) -> dict[str, Any]:
    shape = list(values.shape[1:]) or [1]
    try:
        joints = list(robot_named(str(episodes.attributes.get("robot"))).joint_names)
    except ConfigError:  # a user's own
        joints = None
    names: list[str] | None = None
    if name == _STATE:
        names = labels(StateLayout.from_description(episodes.attributes["layout"]), joints)
    elif name == _ACTION and joints is not None:
        names = joints
    elif values.ndim > 1:
        names = [f"{name.partition('.')[2]}.{column}" for column in range(shape[0])]
    return {"dtype": str(values.dtype), "shape": shape, "names": names}


def _write_table(path: Path, columns: Mapping[str, Any], index: str | None = None) -> None:
    """Write a parquet file; pandas takes the column ``index`` for its rows' names."""
    table = table_of(columns)
    if index is not None:
        about = {
            "index_columns": [index],
            "column_indexes": [],
            "columns": [_for_pandas(name) for name in columns],
            "pandas_version": "2",
        }
        table = table.replace_schema_metadata({"pandas": json.dumps(about)})
    path.parent.mkdir(parents=True, exist_ok=True)
    arrow("pyarrow.parquet").write_table(table, path)


def _for_pandas(name: str) -> dict[str, Any]:
    kind = {"task": ("unicode", "object"), "task_index": ("int64", "int64")}[name]
    return {"name": name, "field_name": name, "pandas_type": kind[0], "numpy_type": kind[1], "metadata": None}


FORMAT = Format("lerobot", (), load, save, recognises=_is_one, lost="episodes without a step")
