"""Episodes by name: what readers of other tools' files hand over, and what writers for them are given.

A reader yields one :class:`Recording` an episode, holding what its file has under the names of the robot's fields; :func:`join`
puts them where the robot's layout has them, and notes what is missing. So no format knows a column's number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from rwmu.data.episodes import EXTENSION, Episodes
from rwmu.data.fitness import audit
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
    notes: Sequence[str] = (),
    attributes: Mapping[str, Any] | None = None,
) -> Episodes:
    """Return recordings as episodes of ``robot`` that have passed the audit of what can be used at all.

    A field that some episode lacks is zero in all of them, and named in the attribute ``unknown``.

    Args:
        step_dt: s. source: how errors name the file. notes: what had to be assumed, in sentences.
        attributes: that the file holds of an earlier writing.

    Raises:
        DataError: an array is not of the robot's size, nothing of the state is there, or values are no numbers.
    """
    sizes = {f.name: f.size for layout in (robot.state_layout, robot.contact_layout) for f in layout.fields}
    sizes |= {"action": robot.num_joints, "command": _COMMAND_SIZE, "reward": 1, "termination": 1}
    kept = [_fitting(recording, robot, sizes, f"{source} has in episode {i}") for i, recording in enumerate(found)]
    if not kept:
        raise DataError(f"{source} holds no episode.")
    missing = [name for name in sizes if any(name not in recording.rows for recording in kept)]
    if all(field.name in missing for field in robot.state_layout.fields) or "action" in missing:
        lacking = "actions" if "action" in missing else f"states by a name of the robot '{robot.name}'"
        raise DataError(f"{source} has no {lacking}, so no model can be made of it; record them.")
    before, seedless = dict(attributes or {}), ["seeds"] if any(recording.seed is None for recording in kept) else []
    fallen = sum(bool(recording.rows["termination"][0].any()) for recording in kept if "termination" in recording.rows)
    if fallen:
        notes = [*notes, f"{fallen} terminations stand in first rows of episodes, which nothing led to, and are dropped."]
    unknown = list(dict.fromkeys((*before.get("unknown", ()), *missing, *seedless)))
    about = {"robot": robot.name, "layout": robot.state_layout.describe(), "step_dt": step_dt}
    said = [*before.get(NOTES, ()), *notes]
    about |= ({"unknown": unknown} if unknown else {}) | ({NOTES: said} if said else {})
    episodes = _stacked(kept, robot, missing, before | about)
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


def _stacked(kept: Sequence[Recording], robot: Robot, missing: Sequence[str], attributes: Mapping[str, Any]) -> Episodes:
    lengths = torch.tensor([len(recording.rows["action"]) for recording in kept])
    offsets = (lengths.cumsum(0) - lengths).tolist()

    def stacked(names: Mapping[str, slice], size: int, dtype: Any = np.float32) -> Any:
        array = np.zeros((int(lengths.sum()), size), dtype)
        for name, columns in names.items():
            for recording, begin in zip(kept, offsets, strict=True):
                if name not in missing:
                    array[begin : begin + len(recording.rows["action"]), columns] = recording.rows[name]
        if set(names) <= set(LED):
            array[offsets] = 0
        return torch.from_numpy(array)

    states, contacts, every = robot.state_layout, robot.contact_layout, slice(None)
    extended = all(EXTENSION in recording.rows for recording in kept)
    return Episodes(
        state=stacked({field.name: states[field.name] for field in states.fields}, states.size),
        contact=stacked({field.name: contacts[field.name] for field in contacts.fields}, contacts.size, np.bool_),
        action=stacked({"action": every}, robot.num_joints),
        command=stacked({"command": every}, _COMMAND_SIZE),
        reward=stacked({"reward": every}, 1)[:, 0],
        termination=stacked({"termination": every}, 1, np.bool_)[:, 0],
        extension=stacked({EXTENSION: every}, kept[0].rows[EXTENSION].shape[1]) if extended else None,
        lengths=lengths,
        levels=[recording.level for recording in kept],
        seeds=torch.tensor([recording.seed or 0 for recording in kept], dtype=torch.int64),
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
