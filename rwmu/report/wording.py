"""Numbers in words, the same on every page."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SCORES = {  # of rows, by the names that measurements have for them
    "disagreement": "disagreement",
    "noise_estimate": "noise expected",
    "noise_largest": "largest noise expected",
    "combined": "both together",
    "termination_head": "termination head",
    "error": "error made",
    "tilt": "tilt (trivial)",
    "nearest": "distance to the nearest training states (trivial)",
    "mahalanobis": "Mahalanobis distance (trivial)",
    "earliness": "step counter backwards (trivial)",
    "action": "size of the action (trivial)",
    "change": "last change (trivial)",
}


def number(results: Mapping[str, Any], *path: str) -> float | None:
    """Return the number at ``path``, or None where there is none."""
    value: Any = results
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, (int, float)) and value == value else None


def shown(results: Mapping[str, Any], *path: str, digits: int = 2, scale: float = 1.0) -> str:
    """Return the number at ``path`` as text, a dash where there is none."""
    value = number(results, *path)
    return "–" if value is None else fixed(scale * value, digits)


def fixed(value: float, digits: int = 2) -> str:
    """Return a number with so many digits after the point, and a true minus sign."""
    # Adding zero turns a negative zero, left over by rounding, into a plain one.
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def significant(value: float) -> str:
    """Return a number in three digits."""
    return f"{value:.3g}"


def missing(results: Mapping[str, Any], part: str) -> str:
    """Return why a part of a run's results is absent, as a sentence."""
    reason = (results.get("missing") or {}).get(part)
    return str(reason) if reason else f"this run has no {part} stage."


def percent(share: float) -> str:
    """Return a share as text, with as many digits as say something."""
    digits = 0 if share == 0.0 or abs(share) >= 0.1 else 1 if abs(share) >= 0.01 else 2
    return f"{fixed(100.0 * share, digits)} %"


def signed_percent(share: float) -> str:
    """Return a change as text."""
    return f"{'+' if share > 0.0 else ''}{percent(share)}"


def number_of(count: int, name: str) -> str:
    """Return a count with its noun, whose plural takes an s."""
    return f"{count} {name}{'' if count == 1 else 's'}"


def steps(k: int | str) -> str:
    """Return a horizon in words."""
    return number_of(int(k), "step")


def listed(words: Iterable[str]) -> str:
    """Return words with commas, and "and" before the last."""
    every = list(words)
    return "".join(every) if len(every) < 2 else ", ".join(every[:-1]) + " and " + every[-1]


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a CSV table with the columns of all of them, empty where a row lacks one."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
