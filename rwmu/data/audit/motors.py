"""Do torques, joints and actions of the same number belong to one motor? Its law tells orders, scales and odd episodes.

A motor that draws joint j to its target gives the torque ``b + p q_j + d v_j + c a_j``, and -c / p is how far a unit of action
moves the target: the robot's ``action_scale``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rwmu.data.audit.actions import LAGS, regressed_rows
from rwmu.data.audit.findings import Finding, listed
from rwmu.data.episodes import Episodes
from rwmu.robots.layout import StateLayout
from rwmu.robots.robot import Robot

FIELDS = {"joint_pos", "joint_vel", "joint_torque"}
_FEWEST_ROWS = 500
_UNEXPLAINED, _LESS = 0.1, 0.5  # by a motor's own columns, and how much less others must leave
_EXPLAINED = 0.2  # left at most where a scale is read off the law
_SCALES = (0.6, 1.6)  # times the robot's
_EPISODES, _EPISODE_ROWS, _FEWEST_EPISODE_ROWS = 200, 100, 40
_FEWEST_ODD, _ODD_SHARE = 3, 0.05


@dataclass(frozen=True)
class Laws:
    """Motors' laws, one a joint, each of some columns of joints and actions.

    Attributes:
        unexplained: share of the torque's variance that each leaves. weights: ``[..., 4]``: b, p, d, c.
    """

    unexplained: Tensor
    weights: Tensor


class Moments:
    """Second moments of joints, actions and torques, of which any motor's law can be computed.

    Args:
        rows: ``[S]`` int64.
    """

    def __init__(self, episodes: Episodes, layout: StateLayout, rows: Tensor) -> None:
        position, velocity, torque = (layout.part(episodes.state, name)[rows].double() for name in sorted(FIELDS, key=_order))
        known = torch.cat([torch.ones(len(rows), 1), position, velocity, episodes.action[rows]], dim=-1).double()
        self.num_joints = torque.shape[-1]
        self._scale = known.square().mean(0).sqrt().clamp(min=1e-9)
        known = known / self._scale
        self._among, self._with = known.T @ known / len(rows), known.T @ torque / len(rows)
        self._square, self._variance = torque.square().mean(0), torque.var(0, correction=0).clamp(min=1e-12)

    def laws(self, joints: Tensor, actions: Tensor) -> Laws:
        """Fit the law of motor j, the last axis, to joint ``joints[..., j]`` and action ``actions[..., j]``."""
        number = self.num_joints
        columns = torch.stack([torch.full_like(joints, -1), joints, number + joints, 2 * number + actions], dim=-1) + 1
        motor = torch.arange(number).expand(joints.shape)
        among = self._among[columns.unsqueeze(-1), columns.unsqueeze(-2)] + 1e-9 * torch.eye(4, dtype=torch.float64)
        target = self._with[columns, motor.unsqueeze(-1)]
        weights = torch.linalg.solve(among, target)
        unexplained = (self._square[motor] - (weights * target).sum(-1)) / self._variance[motor]
        return Laws(unexplained.clamp(min=0.0), weights / self._scale[columns])


def _order(name: str) -> int:
    return ("joint_pos", "joint_vel", "joint_torque").index(name)


def motors(episodes: Episodes, robot: Robot) -> list[Finding]:
    """Look at order and scale, of layouts that have joints and torques and of actions that stand in the right rows.

    A motor's own joint and action leave 0.03 of its torque unexplained in 1,001,526 rows of the recipe 'mixed' (shanks, which reach
    their limits, 0.3), at most 0.6 where torques are cut off at a quarter of the limit. Columns sorted by leg leave 0.5 to 1.
    """
    rows = regressed_rows(episodes)
    if len(rows) < _FEWEST_ROWS:
        return []
    moments = Moments(episodes, robot.state_layout, rows)
    return _other_order(moments) or _other_scale(moments, robot)


def _other_order(moments: Moments) -> list[Finding]:
    """Find out whether torques follow from other columns than those of their own number, and in which array these are moved."""
    own = torch.arange(moments.num_joints)
    other = own.unsqueeze(-1).expand(-1, moments.num_joints)  # every row pairs all motors with one other column
    alone = moments.laws(own, own).unexplained
    candidates = {"actions": (own.expand_as(other), other), "joint_torque": (other, other), "joints": (other, own.expand_as(other))}
    found = []
    for array, (joints, actions) in candidates.items():
        least, column = moments.laws(joints, actions).unexplained.min(0)
        moved = (column != own) & (alone > _UNEXPLAINED) & (least < _LESS * alone)
        if 3 * int(moved.sum()) >= len(own) and least.mean() < _LESS * alone.mean():
            found.append((float(least.mean()), array, column, moved))
    if not found:
        return []
    left, array, column, moved = min(found, key=lambda item: item[0])
    pairs = listed([f"torque {j} follows from {array} {k}" for j, k in enumerate(column.tolist()) if moved[j]], 3)
    pairs, words = pairs.replace("joint_torque", "joint and action"), ", sorted by leg" if _by_leg(column, moved) else ""
    sentence = (
        f"The columns of {array} stand in another order than the rest{words} ({pairs}; what has a torque's own number leaves "
        f"{float(alone.mean()):.2f} of it unexplained, this {left:.2f}): sort them as the robot's layout does."
    )
    numbers = {"array": array, "columns": column.tolist(), "unexplained": left, "unexplained_by_own": float(alone.mean())}
    return [Finding("joint_order", "warning", sentence, numbers)]


def _by_leg(column: Tensor, moved: Tensor) -> bool:
    """Tell whether columns sorted by leg (LF_HAA, LF_HFE, LF_KFE, LH_HAA ...) stand for columns sorted by type."""
    own, legs = torch.arange(len(column)), max(1, len(column) // 3)
    orders = (own % legs * 3 + own // legs, own % 3 * legs + own // 3)
    return any(bool((column == order)[moved].double().mean() > 0.8) for order in orders)


def _other_scale(moments: Moments, robot: Robot) -> list[Finding]:
    """Find out how far a unit of action moves a joint's target, and where the target of no action is."""
    own = torch.arange(moments.num_joints)
    laws = moments.laws(own, own)
    clear = (laws.unexplained < _EXPLAINED) & (laws.weights[:, 1] < 0.0) & (laws.weights[:, 3] > 0.0)
    if 3 * int(clear.sum()) < len(own):
        return []
    offset, position, _, action = laws.weights[clear].unbind(-1)
    reach, scale = float((-action / position).median()), float(robot.action_scale[clear].median())
    if _SCALES[0] * scale < reach < _SCALES[1] * scale:
        return []
    default = robot.default_joint_pos.double()[clear]
    absolute = 0.6 < float((-offset / action * default).sum() / default.square().sum().clamp(min=1e-12)) < 1.4
    words = "they seem to be the targets themselves, rad" if absolute else "they are scaled, or those of another robot"
    sentence = (
        f"A unit of action moves a joint's target by {reach:.2g} rad, but by {scale:g} rad on the robot "
        f"'{robot.name}': {words}; record (target - default posture) / {scale:g}, which its policies put out."
    )
    return [Finding("action_scale", "warning", sentence, {"rad_per_action": reach, "robot": scale})]


def odd_episodes(episodes: Episodes, layout: StateLayout) -> list[Finding]:
    """Find episodes whose actions stand in other rows while those of the others stand in the right ones.

    Every episode is judged by laws of its own (100 rows, evenly spread), for all of ``LAGS``.

    Args:
        layout: with joints and torques.
    """
    ids, best = best_lags(episodes, layout)
    found = {lag: ids[best == lag] for lag in LAGS if lag}
    lag, odd = max(found.items(), key=lambda item: len(item[1]))
    if len(odd) < max(_FEWEST_ODD, _ODD_SHARE * len(ids)):
        return []
    early = "early" if lag < 0 else "late"
    sentence = (
        f"In {len(odd)} of the {len(ids)} episodes looked at ({listed([str(i) for i in odd.tolist()])}) torques of row t follow "
        f"from the actions of row t{lag:+d}: there actions stand {abs(lag)} row{'s' if abs(lag) > 1 else ''} too {early}, "
        "elsewhere they do not; a row must hold the action that produced its state (rwmu/records.py)."
    )
    return [Finding("action_lag_of_episodes", "warning", sentence, {"lag": lag, "count": len(odd), "looked_at": len(ids)})]


def best_lags(episodes: Episodes, layout: StateLayout) -> tuple[Tensor, Tensor]:
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
    joints = [layout.part(episodes.state, name)[rows].double() for name in ("joint_pos", "joint_vel")]
    torque = layout.part(episodes.state, "joint_torque")[rows].double()
    left = torch.stack([_left([*joints, episodes.action[rows + lag].double()], torque) for lag in LAGS])
    at_0 = left[LAGS.index(0)]
    least, which = left.min(0)
    clearly = (at_0 > _UNEXPLAINED) & (least < _LESS * at_0)
    return ids, torch.where(clearly, torch.tensor(LAGS)[which], 0)


def _left(known: list[Tensor], torque: Tensor) -> Tensor:
    """Return what motors' laws, one an episode and joint, leave of torques ``[N, S, A]``, mean over joints ``[N]``."""
    columns = torch.stack([column - column.mean(1, keepdim=True) for column in known], dim=-1)
    target = torque - torque.mean(1, keepdim=True)
    among = torch.einsum("nsai,nsaj->naij", columns, columns)
    among = among + 1e-9 * (1.0 + among.diagonal(dim1=-2, dim2=-1).amax(-1))[..., None, None] * torch.eye(3, dtype=torch.float64)
    along = torch.einsum("nsai,nsa->nai", columns, target)
    total = target.square().sum(1)
    left = total - (torch.linalg.solve(among, along) * along).sum(-1)
    share: Tensor = left / total.clamp(min=1e-9)
    return share.clamp(min=0.0).mean(-1)
