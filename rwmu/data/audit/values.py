"""Are the values of a column plausible: do they vary, are there glitches, are they of the size that their unit allows."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from rwmu.data.audit.findings import Findings, Severity, finding
from rwmu.data.audit.view import View, some
from rwmu.data.episodes import Episodes

_MOST_ROWS = 100_000  # looked at for quantiles

# -- columns that stand still -------------------------------------------------------------------------------------------------

_RELATIVE = 1e-6  # as the normaliser: what varies less than this times its size is constant but for rounding
_STUCK_ROWS = 50  # 1 s at 50 Hz; a value measured by a float32 sensor does not repeat that often
_BESIDE = 3  # rows before and behind, in which a column that hung must be seen to move
_STEPS = 3.0  # of its resolution, by which it must move there
_AS_USUAL = 0.1  # of what they typically do, that the other columns must move meanwhile


def constant_columns(view: View) -> Findings:
    """Find columns with one value throughout; a normaliser can be fitted neither on the state's nor on an extension's."""
    for array, values in view.arrays().items():
        values = values[view.rows_within()] if array == "action" else values
        missing = view.missing_columns() if array == "state" else set()
        dead = [index for index in constant(values).tolist() if index not in missing]
        if dead:
            severity: Severity = "error" if array != "action" and view.settings.normalizer is None else "warning"
            columns = [view.column(array, index) for index in dead]
            yield finding(f"constant_{array}", {"columns": columns, "values": values[0, dead].tolist()}, severity=severity)


def constant(values: Tensor) -> Tensor:
    """Return the columns of ``[R, X]`` that have one value but for rounding, int64."""
    if len(values) < 2:
        return torch.empty(0, dtype=torch.int64)
    low, high = values.amin(0), values.amax(0)
    size = torch.maximum(low.abs(), high.abs()).clamp(min=_RELATIVE)
    return ((high - low) <= _RELATIVE * size).nonzero().squeeze(-1)


def stuck_columns(view: View) -> Findings:
    """Find state columns that stand still for 50 rows or more within an episode while other columns move.

    The least and the greatest value of a column are left out: a limit (of a torque, say) is reached again and again. So are
    stretches in which the robot itself stands still, and values that repeat because they are coarse (rounded, or the z of gravity
    of an upright robot, which a float32 hardly resolves): a sensor that hangs stops amid its motion, and jumps when it goes on.
    """
    state = view.episodes.state
    same = state[1:] == state[:-1]
    same[view.episodes.offsets[1:] - 1] = False
    moving = ~same.all(-1)
    rows = some(torch.arange(len(state) - 1), 20_000)
    typical = (state[rows + 1] - state[rows]).abs().mean(0)
    found: dict[str, tuple[int, int]] = {}  # column -> rows that it hung for at the longest, and the first of them
    for column in (same.sum(0) >= _STUCK_ROWS - 1).nonzero().squeeze(-1).tolist():
        values = state[:, column]
        at_limit = ((values == values.min()) | (values == values.max()))[1:]
        runs = _long_runs(same[:, column] & moving & ~at_limit, _STUCK_ROWS - 1)
        runs = [run for run in runs if _hung(view, values, *run) and _others_move(state, column, *run, typical)]
        if runs and not len(constant(state[:, [column]])):
            found[view.column("state", column)] = max((stop - start + 1, -start) for start, stop in runs)
    if found:
        worst = max(found, key=lambda name: found[name][0])
        words = {"worst": worst, "rows": found[worst][0], "place": view.place(-found[worst][1])}
        yield finding("stuck_state", {"columns": list(found), "longest_rows": [rows for rows, _ in found.values()]}, words)


def _long_runs(mask: Tensor, fewest: int) -> list[tuple[int, int]]:
    """Return where runs of at least ``fewest`` true values begin and end (not included)."""
    edges = np.diff(np.r_[False, mask.numpy(), False].astype(np.int8))
    runs = zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True)
    return [(start, stop) for start, stop in runs if stop - start >= fewest]


def _hung(view: View, values: Tensor, start: int, stop: int) -> bool:
    """Tell whether a column that has one value in the rows ``start`` to ``stop`` (included) moved before and jumped thereafter."""
    episode, number = view.numbered(start)
    first, last = start - number, int(view.episodes.last_rows[episode])
    change = values.diff().abs()
    resolution = float(change[change > 0.0].min()) if change.any() else math.inf
    least = _STEPS * max(resolution, torch.finfo(torch.float32).eps * float(values[start].abs()))
    before, after = values[max(first, start - _BESIDE) : start + 1], values[stop : min(last, stop + _BESIDE) + 1]
    beside = [float(part.diff().abs().max()) for part in (before, after) if len(part) > 1]
    # Of a whole episode, only how the column does elsewhere can tell.
    return all(moved > least for moved in beside or [float(change.mean())])


def _others_move(state: Tensor, column: int, start: int, stop: int, typical: Tensor) -> bool:
    """Tell whether most of the other columns move in the rows ``start`` to ``stop`` about as they usually do."""
    others = (torch.arange(state.shape[1]) != column) & (typical > 0.0)
    meanwhile = state[start : stop + 1].diff(dim=0).abs().mean(0)[others]
    return float((meanwhile / typical[others]).median()) > _AS_USUAL


# -- glitches -----------------------------------------------------------------------------------------------------------------

_SPREADS = 50.0  # from the median, beyond which a value is absurd
_CENTRAL = 4.65  # spreads of a Gaussian that its central 98 % take

# field -> least spread that its columns are given, and least and most that 99 % of their absolute values reach.
#
# The least spread is there so that falls are not absurd where a robot mostly stands. With 50 spreads: 25 m/s and 50 rad/s of the
# base, a direction of length 10, 10 rad, 100 rad/s and 500 N m of a joint, actions of 50. The wildest of 1,001,526 rows of the
# recipe 'mixed', with falls and bursts of noise: 2 m/s, 10 rad/s, 2, 2.1 rad, 52 rad/s, 92 N m, 10.
#
# A walking robot's joints stay within a turn of their default and below 50 rad/s, its base turns slower than 20 rad/s; its motors
# give between 2 and 1000 N m (torques that are divided by their limit reach exactly 1).
_FIELDS = {
    "base_lin_vel": (0.5, 0.0, math.inf),
    "base_ang_vel": (1.0, 0.0, 20.0),
    "projected_gravity": (0.2, 0.0, math.inf),
    "joint_pos": (0.2, 0.0, 2.0 * math.pi),
    "joint_vel": (2.0, 0.0, 50.0),
    "joint_torque": (10.0, 2.0, 1000.0),
}
_LEAST_SPREAD_OF_ACTIONS, _UNKNOWN = 1.0, (math.nan, 0.0, math.inf)


def outliers(view: View) -> Findings:
    """Find values absurdly far from the rest: glitches of sensors, sentinels such as -9999. One alone can wreck a normaliser."""
    found = []  # spreads, column, row, value, count
    for array, (distance, _) in absurd(view).items():
        for column in (distance > _SPREADS).any(0).nonzero().squeeze(-1).tolist():
            row, count = int(distance[:, column].argmax()), int((distance[:, column] > _SPREADS).sum())
            value = float(view.arrays()[array][row, column])
            found.append((float(distance[row, column]), view.column(array, column), row, value, count))
    if found:
        found.sort(reverse=True)
        _, worst, row, value, _ = found[0]
        words = {"names": [name for _, name, *_ in found], "worst": worst, "value": value, "place": view.place(row)}
        each = [{"column": name, "value": value, "row": row, "count": count} for _, name, row, value, count in found]
        yield finding("outliers", {"count": sum(count for *_, count in found), "columns": each}, words)


def without_outliers(view: View) -> Episodes:
    """Return the episodes with the columns' medians in place of absurd values, one of which would spoil any regression."""
    tame = {
        array: torch.where(distance > _SPREADS, middle, view.arrays()[array]) for array, (distance, middle) in absurd(view).items()
    }
    return replace(view.episodes, **tame) if tame else view.episodes  # type: ignore[arg-type]


def absurd(view: View) -> dict[str, tuple[Tensor, Tensor]]:
    """Return, of arrays with absurd values, how many spreads each ``[R, X]`` is from its column's median, and those ``[X]``."""
    fields = view.robot.state_layout.fields
    least = {
        "state": torch.cat([torch.full((field.size,), _FIELDS.get(field.name, _UNKNOWN)[0]) for field in fields]),
        "action": torch.full((view.robot.num_joints,), _LEAST_SPREAD_OF_ACTIONS),
    }
    found = {}
    for array, values in view.arrays().items():
        middle, width = typical(values, least.get(array, torch.full((values.shape[1],), torch.nan)))
        distance = (values - middle).abs() / width
        if float(distance.max()) > _SPREADS:
            found[array] = (distance, middle)
    return found


def typical(values: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """Return median and robust spread of every column ``[R, X] -> [X], [X]``.

    The spread is 1.4826 x the median absolute deviation, and at least ``least [X]``. Where that is NaN, for columns of unknown
    units, it is at least what the central 98 % have: such a column may be at rest for most of the time; and nobody knows how far
    one reaches that is at rest for more than that.
    """
    rows = some(values, 20_000).numpy()
    middle = np.median(rows, axis=0)
    deviation = 1.4826 * np.median(np.abs(rows - middle), axis=0)
    low, high = np.quantile(rows, [0.01, 0.99], axis=0)
    known = np.where(high > low, (high - low) / _CENTRAL, np.inf)
    width = np.maximum(deviation, np.where(np.isnan(least.numpy()), known, least.numpy()))
    return torch.from_numpy(middle.astype(np.float32)), torch.from_numpy(width.astype(np.float32))


# -- units --------------------------------------------------------------------------------------------------------------------

_OTHER_LENGTH, _OTHER_MEDIAN, _ODD_ROWS = 0.2, 0.02, 0.01  # of gravity
_FASTER = 2.5  # times the fastest command, before a speed is suspected of being in km/h (a factor of 3.6)


def sizes(view: View) -> Findings:
    """Look at every field whose plausible size is known."""
    for name, (_, least, most) in _FIELDS.items():
        size = quantile(view.part(name).abs(), 0.99) if name in view.fields else least
        if not least <= size <= most:
            bound = f"above {most:.3g}" if size > most else f"below {least:.3g}"
            severity: Severity = "error" if name == "joint_pos" else "warning"  # rewards and policies relate to angles in radians
            yield finding(f"units_{name}", {"quantile_99": size}, {"bound": bound}, severity)


def speed(view: View) -> Findings:
    """Compare how fast the base is with how fast it can be told to go."""
    fastest = math.hypot(*view.settings.command_range[:2])
    size = quantile(view.part("base_lin_vel")[:, :2].norm(dim=-1), 0.95)
    if 0.0 < _FASTER * fastest < size:
        yield finding("units_base_lin_vel", {"quantile_95": size, "fastest_command": fastest})


def gravity(view: View) -> Findings:
    """Check that the gravity vector is a direction, and that it points down, for most rows.

    The task's observation noise leaves the median length within 0.001 of 1, and every length within 0.09.
    """
    projected = view.part("projected_gravity")
    length = projected.norm(dim=-1)
    numbers = {"median_length": quantile(length, 0.5), "median_z": quantile(projected[:, 2], 0.5)}
    off = (length - 1.0).abs() > _OTHER_LENGTH
    share = float(off.double().mean())
    median_off = abs(numbers["median_length"] - 1.0)
    if median_off > _OTHER_MEDIAN:
        grave: Severity = "error" if median_off > _OTHER_LENGTH else "warning"
        yield finding("units_projected_gravity.length", numbers, severity=grave)
    elif share > _ODD_ROWS:
        row = int(off.nonzero()[0])
        words = {"length": float(length[row]), "place": view.place(row)}
        yield finding("units_projected_gravity.rows", {"share": share, **numbers}, words)
    elif numbers["median_z"] > 0.5:
        yield finding("units_projected_gravity.sign", numbers)


def posture(view: View) -> Findings:
    """Find joint angles that are absolute: around the default posture rather than around 0.

    The medians' share of the default posture is -0.3 to 0.3 on data of the simulator (walking, standing, lying), so 0.7 to 1.3
    where angles are absolute.
    """
    position, default = some(view.part("joint_pos"), _MOST_ROWS), view.robot.default_joint_pos
    share = float((position.median(0).values * default).sum() / default.square().sum().clamp(min=1e-9))
    if 0.6 < share < 1.4:
        yield finding("absolute_joint_pos", {"share_of_default": share}, {"robot": view.robot.name})


def quantile(values: Tensor, share: float) -> float:
    """Return a quantile of values ``[R, ...]``, of some of the rows where there are many."""
    return float(np.quantile(some(values, _MOST_ROWS).numpy(), share))


_SHIFTED, _SCALED = 1.0, 3.0  # deviations of the normaliser


def normalizer_mismatch(view: View) -> Findings:
    """Compare a normaliser that is to be used with the data's own means and deviations: it should bring them near to 0 and 1."""
    normalizer, names = view.settings.normalizer, view.robot.state_layout.names()
    if normalizer is None:
        return
    if normalizer.names != names:
        theirs, ours = next(pair for pair in itertools.zip_longest(normalizer.names, names) if pair[0] != pair[1])
        yield finding("normalizer_columns", {"columns": len(normalizer.names)}, {"theirs": theirs, "ours": ours}, severity="error")
        return
    states = view.episodes.state.double()
    std, mean = torch.std_mean(states, 0, correction=0)
    shift, ratio = (mean - normalizer.mean.double()) / normalizer.std.double(), std / normalizer.std.double()
    distance = torch.maximum(shift.abs() / _SHIFTED, torch.maximum(ratio, 1.0 / ratio.clamp(min=1e-12)) / _SCALED)
    off = [name for name, far in zip(names, distance.tolist(), strict=True) if far > 1.0]
    if off:
        worst = int(distance.argmax())
        numbers = {"worst": names[worst], "mean": float(shift[worst]), "deviation": float(ratio[worst])}
        yield finding("normalizer_mismatch", {"columns": off} | numbers, {"number": len(off), "all": len(names)})
