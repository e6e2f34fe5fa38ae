"""Do actions stand in the rows that they produced? Which pairing of actions and states predicts best."""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.data.audit.context import Context, rows_within, spread
from rwmu.data.audit.findings import Finding, warning
from rwmu.data.audit.regression import regress
from rwmu.data.episodes import Episodes

LAGS = (-4, -3, -2, -1, 0, 1, 2, 3, 4)
FEWEST_ROWS = 500
_MOST_ROWS = 50_000  # regressed on; more would not change the figures
_EXPLAINS_NOTHING = {"joint_torque": 0.6, "joint_vel": 0.97}  # torques that are cut off at a quarter of the limit leave 0.45
# How much less another lag must leave unexplained before it is believed; where there is no torque, later actions explain earlier
# states a little, for the policy has seen the states (see unexplained).
_CLEARLY, _CLEARLY_LATER = 0.7, 0.55


def action_lag(episodes: Episodes, context: Context) -> list[Finding]:
    """Find out whether the actions of other rows explain the joints better than those of :mod:`rwmu.records`' convention."""
    rows = regressed_rows(episodes)
    if len(rows) < FEWEST_ROWS:
        sentence = f"Only {len(rows)} rows have {max(LAGS)} rows on either side: too few to tell whether actions stand in theirs."
        return [Finding("action_lag_unknown", "note", sentence, {"rows": len(rows)})]
    target, by_lag = unexplained(episodes, context, rows)
    best = min(LAGS, key=lambda lag: by_lag[lag])
    numbers = {"explained": target, "best_lag": best, "unexplained": {str(lag): round(value, 4) for lag, value in by_lag.items()}}
    if by_lag[best] > _EXPLAINS_NOTHING[target]:
        sentence = (
            f"In no pairing of rows do actions explain much of the {target} (unexplained: {by_lag[best]:.2f}): they are of other "
            "rows or another robot, or not what it was told."
        )
        return [warning("actions_explain_nothing", sentence, **numbers)]
    clearly = _CLEARLY_LATER if best > 0 and target == "joint_vel" else _CLEARLY
    if best == 0 or by_lag[best] > clearly * by_lag[0]:
        return []
    sentence = (
        f"The {target} of row t follows better from the action of row t{best:+d} (unexplained: {by_lag[best]:.2f}) than from its "
        f"own ({by_lag[0]:.2f}): actions stand {rows_off(best)}, or the robot obeys with a delay; see rwmu/records.py."
    )
    return [warning("action_lag", sentence, **numbers)]


def rows_off(lag: int) -> str:
    """Return in words where actions stand that explain best when those of row t + lag are taken."""
    return f"{abs(lag)} row{'s' if abs(lag) > 1 else ''} too {'early' if lag < 0 else 'late'}"


def regressed_rows(episodes: Episodes) -> Tensor:
    """Return rows that have four rows before them, not counting first rows, and four behind, ``[S]`` int64, evenly spread."""
    return spread(rows_within(episodes, max(LAGS) + 1, max(LAGS)), _MOST_ROWS)


def unexplained(episodes: Episodes, context: Context, rows: Tensor) -> tuple[str, dict[int, float]]:
    """Return what is explained, and how much of it stays unexplained by the actions of rows t + lag, for every lag of ``LAGS``.

    Torques of row t are regressed (least squares) on the joints of row t and the action: a motor's law, in which the action that
    was chosen *after* seeing row t can add little. Where there are no torques, velocities of row t are regressed on the joints of
    row t - 1 and the action; there a policy without noise lets the next action tell what it has seen. Returned is the share of
    what the joints alone leave, mean over joints; 1 means that the actions explain nothing.

    Measured on 1,001,526 rows of the recipe 'mixed', for lags -2 to 2: torques 0.95 0.91 0.16 0.90 0.93, velocities 0.99 0.98
    0.51 0.94 0.97, and more for lags beyond. On a robot that only stands, without noise: torques 0.10 0.07 0.02 0.08 0.10,
    velocities 0.81 0.78 0.77 0.44 0.71, which is why later actions must do better where there are no torques.
    """
    torque = "joint_torque" in context.fields
    target, before = ("joint_torque", rows) if torque else ("joint_vel", rows - 1)
    joints = [context.part(episodes, name)[before] for name in ("joint_pos", "joint_vel")]
    explained = context.part(episodes, target)[rows].double()
    known = torch.cat([*joints, torch.ones(len(rows), 1)], dim=-1).double()
    alone = regress(known, explained)[1]
    varying = alone > 1e-12 * explained.square().mean(0).clamp(min=1e-12)
    if not varying.any():
        return target, dict.fromkeys(LAGS, 1.0)
    left = {lag: regress(torch.cat([known, episodes.action[rows + lag].double()], dim=-1), explained)[1] for lag in LAGS}
    return target, {lag: float((share / alone)[varying].mean()) for lag, share in left.items()}
