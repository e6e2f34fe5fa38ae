"""Do actions stand in the rows that they produced, and do torques, joints and actions of the same number belong to one motor?

A motor that draws joint j to its target gives the torque ``b + p q_j + d v_j + c a_j``, and -c / p is how far a unit of action
moves the target: the robot's ``action_scale``. This law tells orders, scales and odd episodes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.data.audit.findings import Findings, finding, listed
from rwmu.data.audit.view import View, some

LAGS = (-4, -3, -2, -1, 0, 1, 2, 3, 4)
FEWEST_ROWS = 500
_MOST_ROWS = 50_000  # regressed on; more would not change the figures


def regress(known: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
    """Regress ``told [..., S, Y]`` on ``known [..., S, X]``: weights ``[..., X, Y]``, mean squared rest ``[..., Y]``, float64."""
    size = known.square().mean(-2, keepdim=True).sqrt().clamp(min=1e-12)
    scaled = known / size
    # Constant columns make the normal equations singular; a ridge too small to matter keeps them solvable.
    ridge = 1e-9 * known.shape[-2] * torch.eye(known.shape[-1], dtype=known.dtype)
    weights = torch.linalg.solve(scaled.mT @ scaled + ridge, scaled.mT @ told)
    return weights / size.mT, (told - scaled @ weights).square().mean(-2)


def regressed_rows(view: View) -> Tensor:
    """Return rows that have four rows before them, not counting first rows, and four behind, ``[S]`` int64, evenly spread."""
    return some(view.rows_within(max(LAGS) + 1, max(LAGS)), _MOST_ROWS)


def rows_off(lag: int) -> str:
    """Return in words where actions stand that explain best when those of row t + lag are taken."""
    return f"{abs(lag)} row{'s' if abs(lag) > 1 else ''} too {'early' if lag < 0 else 'late'}"


# -- which pairing of actions and states predicts best ------------------------------------------------------------------------

_EXPLAINS_NOTHING = {"joint_torque": 0.6, "joint_vel": 0.97}  # torques that are cut off at a quarter of the limit leave 0.45
# How much less another lag must leave unexplained before it is believed; where there is no torque, later actions explain earlier
# states a little, for the policy has seen the states (see unexplained).
_CLEARLY, _CLEARLY_LATER = 0.7, 0.55


def action_lag(view: View) -> Findings:
    """Find out whether the actions of other rows explain the joints better than those of :mod:`rwmu.records`' convention."""
    rows = regressed_rows(view)
    if len(rows) < FEWEST_ROWS:
        yield finding("action_lag_unknown", {"rows": len(rows)}, {"beside": max(LAGS)}, severity="note")
        return
    target, by_lag = unexplained(view, rows)
    best = min(LAGS, key=lambda lag: by_lag[lag])
    numbers = {"explained": target, "best_lag": best, "unexplained": {str(lag): round(value, 4) for lag, value in by_lag.items()}}
    words = {"least": by_lag[best], "own": by_lag[0], "rows_off": rows_off(best)}
    clearly = _CLEARLY_LATER if best > 0 and target == "joint_vel" else _CLEARLY
    if by_lag[best] > _EXPLAINS_NOTHING[target]:
        yield finding("actions_explain_nothing", numbers, words)
    elif best != 0 and by_lag[best] <= clearly * by_lag[0]:
        yield finding("action_lag", numbers, words)


def unexplained(view: View, rows: Tensor) -> tuple[str, dict[int, float]]:
    """Return what is explained, and how much of it stays unexplained by the actions of rows t + lag, for every lag of ``LAGS``.

    Torques of row t are regressed (least squares) on the joints of row t and the action: a motor's law, in which the action that
    was chosen *after* seeing row t can add little. Where there are no torques, velocities of row t are regressed on the joints of
    row t - 1 and the action; there a policy without noise lets the next action tell what it has seen. Returned is the share of
    what the joints alone leave, mean over joints; 1 means that the actions explain nothing.

    Measured on 1,001,526 rows of the recipe 'mixed', for lags -2 to 2: torques 0.95 0.91 0.16 0.90 0.93, velocities 0.99 0.98
    0.51 0.94 0.97, and more for lags beyond. On a robot that only stands, without noise: torques 0.10 0.07 0.02 0.08 0.10,
    velocities 0.81 0.78 0.77 0.44 0.71, which is why later actions must do better where there are no torques.
    """
    target, before = ("joint_torque", rows) if "joint_torque" in view.fields else ("joint_vel", rows - 1)
    joints = [view.part(name)[before] for name in ("joint_pos", "joint_vel")]
    explained = view.part(target)[rows].double()
    known = torch.cat([*joints, torch.ones(len(rows), 1)], dim=-1).double()
    alone = regress(known, explained)[1]
    varying = alone > 1e-12 * explained.square().mean(0).clamp(min=1e-12)
    if not varying.any():
        return target, dict.fromkeys(LAGS, 1.0)
    left = {lag: regress(torch.cat([known, view.episodes.action[rows + lag].double()], dim=-1), explained)[1] for lag in LAGS}
    return target, {lag: float((rest / alone)[varying].mean()) for lag, rest in left.items()}


# -- motors -------------------------------------------------------------------------------------------------------------------

UNEXPLAINED, LESS = 0.1, 0.5  # by a motor's own columns, and how much less others must leave
_EXPLAINED = 0.2  # left at most where a scale is read off the law
_PAIRED_ROWS = 4_000  # on which every motor is paired with every other column
SCALES = (0.6, 1.6)  # times the robot's


def laws(view: View, rows: Tensor, joints: Tensor, actions: Tensor, lag: int = 0) -> tuple[Tensor, Tensor]:
    """Fit the law of motor j, the last axis, to joint ``joints[..., j]`` and action ``actions[..., j]`` of rows ``lag`` further on.

    Args:
        rows: ``[S]`` int64, or ``[N, S]`` for laws of their own.

    Returns:
        The share of the torque's variance that each leaves unexplained, and its weights ``[..., 4]``: b, p, d, c.
    """
    position, velocity, torque = (view.part(f"joint_{name}")[rows].double().mT for name in ("pos", "vel", "torque"))  # [..., A, S]
    action = view.episodes.action[rows + lag].double().mT
    columns = [position[..., joints, :], velocity[..., joints, :], action[..., actions, :]]
    known = torch.stack([torch.ones_like(columns[0]), *columns], dim=-1)
    weights, left = regress(known, torque.expand(known.shape[:-1]).unsqueeze(-1))
    return left.squeeze(-1) / torque.var(-1, correction=0).clamp(min=1e-12), weights.squeeze(-1)


def joint_order(view: View) -> Findings:
    """Find out whether torques follow from other columns than those of their own number, and in which array these are moved.

    A motor's own joint and action leave 0.03 of its torque unexplained in 1,001,526 rows of the recipe 'mixed' (shanks, which reach
    their limits, 0.3), at most 0.6 where torques are cut off at a quarter of the limit. Columns sorted by leg leave 0.5 to 1.
    """
    rows = regressed_rows(view)
    if len(rows) < FEWEST_ROWS:
        return
    rows, own = some(rows, _PAIRED_ROWS), torch.arange(view.robot.num_joints)
    found = moved_columns(view, rows)
    if found is None:
        return
    array, column, moved, left = found
    source = "joint and action" if array == "joint_torque" else array
    pairs = listed([f"torque {j} follows from {source} {k}" for j, k in enumerate(column.tolist()) if moved[j]], 3)
    words = {"leg": ", sorted by leg" if _by_leg(column, moved) else "", "pairs": pairs}
    alone = float(laws(view, rows, own, own)[0].mean())
    yield finding(
        "joint_order", {"array": array, "columns": column.tolist(), "unexplained": left, "unexplained_by_own": alone}, words
    )


def moved_columns(view: View, rows: Tensor) -> tuple[str, Tensor, Tensor, float] | None:
    """Return the array whose columns are moved, the column ``[A]`` of each motor, which are moved, and what is left unexplained.

    None where torques do not clearly follow from other columns than those of their own number.

    Args:
        rows: ``[S]``, looked at.
    """
    own = torch.arange(view.robot.num_joints)
    other = own.unsqueeze(-1).expand(-1, len(own))  # every row pairs all motors with one other column
    same, alone = own.expand_as(other), laws(view, rows, own, own)[0]
    suspect = alone > UNEXPLAINED
    if 3 * int(suspect.sum()) < len(own):  # fewer than must be moved, so that no other pairing need be tried
        return None
    found = []
    for array, joints, actions in (("actions", same, other), ("joint_torque", other, other), ("joints", other, same)):
        least, column = laws(view, rows, joints, actions)[0].min(0)
        moved = (column != own) & suspect & (least < LESS * alone)
        if 3 * int(moved.sum()) >= len(own) and least.mean() < LESS * alone.mean():
            found.append((array, column, moved, float(least.mean())))
    return min(found, key=lambda item: item[-1], default=None)


def leg_orders(number: int) -> tuple[Tensor, Tensor]:
    """Return where the columns of ``number`` joints sorted by type lie if they are sorted by leg, and the other way round."""
    own, legs = torch.arange(number), max(1, number // 3)
    return own % legs * 3 + own // legs, own % 3 * legs + own // 3


def _by_leg(column: Tensor, moved: Tensor) -> bool:
    """Tell whether columns sorted by leg (hip, thigh and shank of one, then of the next) stand for columns sorted by type."""
    return any(bool((column == order)[moved].double().mean() > 0.8) for order in leg_orders(len(column)))


_ASYMMETRIC, _SYMMETRIC = 0.5, 0.25


def joint_order_of_all(view: View) -> Findings:
    """Find state and actions that are sorted by leg together, which no motor's law tells: the robot's symmetry does.

    Of limbs that are mirror images the mean torques and the spreads of velocities are nearly so, whatever the robot does. How far
    they are from it, 0 exactly, 1 in no order: 0.00 to 0.02 and 0.00 to 0.05 of torques and velocities of the recipes 'mixed' and
    'exploration', and 0.68 to 0.89 and 1.19 to 1.28 with columns sorted by leg.
    """
    number, rows = view.robot.num_joints, regressed_rows(view)
    if len(rows) < FEWEST_ROWS or number % 3 or len(view.robot.mirrors) < 2:
        return
    torque = view.part("joint_torque")[rows].double().mean(0)
    spread = view.part("joint_vel")[rows].double().std(0).clamp(min=1e-9).log()
    orders = [torch.arange(number), *leg_orders(number)]
    own, *others = [
        max(_asymmetry(view, torque[order]), _asymmetry(view, spread[order] - spread.mean(), False)) for order in orders
    ]
    if own > _ASYMMETRIC and min(others) < _SYMMETRIC:
        columns = orders[1 + others.index(min(others))].tolist()
        numbers = {"array": "all", "columns": columns, "asymmetry": own, "asymmetry_by_leg": min(others)}
        yield finding("joint_order.all", numbers)


def _asymmetry(view: View, values: Tensor, signed: bool = True) -> float:
    """Return how far values ``[A]`` are from their mirror images: 0 if they are the same, 1 if they have nothing in common."""
    maps = [mirror.action for name, mirror in view.robot.mirrors.items() if name != "identity"]
    images = torch.stack([image(values) if signed else values[image.index] for image in maps])
    return float((images - values).square().sum() / (2 * len(maps) * values.square().sum()).clamp(min=1e-24))


def clear_laws(view: View, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return of which motors a scale can be read off the law, ``[..., A]``, and all laws ``[..., A, 4]``, as :func:`laws` does."""
    own = torch.arange(view.robot.num_joints)
    left, weights = laws(view, rows, own, own)
    return (left < _EXPLAINED) & (weights[..., 1] < 0.0) & (weights[..., 3] > 0.0), weights


def action_scale(view: View) -> Findings:
    """Find out how far a unit of action moves a joint's target, and where the target of no action is."""
    rows = regressed_rows(view)
    if len(rows) < FEWEST_ROWS:
        return
    clear, weights = clear_laws(view, rows)
    if 3 * int(clear.sum()) < view.robot.num_joints:
        return
    offset, position, _, action = weights[clear].unbind(-1)
    reach, wanted = -action / position, view.robot.action_scale.double()[clear]
    if not SCALES[0] < float((reach / wanted).median()) < SCALES[1]:
        default = view.robot.default_joint_pos.double()[clear]
        absolute = 0.6 < float((-offset / action * default).sum() / default.square().sum().clamp(min=1e-12)) < 1.4
        guess = "they seem to be the targets themselves, rad" if absolute else "they are scaled, or those of another robot"
        words = {"name": view.robot.name, "guess": guess}
        yield finding("action_scale", {"rad_per_action": float(reach.median()), "robot": float(wanted.median())}, words)
