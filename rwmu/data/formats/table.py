"""Read tables of a robot's log: parquet, CSV with a header, ``.npz`` and ``.npy``. What the columns are, a YAML says.

::

    source: logs/*.parquet         # beside the YAML; every file is an episode, or several
    format: table
    robot: go1
    time: t                        # a column, s; or step_dt: 0.005
    episode: run                   # a column that changes where an episode begins; gaps of time begin others
    joints: {FL_hip_joint: fl_abad, ...}       # the robot's name -> the log's, where they differ
    columns:
      base_ang_vel: {columns: [wx, wy, wz], unit: deg/s}
      projected_gravity: {columns: [gx, gy, gz], sign: -1}
      joint_pos: {columns: "q_{joint}", unit: deg, absolute: true}
      joint_vel: {columns: "dq_{joint}", unit: deg/s}
      action: {columns: "target_{joint}", unit: deg, absolute: true}
      foot: {columns: [force_FL, force_RL, force_FR, force_RR], above: 20}
      termination: fell

Fields are those of the robot's state and contacts, ``action``, ``command``, ``reward``, ``termination`` and ``extension``;
``orientation`` (a quaternion, w first) gives gravity, and turns velocities of ``frame: world`` into the base's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, InstanceOf

from rwmu.data.episodes import EXTENSION, Episodes
from rwmu.data.formats.frames import gravity, rotations, to_base
from rwmu.data.formats.parquet import read_blocks, read_columns
from rwmu.data.formats.recordings import Array, Recording, join, led_to, whose
from rwmu.data.formats.registry import Format, existing
from rwmu.data.large import GrowingRows
from rwmu.errors import ConfigError, DataError
from rwmu.robots.robot import Robot
from rwmu.settings import Names, Positive, checked, choose, settings

Signs = Annotated[tuple[Literal[1, -1], ...], Field(strict=False)]
ActionOf = Literal["next", "this"]

UNITS = {  # as they stand in logs -> the unit of the layout, and the factor
    "deg": ("rad", math.pi / 180.0),
    "deg/s": ("rad/s", math.pi / 180.0),
    "rpm": ("rad/s", math.pi / 30.0),
    "km/h": ("m/s", 1.0 / 3.6),
    "mm/s": ("m/s", 1e-3),
}
_ORIENTATION = "orientation"
_GAP = 1.5  # steps, from which on rows are of different episodes
_UNEVEN, _OFTEN = 0.2, 0.01  # of a step, and of the rows


@settings("columns")
class Columns:
    """Which columns of a log are a field, and how they become it.

    Attributes:
        columns: their names in the order of the field (of the robot's joints); or one name, in which ``{joint}`` stands for the
            log's name of each joint; or the name of one array with a column for each.
        unit: of the log, a key of ``UNITS``; None for the layout's own. scale: a further factor. sign: of all columns, or of each.
        absolute: joint angles, to be made relative to the default posture; actions, joint targets to be made actions.
        above: threshold of what is a flag.
        frame: of vectors.
    """

    columns: str | Names
    unit: str | None = None
    scale: float = 1.0
    sign: Literal[1, -1] | Signs = 1
    absolute: bool = False
    above: float | None = None
    frame: Literal["base", "world"] = "base"


@checked("")
def load(
    path: Path,
    robot: InstanceOf[Robot] | None = None,
    columns: Mapping[str, Any] | None = None,
    joints: Mapping[str, str] | None = None,
    time: str | None = None,
    step_dt: Positive | None = None,
    episode: str | None = None,
    action_of: ActionOf = "next",
    level: str = "unknown",
) -> Episodes:
    """Read one table.

    Args:
        columns: field -> names of columns, or the settings of :class:`Columns`. joints: the robot's name of a joint -> the log's.
        time: column, s. step_dt: s, without one. episode: column.
        action_of: the action in a row was chosen there, and led to the ``next`` row; or it led to ``this`` one.
        level: who acted.

    Raises:
        DataError, ConfigError: one sentence.
    """
    source = f"The table {path}"
    existing(path)
    if not columns:
        raise DataError(f"{source} does not say what its columns are; give a YAML that does as data.path (docs/how-to/my-data.md).")
    own, notes = whose(robot, None, source), list[str]()
    table = _Table(path, own, joints or {})
    fields = {name: value if isinstance(value, Mapping) else {"columns": value} for name, value in columns.items()}
    wanted = {name: Columns(**value) for name, value in fields.items()}
    _fields(table, wanted, own, slice(0))  # refuse what the mapping has wrong
    step, bounds = _steps(table, time, step_dt, episode, notes, source)

    def episodes() -> Iterator[Recording]:
        for begin, end in pairwise(bounds.tolist()):
            rows = _fields(table, wanted, own, slice(begin, end))
            if action_of == "next" and "action" in rows:
                rows["action"] = led_to(rows["action"][:-1])
            yield Recording(rows, level)

    return join(episodes(), own, step, source, path.parent, notes)


class _Table:
    """The columns of a file by name, and the names that it has of the robot's joints."""

    def __init__(self, path: Path, robot: Robot, joints: Mapping[str, str]) -> None:
        for joint in joints:
            choose(f"joints, for the robot '{robot.name}',", joint, robot.joint_names)
        self.path, self._arrays = path, _arrays(path)
        self._joints = [joints.get(joint, joint) for joint in robot.joint_names]

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def column(self, name: str, rows: slice = slice(None)) -> Array:
        """Return rows of a column ``[R]``, or of an array ``[R, X]``."""
        choose(f"{self.path}, as the mapping describes it,", name, self._arrays)
        values = self._arrays[name]
        if values.dtype.kind not in "biuf":
            raise DataError(f"The column {name} of {self.path} holds no numbers; leave it out of the mapping, or mend it.")
        return values[rows].astype(np.float64)

    def columns(self, names: str | Sequence[str], rows: slice) -> Array:
        """Return rows of columns side by side, ``[R, X]``."""
        if isinstance(names, str):
            names = [names.replace("{joint}", joint) for joint in self._joints] if "{joint}" in names else [names]
        found = [self.column(name, rows) for name in names]
        return np.concatenate([values[:, None] if values.ndim == 1 else values for values in found], -1)


def _arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of a file, mapped into memory where they are large and not of a CSV file."""
    if path.suffix.lower() == ".csv":
        return read_columns(path)
    rows = GrowingRows(path.parent)
    if path.suffix.lower() not in (".npz", ".npy"):
        for block in read_blocks(path):
            rows.add({name: _alike(values) for name, values in block.items()})
        return rows.arrays()
    try:
        loaded = np.load(path, "r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {name: loaded[name] for name in loaded.dtype.names} if loaded.dtype.names else {"all": loaded}
        with loaded:
            for name in loaded:
                if (values := loaded[name]).ndim:
                    rows.add({name: values})
        return rows.arrays()
    except (OSError, ValueError) as error:
        raise DataError(f"The data file {path} cannot be read ({error}); write it with numpy.savez, without objects.") from error


def _alike(values: Array) -> Array:
    """Return a block of a column in the type of its other blocks: integers with gaps are read as other numbers."""
    if values.dtype.kind == "f":
        return values
    return values.astype(np.float64) if values.dtype.kind in "biu" else np.zeros(len(values), "V1")


def _fields(table: _Table, wanted: Mapping[str, Columns], robot: Robot, rows_of: slice) -> dict[str, Array]:
    """Return the fields of these rows, ``[R, X]``, in the units of the layout."""
    units = {field.name: field.unit for layout in (robot.state_layout, robot.contact_layout) for field in layout.fields}
    units |= {"action": "rad", "command": "m/s", "reward": "1", "termination": "1", EXTENSION: "1", _ORIENTATION: "1"}
    for name in wanted:
        choose("columns", name, units)
    rows = {name: _converted(name, table.columns(of.columns, rows_of), of, units[name], robot) for name, of in wanted.items()}
    turn = rotations(rows.pop(_ORIENTATION)) if _ORIENTATION in rows else None
    for name in (name for name, of in wanted.items() if of.frame == "world"):
        if turn is None:
            raise ConfigError(f"columns.{name} is of the world's frame, which needs columns.{_ORIENTATION}; give the quaternion.")
        rows[name] = to_base(turn, rows[name])
    return rows if turn is None else {"projected_gravity": gravity(turn)} | rows


def _converted(name: str, values: Array, of: Columns, unit: str, robot: Robot) -> Array:
    if of.unit is not None and of.unit != unit:
        choose(f"columns.{name}.unit", of.unit, [*UNITS, unit])
        into, factor = UNITS[of.unit]
        if into != unit:
            raise ConfigError(f"columns.{name}.unit is {of.unit}, but the field is in {unit}; give a unit of its kind.")
        values = factor * values
    signs = np.asarray(of.sign)
    if signs.ndim and len(signs) != values.shape[1]:
        raise ConfigError(f"columns.{name}.sign has {len(signs)} signs for {values.shape[1]} columns; give one, or one for each.")
    values = of.scale * signs * values
    if of.absolute:
        if values.shape[1] != robot.num_joints or name not in ("joint_pos", "action"):
            raise ConfigError(f"columns.{name}.absolute needs joint_pos or action with {robot.num_joints} columns; leave it out.")
        values = values - robot.default_joint_pos.numpy()
        values = values / robot.action_scale.numpy() if name == "action" else values
    return values if of.above is None else values > of.above


def _steps(
    table: _Table, time: str | None, step_dt: float | None, episode: str | None, notes: list[str], source: str
) -> tuple[float, Array]:
    """Return the step, s, and the rows at which episodes begin, with the number of rows behind them."""
    begins = np.zeros(len(table), dtype=bool)
    begins[:1] = True
    if episode is not None:
        number = table.column(episode)
        begins[1:] |= number[1:] != number[:-1]
    if time is not None:
        passed = np.diff(table.column(time))
        typical = float(np.median(passed)) if len(passed) else 0.0
        step_dt = float(f"{typical:.6g}") if step_dt is None else step_dt
        if not step_dt > 0.0:
            raise DataError(f"{source} has a column {time} that does not grow; give the one that holds seconds, or step_dt.")
        gaps = (passed > _GAP * step_dt) | (passed <= 0.0)
        uneven = float((np.abs(passed[~gaps] - step_dt) > _UNEVEN * step_dt).mean()) if (~gaps).any() else 0.0
        new = int((gaps & ~begins[1:]).sum())
        begins[1:] |= gaps
        if new:
            notes.append(f"Where the time jumps ({new} times) an episode ends and another begins.")
        if uneven > _OFTEN:
            notes.append(
                f"The steps of {uneven:.0%} of the rows differ from {step_dt:g} s by more than a fifth; record at an even rate."
            )
    if step_dt is None:
        raise DataError(f"{source} does not say how long a step is; give 'time' (a column, s) or 'step_dt' (s) in the YAML.")
    return step_dt, np.append(np.flatnonzero(begins), len(table))


def _has_header(path: Path) -> bool:
    """Tell whether a CSV file begins with names: those of the published code hold numbers alone."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return any(
            cell.strip().strip('"')[:1].isalpha() and cell.strip().lower() not in ("nan", "inf")
            for cell in file.readline().split(",")
        )


FORMAT = Format("table", (".parquet", ".npz", ".npy"), load, recognises=_has_header)
