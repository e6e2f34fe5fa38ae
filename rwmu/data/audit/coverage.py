"""Is there enough of everything: commands, episodes for every split, rows for a window."""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.data.audit.context import Context
from rwmu.data.audit.findings import Finding, warning
from rwmu.data.episodes import Episodes

CELLS = 4  # an axis of the box of commands
NEEDED = 5  # independent episodes without which a split gives no interval (rwmu/uncertainty/resampling.py)
_LINGERING = 10  # rows in a cell before a velocity counts as reached
_HALF, _MOST = 0.5, 0.9


def commands(episodes: Episodes, context: Context) -> list[Finding]:
    """Tell what share of the cells of the box of commands the data visit, and how many commands lie beyond it."""
    limits, reached, walked = context.settings.command_range, None, ""
    if {"base_lin_vel", "base_ang_vel"} <= context.fields:
        planar, turning = (context.part(episodes, name) for name in ("base_lin_vel", "base_ang_vel"))
        reached, _ = cell_share(torch.cat([planar[:, :2], turning[:, 2:]], dim=-1), limits, _LINGERING)
        walked = f" (velocities reached visit {reached:.0%} of it)"
    if "command" in episodes.unknown:
        sentence = f"Commands are unknown, so how much of their range the data cover cannot be told{walked}."
        return [Finding("command_unknown", "note", sentence, {"velocity_cells": reached})]
    share, beyond = cell_share(episodes.command, limits)
    numbers, findings = {"velocity_cells": reached, "command_cells": share, "beyond": beyond}, []
    if share < _MOST:
        sentence = f"The commands visit {share:.0%} of {CELLS} cells an axis of their range{walked}; collect more varied ones."
        findings.append(Finding("command_coverage", "warning" if share < _HALF else "note", sentence, numbers))
    if beyond > 0.01:
        words = ", ".join(f"{half_width:g}" for half_width in limits)
        sentence = f"{beyond:.0%} of the commands lie beyond the range of +-({words}): give the range that they were drawn from."
        findings.append(warning("command_beyond", sentence, **numbers))
    return findings


def cell_share(points: Tensor, half_widths: tuple[float, ...], fewest: int = 1) -> tuple[float, float]:
    """Return the share of the box's cells that hold at least ``fewest`` of ``points [R, 3]``, and the share of points beyond."""
    width = torch.tensor(half_widths)
    inside = (points.abs() <= width * (1.0 + 1e-3) + 1e-9).all(-1)
    per_axis = torch.where(width > 0.0, CELLS, 1)
    relative = 0.5 * (points[inside] / width.clamp(min=1e-9) + 1.0)
    cell = torch.minimum((relative * per_axis).long().clamp(min=0), per_axis - 1)
    total = int(per_axis.prod())
    index = (cell * torch.tensor([int(per_axis[1] * per_axis[2]), int(per_axis[2]), 1])).sum(-1)
    visited = int((torch.bincount(index, minlength=total) >= fewest).sum())
    return visited / total, 1.0 - float(inside.double().mean())


def short_episodes(episodes: Episodes, context: Context) -> list[Finding]:
    """Find episodes with fewer rows than a training window."""
    window, short = context.settings.window, episodes.lengths < context.settings.window
    if not short.any():
        return []
    number, share = int(short.sum()), float(episodes.lengths[short].sum()) / episodes.num_rows
    numbers = {"window": window, "count": number, "share_of_rows": share}
    if number == episodes.num_episodes:
        longest = int(episodes.lengths.max())
        sentence = f"No episode has the {window} rows of a training window (the longest has {longest}); lower data.history."
        return [Finding("short_episodes", "error", sentence, numbers)]
    sentence = (
        f"{number} of {episodes.num_episodes} episodes ({share:.1%} of the rows) are shorter than the {window} rows of a window."
    )
    return [Finding("short_episodes", "warning" if share > 0.1 else "note", sentence, numbers)]


def few_episodes(episodes: Episodes, context: Context) -> list[Finding]:
    """Say which splits would have too few independent episodes to tell anything, and whether there is one to calibrate on."""
    fractions, findings = context.settings.fractions, []
    sizes = {name: round(episodes.num_episodes * share) for name, share in fractions.items() if share > 0.0}
    small = ", ".join(f"{name} ({size})" for name, size in sizes.items() if size < NEEDED)
    if small:
        sentence = (
            f"{episodes.num_episodes} episodes leave fewer than {NEEDED} independent ones for the splits {small}: no interval can "
            "be given there; collect more, or give larger shares in data.fractions."
        )
        findings.append(warning("few_episodes", sentence, episodes=episodes.num_episodes, splits=sizes))
    if "calibration" not in sizes:
        sentence = "There is no calibration split, so no uncertainty can be recalibrated; give it a share in data.fractions."
        findings.append(Finding("no_calibration_split", "note", sentence))
    return findings
