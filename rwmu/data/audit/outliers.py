"""Values absurdly far from the rest: glitches of sensors, sentinels such as -9999. A single one can wreck a normaliser."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rwmu.data.audit.context import Context, place, spread
from rwmu.data.audit.findings import Finding, listed, warning
from rwmu.data.episodes import EXTENSION, Episodes

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


def outliers(episodes: Episodes, context: Context) -> list[Finding]:
    """Find absurd values of states, actions and an extension."""
    found = []  # spreads, column, row, value, count
    for array, least in _least_spreads(episodes, context).items():
        values: Tensor = getattr(episodes, array)
        middle, width = typical(values, least)
        for column in _suspects(values, middle, width):
            distance = (values[:, column] - middle[column]).abs() / width[column]
            row, count = int(distance.argmax()), int((distance > _SPREADS).sum())
            name = context.layout.names()[column] if array == "state" else f"{array}[{column}]"
            found.append((float(distance[row]), name, row, float(values[row, column]), count))
    if not found:
        return []
    found.sort(reverse=True)
    _, name, row, value, _ = found[0]
    total = sum(count for *_, count in found)
    columns = listed([column for _, column, *_ in found])
    sentence = (
        f"{total} values lie absurdly far from the rest of their columns ({columns}), the worst {name} = {value:.6g} in "
        f"{place(episodes, row)}: glitches, or marks of missing values; leave these rows out and split the episodes there."
    )
    each = [{"column": column, "value": worst, "row": at, "count": count} for _, column, at, worst, count in found]
    return [warning("outliers", sentence, count=total, columns=each)]


def without_outliers(episodes: Episodes, context: Context) -> Episodes:
    """Return the episodes with the columns' medians in place of absurd values, one of which would spoil any regression."""
    tame: dict[str, Any] = {}
    for array, least in _least_spreads(episodes, context).items():
        values: Tensor = getattr(episodes, array)
        middle, width = typical(values, least)
        if _suspects(values, middle, width):
            tame[array] = torch.where((values - middle).abs() > _SPREADS * width, middle, values)
    return replace(episodes, **tame) if tame else episodes


def typical(values: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """Return median and robust spread of every column ``[R, X] -> [X], [X]``.

    The spread is 1.4826 x the median absolute deviation, and at least ``least [X]``. Where that is NaN, for columns of unknown
    units, it is at least what the central 98 % have: such a column may be at rest for most of the time; and nobody knows how far
    one reaches that is at rest for more than that.
    """
    some = spread(values, _MOST_ROWS).numpy()
    middle = np.median(some, axis=0)
    deviation = 1.4826 * np.median(np.abs(some - middle), axis=0)
    low, high = np.quantile(some, [0.01, 0.99], axis=0)
    known = np.where(high > low, (high - low) / _CENTRAL, np.inf)
    width = np.maximum(deviation, np.where(np.isnan(least.numpy()), known, least.numpy()))
    return torch.from_numpy(middle.astype(np.float32)), torch.from_numpy(width.astype(np.float32))


def _suspects(values: Tensor, middle: Tensor, width: Tensor) -> list[int]:
    """Return the columns that have absurd values."""
    low, high = middle - _SPREADS * width, middle + _SPREADS * width
    suspects: list[int] = ((values.amin(0) < low) | (values.amax(0) > high)).nonzero().squeeze(-1).tolist()
    return suspects


def _least_spreads(episodes: Episodes, context: Context) -> dict[str, Tensor]:
    """Return the least spread of each column of each array that is looked at, NaN where its unit is not known."""
    of_fields = [torch.full((field.size,), _LEAST_SPREAD.get(field.name, torch.nan)) for field in context.layout.fields]
    least = {"state": torch.cat(of_fields), "action": torch.full((context.robot.num_joints,), _LEAST_SPREAD_OF_ACTIONS)}
    return least if episodes.extension is None else least | {EXTENSION: torch.full((episodes.extension_dim,), torch.nan)}
