"""Refuse data that would spoil a model: of another robot, with other columns, or with values that are no numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.errors import DataError
from rwmu.robots.layout import StateLayout
from rwmu.robots.robot import Robot


class UnfitDataError(DataError):
    """Report data that can be read, but not used.

    Args:
        check: short name of what was violated.
        sentence: what and where, and the mend.
    """

    def __init__(self, check: str, sentence: str) -> None:
        super().__init__(sentence)
        self.check = check


def audit(episodes: Episodes, robot: Robot | None = None, source: str = "The data") -> None:
    """Raise :class:`UnfitDataError` with one sentence if the episodes cannot be used (for ``robot``, if one is given).

    Args:
        episodes: as read or collected.
        robot: what the run expects; None accepts any robot that the data describe themselves.
        source: how the sentence names the data.
    """
    if episodes.num_episodes == 0:
        raise UnfitDataError("empty", f"{source} holds no episode; collect it again with 'python -m rwmu.collect'.")
    _check_attributes(episodes, source)
    if robot is not None:
        _check_robot(episodes, robot, source)
    _check_finite(episodes, source)


def _check_attributes(episodes: Episodes, source: str) -> None:
    """Refuse what cannot be read of the attributes that the whole package relies on; what they say is looked at elsewhere."""
    described, step_dt = episodes.attributes.get("layout"), episodes.attributes.get("step_dt")
    if described is None:
        raise UnfitDataError(
            "layout",
            f"{source} does not say what its state columns are; add the attribute 'layout', a list of [name, size, unit] as "
            "StateLayout.describe() gives it.",
        )
    try:
        StateLayout.from_description(described)
    except (TypeError, ValueError, KeyError, DataError):
        raise UnfitDataError(
            "layout", f"{source} has an attribute 'layout' that cannot be read; it must be a list of [name, size, unit]."
        ) from None
    if step_dt is not None and not (isinstance(step_dt, int | float) and 0.0 < step_dt < math.inf):
        raise UnfitDataError("step_dt", f"{source} has the step {step_dt!r}; the attribute 'step_dt' must be seconds, above 0.")


def _check_robot(episodes: Episodes, robot: Robot, source: str) -> None:
    name = episodes.attributes.get("robot")
    if name is not None and name != robot.name:
        raise UnfitDataError(
            "robot", f"{source} is of the robot '{name}', but this run is for '{robot.name}'; give data of the same robot."
        )
    expected = {"state": robot.state_layout.size, "action": robot.num_joints, "contact": robot.contact_layout.size, "command": 3}
    for array, size in expected.items():
        columns = getattr(episodes, array).shape[-1]
        if columns != size:
            raise UnfitDataError(
                "robot",
                f"{source} has {columns} {array} columns, but the robot '{robot.name}' has {size}; give data of its layout.",
            )
    described = episodes.attributes["layout"]
    if StateLayout.from_description(described) != robot.state_layout:
        raise UnfitDataError(
            "robot",
            f"{source} has the state columns {_field_names(described)}, but the robot '{robot.name}' has "
            f"{_field_names(robot.state_layout.describe())}; give data of its layout.",
        )


def _field_names(description: list[list[str | int]]) -> str:
    return ", ".join(f"{name} ({size}, {unit})" for name, size, unit in description)


def _check_finite(episodes: Episodes, source: str) -> None:
    for array in (name for name in episodes.row_arrays if getattr(episodes, name).is_floating_point()):
        values: Tensor = getattr(episodes, array)
        # A sum is not finite if any addend is not: cheaper than a mask of every value, and exact when it is finite.
        if torch.isfinite(values.sum(dtype=torch.float64)):
            continue
        bad = ~torch.isfinite(values)
        if not bad.any():
            continue
        row, *column = (int(i) for i in bad.nonzero()[0])
        episode = int(episodes.episode_of_row[row])
        value = float(values[row, column[0]] if column else values[row])
        where = f"{_column_name(episodes, array, column)} of episode {episode}, row {row - int(episodes.offsets[episode])}"
        raise UnfitDataError(
            "non_finite",
            f"{source} has the value {value} in {where} ({int(bad.sum())} such values in all); "
            "remove these episodes or collect them again with 'python -m rwmu.collect'.",
        )


def _column_name(episodes: Episodes, array: str, column: list[int]) -> str:
    described = episodes.attributes.get("layout")
    if array == "state" and described is not None and column:
        return StateLayout.from_description(described).names()[column[0]]
    return f"{array}[{column[0]}]" if column else array
