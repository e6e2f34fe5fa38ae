"""Do joints move as their velocities say, and gravity as the base turns? Splices, steps, units, axes and signs show there."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from rwmu.data.audit.context import Context, numbered, place, rows_within, spread, step_of
from rwmu.data.audit.findings import Finding, listed, warning
from rwmu.data.episodes import Episodes
from rwmu.data.seams import find_seams, joints_follow

DEGREES = 180.0 / math.pi
_LISTED = 20  # seams named in the numbers

# Between what factors joints may move per velocity x step. The truth lies between the two regressions of ``scale_between``:
# 0.99..1.07 and 1.07..1.17 on clean data of the simulator (walking, standing, falling), farther apart with noise. With 0.025 s
# instead of 0.02 s they are 0.79..0.85 and 0.85..0.94, with 0.0167 s 1.18..1.28 and 1.28..1.40.
_LEAST_MOVED, _MOST_MOVED = 0.95, 1.15
_ABOUT = (0.6, 1.6)  # times a factor of degrees, where it is taken for one
_SURE = 3.0  # of a rate: the two factors' quotient is 1 / (correlation squared)

# Of the axes of the base.
_ROWS = 5  # over which turns are added up: noise of the sensors is small beside them
_MOST_WINDOWS, _FEWEST_WINDOWS = 40_000, 500
_LEAST_TURN = 0.01  # in five rows, root mean square: a robot that turns less tells nothing
_TOGETHER, _APART, _BETTER = 0.7, 0.5, 0.3  # correlations
_SMOOTH, _LOUD = 2.0, 1.5  # see _in_earnest

Axes = tuple[tuple[int, float], ...]  # which column each axis is read from, and with what sign
_AS_THEY_ARE: Axes = ((0, 1.0), (1, 1.0), (2, 1.0))


def step(episodes: Episodes, context: Context) -> list[Finding]:
    """Compare the step of the data with that of the task: rewards, air times and time-outs count the latter."""
    step_dt, wanted = step_of(episodes), context.settings.step_dt
    if step_dt is None:
        sentence = "The data do not say how long a step is; add the attribute 'step_dt' (s)."
        return [Finding("step_dt_unknown", "warning" if wanted is None else "error", sentence)]
    if wanted is None or abs(step_dt - wanted) <= 1e-4 * wanted:
        return []
    sentence = (
        f"The data have a step of {step_dt:g} s, but the task one of {wanted:g} s; set task.step_dt={step_dt:g}, or give others."
    )
    return [Finding("step_dt_of_the_task", "error", sentence, {"step_dt": step_dt, "step_dt_of_the_task": wanted})]


def missing_joints(episodes: Episodes, context: Context) -> list[Finding]:
    """Say that a layout without joints cannot be checked for seams and lags."""
    missing = sorted({"joint_pos", "joint_vel"} - context.fields)
    if not missing:
        return []
    sentence = f"The layout has no {' and '.join(missing)}: seams and action lags cannot be looked for."
    return [Finding("joints_unknown", "note", sentence)]


# -- joints -------------------------------------------------------------------------------------------------------------------


def joint_motion(episodes: Episodes, context: Context) -> list[Finding]:
    """Compare positions with integrated velocities; look for seams only where the two go together."""
    step_dt = step_of(episodes)
    if step_dt is None:
        return []
    low, high = motion_scale(episodes, context, step_dt)
    numbers = {"moved_per_travel_low": low, "moved_per_travel_high": high if math.isfinite(high) else None}
    if low > _MOST_MOVED or high < _LEAST_MOVED:
        name, words = _other_scale(math.sqrt(max(low, 0.0) * high), step_dt)
        return [warning(name, f"{words} (seams cannot be looked for before).", **numbers)]
    if joints_follow(episodes.state, context.layout, step_dt):
        return _seams(episodes, context, step_dt)
    sentence = (
        "Joint positions do not follow from joint velocities: rows or columns are out of order, velocities are mostly noise, or "
        f"the step is not {step_dt:g} s; check the order first."
    )
    return [warning("joints_do_not_follow", sentence, **numbers)]


def motion_scale(episodes: Episodes, context: Context, step_dt: float) -> tuple[float, float]:
    """Return between what factors joints move per velocity x step; both are 1 for exact data."""
    position, velocity = (context.part(episodes, name) for name in ("joint_pos", "joint_vel"))
    return scale_between(episodes, 0.5 * step_dt * (velocity[1:] + velocity[:-1]), position.diff(dim=0))


def scale_between(episodes: Episodes, told: Tensor, changed: Tensor) -> tuple[float, float]:
    """Return between what factors ``changed`` is ``told``, ``[R - 1, X]`` both, from row to row within episodes.

    Least squares of either on the other: noise in what is told lowers the first factor, noise in what changed raises the second, so
    that the true one lies between them. (0, infinity) where the two do not go together.
    """
    within = rows_within(episodes) - 1
    told, changed = told[within].double(), changed[within].double()
    together = float((changed * told).sum())
    if together <= 0.0:
        return 0.0, math.inf
    return together / float(told.square().sum()), float(changed.square().sum()) / together


def _other_scale(scale: float, step_dt: float) -> tuple[str, str]:
    """Return the name of what makes joints move ``scale`` times as far, and words for it."""
    moved = f"Joints move {scale:.3g} times as far as their velocities say"
    if _ABOUT[0] < scale / DEGREES < _ABOUT[1]:
        return "units_joint_pos", f"{moved}: positions seem to be in degrees; convert them"
    if _ABOUT[0] < scale * DEGREES < _ABOUT[1]:
        return "units_joint_vel", f"{moved}: velocities seem to be in degrees per second; convert them"
    rows = f"rows were left out or the step is about {scale * step_dt:.3g} s"
    return "step_dt", f"{moved} in a step of {step_dt:g} s: {rows}; correct step_dt or the velocities' unit"


def _seams(episodes: Episodes, context: Context, step_dt: float) -> list[Finding]:
    """Find rows within episodes that do not follow from the row before them (:func:`rwmu.data.seams.find_seams`)."""
    rows = find_seams(episodes.state, context.layout, step_dt)
    rows = rows[~torch.isin(rows, episodes.offsets)]
    if not len(rows):
        return []
    where = listed([place(episodes, row) for row in rows.tolist()])
    sentence = f"{len(rows)} rows within episodes do not follow from the row before: {where}; split the episodes there."
    places = [list(numbered(episodes, row)) for row in rows[:_LISTED].tolist()]
    return [warning("seams", sentence, count=len(rows), episode_and_row=places)]


# -- the base -----------------------------------------------------------------------------------------------------------------


def turning(episodes: Episodes, context: Context) -> list[Finding]:
    """Compare how fast gravity turns in the base with how fast the base turns: dg/dt = -w x g."""
    step_dt = step_of(episodes)
    if step_dt is None:
        return []
    direction, rate = (context.part(episodes, name) for name in ("projected_gravity", "base_ang_vel"))
    turned = -step_dt * torch.linalg.cross(0.5 * (rate[1:] + rate[:-1]), 0.5 * (direction[1:] + direction[:-1]))
    low, high = scale_between(episodes, turned, direction.diff(dim=0))
    scale = math.sqrt(low * high) if math.isfinite(high) else 0.0
    if high > _SURE * low or not _ABOUT[0] < scale * DEGREES < _ABOUT[1]:
        return []
    sentence = (
        f"Gravity turns {scale:.3g} times as fast as base_ang_vel says: rates seem to be in degrees per second; convert them."
    )
    return [warning("units_base_ang_vel", sentence, turned_per_rate=scale)]


def base_axes(episodes: Episodes, context: Context) -> list[Finding]:
    """Compare the turns of gravity with those that the base's rates tell, dg/dt = -w x g, for every order and sign of the axes.

    Correlations of turns over five rows: 0.99 to 1 on data of the simulator, 0.72 on 1,001,526 rows of the recipe 'mixed' with the
    task's observation noise. Nothing is said of robots that hardly turn, nor of data so noisy that nothing goes together.
    """
    step_dt, starts = step_of(episodes), spread(rows_within(episodes, before=0, behind=_ROWS), _MOST_WINDOWS)
    if step_dt is None or len(starts) < _FEWEST_WINDOWS:
        return []
    rows = starts.unsqueeze(-1) + torch.arange(_ROWS + 1)
    gravity, rate = (context.part(episodes, name)[rows].double() for name in ("projected_gravity", "base_ang_vel"))
    turned = gravity[:, -1] - gravity[:, 0]
    if _size(turned) < _LEAST_TURN:
        return []
    found = correlations(gravity, rate, turned, step_dt)
    own, best = found[_AS_THEY_ARE], max(found, key=found.__getitem__)
    axes = ", ".join(f"{'-' if sign < 0.0 else ''}{'xyz'[column]}" for column, sign in best)
    if own >= _TOGETHER:
        return []
    if found[best] >= max(_TOGETHER, own + _BETTER):
        words = f"but would if read as ({axes}) ({found[best]:.2f}): mend the axes or signs of one of the two."
    elif own >= _APART or not _in_earnest(gravity, rate, turned, step_dt):
        return []
    else:
        words = "nor in other orders or signs of axes: record both in the frame of the base, and in the same rows."
    sentence = f"Gravity does not turn in the base as base_ang_vel says (correlation {own:.2f}), {words}"
    return [warning("base_axes", sentence, correlation=own, best_correlation=found[best], best_axes=axes)]


def correlations(gravity: Tensor, rate: Tensor, turned: Tensor, step_dt: float) -> dict[Axes, float]:
    """Return how turns ``[S, 3]`` of windows go with those that the rates ``[S, T, 3]`` tell, for every reading of their axes."""
    middle, speed = _between(gravity), _between(rate)
    # told[3 i + j]: the turn that column j of the rates would make if it were the rate about axis i
    arms = [torch.linalg.cross(axis.expand_as(middle), middle) for axis in torch.eye(3, dtype=torch.float64)]
    told = torch.stack([-step_dt * (speed[..., j, None] * arm).sum(1) for arm in arms for j in range(3)]).reshape(9, -1)
    among, along = told @ told.T, told @ turned.reshape(-1)
    size = float(turned.square().sum())
    found: dict[Axes, float] = {}
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            chosen = torch.zeros(9, dtype=torch.float64)
            for axis, (column, sign) in enumerate(zip(order, signs, strict=True)):
                chosen[3 * axis + column] = sign
            length = float(chosen @ among @ chosen)
            found[tuple(zip(order, signs, strict=True))] = float(chosen @ along) / max(length * size, 1e-24) ** 0.5
    return found


def _in_earnest(gravity: Tensor, rate: Tensor, turned: Tensor, step_dt: float) -> bool:
    """Tell whether noise cannot be why turns do not go together.

    Noise of gravity changes as much in one row as in five. Noise of right rates that lowers the correlation below a half makes them
    tell turns more than twice as large as gravity's.
    """
    once = gravity[:, 1] - gravity[:, 0]
    told = step_dt * torch.linalg.cross(_between(rate), _between(gravity)).sum(1)
    return bool(_size(turned) > _SMOOTH * _size(once) and _size(told) < _LOUD * _size(turned))


def _between(rows: Tensor) -> Tensor:
    """Return the means of neighbouring rows, ``[S, T, 3] -> [S, T - 1, 3]``."""
    return 0.5 * (rows[:, 1:] + rows[:, :-1])


def _size(turns: Tensor) -> float:
    """Return the root mean square of vectors ``[S, 3]``."""
    return float(turns.square().sum(-1).mean().sqrt())
