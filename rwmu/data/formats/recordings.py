"""Episodes by name: what readers of other tools' files hand over, and what writers for them are given.

A reader yields one :class:`Recording` an episode, holding what its file has under the names of the robot's fields; :func:`join`
puts them where the robot's layout has them, and notes what is missing. So no format knows a column's number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from rwmu.data.episodes import EXTENSION, Episodes
from rwmu.data.fitness import audit
from rwmu.data.large import GrowingRows
from rwmu.errors import ConfigError, DataError
from rwmu.robots import robot_named
from rwmu.robots.layout import StateLayout
from rwmu.robots.robot import Robot

Array = NDArray[Any]
NOTES = "import_notes"  # the attribute that holds what a reader had to assume, in sentences
LED = ("action", "reward", "termination")  # of the step that led to a row: nothing led to an episode's first

_COMMAND_SIZE = 3


@dataclass(frozen=True)
class Recording:
    """One episode of T steps.

    Attributes:
        rows: name -> ``[T + 1]`` or ``[T + 1, X]``, in the rows of :mod:`rwmu.records`: the fields of the robot's state and
            contacts (or ``contact``, all of them), ``action``, ``command``, ``reward``, ``termination``, ``extension``. What is
            unknown is absent.
        level: who acted. seed: of the episode, None where nobody knows.
    """

    rows: Mapping[str, Array]
    level: str = "unknown"
    seed: int | None = None


def led_to(values: Array) -> Array:
    """Return what T steps led to as T + 1 rows, the first of which is zero."""
    return np.concatenate([np.zeros((1, *values.shape[1:]), values.dtype), values])


def by_field(layout: StateLayout, values: Array) -> dict[str, Array]:
    """Return the fields of ``[T, D]`` vectors by name."""
    return {field.name: values[:, layout[field.name]] for field in layout.fields}


def labels(layout: StateLayout, joint_names: Sequence[str] | None = None) -> list[str]:
    """Return one name a column, by joint where the robot is known: ``joint_pos.LF_HAA``, ``base_lin_vel.x``."""
    found: list[str] = []
    for field in layout.fields:
        if field.size == 3:
            found += [f"{field.name}.{axis}" for axis in "xyz"]
        elif joint_names is not None and field.size == len(joint_names):
            found += [f"{field.name}.{joint}" for joint in joint_names]
        else:
            found += [f"{field.name}.{column}" for column in range(field.size)]
    return found


def whose(robot: Robot | None, named: object, source: str) -> Robot:
    """Return the robot that is asked for, else the one that a file names.

    Raises:
        DataError: neither says.
    """
    if robot is not None:
        return robot
    if named is None:
        raise DataError(f"{source} does not say whose it is; give the robot (--robot, or 'robot' in a YAML that names the source).")
    try:
        return robot_named(str(named))
    except ConfigError:
        raise DataError(f"{source} is of the robot '{named}', which is none of rwmu's; give --robot my_package.my_robot.") from None


def seconds(given: float | None, found: float | None, source: str) -> float:
    """Return how long a step is, s: what is given, else what a file says.

    Raises:
        DataError: neither says.
    """
    step_dt = found if given is None else given
    if step_dt is None:
        raise DataError(f"{source} does not say how long a step is; give 'step_dt' (s) in a YAML that names the source.")
    return float(step_dt)


def progress(items: Iterable[Any], what: str, total: int | None = None) -> Iterator[Any]:
    """Go through items with a bar, where somebody is looking and it takes longer than a second."""
    return iter(tqdm(items, desc=what, total=total, unit="episode", disable=None, leave=False, delay=1.0))


def join(
    found: Iterable[Recording],
    robot: Robot,
    step_dt: float,
    source: str,
    folder: Path,
    notes: Sequence[str] = (),
    attributes: Mapping[str, Any] | None = None,
) -> Episodes:
    """Return recordings as episodes of ``robot`` that have passed the audit of what can be used at all.

    A field that some episode lacks is zero in all of them, and named in the attribute ``unknown``. One recording is looked at
    after another, so that all of them together may be larger than memory.

    Args:
        step_dt: s. source: how errors name the file. folder: where rows lie that are too many for memory.
        notes: what had to be assumed, in sentences. attributes: that the file holds of an earlier writing.

    Raises:
        DataError: an array is not of the robot's size, nothing of the state is there, or values are no numbers.
    """
    sizes = {f.name: f.size for layout in (robot.state_layout, robot.contact_layout) for f in layout.fields}
    sizes |= {"action": robot.num_joints, "command": _COMMAND_SIZE, "reward": 1, "termination": 1}
    joined = _Joined(robot, sizes, folder)
    for i, recording in enumerate(found):
        joined.add(_fitting(recording, robot, sizes, f"{source} has in episode {i}"))
    if not joined.lengths:
        raise DataError(f"{source} holds no episode.")
    missing = [name for name in sizes if name in joined.missing]
    if all(field.name in missing for field in robot.state_layout.fields) or "action" in missing:
        lacking = "actions" if "action" in missing else f"states by a name of the robot '{robot.name}'"
        raise DataError(f"{source} has no {lacking}, so no model can be made of it; record them.")
    before, seedless = dict(attributes or {}), ["seeds"] if None in joined.seeds else []
    if joined.fallen:
        notes = [*notes, f"{joined.fallen} terminations stand in first rows of episodes, which nothing led to, and are dropped."]
    unknown = list(dict.fromkeys((*before.get("unknown", ()), *missing, *seedless)))
    about = {"robot": robot.name, "layout": robot.state_layout.describe(), "step_dt": step_dt}
    said = [*before.get(NOTES, ()), *notes]
    about |= ({"unknown": unknown} if unknown else {}) | ({NOTES: said} if said else {})
    episodes = joined.episodes(before | about)
    audit(episodes, robot, source)
    return episodes


def _fitting(recording: Recording, robot: Robot, sizes: Mapping[str, int], source: str) -> Recording:
    """Return a recording whose arrays are ``[T + 1, X]`` of the sizes that the robot has; errors begin with ``source``."""
    rows = dict(recording.rows)
    if "contact" in rows and rows["contact"].shape[1:] == (robot.contact_layout.size,):
        rows |= by_field(robot.contact_layout, rows.pop("contact"))
    length = len(rows["action"] if "action" in rows else next(iter(rows.values()), ()))
    for name, values in rows.items():
        if name not in sizes and name != EXTENSION:
            continue
        rows[name] = values.reshape(len(values), -1) if values.ndim == 1 else values
        wanted = (length, sizes.get(name, values.shape[-1]))
        if rows[name].shape != wanted:
            raise DataError(f"{source} {name} of shape {values.shape}, but the robot '{robot.name}' needs {wanted}; mend it.")
    return Recording(rows, recording.level, recording.seed)


class _Joined:
    """Recordings behind one another, and what is known of all of them."""

    def __init__(self, robot: Robot, sizes: Mapping[str, int], folder: Path) -> None:
        self._robot, self._sizes, self._rows = robot, sizes, GrowingRows(folder)
        self._known: set[str] = set()  # of some recording
        self._extended = True
        self.missing: set[str] = set()  # of some recording
        self.lengths: list[int] = []
        self.levels: list[str] = []
        self.seeds: list[int | None] = []
        self.fallen = 0

    def add(self, recording: Recording) -> None:
        """Add a recording with arrays of the robot's sizes."""
        rows = recording.rows
        self._known |= rows.keys()
        self.missing |= self._sizes.keys() - rows.keys()
        self._extended &= EXTENSION in rows
        self.lengths.append(len(next(iter(rows.values()), ())))
        self.levels.append(recording.level)
        self.seeds.append(recording.seed)
        self.fallen += bool(rows["termination"][:1].any()) if "termination" in rows else 0
        self._rows.add(self._placed(rows))

    def _placed(self, rows: Mapping[str, Array]) -> dict[str, Array]:
        """Return the arrays of Episodes, zero where nothing is known."""
        placed: dict[str, Array] = {}
        for name, size, dtype, columns in self._arrays():
            placed[name] = np.zeros((self.lengths[-1], size), dtype)
            for field, where in columns.items():
                if field in rows:
                    placed[name][:, where] = rows[field]
            if name in LED:
                placed[name][:1] = 0
        return placed | ({EXTENSION: np.asarray(rows[EXTENSION], np.float32)} if self._extended else {})

    def _arrays(self) -> Iterator[tuple[str, int, Any, dict[str, slice]]]:
        """Yield name, number of columns, type, and fields with their columns of each array."""
        layouts = {"state": (self._robot.state_layout, np.float32), "contact": (self._robot.contact_layout, np.bool_)}
        for name, (layout, dtype) in layouts.items():
            yield name, layout.size, dtype, {field.name: layout[field.name] for field in layout.fields}
        for name in ("action", "command", *LED[1:]):
            yield name, self._sizes[name], np.bool_ if name == "termination" else np.float32, {name: slice(None)}

    def episodes(self, attributes: Mapping[str, Any]) -> Episodes:
        """Return all of them as episodes."""
        arrays = self._rows.arrays()
        for name, _, _, columns in self._arrays():
            for field, where in columns.items():
                if field in self.missing & self._known:
                    arrays[name][:, where] = 0
        if not self._extended:
            arrays.pop(EXTENSION, None)
        rows = {name: torch.from_numpy(values) for name, values in arrays.items()}
        return Episodes(
            **rows | {name: rows[name][:, 0] for name in ("reward", "termination")},
            lengths=torch.tensor(self.lengths),
            levels=self.levels,
            seeds=torch.tensor([seed or 0 for seed in self.seeds], dtype=torch.int64),
            attributes=attributes,
        )


def recordings(episodes: Episodes, what: str) -> Iterator[Recording]:
    """Yield the episodes by name for a writer, with a bar called ``what``; contacts are whole."""
    layout = StateLayout.from_description(episodes.attributes["layout"])
    arrays = {name: getattr(episodes, name).numpy() for name in episodes.row_arrays}
    bounds = list(zip(episodes.offsets.tolist(), episodes.lengths.tolist(), strict=True))
    for i, (begin, length) in enumerate(progress(bounds, what)):
        rows = {name: values[begin : begin + length] for name, values in arrays.items()}
        yield Recording(rows | by_field(layout, rows["state"]), episodes.levels[i], int(episodes.seeds[i]))
