"""Do torques, joints and actions of the same number belong to one motor? Its law tells orders, scales and odd episodes.

A motor that draws joint j to its target gives the torque ``b + p q_j + d v_j + c a_j``, and -c / p is how far a unit of action
moves the target: the robot's ``action_scale``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.data.audit.actions import FEWEST_ROWS, LAGS, regressed_rows, rows_off
from rwmu.data.audit.context import Context, spread
from rwmu.data.audit.findings import Finding, listed, warning
from rwmu.data.audit.regression import regress
from rwmu.data.episodes import Episodes

_FIELDS = ("joint_pos", "joint_vel", "joint_torque")
_UNEXPLAINED, _LESS = 0.1, 0.5  # by a motor's own columns, and how much less others must leave
_EXPLAINED = 0.2  # left at most where a scale is read off the law
_PAIRED_ROWS = 4_000  # on which every motor is paired with every other column
_SCALES = (0.6, 1.6)  # times the robot's
_EPISODES, _EPISODE_ROWS, _FEWEST_EPISODE_ROWS = 200, 100, 40
_FEWEST_ODD, _ODD_SHARE = 3, 0.05


def laws(
    episodes: Episodes, context: Context, rows: Tensor, joints: Tensor, actions: Tensor, lag: int = 0
) -> tuple[Tensor, Tensor]:
    """Fit the law of motor j, the last axis, to joint ``joints[..., j]`` and action ``actions[..., j]`` of rows ``lag`` further on.

    Args:
        rows: ``[S]`` int64, or ``[N, S]`` for laws of their own.

    Returns:
        The share of the torque's variance that each leaves unexplained, and its weights ``[..., 4]``: b, p, d, c.
    """
    position, velocity, torque = (context.part(episodes, name)[rows].double().mT for name in _FIELDS)  # [..., A, S]
    action = episodes.action[rows + lag].double().mT
    columns = [position[..., joints, :], velocity[..., joints, :], action[..., actions, :]]
    known = torch.stack([torch.ones_like(columns[0]), *columns], dim=-1)
    weights, left = regress(known, torque.expand(known.shape[:-1]).unsqueeze(-1))
    return left.squeeze(-1) / torque.var(-1, correction=0).clamp(min=1e-12), weights.squeeze(-1)


def joint_order(episodes: Episodes, context: Context) -> list[Finding]:
    """Find out whether torques follow from other columns than those of their own number, and in which array these are moved.

    A motor's own joint and action leave 0.03 of its torque unexplained in 1,001,526 rows of the recipe 'mixed' (shanks, which reach
    their limits, 0.3), at most 0.6 where torques are cut off at a quarter of the limit. Columns sorted by leg leave 0.5 to 1.
    """
    rows = regressed_rows(episodes)
    if len(rows) < FEWEST_ROWS:
        return []
    rows, own = spread(rows, _PAIRED_ROWS), torch.arange(context.robot.num_joints)
    other = own.unsqueeze(-1).expand(-1, len(own))  # every row pairs all motors with one other column
    same, alone = own.expand_as(other), laws(episodes, context, rows, own, own)[0]
    found = []
    for array, joints, actions in (("actions", same, other), ("joint_torque", other, other), ("joints", other, same)):
        least, column = laws(episodes, context, rows, joints, actions)[0].min(0)
        moved = (column != own) & (alone > _UNEXPLAINED) & (least < _LESS * alone)
        if 3 * int(moved.sum()) >= len(own) and least.mean() < _LESS * alone.mean():
            found.append((float(least.mean()), array, column, moved))
    if not found:
        return []
    left, array, column, moved = min(found, key=lambda item: item[0])
    source = "joint and action" if array == "joint_torque" else array
    pairs = listed([f"torque {j} follows from {source} {k}" for j, k in enumerate(column.tolist()) if moved[j]], 3)
    leg = ", sorted by leg" if _by_leg(column, moved) else ""
    sentence = (
        f"The columns of {array} stand in another order than the rest{leg} ({pairs}; what has a torque's own number leaves "
        f"{float(alone.mean()):.2f} of it unexplained, this {left:.2f}): sort them as the robot's layout does."
    )
    numbers = {"array": array, "columns": column.tolist(), "unexplained": left, "unexplained_by_own": float(alone.mean())}
    return [warning("joint_order", sentence, **numbers)]


def _by_leg(column: Tensor, moved: Tensor) -> bool:
    """Tell whether columns sorted by leg (hip, thigh and shank of one, then of the next) stand for columns sorted by type."""
    own, legs = torch.arange(len(column)), max(1, len(column) // 3)
    orders = (own % legs * 3 + own // legs, own % 3 * legs + own // 3)
    return any(bool((column == order)[moved].double().mean() > 0.8) for order in orders)


def action_scale(episodes: Episodes, context: Context) -> list[Finding]:
    """Find out how far a unit of action moves a joint's target, and where the target of no action is."""
    rows, robot = regressed_rows(episodes), context.robot
    if len(rows) < FEWEST_ROWS:
        return []
    own = torch.arange(robot.num_joints)
    unexplained, weights = laws(episodes, context, rows, own, own)
    clear = (unexplained < _EXPLAINED) & (weights[:, 1] < 0.0) & (weights[:, 3] > 0.0)
    if 3 * int(clear.sum()) < len(own):
        return []
    offset, position, _, action = weights[clear].unbind(-1)
    reach = -action / position
    wanted = torch.as_tensor(robot.action_scale, dtype=torch.float64).expand(len(own))[clear]
    if _SCALES[0] < float((reach / wanted).median()) < _SCALES[1]:
        return []
    default = robot.default_joint_pos.double()[clear]
    absolute = 0.6 < float((-offset / action * default).sum() / default.square().sum().clamp(min=1e-12)) < 1.4
    words = "they seem to be the targets themselves, rad" if absolute else "they are scaled, or those of another robot"
    told, scale = float(reach.median()), float(wanted.median())
    sentence = (
        f"A unit of action moves a joint's target by {told:.2g} rad, but by {scale:g} rad on the robot '{robot.name}': {words}; "
        f"record (target - default posture) / {scale:g}."
    )
    return [warning("action_scale", sentence, rad_per_action=told, robot=scale)]


def odd_episodes(episodes: Episodes, context: Context) -> list[Finding]:
    """Find episodes whose actions stand in other rows while those of the others stand in the right ones.

    Every episode is judged by laws of its own (100 rows, evenly spread), for all of ``LAGS``.
    """
    ids, best = best_lags(episodes, context)
    lag, odd = max(((lag, ids[best == lag]) for lag in LAGS if lag), key=lambda item: len(item[1]))
    if len(odd) < max(_FEWEST_ODD, _ODD_SHARE * len(ids)):
        return []
    sentence = (
        f"In {len(odd)} of the {len(ids)} episodes looked at ({listed(odd.tolist())}) torques of row t follow from the actions of "
        f"row t{lag:+d}: there actions stand {rows_off(lag)}, elsewhere they do not."
    )
    return [warning("action_lag_of_episodes", sentence, lag=lag, count=len(odd), looked_at=len(ids))]


def best_lags(episodes: Episodes, context: Context) -> tuple[Tensor, Tensor]:
    """Return episodes that were looked at, ``[N]``, and the lag at which actions clearly explain each one's torques best, or 0."""
    reach = max(LAGS)
    room = episodes.lengths - 2 * reach - 1  # rows with enough others on both sides, not counting the first row
    ids = (room >= _FEWEST_EPISODE_ROWS).nonzero().squeeze(-1)
    if not len(ids):
        return ids, ids
    # Not every n-th: of data from two sources taken in turn, that might be those of one.
    ids = ids[torch.linspace(0, len(ids) - 1, min(len(ids), _EPISODES)).round().long()]
    steps = torch.linspace(0.0, 1.0, min(_EPISODE_ROWS, int(room[ids].min())))
    rows = episodes.offsets[ids, None] + reach + 1 + (steps * (room[ids, None] - 1)).long()
    own = torch.arange(context.robot.num_joints)
    left = torch.stack([laws(episodes, context, rows, own, own, lag)[0].mean(-1) for lag in LAGS])
    at_0, (least, which) = left[LAGS.index(0)], left.min(0)
    clearly = (at_0 > _UNEXPLAINED) & (least < _LESS * at_0)
    return ids, torch.where(clearly, torch.tensor(LAGS)[which], 0)
