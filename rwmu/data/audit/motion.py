"""Do joints move as their velocities say, and gravity as the base turns? Splices, steps, units, axes and signs show there."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from rwmu.data.audit.findings import Findings, finding
from rwmu.data.audit.view import View, some
from rwmu.data.seams import find_seams, joints_follow

DEGREES = 180.0 / math.pi
_LISTED = 20  # seams named in the numbers

# Between what factors joints may move per velocity x step. The truth lies between the two regressions of ``scale_between``:
# 0.99..1.07 and 1.07..1.17 on clean data of the simulator (walking, standing, falling), farther apart with noise. With 0.025 s
# instead of 0.02 s they are 0.79..0.85 and 0.85..0.94, with 0.0167 s 1.18..1.28 and 1.28..1.40.
_LEAST_MOVED, _MOST_MOVED = 0.95, 1.15
_ABOUT = (0.6, 1.6)  # times a factor of degrees, where it is taken for one
_SURE = 3.0  # of a rate: the two factors' quotient is 1 / (correlation squared)


def step(view: View) -> Findings:
    """Compare the step of the data with that of the task: rewards, air times and time-outs count the latter."""
    step_dt, wanted = view.step_dt, view.settings.step_dt
    if step_dt is None:
        yield finding("step_dt_unknown", severity="warning" if wanted is None else "error")
    elif wanted is not None and abs(step_dt - wanted) > 1e-4 * wanted:
        yield finding("step_dt_of_the_task", {"step_dt": step_dt, "step_dt_of_the_task": wanted}, severity="error")


def missing_joints(view: View) -> Findings:
    """Say that a layout without joints cannot be checked for seams and lags."""
    missing = sorted({"joint_pos", "joint_vel"} - view.fields)
    if missing:
        yield finding("joints_unknown", words={"missing": missing}, severity="note")


# -- joints -------------------------------------------------------------------------------------------------------------------


def joint_motion(view: View) -> Findings:
    """Compare positions with integrated velocities; look for seams only where the two go together."""
    step_dt, state, layout = view.step_dt, view.episodes.state, view.robot.state_layout
    if step_dt is None:
        return
    low, high = motion_scale(view, step_dt)
    numbers = {"moved_per_travel_low": low, "moved_per_travel_high": high if math.isfinite(high) else None}
    if low > _MOST_MOVED or high < _LEAST_MOVED:
        scale = math.sqrt(max(low, 0.0) * high)
        key = _other_scale(scale)
        steps = {"scale": scale, "step_dt": step_dt, "true_step": scale * step_dt}
        yield finding(key, numbers, steps, severity="error" if key.startswith("units_joint_pos") else "warning")
    elif not joints_follow(state, layout, step_dt):
        yield finding("joints_do_not_follow", numbers, {"step_dt": step_dt})
    else:
        rows = find_seams(state, layout, step_dt)
        rows = rows[~torch.isin(rows, view.episodes.offsets)]
        places = [list(view.numbered(row)) for row in rows[:_LISTED].tolist()]
        if places:
            words = {"places": [view.place(row) for row in rows.tolist()]}
            yield finding("seams", {"count": len(rows), "episode_and_row": places}, words)


def _other_scale(scale: float) -> str:
    """Return the name of what makes joints move ``scale`` times as far as their velocities say."""
    if _ABOUT[0] < scale / DEGREES < _ABOUT[1]:
        return "units_joint_pos.motion"
    return "units_joint_vel.motion" if _ABOUT[0] < scale * DEGREES < _ABOUT[1] else "step_dt"


def motion_scale(view: View, step_dt: float) -> tuple[float, float]:
    """Return between what factors joints move per velocity x step; both are 1 for exact data."""
    position, velocity = view.part("joint_pos"), view.part("joint_vel")
    return scale_between(view, 0.5 * step_dt * (velocity[1:] + velocity[:-1]), position.diff(dim=0))


def scale_between(view: View, told: Tensor, changed: Tensor) -> tuple[float, float]:
    """Return between what factors ``changed`` is ``told``, ``[R - 1, X]`` both, from row to row within episodes.

    Least squares of either on the other: noise in what is told lowers the first factor, noise in what changed raises the second, so
    that the true one lies between them. (0, infinity) where the two do not go together.
    """
    within = view.rows_within() - 1
    told, changed = told[within].double(), changed[within].double()
    together = float((changed * told).sum())
    if together <= 0.0:
        return 0.0, math.inf
    return together / float(told.square().sum()), float(changed.square().sum()) / together


# -- the base -----------------------------------------------------------------------------------------------------------------

_ROWS = 5  # over which turns are added up: noise of the sensors is small beside them
_MOST_WINDOWS, _FEWEST_WINDOWS = 40_000, 500
_LEAST_TURN = 0.01  # in five rows, root mean square: a robot that turns less tells nothing
_TOGETHER, _APART, _BETTER = 0.7, 0.5, 0.3  # correlations
_SMOOTH, _LOUD = 2.0, 1.5  # see _in_earnest

Axes = tuple[tuple[int, float], ...]  # which column each axis is read from, and with what sign
_AS_THEY_ARE: Axes = ((0, 1.0), (1, 1.0), (2, 1.0))


def turning(view: View) -> Findings:
    """Compare how fast gravity turns in the base with how fast the base turns: dg/dt = -w x g."""
    step_dt = view.step_dt
    if step_dt is None:
        return
    direction, rate = view.part("projected_gravity"), view.part("base_ang_vel")
    turned = -step_dt * torch.linalg.cross(0.5 * (rate[1:] + rate[:-1]), 0.5 * (direction[1:] + direction[:-1]))
    low, high = scale_between(view, turned, direction.diff(dim=0))
    scale = math.sqrt(low * high) if math.isfinite(high) else 0.0
    if high <= _SURE * low and _ABOUT[0] < scale * DEGREES < _ABOUT[1]:
        yield finding("units_base_ang_vel.turning", {"turned_per_rate": scale})


def base_axes(view: View) -> Findings:
    """Compare the turns of gravity with those that the base's rates tell, dg/dt = -w x g, for every order and sign of the axes.

    Correlations of turns over five rows: 0.99 to 1 on data of the simulator, 0.72 on 1,001,526 rows of the recipe 'mixed' with the
    task's observation noise. Nothing is said of robots that hardly turn, nor of data so noisy that nothing goes together.
    """
    step_dt, starts = view.step_dt, some(view.rows_within(before=0, behind=_ROWS), _MOST_WINDOWS)
    if step_dt is None or len(starts) < _FEWEST_WINDOWS:
        return
    rows = starts.unsqueeze(-1) + torch.arange(_ROWS + 1)
    gravity, rate = (view.part(name)[rows].double() for name in ("projected_gravity", "base_ang_vel"))
    turned = gravity[:, -1] - gravity[:, 0]
    if _size(turned) < _LEAST_TURN:
        return
    found = correlations(gravity, rate, turned, step_dt)
    own, best = found[_AS_THEY_ARE], max(found, key=found.__getitem__)
    axes = ", ".join(f"{'-' if sign < 0.0 else ''}{'xyz'[column]}" for column, sign in best)
    if own >= _TOGETHER:
        return
    if found[best] >= max(_TOGETHER, own + _BETTER):
        advice = f"but would if read as ({axes}) ({found[best]:.2f}): mend the axes or signs of one of the two"
    elif own < _APART and _in_earnest(gravity, rate, turned, step_dt):
        advice = "nor in other orders or signs of axes: record both in the frame of the base, and in the same rows"
    else:
        return
    yield finding("base_axes", {"correlation": own, "best_correlation": found[best], "best_axes": axes}, {"advice": advice})


def correlations(gravity: Tensor, rate: Tensor, turned: Tensor, step_dt: float) -> dict[Axes, float]:
    """Return how turns ``[S, 3]`` of windows go with those that the rates ``[S, T, 3]`` tell, for every reading of their axes."""
    middle, speed = _between(gravity), _between(rate)
    # told[3 i + j]: the turn that column j of the rates would make if it were the rate about axis i
    arms = [torch.linalg.cross(axis.expand_as(middle), middle) for axis in torch.eye(3, dtype=torch.float64)]
    told = torch.stack([-step_dt * (speed[..., j, None] * arm).sum(1) for arm in arms for j in range(3)]).reshape(9, -1)
    among, along = told @ told.T, told @ turned.reshape(-1)
    size = float(turned.square().sum())
    found: dict[Axes, float] = {}
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1.0, -1.0), repeat=3)):
        chosen = torch.zeros(9, dtype=torch.float64)
        chosen[[3 * axis + column for axis, column in enumerate(order)]] = torch.tensor(signs, dtype=torch.float64)
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
