"""Values absurdly far from the rest: glitches of sensors, sentinels such as -9999. A single one can wreck a normaliser."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rwmu.data.audit.findings import Finding, listed, place
from rwmu.data.episodes import EXTENSION, Episodes
from rwmu.robots.robot import Robot

_SPREADS = 50.0  # from the median, beyond which a value is absurd
_MOST_ROWS = 20_000  # that medians are taken of
_CENTRAL = 4.65  # spreads of a Gaussian that its central 98 % take

# The least spread that a column is given, so that falls are not absurd where a robot mostly stands. With 50 spreads: 25 m/s and
# 50 rad/s of the base, a direction of length 10, 10 rad, 100 rad/s and 500 N m of a joint, actions of 50. The wildest of 1,001,526
# rows of the recipe 'mixed', with falls and bursts of noise: 2 m/s, 10 rad/s, 2, 2.1 rad, 52 rad/s, 92 N m, 10.
_LEAST_SPREAD = {
    "base_lin_vel": 0.5,
    "base_ang_vel": 1.0,
    "projected_gravity": 0.2,
    "joint_pos": 0.2,
    "joint_vel": 2.0,
    "joint_torque": 10.0,
}
_LEAST_SPREAD_OF_ACTIONS = 1.0


def outliers(episodes: Episodes, robot: Robot) -> tuple[list[Finding], Episodes]:
    """Find absurd values of states, actions and an extension; return the episodes without them for the checks that follow.

    Returns:
        What was found, and the episodes with the columns' medians in place of such values: one of them would spoil any regression.
    """
    tame: dict[str, Any] = {}
    found: list[tuple[float, str, int, float, int]] = []  # spreads, column, row, value, count
    for array, names in _columns(episodes, robot).items():
        values: Tensor = getattr(episodes, array)
        middle, spread = typical(values, _least(array, episodes, robot))
        low, high = middle - _SPREADS * spread, middle + _SPREADS * spread
        suspects = ((values.amin(0) < low) | (values.amax(0) > high)).nonzero().squeeze(-1).tolist()
        for column in suspects:
            distance = (values[:, column] - middle[column]).abs() / spread[column]
            row, count = int(distance.argmax()), int((distance > _SPREADS).sum())
            found.append((float(distance[row]), names[column], row, float(values[row, column]), count))
        if suspects:
            tame[array] = torch.where((values < low) | (values > high), middle, values)
    if not found:
        return [], episodes
    return [_finding(episodes, found)], replace(episodes, **tame)


def typical(values: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """Return median and robust spread of every column ``[R, X] -> [X], [X]``.

    The spread is 1.4826 x the median absolute deviation, and at least ``least [X]``. Where that is NaN, for columns of unknown
    units, it is at least what the central 98 % have: such a column may be at rest for most of the time; and nobody knows how far
    one reaches that is at rest for more than that.
    """
    some = values[:: max(1, len(values) // _MOST_ROWS)].numpy()
    middle = np.median(some, axis=0)
    spread = 1.4826 * np.median(np.abs(some - middle), axis=0)
    low, high = np.quantile(some, [0.01, 0.99], axis=0)
    known = np.where(high > low, (high - low) / _CENTRAL, np.inf)
    spread = np.maximum(spread, np.where(np.isnan(least.numpy()), known, least.numpy()))
    return torch.from_numpy(middle.astype(np.float32)), torch.from_numpy(spread.astype(np.float32))


def _columns(episodes: Episodes, robot: Robot) -> dict[str, list[str]]:
    """Return the names of the columns of each array that is looked at."""
    names = {"state": robot.state_layout.names(), "action": [f"action[{i}]" for i in range(robot.num_joints)]}
    if episodes.extension is not None:
        names[EXTENSION] = [f"{EXTENSION}[{i}]" for i in range(episodes.extension_dim)]
    return names


def _least(array: str, episodes: Episodes, robot: Robot) -> Tensor:
    """Return the least spread of each column, NaN where its unit is not known."""
    if array == "state":
        fields = robot.state_layout.fields
        return torch.cat([torch.full((field.size,), _LEAST_SPREAD.get(field.name, torch.nan)) for field in fields])
    columns = getattr(episodes, array).shape[-1]
    return torch.full((columns,), _LEAST_SPREAD_OF_ACTIONS if array == "action" else torch.nan)


def _finding(episodes: Episodes, found: list[tuple[float, str, int, float, int]]) -> Finding:
    found = sorted(found, reverse=True)
    _, name, row, value, _ = found[0]
    total = sum(count for *_, count in found)
    sentence = (
        f"{total} values lie absurdly far from the rest of their columns ({listed([column for _, column, *_ in found])}), the "
        f"worst {name} = {value:.6g} in {place(episodes, row)}: glitches, or marks of missing values, which wreck means and "
        "deviations; leave these rows out and split the episodes there."
    )
    columns = [{"column": column, "value": worst, "row": at, "count": count} for _, column, at, worst, count in found]
    return Finding("outliers", "warning", sentence, {"count": total, "columns": columns})
