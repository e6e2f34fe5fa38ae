"""Do joints move as their velocities say? Splices within episodes, wrong steps and wrong units of angles show there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rwmu.data.audit.findings import Finding, listed
from rwmu.data.episodes import Episodes
from rwmu.data.seams import find_seams, joints_follow
from rwmu.robots.layout import StateLayout

_DEGREES = 180.0 / math.pi
_LISTED = 20  # seams named in the numbers

# Between what factors joints may move per velocity x step. The truth lies between the two regressions of ``scale_between``:
# 0.99..1.07 and 1.07..1.17 on clean data of the simulator (walking, standing, falling), farther apart with noise. With 0.025 s
# instead of 0.02 s they are 0.79..0.85 and 0.85..0.94, with 0.0167 s 1.18..1.28 and 1.28..1.40.
_LEAST_MOVED, _MOST_MOVED = 0.95, 1.15


def other_step(step_dt: float, of_the_task: float) -> list[Finding]:
    """Compare the step of the data with that of the task, s: rewards, air times and time-outs count the latter."""
    if abs(step_dt - of_the_task) <= 1e-4 * of_the_task:
        return []
    sentence = (
        f"The data have a step of {step_dt:g} s, but the task one of {of_the_task:g} s: rewards, air times and time-outs would be "
        f"those of another robot; set task.step_dt={step_dt:g}, or give data of the task's step."
    )
    numbers = {"step_dt": step_dt, "step_dt_of_the_task": of_the_task}
    return [Finding("step_dt_of_the_task", "error", sentence, numbers)]


def joint_motion(episodes: Episodes, layout: StateLayout, step_dt: float) -> list[Finding]:
    """Compare positions with integrated velocities; look for seams only where the two go together.

    Args:
        layout: with ``joint_pos`` and ``joint_vel``.
        step_dt: s.
    """
    low, high = motion_scale(episodes, layout, step_dt)
    numbers = {"moved_per_travel_low": low, "moved_per_travel_high": high if math.isfinite(high) else None}
    middle = math.sqrt(max(low, 0.0) * high)
    if low > _MOST_MOVED or high < _LEAST_MOVED:
        return [_scale_finding(middle, step_dt, numbers)]
    if not joints_follow(episodes.state, layout, step_dt):
        return [
            Finding(
                "joints_do_not_follow",
                "warning",
                "Joint positions do not follow from joint velocities: rows or columns are out of order, velocities are mostly "
                f"noise, or the step is not {step_dt:g} s; check the order first (seams cannot be looked for).",
                numbers,
            )
        ]
    return seams(episodes, layout, step_dt)


def motion_scale(episodes: Episodes, layout: StateLayout, step_dt: float) -> tuple[float, float]:
    """Return between what factors joints move per velocity x step; both are 1 for exact data."""
    position, velocity = (layout.part(episodes.state, name) for name in ("joint_pos", "joint_vel"))
    travel = 0.5 * step_dt * (velocity[1:] + velocity[:-1])
    return scale_between(episodes, travel, position.diff(dim=0))


def scale_between(episodes: Episodes, told: Tensor, changed: Tensor) -> tuple[float, float]:
    """Return between what factors ``changed`` is ``told``, ``[R - 1, X]`` both, from row to row within episodes.

    Least squares of either on the other: noise in what is told lowers the first factor, noise in what changed raises the second, so
    that the true one lies between them. (0, infinity) where the two do not go together.
    """
    within = torch.ones(len(changed), dtype=torch.bool)
    within[episodes.offsets[1:] - 1] = False
    told, changed = told[within].double(), changed[within].double()
    together = float((changed * told).sum())
    if together <= 0.0:
        return 0.0, math.inf
    return together / float(told.square().sum()), float(changed.square().sum()) / together


def _scale_finding(scale: float, step_dt: float, numbers: dict[str, float | None]) -> Finding:
    for name, factor, words in (
        ("units_joint_pos", _DEGREES, "positions seem to be in degrees"),
        ("units_joint_vel", 1.0 / _DEGREES, "velocities seem to be in degrees per second"),
    ):
        if 0.6 < scale / factor < 1.6:
            sentence = (
                f"Joints move {scale:.3g} times as far as their velocities say: {words}; convert them to radians "
                "(seams cannot be looked for before)."
            )
            return Finding(name, "warning", sentence, numbers)
    sentence = (
        f"Joints move {scale:.3g} times as far as their velocities say in a step of {step_dt:g} s: rows were left out or the step "
        f"is about {scale * step_dt:.3g} s; correct step_dt or the velocities' unit (seams cannot be looked for before)."
    )
    return Finding("step_dt", "warning", sentence, numbers)


def seams(episodes: Episodes, layout: StateLayout, step_dt: float) -> list[Finding]:
    """Find rows within episodes that do not follow from the row before them (:func:`rwmu.data.seams.find_seams`)."""
    rows = find_seams(episodes.state, layout, step_dt)
    first = torch.zeros(episodes.num_rows, dtype=torch.bool)
    first[episodes.offsets] = True
    rows = rows[~first[rows]]
    if not len(rows):
        return []
    places = _places(episodes, rows)
    words = listed([f"row {row} of episode {episode}" for episode, row in places])
    return [
        Finding(
            "seams",
            "warning",
            f"{len(rows)} rows within episodes do not follow from the row before: {words}; windows would teach a model that a "
            "robot may vanish and reappear elsewhere, so split the episodes there.",
            {"count": len(rows), "episode_and_row": places[:_LISTED]},
        )
    ]


def _places(episodes: Episodes, rows: Tensor) -> list[list[int]]:
    episode = episodes.episode_of_row[rows]
    return torch.stack([episode, rows - episodes.offsets[episode]], dim=-1).tolist()
