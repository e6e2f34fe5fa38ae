"""Is the recording sound: rows that come twice, ends of episodes, contacts, commands, and enough of everything."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rwmu.data.audit.findings import Finding, Findings, Severity, finding
from rwmu.data.audit.values import constant
from rwmu.data.audit.view import View

Indices = NDArray[np.int64]

# -- rows that stand in the data twice: they would be trained on and tested on at once ------------------------------------------

_CHUNK_ROWS = 65536
_STRETCH = 5  # rows in a row, from which on copies are a stretch
_MANY = 1e-3  # share of rows above which single copies are a warning


def copies(view: View) -> Findings:
    """Find rows that repeat the row before, repeated stretches, whole episodes that come twice, and single copies of rows."""
    names = row_hashes(view.episodes.state.numpy())
    frozen = np.r_[False, names[1:] == names[:-1]]  # across episodes too: a table may have been split where it hung
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    origin = first[inverse]
    copied = (origin != np.arange(len(names))) & ~frozen
    starts, stops = _stretches(copied, origin, view.episodes.episode_of_row.numpy())
    single = copied.copy()
    single[view.episodes.offsets.numpy()] = False  # a simulator may always begin in the same state
    for start, stop in zip(starts, stops, strict=True):
        single[start:stop] = False
    if frozen.any():
        yield _rows(view, "frozen_rows", np.flatnonzero(frozen), origin)
    yield from _repeated(view, starts, stops, origin)
    if single.any():
        yield _rows(view, "duplicated_rows", np.flatnonzero(single), origin)


def row_hashes(rows: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return 64 bits a row ``[R]``, equal for rows that are equal to the last bit and hardly ever else."""
    bits = np.ascontiguousarray(rows).view(np.uint32)
    weights = np.random.default_rng(0).integers(1, 2**63, bits.shape[1], dtype=np.uint64) | np.uint64(1)
    parts = [(bits[k : k + _CHUNK_ROWS].astype(np.uint64) * weights).sum(1) for k in range(0, len(bits), _CHUNK_ROWS)]
    return np.concatenate(parts)


def _stretches(copied: NDArray[np.bool_], origin: Indices, episode: Indices) -> tuple[Indices, Indices]:
    """Return where stretches of copies begin and end: five rows or more of one episode that are copied in order."""
    rows = np.flatnonzero(copied)
    goes_on = (np.diff(rows) == 1) & (np.diff(origin[rows]) == 1) & (np.diff(episode[rows]) == 0)
    starts = rows[np.r_[True, ~goes_on][: len(rows)]]
    stops = rows[np.r_[~goes_on, True][: len(rows)]] + 1
    long = stops - starts >= _STRETCH
    return starts[long], stops[long]


def _repeated(view: View, starts: Indices, stops: Indices, origin: Indices) -> Findings:
    """Tell copies of whole episodes from stretches that stand in the data twice."""
    episodes = view.episodes
    offsets, lengths, episode = episodes.offsets.numpy(), episodes.lengths.numpy(), episodes.episode_of_row.numpy()
    of, source, rows = episode[starts], origin[starts], stops - starts
    whole = (starts == offsets[of]) & (rows == lengths[of]) & (source == offsets[episode[source]])
    if whole.any():
        pairs = list(zip(of[whole].tolist(), episode[source[whole]].tolist(), strict=True))
        words = {"episodes": episodes.num_episodes, "pairs": [f"{copy} is a copy of {original}" for copy, original in pairs]}
        yield finding("duplicated_episodes", {"count": len(pairs), "copy_and_original": pairs[:20]}, words)
    if not whole.all():
        starts, rows = starts[~whole], rows[~whole]
        begin = int(starts[rows.argmax()])
        words = {"place": view.place(begin), "original": view.place(int(origin[begin]))}
        numbers = {"count": len(rows), "rows": int(rows.sum()), "longest_rows": int(rows.max())}
        yield finding("repeated_stretches", numbers, words)


def _rows(view: View, name: str, rows: Indices, origin: Indices) -> Finding:
    share, first = len(rows) / view.episodes.num_rows, int(rows[0])
    words = {"place": view.place(first), "original": view.place(int(origin[first]))}
    return finding(name, {"count": len(rows), "share": share}, words, severity="warning" if share > _MANY else "note")


# -- ends of episodes: who lies on the ground has fallen, who ran out of time has not -------------------------------------------

_FEWEST_EPISODES, _NEARLY_ALL, _MOST = 10, 0.9, 0.5
_FALLEN, _UPRIGHT = -0.5, -0.8  # z of gravity: tilted by more than 60 degrees, by less than 37
_SOME = 0.05  # of the episodes of full length
_FEWEST_FALLS = 3
_UNMARKED = 0.1  # of the episodes that end fallen; a recording that stops amid a fall leaves some (3 % of the recipe 'mixed')


def terminations(view: View) -> Findings:
    """Find out whether terminations fire at all, and where they should not."""
    inside = view.episodes.termination.clone()
    inside[view.episodes.last_rows] = False
    total = int(view.episodes.termination.sum())
    if not total:
        known = "termination" not in view.episodes.unknown
        yield finding("no_termination" if known else "no_termination.unknown", {"terminations": 0})
    if inside.any():
        words = {"place": view.place(int(inside.nonzero()[0]))}
        yield finding("termination_inside", {"terminations": total, "inside": int(inside.sum())}, words)


def time_outs(view: View) -> Findings:
    """Find time-outs among the terminations: nearly all episodes terminate, and most of them in the very same row."""
    terminated, episodes = view.episodes.termination[view.episodes.last_rows], view.episodes.num_episodes
    longest = view.episodes.lengths.max()
    total, in_time = int(terminated.sum()), int((terminated & (view.episodes.lengths == longest)).sum())
    if episodes >= _FEWEST_EPISODES and total >= _NEARLY_ALL * episodes and in_time > _MOST * total:
        numbers = {"terminated": total, "in_the_longest": in_time, "episodes": episodes}
        yield finding("time_outs_as_terminations", numbers, {"steps": int(longest) - 1})


def upright_time_outs(view: View) -> Findings:
    """Find time-outs among the terminations of a part of the episodes: some that have run to the full length terminate upright."""
    longest = view.episodes.lengths.max()
    full = view.episodes.last_rows[view.episodes.lengths == longest]
    upright = view.episodes.termination[full] & (view.part("projected_gravity")[full, 2] < _UPRIGHT)
    odd = int(upright.sum())
    if odd >= _FEWEST_FALLS and odd > _SOME * len(full):
        yield finding("time_outs_as_terminations.some", {"terminated": odd, "of": len(full)}, {"steps": int(longest) - 1})


def unmarked_falls(view: View) -> Findings:
    """Find episodes that end on the side or on the back without a termination."""
    height = view.part("projected_gravity")[:, 2]
    fallen = height[view.episodes.last_rows] > _FALLEN
    unmarked = (fallen & ~view.episodes.termination[view.episodes.last_rows]).nonzero().squeeze(-1).tolist()
    upright = float(height.median()) <= _FALLEN  # else the sign is wrong, or the robot lies throughout
    if upright and len(unmarked) >= _FEWEST_FALLS and len(unmarked) > _UNMARKED * int(fallen.sum()):
        yield finding("unmarked_falls", {"unmarked": len(unmarked), "fallen": int(fallen.sum()), "episodes": unmarked[:20]})


def missing_fields(view: View) -> Findings:
    """Say which fields the data lack and hold as zeros: of the state, no normaliser can be fitted to them."""
    for array, layout in (("state", view.robot.state_layout), ("contact", view.robot.contact_layout)):
        fields = [field.name for field in layout.fields if field.name in view.episodes.unknown]
        if fields:
            severity: Severity = "error" if array == "state" and view.settings.normalizer is None else "warning"
            yield finding(f"missing_{array}", {"fields": fields}, severity=severity)


def import_report(view: View) -> Findings:
    """Say what an importer had to assume, and what that of tables did (:func:`rwmu.data.formats.csv.split_table`)."""
    for note in view.episodes.attributes.get("import_notes", ()):
        yield Finding("import_note", "note", str(note))
    report = view.episodes.attributes.get("import_report")
    if not isinstance(report, Mapping):
        return
    if report.get("num_seams"):
        yield finding("table_seams", {"count": report["num_seams"], "rows": report["seams"]}, severity="note")
    if report.get("num_dropped_terminations"):
        yield finding("table_terminations", {"dropped": report["num_dropped_terminations"], "all": report["num_terminations"]})


# -- contacts and rewards -------------------------------------------------------------------------------------------------------

_OTHERS_ON, _MORE = 0.3, 0.2  # share of the rows with another limb down, and how much more often than feet, that no walk has


def contacts(view: View) -> Findings:
    """Find contact columns that are never on or always on; of feet they are suspect, elsewhere worth knowing."""
    share, names = view.episodes.contact.float().mean(0).tolist(), view.robot.contact_layout.names()
    for fixed, when in ((0.0, "never"), (1.0, "always")):
        columns = [name for name, value in zip(names, share, strict=True) if value == fixed]
        columns = [name for name in columns if name.partition("[")[0] in view.fields]
        suspect = when == "always" or any(name.startswith("foot") for name in columns)
        if columns:
            yield finding(f"contact_{when}_on", {"columns": columns}, severity="warning" if suspect else "note")


def contact_order(view: View) -> Findings:
    """Find contacts of other limbs that are on far more often than those of feet: exchanged, or inverted."""
    contact = view.episodes.contact.float()
    feet, others = float(contact[:, view.feet].mean()), float(contact[:, ~view.feet].mean())
    if others > _OTHERS_ON and others > feet + _MORE:  # NaN where there are no others
        yield finding("contact_order", {"others": others, "feet": feet})


def rewards_known(view: View) -> Findings:
    """Say where rewards are unknown, and find rewards that are one value throughout although they should be known."""
    given = view.episodes.reward[view.rows_within()]
    if "reward" in view.episodes.unknown:
        yield finding("reward_unknown", severity="note")
    elif len(constant(given.unsqueeze(-1))):
        yield finding("constant_reward", {"value": float(given[0])})


# -- enough of everything -------------------------------------------------------------------------------------------------------

CELLS = 4  # an axis of the box of commands
NEEDED = 5  # independent episodes without which a split gives no interval (rwmu/uncertainty/resampling.py)
_LINGERING = 10  # rows in a cell before a velocity counts as reached
_HALF_OF_CELLS, _MOST_CELLS, _BEYOND = 0.5, 0.9, 0.01


def commands(view: View) -> Findings:
    """Tell what share of the cells of the box of commands the data visit, and how many commands lie beyond it."""
    limits, reached = view.settings.command_range, None
    if {"base_lin_vel", "base_ang_vel"} <= view.fields:
        velocity = torch.cat([view.part("base_lin_vel")[:, :2], view.part("base_ang_vel")[:, 2:]], dim=-1)
        reached, _ = cell_share(velocity, limits, _LINGERING)
    words = {"walked": "" if reached is None else f" (velocities reached visit {reached:.0%} of it)", "cells": CELLS}
    if "command" in view.episodes.unknown:
        yield finding("command_unknown", {"velocity_cells": reached}, words, severity="note")
        return
    share, beyond = cell_share(view.episodes.command, limits)
    numbers = {"velocity_cells": reached, "command_cells": share, "beyond": beyond}
    if share < _MOST_CELLS:
        yield finding("command_coverage", numbers, words, severity="warning" if share < _HALF_OF_CELLS else "note")
    if beyond > _BEYOND:
        yield finding("command_beyond", numbers, {"limits": [f"{limit:g}" for limit in limits]})


def cell_share(points: Tensor, half_widths: tuple[float, ...], fewest: int = 1) -> tuple[float, float]:
    """Return the share of the box's cells that hold at least ``fewest`` of ``points [R, 3]``, and the share of points beyond."""
    width = torch.tensor(half_widths)
    inside = (points.abs() <= width * (1.0 + 1e-3) + 1e-9).all(-1)
    per_axis = torch.where(width > 0.0, CELLS, 1)
    relative = 0.5 * (points[inside] / width.clamp(min=1e-9) + 1.0)
    cell = torch.minimum((relative * per_axis).long().clamp(min=0), per_axis - 1)
    visits = torch.unique(cell, dim=0, return_counts=True)[1]
    return int((visits >= fewest).sum()) / int(per_axis.prod()), 1.0 - float(inside.double().mean())


def short_episodes(view: View) -> Findings:
    """Find episodes with fewer rows than a training window."""
    lengths, window = view.episodes.lengths, view.settings.window
    short = lengths < window
    if short.any():
        share = float(lengths[short].sum()) / view.episodes.num_rows
        numbers = {"window": window, "count": int(short.sum()), "share_of_rows": share}
        words = {"all": len(lengths), "longest": int(lengths.max())}
        if short.all():
            yield finding("short_episodes.all", numbers, words, severity="error")
        else:
            yield finding("short_episodes", numbers, words, severity="warning" if share > 0.1 else "note")


def few_episodes(view: View) -> Findings:
    """Say which splits would have too few independent episodes to tell anything, and whether there is one to calibrate on."""
    number, fractions = view.episodes.num_episodes, view.settings.fractions
    splits = {name: round(number * share) for name, share in fractions.items() if share > 0.0}
    small = [f"{name} ({size})" for name, size in splits.items() if size < NEEDED]
    if small:
        yield finding("few_episodes", {"episodes": number, "splits": splits}, {"needed": NEEDED, "small": small})
    if "calibration" not in splits:
        yield finding("no_calibration_split", severity="note")
