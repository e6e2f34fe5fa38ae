"""Numbers in words, the same on every page."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rwmu.report.thresholds import FEW_STARTS

NO_WIDTH = "no width"


def number(results: Mapping[str, Any], *path: str) -> float | None:
    """Return the number at ``path``, or None where there is none."""
    value: Any = results
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, (int, float)) and value == value else None


def shown(results: Mapping[str, Any], *path: str, digits: int = 2, scale: float = 1.0) -> str:
    """Return the number at ``path`` as text, a dash where there is none."""
    value = number(results, *path)
    if value is None:
        return "–"
    # Adding zero turns a negative zero, left over by rounding, into a plain one.
    return f"{round(scale * value, digits) + 0.0:.{digits}f}".replace("-", "−")


def missing(results: Mapping[str, Any], part: str) -> str:
    """Return why a part of a run's results is absent, as a sentence."""
    reason = (results.get("missing") or {}).get(part)
    return str(reason) if reason else f"this run has no {part} stage."


def percent(share: float) -> str:
    """Return a share as text, with as many digits as say something."""
    if share == 0.0:
        return "none"
    return f"{100.0 * share:.0f} %" if share >= 0.1 else f"{100.0 * share:.2g} %"


def number_of(count: int, name: str) -> str:
    """Return a count with its noun, whose plural takes an s."""
    return f"{count} {name}{'' if count == 1 else 's'}"


def steps(k: int | str, one: str = "1 step") -> str:
    """Return a horizon in words; ``one`` is what a single step is called."""
    return one if int(k) == 1 else f"{k} steps"


def listed(words: Iterable[str]) -> str:
    """Return words with commas, and "and" before the last."""
    every = list(words)
    return "".join(every) if len(every) < 2 else ", ".join(every[:-1]) + " and " + every[-1]


# -- intervals ----------------------------------------------------------------------------------------------------------------


def figure(interval: Mapping[str, Any], digits: int = 2) -> str:
    """Return a plain interval within a sentence, or the reason why there is none."""
    return _sentence(interval, lambda value: f"{value:.{digits}f}")


def share(interval: Mapping[str, Any], whole: str = "") -> str:
    """Return the interval of a share within a sentence; of none at all there is no interval worth the name.

    Args:
        whole: what it is a share of.
    """
    of = f" of {whole}" if whole else ""
    if interval["value"] == 0.0:
        return f"none{of} ({number_of(interval['trajectories'], 'start')})"
    return _sentence(interval, end_of_share) + of


def end_of_share(value: float) -> str:
    """Return a share that ends an interval."""
    return "0 %" if value == 0.0 else percent(value)


def _sentence(interval: Mapping[str, Any], form: Callable[[float], str]) -> str:
    if interval["value"] is None:
        return f"not measured ({interval['reason']})"
    value, starts = form(interval["value"]), number_of(interval["trajectories"], "start")
    if interval["low"] is None:
        return f"{value} (no interval: {interval['reason']}; {starts})"
    low, high = form(interval["low"]), form(interval["high"])
    return f"{value} [{low}, {high}] ({starts}{f', {NO_WIDTH}' if low == high else ''})"


def falls(found: Mapping[str, int]) -> str:
    """Return how many falls could be judged, and from how many starts: several policies may fall from one."""
    if not found["judged"]:
        return "no fall to judge"
    return f"{number_of(found['judged'], 'fall')} from {number_of(found['starts'], 'start')}"


def caution(starts: int, *texts: str) -> str:
    """Return what to keep in mind with intervals over falls from so many starts, as sentences; empty where nothing is to be said.

    Args:
        texts: what is printed of these intervals.
    """
    said = []
    if starts < FEW_STARTS:
        said.append(
            f"Caution: falls from {number_of(starts, 'start')} are few (below {FEW_STARTS}), so that intervals over them are "
            "rough, and likely too narrow."
        )
    if any(NO_WIDTH in text for text in texts):
        said.append(f"'{NO_WIDTH.capitalize()}': all resamples give the same to the digits shown, which is not certainty.")
    return " ".join(said)


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Return rows as a CSV table, empty where a row lacks a column; the columns are those of all rows unless given."""
    columns = list(dict.fromkeys(key for row in rows for key in row)) if columns is None else columns
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
