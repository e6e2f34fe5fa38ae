"""What an audit has to say: findings, as a table for people and as plain values for files."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rwmu.errors import DataError

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
_TEXT_WIDTH = 100


@dataclass(frozen=True)
class Finding:
    """One thing that a check has found.

    Attributes:
        name: of the fault, stable.
        severity: ``error`` where nothing sound can be trained on the data, ``warning`` where the result would be doubtful or worse
            than it could be, ``note`` for what one should know.
        sentence: where it is, what it is, and what to do.
        numbers: what was measured, plain values.
    """

    name: str
    severity: Severity
    sentence: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def warning(name: str, sentence: str, **numbers: Any) -> Finding:
    """Return a finding of the commonest severity."""
    return Finding(name, "warning", sentence, numbers)


def of_severity(findings: Sequence[Finding], severity: Severity) -> list[Finding]:
    """Return the findings of one severity, in their order."""
    return [finding for finding in findings if finding.severity == severity]


def require_sound(findings: Sequence[Finding], source: str) -> None:
    """Raise :class:`DataError` with one sentence if there are errors in the data at ``source``."""
    errors = of_severity(findings, "error")
    if errors:
        more = f" ({len(errors) - 1} more errors: python -m rwmu.data.audit {source})" if len(errors) > 1 else ""
        raise DataError(f"The data file {source} cannot be trained on: {errors[0].sentence.removesuffix('.')}{more}.")


def brief(findings: Sequence[Finding], source: str) -> str | None:
    """Return the names of the warnings in one line, None where there are none."""
    names = ", ".join(finding.name for finding in of_severity(findings, "warning"))
    return f"The data are doubtful in: {names} (python -m rwmu.data.audit {source} says more)." if names else None


def table(findings: Sequence[Finding]) -> str:
    """Return the findings in lines, the gravest first."""
    ordered = sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
    width = max((len(finding.name) for finding in ordered), default=0)
    lines = []
    for finding in ordered:
        first, *others = textwrap.wrap(finding.sentence, _TEXT_WIDTH)
        lines += [f"{finding.severity:<9}{finding.name:<{width + 2}}{first}", *(" " * (width + 11) + other for other in others)]
    return "\n".join(lines)


def count(findings: Sequence[Finding]) -> str:
    """Return how many findings there are of each severity, in words."""
    numbers = {severity: len(of_severity(findings, severity)) for severity in SEVERITIES}
    return ", ".join(f"{number} {severity}{'' if number == 1 else 's'}" for severity, number in numbers.items())


def listed(items: Sequence[Any], limit: int = 4) -> str:
    """Return a few of the items, and how many there are beyond."""
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(str(item) for item in items[:limit]) + more
