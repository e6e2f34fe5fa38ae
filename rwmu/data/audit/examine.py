"""All checks of a dataset, one after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rwmu.data.audit import columns, coverage, units
from rwmu.data.audit.actions import action_lag
from rwmu.data.audit.axes import base_axes
from rwmu.data.audit.copies import copies
from rwmu.data.audit.falls import time_outs, unmarked_falls
from rwmu.data.audit.findings import Finding
from rwmu.data.audit.fitness import UnfitDataError, audit
from rwmu.data.audit.joints import joint_motion, other_step
from rwmu.data.audit.motors import FIELDS, motors, odd_episodes
from rwmu.data.audit.outliers import outliers
from rwmu.data.audit.rewards import rewards
from rwmu.data.audit.scale import normalizer_mismatch
from rwmu.data.audit.stuck import stuck_columns
from rwmu.data.episodes import Episodes
from rwmu.data.normalizer import Normalizer
from rwmu.data.splits import DEFAULT_FRACTIONS
from rwmu.robots.robot import Robot
from rwmu.tasks.velocity import VelocityTask

JOINT_FIELDS = {"joint_pos", "joint_vel"}
TURNING_FIELDS = {"projected_gravity", "base_ang_vel"}
REWARDED_FIELDS = FIELDS | TURNING_FIELDS | {"base_lin_vel"}
LIMBS = {"undesired", "foot"}


@dataclass(frozen=True)
class AuditSettings:
    """What the data are to be used for.

    Attributes:
        window: H + K, rows of a training window.
        command_range: half-widths of the commanded velocities, m/s, m/s, rad/s.
        fractions: shares of the splits.
        normalizer: that the data will be scaled with; None where one will be fitted on them.
        step_dt: of the task, s, which the data must have; None for any.
        task: whose rewards the data should hold; None where that is not to be looked at.
    """

    window: int = 40
    command_range: tuple[float, ...] = (1.0, 1.0, 1.0)
    fractions: Mapping[str, float] = field(default_factory=lambda: DEFAULT_FRACTIONS)
    normalizer: Normalizer | None = None
    step_dt: float | None = None
    task: VelocityTask | None = None


def examine(episodes: Episodes, robot: Robot, settings: AuditSettings | None = None, source: str = "The data") -> list[Finding]:
    """Return what is to be said about the data; nothing of severity error or warning where they are sound.

    Args:
        source: how sentences name the data.
    """
    settings = settings or AuditSettings()
    try:
        audit(episodes, robot, source)
    except UnfitDataError as error:
        return unfit(error)
    layout = robot.state_layout
    findings = columns.constant_columns(episodes, robot, fitted=settings.normalizer is None)
    findings += stuck_columns(episodes, robot)
    far, tame = outliers(episodes, robot)
    moving = _motion(tame, robot, settings)
    said = {finding.name for finding in moving}
    moving += [finding for finding in _plausibility(tame, robot, settings) if finding.name not in said]
    findings += far + moving
    findings += copies(episodes)
    findings += [*columns.terminations(episodes), *time_outs(episodes)]
    if "projected_gravity" in _names(robot):
        findings += unmarked_falls(episodes, layout)
    findings += columns.contacts(episodes, robot)
    if _limbs(robot) >= LIMBS:
        findings += columns.contact_order(episodes, robot)
    findings += columns.rewards(episodes)
    sound = all(finding.severity == "note" or finding.name == "seams" for finding in moving)
    if sound and settings.task is not None and _can_be_rewarded(robot, settings.task):
        findings += rewards(tame, settings.task)  # where states or actions are at fault, rewards that do not fit tell nothing new
    findings += coverage.commands(episodes, layout, settings.command_range)
    findings += [*coverage.short_episodes(episodes, settings.window), *coverage.few_episodes(episodes, settings.fractions)]
    if settings.normalizer is not None:
        findings += normalizer_mismatch(episodes, layout, settings.normalizer)
    return findings


def _motion(episodes: Episodes, robot: Robot, settings: AuditSettings) -> list[Finding]:
    """Look at steps, joints, actions and torques: what moves, by what, and in which rows."""
    layout, names, step_dt = robot.state_layout, _names(robot), _step_dt(episodes)
    findings: list[Finding] = []
    if step_dt is None:
        sentence = "The data do not say how long a step is, so joints cannot be compared with their velocities; add 'step_dt' (s)."
        findings.append(Finding("step_dt_unknown", "warning" if settings.step_dt is None else "error", sentence))
    else:
        if settings.step_dt is not None:
            findings += other_step(step_dt, settings.step_dt)
        if names >= JOINT_FIELDS:
            findings += joint_motion(episodes, layout, step_dt)
    if not names >= JOINT_FIELDS:
        sentence = f"The layout has no {' and '.join(sorted(JOINT_FIELDS - names))}: seams and action lags cannot be looked for."
        return [*findings, Finding("joints_unknown", "note", sentence)]
    lag = action_lag(episodes, layout)
    misread = any(finding.name.startswith("units_") for finding in findings)
    if not names >= FIELDS or misread or (lag and lag[0].name == "action_lag"):
        return findings + lag
    # The first of these explains what the others would find.
    return findings + (odd_episodes(episodes, layout) or lag or motors(episodes, robot))


def _plausibility(episodes: Episodes, robot: Robot, settings: AuditSettings) -> list[Finding]:
    """Look at sizes and signs, at the base's axes only where those are plausible."""
    names, step_dt = _names(robot), _step_dt(episodes)
    findings = units.units(episodes, robot.state_layout, step_dt, settings.command_range)
    if names >= TURNING_FIELDS and step_dt is not None and not findings:
        findings += base_axes(episodes, robot.state_layout, step_dt)
    if "joint_pos" in names:
        findings += units.posture(episodes, robot)
    return findings


def _names(robot: Robot) -> set[str]:
    return {field.name for field in robot.state_layout.fields}


def _limbs(robot: Robot) -> set[str]:
    return {field.name for field in robot.contact_layout.fields}


def _can_be_rewarded(robot: Robot, task: VelocityTask) -> bool:
    """Tell whether the task is of this robot, and its layouts have what rewards are computed from."""
    layouts = (robot.state_layout, robot.contact_layout) == (task.robot.state_layout, task.robot.contact_layout)
    return layouts and _names(robot) >= REWARDED_FIELDS and _limbs(robot) >= LIMBS


def _step_dt(episodes: Episodes) -> float | None:
    step_dt = episodes.attributes.get("step_dt")
    return None if step_dt is None else float(step_dt)


def unfit(error: UnfitDataError) -> list[Finding]:
    """Return what is to be said of data that cannot be used."""
    waiting = "The other checks wait until the error is mended."
    return [Finding(error.check, "error", str(error)), Finding("not_checked", "note", waiting)]
