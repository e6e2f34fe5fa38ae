"""Refuse data that would spoil a model: of another robot, with other columns, or with values that are no numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.errors import DataError
from rwmu.robots.layout import StateLayout
from rwmu.robots.robot import Robot

_ROWS = 65536  # looked at at once


class UnfitDataError(DataError):
    """Report data that can be read, but not used: the short name ``check`` of what was violated, and a sentence."""

    def __init__(self, check: str, sentence: str) -> None:
        super().__init__(sentence)
        self.check = check


def audit(episodes: Episodes, robot: Robot | None = None, source: str = "The data") -> None:
    """Raise :class:`UnfitDataError` if the episodes cannot be used (for ``robot``, if one is given); it names them ``source``."""
    if episodes.num_episodes == 0:
        raise UnfitDataError("empty", f"{source} holds no episode.")
    layout = _check_attributes(episodes, source)
    if robot is not None:
        _check_robot(episodes, layout, robot, source)
    _check_finite(episodes, layout, source)


def _check_attributes(episodes: Episodes, source: str) -> StateLayout:
    """Refuse what cannot be read of the attributes that the whole package relies on; what they say is looked at elsewhere."""
    described, step_dt = episodes.attributes.get("layout"), episodes.attributes.get("step_dt")
    if described is None:
        sentence = f"{source} does not say what its state columns are; add the attribute 'layout', a list of [name, size, unit]."
        raise UnfitDataError("layout", sentence)
    try:
        layout = StateLayout.from_description(described)
    except (TypeError, ValueError, KeyError, DataError):
        sentence = f"{source} has an attribute 'layout' that cannot be read; it must be a list of [name, size, unit]."
        raise UnfitDataError("layout", sentence) from None
    if step_dt is not None and not (isinstance(step_dt, int | float) and 0.0 < step_dt < math.inf):
        raise UnfitDataError("step_dt", f"{source} has the step {step_dt!r}; the attribute 'step_dt' must be seconds, above 0.")
    return layout


def _check_robot(episodes: Episodes, layout: StateLayout, robot: Robot, source: str) -> None:
    name = episodes.attributes.get("robot", robot.name)
    if name != robot.name:
        sentence = f"{source} is of the robot '{name}', but this run is for '{robot.name}'; give data of the same robot."
        raise UnfitDataError("robot", sentence)
    expected = {"state": robot.state_layout.size, "action": robot.num_joints, "contact": robot.contact_layout.size, "command": 3}
    for array, size in expected.items():
        columns = getattr(episodes, array).shape[-1]
        if columns != size:
            sentence = f"{source} has {columns} {array} columns, but the robot '{robot.name}' has {size}; give data of its layout."
            raise UnfitDataError("robot", sentence)
    if layout != robot.state_layout:
        theirs, ours = (", ".join(f"{f.name} ({f.size}, {f.unit})" for f in each.fields) for each in (layout, robot.state_layout))
        sentence = f"{source} has the state columns {theirs}, but the robot '{robot.name}' has {ours}; give data of its layout."
        raise UnfitDataError("robot", sentence)


def _check_finite(episodes: Episodes, layout: StateLayout, source: str) -> None:
    for array in episodes.row_arrays:
        values: Tensor = getattr(episodes, array)
        # A sum is not finite if any addend is not: cheaper than a mask of every value. In parts, since torch copies them.
        if not values.is_floating_point() or all(
            torch.isfinite(part.sum(dtype=torch.float64)) for part in torch.split(values, _ROWS)
        ):
            continue
        bad = ~torch.isfinite(values)
        if not bad.any():
            continue
        row, *column = (int(i) for i in bad.nonzero()[0])
        episode, name = int(episodes.episode_of_row[row]), f"{array}[{column[0]}]" if column else array
        name = layout.names()[column[0]] if array == "state" else name
        where = f"{name} of episode {episode}, row {row - int(episodes.offsets[episode])}"
        found = f"the value {float(values[(row, *column)])} in {where} ({int(bad.sum())} such values in all)"
        raise UnfitDataError("non_finite", f"{source} has {found}; remove these episodes.")
