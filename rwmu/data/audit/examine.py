"""All checks of a dataset, one after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rwmu.data.audit import columns, coverage, units
from rwmu.data.audit.actions import action_lag
from rwmu.data.audit.copies import copies
from rwmu.data.audit.findings import Finding
from rwmu.data.audit.fitness import UnfitDataError, audit
from rwmu.data.audit.joints import joint_motion
from rwmu.data.audit.scale import normalizer_mismatch
from rwmu.data.episodes import Episodes
from rwmu.data.normalizer import Normalizer
from rwmu.data.splits import DEFAULT_FRACTIONS
from rwmu.tasks.anymal_d import Robot

JOINT_FIELDS = {"joint_pos", "joint_vel"}


@dataclass(frozen=True)
class AuditSettings:
    """What the data are to be used for.

    Attributes:
        window: H + K, rows of a training window.
        command_range: half-widths of the commanded velocities, m/s, m/s, rad/s.
        fractions: shares of the splits.
        normalizer: that the data will be scaled with; None where one will be fitted on them.
    """

    window: int = 40
    command_range: tuple[float, ...] = (1.0, 1.0, 1.0)
    fractions: Mapping[str, float] = field(default_factory=lambda: DEFAULT_FRACTIONS)
    normalizer: Normalizer | None = None


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
    names = {field.name for field in layout.fields}
    step_dt = episodes.attributes.get("step_dt")
    findings = columns.constant_columns(episodes, robot, fitted=settings.normalizer is None)
    findings += columns.stuck_columns(episodes, robot)
    if step_dt is None:
        sentence = "The data do not say how long a step is, so joints cannot be compared with their velocities; add 'step_dt' (s)."
        findings.append(Finding("step_dt_unknown", "warning", sentence))
    elif names >= JOINT_FIELDS:
        findings += joint_motion(episodes, layout, float(step_dt))
    if names >= JOINT_FIELDS:
        findings += action_lag(episodes, layout)
    else:
        sentence = f"The layout has no {' and '.join(sorted(JOINT_FIELDS - names))}: seams and action lags cannot be looked for."
        findings.append(Finding("joints_unknown", "note", sentence))
    said = {finding.name for finding in findings}
    suspicions = units.units(episodes, layout, None if step_dt is None else float(step_dt), settings.command_range)
    findings += [finding for finding in suspicions if finding.name not in said]
    findings += copies(episodes)
    findings += [*columns.terminations(episodes), *columns.contacts(episodes, robot), *columns.rewards(episodes)]
    findings += coverage.commands(episodes, layout, settings.command_range)
    findings += [*coverage.short_episodes(episodes, settings.window), *coverage.few_episodes(episodes, settings.fractions)]
    if settings.normalizer is not None:
        findings += normalizer_mismatch(episodes, layout, settings.normalizer)
    return findings


def unfit(error: UnfitDataError) -> list[Finding]:
    """Return what is to be said of data that cannot be used."""
    waiting = "The other checks wait until the error is mended."
    return [Finding(error.check, "error", str(error)), Finding("not_checked", "note", waiting)]
