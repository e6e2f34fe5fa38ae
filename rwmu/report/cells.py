"""Tables of numbers with intervals: each with the independent trajectories that it rests on, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rwmu.report import page
from rwmu.report.wording import NO_WIDTH, end_of_share, listed

# Why there is no interval -> the same in three words, for a cell; the reason itself stands below its table.
_SHORTLY = {"trajectories are needed": "too few episodes", "resamples could not be measured": "too few cases"}
_ABSENT = {"value": None, "low": None, "high": None, "trajectories": 0, "reason": "not part of this analysis"}
Rows = Mapping[str, Mapping[str, Any]]


def significant(value: float) -> str:
    """Return a number in three digits."""
    return f"{value:.3g}"


def cell(interval: Mapping[str, Any], form: Callable[[float], str] = significant) -> str:
    """Return a plain interval as text: number, interval, and the count of trajectories in brackets; a dash where there is none.

    Args:
        form: writes a number.
    """
    if interval["value"] is None:
        return "–"
    value, count = form(interval["value"]), interval["trajectories"]
    if interval["low"] is None:
        why = next((words for part, words in _SHORTLY.items() if part in interval["reason"]), "see below")
        return f"{value} ({count}, no interval: {why})"
    low, high = form(interval["low"]), form(interval["high"])
    return f"{value} [{low}, {high}] ({count}){f' {NO_WIDTH}' if low == high else ''}"


def share_cell(interval: Mapping[str, Any] | None) -> str:
    """Return the interval of a share for a table."""
    if interval is None:
        return "–"
    return f"none ({interval['trajectories']})" if interval["value"] == 0.0 else cell(interval, end_of_share)


def table(
    rows: Rows,
    columns: Mapping[str, str],
    first: str,
    form: Callable[[float], str] = significant,
    forms: Mapping[str, Callable[[float], str]] | None = None,
    more: Sequence[Sequence[str]] = (),
) -> str:
    """Return a table of plain intervals, and below it why some have no number, or no interval; each reason once.

    Args:
        rows: name -> column -> plain interval; columns that a row lacks were not part of it.
        columns: column -> heading. first: heading of the rows' names.
        form: writes a number. forms: column -> the same of that column. more: rows of text below the others.
    """
    writes = {column: (forms or {}).get(column, form) for column in columns}
    text = [[name, *(cell(entries.get(column, _ABSENT), writes[column]) for column in columns)] for name, entries in rows.items()]
    notes = [page.paragraph(note, "absent") for note in reasons(rows, columns)]
    return page.table([first, *columns.values()], [*text, *more]) + "".join(notes)


def reasons(rows: Rows, columns: Mapping[str, str]) -> list[str]:
    """Return a sentence for each reason why cells of a table have no number or no interval, with the places that it holds for."""
    places: dict[tuple[str, str], dict[str, list[str]]] = {}  # (what is missing, reason) -> heading -> rows
    for name, entries in rows.items():
        for column, heading in columns.items():
            entry = entries.get(column, _ABSENT)
            if entry["value"] is None or entry["low"] is None:
                what = "Not measured" if entry["value"] is None else "No interval"
                places.setdefault((what, entry["reason"].rstrip(".")), {}).setdefault(heading, []).append(name)
    sentences = []
    for (what, reason), by_column in places.items():
        alike: dict[tuple[str, ...], list[str]] = {}
        for heading, found in by_column.items():
            alike.setdefault(tuple(found), []).append(heading)
        parts = []
        for names, headings in alike.items():
            where = "" if len(names) == len(rows) else f" at {_named(names, list(rows))}"
            parts.append(("everything" if len(headings) == len(columns) else listed(headings)) + where)
        sentences.append(f"{what}: {'; '.join(parts)}: {reason}.")
    return sentences


def _named(names: Sequence[str], every: Sequence[str]) -> str:
    """Name some rows of a table shortly; where names are "8, isotonic", what they share is said once."""
    tails: dict[str, list[str]] = {}
    for name in names:
        head, _, tail = name.partition(", ")
        tails.setdefault(head, []).append(tail)
    alike: dict[tuple[str, ...], list[str]] = {}
    for head, found in tails.items():
        whole = len(found) == sum(name.partition(", ")[0] == head for name in every)
        alike.setdefault(() if whole else tuple(found), []).append(head)
    return ", ".join(listed(heads) + (f" ({listed(found)})" if found else "") for found, heads in alike.items())
