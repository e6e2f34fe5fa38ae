"""Columns that stand still for a while although the robot moves: a sensor that hung."""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.data.audit.columns import constant
from rwmu.data.audit.context import Context, place, spread
from rwmu.data.audit.findings import Finding, listed, warning
from rwmu.data.episodes import Episodes

_STUCK_ROWS = 50  # 1 s at 50 Hz; a value measured by a float32 sensor does not repeat that often
_BESIDE = 3  # rows before and behind, in which a column that hung must be seen to move
_STEPS = 3.0  # of its resolution, by which it must move there
_AS_USUAL = 0.1  # of what they typically do, that the other columns must move meanwhile
_MOST_ROWS = 20_000  # that typical motion is taken of


def stuck_columns(episodes: Episodes, context: Context) -> list[Finding]:
    """Find state columns that stand still for 50 rows or more within an episode while other columns move.

    The least and the greatest value of a column are left out: a limit (of a torque, say) is reached again and again. So are
    stretches in which the robot itself stands still, and values that repeat because they are coarse (rounded, or the z of gravity
    of an upright robot, which a float32 hardly resolves): a sensor that hangs stops amid its motion, and jumps when it goes on.
    """
    state = episodes.state
    if episodes.num_rows < 2:
        return []
    same = state[1:] == state[:-1]
    same[episodes.offsets[1:] - 1] = False
    moving = ~same.all(-1)
    rows = spread(torch.arange(len(state) - 1), _MOST_ROWS)
    typical = (state[rows + 1] - state[rows]).abs().mean(0)
    found: dict[str, tuple[int, int]] = {}  # column -> rows that it hung for at the longest, and the first of them
    for column in (same.sum(0) >= _STUCK_ROWS - 1).nonzero().squeeze(-1).tolist():
        values = state[:, column]
        at_limit = ((values == values.min()) | (values == values.max()))[1:]
        runs = _runs(same[:, column] & moving & ~at_limit, _STUCK_ROWS - 1)
        step = _resolution(values) if runs else 0.0
        runs = [run for run in runs if _hung(episodes, values, *run, step) and _others_move(state, column, *run, typical)]
        if runs and not len(constant(state[:, [column]])):
            found[context.layout.names()[column]] = max((stop - start + 1, -start) for start, stop in runs)
    if not found:
        return []
    worst = max(found, key=lambda name: found[name][0])
    sentence = (
        f"State columns stand still while others move: {listed(list(found))}; {worst} for {found[worst][0]} rows from "
        f"{place(episodes, -found[worst][1])} on: a sensor hung, so leave these episodes out."
    )
    return [warning("stuck_state", sentence, columns=list(found), longest_rows=[rows for rows, _ in found.values()])]


def _runs(mask: Tensor, fewest: int) -> list[tuple[int, int]]:
    """Return where runs of at least ``fewest`` true values begin and end (not included)."""
    edges = torch.diff(mask.int(), prepend=torch.zeros(1, dtype=torch.int32), append=torch.zeros(1, dtype=torch.int32))
    starts, stops = (edges == 1).nonzero().squeeze(-1), (edges == -1).nonzero().squeeze(-1)
    long = stops - starts >= fewest
    return list(zip(starts[long].tolist(), stops[long].tolist(), strict=True))


def _resolution(values: Tensor) -> float:
    """Return the least change of a column from row to row, infinity where it never changes."""
    change = values.diff().abs()
    return float(torch.where(change > 0.0, change, torch.inf).min())


def _hung(episodes: Episodes, values: Tensor, start: int, stop: int, step: float) -> bool:
    """Tell whether a column that has one value in the rows ``start`` to ``stop`` (included) moved before and jumped thereafter."""
    episode = int(episodes.episode_of_row[start])
    first, last = int(episodes.offsets[episode]), int(episodes.offsets[episode] + episodes.lengths[episode]) - 1
    least = _STEPS * max(step, torch.finfo(torch.float32).eps * float(values[start].abs()))
    before, after = values[max(first, start - _BESIDE) : start + 1], values[stop : min(last, stop + _BESIDE) + 1]
    beside = [float(part.diff().abs().max()) for part in (before, after) if len(part) > 1]
    # Of a whole episode, only how the column does elsewhere can tell.
    return all(change > least for change in beside or [float(values.diff().abs().mean())])


def _others_move(state: Tensor, column: int, start: int, stop: int, typical: Tensor) -> bool:
    """Tell whether most of the other columns move in the rows ``start`` to ``stop`` about as they usually do."""
    others = (torch.arange(state.shape[1]) != column) & (typical > 0.0)
    meanwhile = state[start : stop + 1].diff(dim=0).abs().mean(0)[others]
    return float((meanwhile / typical[others]).median()) > _AS_USUAL
