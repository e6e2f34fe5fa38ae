"""What an audit has to say: findings, as a table for people and as plain values for files."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import Any, Literal

import yaml

from rwmu.errors import DataError

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
SENTENCES: Mapping[str, str] = yaml.safe_load((files(__package__) / "sentences.yaml").read_text(encoding="utf-8"))
NOTHING: Mapping[str, Any] = {}
_TEXT_WIDTH, _LISTED = 100, 4


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


Findings = Iterator[Finding]


def finding(
    key: str, numbers: Mapping[str, Any] = NOTHING, words: Mapping[str, Any] = NOTHING, severity: Severity = "warning"
) -> Finding:
    """Return a finding whose sentence is filled in from what was measured, and from ``words`` that are no measurement.

    Args:
        key: of ``sentences.yaml``, the finding's name before any dot.
    """
    told = {name: listed(value) if isinstance(value, list) else value for name, value in {**numbers, **words}.items()}
    return Finding(key.partition(".")[0], severity, SENTENCES[key].format(**told), dict(numbers))


def of_severity(findings: Sequence[Finding], severity: Severity) -> list[Finding]:
    """Return the findings of one severity, in their order."""
    return [finding for finding in findings if finding.severity == severity]


def require_sound(findings: Sequence[Finding], source: str) -> None:
    """Raise :class:`DataError` with one sentence if there are errors in the data at ``source``."""
    errors = of_severity(findings, "error")
    if errors:
        more = f" ({len(errors) - 1} more errors: python -m rwmu.data.audit {shlex.quote(source)})" if len(errors) > 1 else ""
        raise DataError(f"The data file {source} cannot be trained on: {errors[0].sentence.removesuffix('.')}{more}.")


def brief(findings: Sequence[Finding], source: str) -> str | None:
    """Return the names of the warnings in one line, None where there are none."""
    names = ", ".join(finding.name for finding in of_severity(findings, "warning"))
    return f"The data are doubtful in: {names} (python -m rwmu.data.audit {shlex.quote(source)} says more)." if names else None


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


def listed(items: Sequence[Any], limit: int = _LISTED) -> str:
    """Return a few of the items, and how many there are beyond."""
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(str(item) for item in items[:limit]) + more
