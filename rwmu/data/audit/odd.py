"""Is a part of the episodes recorded otherwise than the rest? Each is judged by motors' laws of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.data.audit.actions import LAGS, LESS, SCALES, UNEXPLAINED, clear_laws, laws, moved_columns, rows_off
from rwmu.data.audit.findings import Findings, finding
from rwmu.data.audit.view import View, some

_EPISODES, _ROWS, _FEWEST_ROWS = 200, 100, 40
_FEWEST_ODD, _ODD_SHARE = 3, 0.05
_MOST_ODD = 0.7  # what is true of more is told by the checks of all rows
_PAIRED_ROWS = 4_000  # on which every motor is paired with every other column
_STIFFER = 5.0  # times the others' stiffness, beyond which torques are in other units


def looked_at(view: View) -> tuple[Tensor, Tensor]:
    """Return at most 200 of the episodes, ``[N]``, and 100 rows of each, evenly spread, ``[N, S]``: all with others beside them."""
    episodes, reach = view.episodes, max(LAGS)
    room = episodes.lengths - 2 * reach - 1  # rows with enough others on both sides, not counting the first row
    ids = (room >= _FEWEST_ROWS).nonzero().squeeze(-1)
    if not len(ids):
        return ids, ids.unsqueeze(-1)
    # Not every n-th: of data from two sources taken in turn, that might be those of one.
    ids = ids[torch.linspace(0, len(ids) - 1, min(len(ids), _EPISODES)).round().long()]
    steps = torch.linspace(0.0, 1.0, min(_ROWS, int(room[ids].min())))
    return ids, episodes.offsets[ids, None] + reach + 1 + (steps * (room[ids, None] - 1)).long()


def odd_episodes(view: View) -> Findings:
    """Find episodes whose actions stand in other rows, columns or units than those of the others, or whose torques do."""
    ids, rows = looked_at(view)
    if not len(ids):
        return
    best, left = best_lags(view, rows)
    for found in (_rows_off(ids, best), _moved(view, ids, rows, left * (best == 0)), _other_units(view, ids, rows)):
        yield from found


def _enough(odd: Tensor) -> bool:
    """Tell whether so many episodes are odd, ``[N]`` bool, that it is no chance, and so few that they differ from the rest."""
    number = int(odd.sum())
    return number >= max(_FEWEST_ODD, _ODD_SHARE * len(odd)) and number <= _MOST_ODD * len(odd)


def _numbers(ids: Tensor, odd: Tensor) -> tuple[dict[str, int], dict[str, list[int]]]:
    return {"count": int(odd.sum()), "looked_at": len(ids)}, {"episodes": ids[odd].tolist()}


def best_lags(view: View, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return at which lag actions clearly explain each episode's torques best, or 0, and what is left at 0, ``[N]`` both."""
    own = torch.arange(view.robot.num_joints)
    left = torch.stack([laws(view, rows, own, own, lag)[0].mean(-1) for lag in LAGS])
    at_0, (least, which) = left[LAGS.index(0)], left.min(0)
    clearly = (at_0 > UNEXPLAINED) & (least < LESS * at_0)
    return torch.where(clearly, torch.tensor(LAGS)[which], 0), at_0


def _rows_off(ids: Tensor, best: Tensor) -> Findings:
    lag = max((lag for lag in LAGS if lag), key=lambda lag: int((best == lag).sum()))
    if _enough(best == lag):
        numbers, words = _numbers(ids, best == lag)
        yield finding("action_lag_of_episodes", {"lag": lag, **numbers}, {"rows_off": rows_off(lag), **words})


def _moved(view: View, ids: Tensor, rows: Tensor, left: Tensor) -> Findings:
    """Find episodes in which an array's columns stand in another order; ``left [N]`` is what no lag explains of the torques."""
    puzzling, own = left > left.median() / LESS, torch.arange(view.robot.num_joints)
    found = moved_columns(view, some(rows[puzzling].reshape(-1), _PAIRED_ROWS)) if _enough(puzzling) else None
    if found is None:
        return
    array, column, *_ = found
    joints, actions = (own if array == other else column for other in ("actions", "joints"))
    odd = puzzling & (laws(view, rows, joints, actions)[0].mean(-1) < LESS * left)
    if _enough(odd):
        numbers, words = _numbers(ids, odd)
        yield finding("joint_order_of_episodes", {"array": array, "columns": column.tolist(), **numbers}, words)


def _other_units(view: View, ids: Tensor, rows: Tensor) -> Findings:
    """Find episodes in which a unit of action moves the target farther, or a radian of it gives other torques."""
    clear, weights = clear_laws(view, rows)
    judged = 3 * clear.sum(-1) >= view.robot.num_joints
    scale = view.robot.action_scale.double()
    position, action = (torch.where(clear, weights[..., column], torch.nan) for column in (1, 3))
    reach = (-action / position / scale).nanmedian(-1).values
    odd = judged & ~((reach > SCALES[0]) & (reach < SCALES[1]))
    if _enough(odd):
        numbers, words = _numbers(ids, odd)
        yield finding("action_scale_of_episodes", {"times": float(reach[odd].median()), **numbers}, words)
    stiffness = (-position).nanmedian(-1).values
    times = stiffness / stiffness[judged].median() if judged.any() else stiffness
    odd = judged & ((times > _STIFFER) | (times < 1.0 / _STIFFER))
    if _enough(odd):
        numbers, words = _numbers(ids, odd)
        yield finding("units_joint_torque_of_episodes", {"times": float(times[odd].median()), **numbers}, words)
