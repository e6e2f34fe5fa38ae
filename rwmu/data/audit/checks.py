"""The table of all checks, and the one loop that goes through it."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, replace

import torch

from rwmu.data.audit import actions, motion, odd, recording, values
from rwmu.data.audit.findings import Finding, Findings, finding
from rwmu.data.audit.rewards import rewards
from rwmu.data.audit.view import AuditSettings, View
from rwmu.data.episodes import Episodes
from rwmu.data.fitness import UnfitDataError, audit
from rwmu.robots.robot import Robot

JOINTS = {"joint_pos", "joint_vel"}
MOTORS = JOINTS | {"joint_torque"}
TURNS = {"projected_gravity", "base_ang_vel"}
_MOST_ROWS = 2_000_000  # all checks together take seconds and some 3 GB for so many
# Findings that explain what later checks would find: of gravity and rates, and of whatever rewards depend on.
NOT_TURNING = ("units_base_ang_vel", "units_projected_gravity")
SPOILT_STATES = ("step_dt", "units_", "joint", "action", "base_axes", "absolute_joint_pos")


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        find: what is to be said of the episodes.
        fields: of state and contacts, without which it cannot look.
        raw: whether it looks at the episodes as they are, or without absurd values, one of which would spoil any regression.
        unless: beginnings of the names of errors and warnings so far that explain what it would find.
        explains: names of findings so far that what it finds explains.
    """

    find: Callable[[View], Findings]
    fields: Set[str] = frozenset()
    raw: bool = False
    unless: tuple[str, ...] = ()
    explains: tuple[str, ...] = ()


CHECKS = (
    Check(recording.missing_fields, raw=True),
    Check(values.constant_columns, raw=True),
    Check(values.stuck_columns, raw=True),
    Check(values.outliers, raw=True),
    Check(motion.step),
    Check(motion.missing_joints),
    Check(motion.joint_motion, JOINTS),
    Check(actions.action_lag, JOINTS),
    Check(actions.joint_order, MOTORS, unless=("units_joint", "action")),
    Check(odd.odd_episodes, MOTORS, unless=("units_joint", "action_lag", "joint_order"), explains=("actions_explain_nothing",)),
    Check(actions.joint_order_of_all, MOTORS, unless=("units_joint", "action", "joint_order")),
    Check(actions.action_scale, MOTORS, unless=("units_joint", "action", "joint_order")),
    Check(values.sizes),
    Check(values.speed, {"base_lin_vel"}),
    Check(values.gravity, {"projected_gravity"}),
    Check(motion.turning, TURNS, unless=NOT_TURNING),
    Check(motion.base_axes, TURNS, unless=NOT_TURNING),
    Check(values.posture, {"joint_pos"}),
    Check(recording.copies, raw=True),
    Check(recording.terminations),
    Check(recording.time_outs),
    Check(recording.upright_time_outs, {"projected_gravity"}, unless=("time_outs", "constant_state", "units_projected_gravity")),
    Check(recording.unmarked_falls, {"projected_gravity"}, raw=True),
    Check(recording.contacts),
    Check(recording.contact_order, {"foot"}),
    Check(recording.rewards_known),
    Check(rewards, MOTORS | TURNS | {"base_lin_vel", "foot"}, unless=SPOILT_STATES),
    Check(recording.commands, raw=True),
    Check(recording.short_episodes),
    Check(recording.few_episodes),
    Check(values.normalizer_mismatch, raw=True),
    Check(recording.import_report),
)


def examine(episodes: Episodes, robot: Robot, settings: AuditSettings | None = None, source: str = "The data") -> list[Finding]:
    """Return what is to be said about the data; nothing of severity error or warning where they are sound.

    A fault is said once, by the first check that finds it. All values are looked at for whether they are finite; for the rest, of
    more than two million rows, every n-th episode.

    Args:
        source: how sentences name the data.
    """
    try:
        audit(episodes, robot, source)
    except UnfitDataError as error:
        return unfit(error)
    findings: list[Finding] = []
    if (every := -(-episodes.num_rows // _MOST_ROWS)) > 1:
        findings.append(finding("every_nth", {"every": every, "episodes": episodes.num_episodes}, severity="note"))
        episodes = episodes.select(torch.arange(0, episodes.num_episodes, every))
    raw = View(episodes, robot, settings or AuditSettings())
    tame = replace(raw, episodes=values.without_outliers(raw))
    for check in CHECKS:
        grave = [finding.name for finding in findings if finding.severity != "note"]
        if not raw.fields >= check.fields or any(name.startswith(check.unless) for name in grave):
            continue
        found, said = list(check.find(raw if check.raw else tame)), {finding.name for finding in findings}
        findings = [finding for finding in findings if not (found and finding.name in check.explains)]
        findings += [finding for finding in found if finding.name not in said]
    return findings


def unfit(error: UnfitDataError) -> list[Finding]:
    """Return what is to be said of data that cannot be used."""
    return [Finding(error.check, "error", str(error)), finding("not_checked", severity="note")]
