"""The table of all checks, and the one loop that goes through it."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

from rwmu.data.audit import actions, columns, copies, coverage, ends, kinematics, motors, outliers, rewards, stuck, units
from rwmu.data.audit.context import AuditSettings, Context
from rwmu.data.audit.findings import Finding, Severity
from rwmu.data.episodes import Episodes
from rwmu.data.fitness import UnfitDataError, audit
from rwmu.robots.robot import Robot

JOINTS = {"joint_pos", "joint_vel"}
MOTORS = JOINTS | {"joint_torque"}
TURNS = {"projected_gravity", "base_ang_vel"}
# Findings that explain what later checks would find.
NOT_TURNING = ("units_base_ang_vel", "units_projected_gravity")
SPOILT_STATES = ("step_dt", "units_", "joint", "action", "base_axes", "absolute_joint_pos")


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: of what it looks at.
        gravest: severity of its findings at the most.
        find: what is to be said of the episodes.
        fields: without which of the state it cannot look; limbs: the same of the contacts.
        raw: whether it looks at the episodes as they are, or without absurd values, one of which would spoil any regression.
        unless: beginnings of the names of errors and warnings so far that explain what it would find.
        explains: names of findings so far that what it finds explains.
    """

    name: str
    gravest: Severity
    find: Callable[[Episodes, Context], list[Finding]]
    fields: Set[str] = frozenset()
    limbs: Set[str] = frozenset()
    raw: bool = True
    unless: tuple[str, ...] = ()
    explains: tuple[str, ...] = ()


CHECKS = (
    Check("constant columns", "error", columns.constant_columns),
    Check("stuck sensors", "warning", stuck.stuck_columns),
    Check("absurd values", "warning", outliers.outliers),
    Check("step", "error", kinematics.step),
    Check("missing joints", "note", kinematics.missing_joints),
    Check("joint motion", "warning", kinematics.joint_motion, JOINTS, raw=False),
    Check("action lag", "warning", actions.action_lag, JOINTS, raw=False),
    Check(
        "odd episodes",
        "warning",
        motors.odd_episodes,
        MOTORS,
        raw=False,
        unless=("units_joint", "action_lag"),
        explains=("actions_explain_nothing",),
    ),
    Check("order of motors", "warning", motors.joint_order, MOTORS, raw=False, unless=("units_joint", "action")),
    Check("action scale", "warning", motors.action_scale, MOTORS, raw=False, unless=("units_joint", "action", "joint_order")),
    Check("sizes", "warning", units.sizes, raw=False),
    Check("speed", "warning", units.speed, {"base_lin_vel"}, raw=False),
    Check("gravity", "error", units.gravity, {"projected_gravity"}, raw=False),
    Check("rate of turning", "warning", kinematics.turning, TURNS, raw=False, unless=NOT_TURNING),
    Check("axes of the base", "warning", kinematics.base_axes, TURNS, raw=False, unless=NOT_TURNING),
    Check("posture", "warning", units.posture, {"joint_pos"}, raw=False),
    Check("copies", "warning", copies.copies),
    Check("terminations", "warning", ends.terminations),
    Check("time-outs", "warning", ends.time_outs),
    Check("falls", "warning", ends.unmarked_falls, {"projected_gravity"}),
    Check("flags of contacts", "warning", columns.contacts),
    Check("order of contacts", "warning", columns.contact_order, limbs={"foot"}),
    Check("known rewards", "warning", columns.rewards_known),
    Check("rewards", "warning", rewards.rewards, MOTORS | TURNS | {"base_lin_vel"}, {"foot"}, False, SPOILT_STATES),
    Check("commands", "warning", coverage.commands),
    Check("short episodes", "error", coverage.short_episodes),
    Check("few episodes", "warning", coverage.few_episodes),
    Check("normaliser", "error", columns.normalizer_mismatch),
    Check("import of a table", "warning", ends.import_report),
)


def examine(episodes: Episodes, robot: Robot, settings: AuditSettings | None = None, source: str = "The data") -> list[Finding]:
    """Return what is to be said about the data; nothing of severity error or warning where they are sound.

    A fault is said once, by the first check that finds it.

    Args:
        source: how sentences name the data.
    """
    try:
        audit(episodes, robot, source)
    except UnfitDataError as error:
        return unfit(error)
    context = Context(robot, settings or AuditSettings())
    tame = outliers.without_outliers(episodes, context)
    findings: list[Finding] = []
    for check in CHECKS:
        grave = [finding.name for finding in findings if finding.severity != "note"]
        if any(name.startswith(beginning) for name in grave for beginning in check.unless):
            continue
        if not (context.fields >= check.fields and context.limbs >= check.limbs):
            continue
        found, said = check.find(episodes if check.raw else tame, context), {finding.name for finding in findings}
        findings = [finding for finding in findings if not (found and finding.name in check.explains)]
        findings += [finding for finding in found if finding.name not in said]
    return findings


def unfit(error: UnfitDataError) -> list[Finding]:
    """Return what is to be said of data that cannot be used."""
    waiting = "The other checks wait until the error is mended."
    return [Finding(error.check, "error", str(error)), Finding("not_checked", "note", waiting)]
