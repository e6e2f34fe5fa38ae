"""Tables of cells: each number with its interval and the independent trajectories that it rests on, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rwmu.measure.calibration.ranking import BEYOND, RANKS
from rwmu.measure.windows import KNOWN_STATES
from rwmu.report import page
from rwmu.report.wording import SCORES, csv_text, listed, percent, significant, steps

# Why there is no interval -> the same in three words, for a cell; the reason itself stands below its table.
_SHORTLY = {"trajectories are needed": "too few episodes", "resamples could not be measured": "too few cases"}
TRIVIAL = (
    "Trivial scores need no ensemble, and no model but for the dreamt state they look at: tilt, mean distance to the ten nearest "
    f"of {KNOWN_STATES} training states, Mahalanobis distance to these, age of the episode, size of the action, last change. What "
    "a score has more than the best of them, in the same draws of episodes, is what it is worth."
)
# Table -> that of what is beyond trivial scores, and what is said of both.
FORESIGHT = {
    "auroc": ("beyond_trivial", "AUROC of a fall within so many steps, one step ahead (1 always, 0.5 chance); {}."),
    "given_tilt": ("beyond_trivial_given_tilt", "The same among rows of like tilt, in ten classes: what tilt gives is taken out."),
    "lead": ("", "Falls of which an alarm came at least so many steps before (at most 100), at one false alarm a minute."),
}
OUTSIDE = "AUROC of telling the rows in which the model errs more than in 99 of 100 held-out rows; they are {} of all."
_COLUMNS = ("value", "low", "high", "trajectories", "reason")
Rows = Mapping[str, Mapping[str, Any]]


def cell(interval: Mapping[str, Any] | None, form: Callable[[float], str] = significant) -> str:
    """Return a cell as text: number, interval, and the count of trajectories in brackets; a dash where there is none."""
    if interval is None or interval["value"] is None:
        return "–"
    value, count = form(interval["value"]), interval["trajectories"]
    if interval["low"] is None:
        why = next((words for part, words in _SHORTLY.items() if part in interval["reason"]), "see below")
        return f"{value} ({count}, no interval: {why})"
    low, high = form(interval["low"]), form(interval["high"])
    return f"{value} [{low}, {high}] ({count}){' no width' if low == high else ''}"


def table(
    rows: Rows,
    columns: Mapping[str, str],
    first: str,
    form: Callable[[float], str] = significant,
    forms: Mapping[str, Callable[[float], str]] | None = None,
) -> str:
    """Return a table of cells, and below it why some have no number, or no interval; each reason once.

    Args:
        rows: name -> column -> cell. columns: -> heading. first: heading of the names.
        form, forms: write numbers, of all columns and of some.
    """
    writes = {column: (forms or {}).get(column, form) for column in columns}
    text = [[name, *(cell(entries.get(column), writes[column]) for column in columns)] for name, entries in rows.items()]
    return page.table([first, *columns.values()], text) + "".join(page.paragraph(note, "absent") for note in reasons(rows, columns))


def scored(by_score: Rows, beyond: Rows) -> dict[str, Mapping[str, Any]]:
    """Return the rows of scores by their words, and below them by how much those of a model exceed the best trivial one."""
    rows = {words: by_score[name] for name, words in SCORES.items() if name in by_score}
    return rows | {f"{SCORES[name]}, less the best trivial": cells for name, cells in beyond.items() if name != "error"}


def ranks(ranking: Rows) -> str:
    """Return the table of rank correlations with the error: a row a score, a column a horizon."""
    tables = [{name: {k: cells[cell] for k, cells in ranking.items()} for name, cell in of.items()} for of in (RANKS, BEYOND)]
    return page.paragraph(TRIVIAL) + table(scored(*tables), {k: steps(k) for k in ranking}, "score")


def foresight(tables: Mapping[str, Rows], falls: str) -> str:
    """Return what :func:`rwmu.measure.detection.foresight` found, of so many falls."""
    text = ""
    for name, (beyond, words) in FORESIGHT.items():
        rows = scored(tables[name], tables.get(beyond, {}))
        columns = {k: f"{steps(k)} before" if name == "lead" else f"within {k}" for k in next(iter(rows.values()))}
        text += page.paragraph(words.format(falls)) + table(rows, columns, "score", percent if name == "lead" else "{:.3f}".format)
    return text


def outside(found: Mapping[str, Any]) -> str:
    """Return how well scores tell the rows in which the model errs more than on held-out data."""
    rows = {words: {"auroc": one} for words, one in scored(found["auroc"], found["beyond_trivial"]).items()}
    share = cell(found["share"], percent)
    return page.paragraph(OUTSIDE.format(share)) + (table(rows, {"auroc": "AUROC"}, "score", "{:.3f}".format) if rows else "")


def reasons(rows: Rows, columns: Mapping[str, str]) -> list[str]:
    """Return a sentence for each reason why cells of a table have no number or no interval, with the rows and columns it is of."""
    places: dict[tuple[str, str], tuple[dict[str, None], dict[str, None]]] = {}
    for name, entries in rows.items():
        for column, heading in columns.items():
            entry = entries.get(column)
            if entry is not None and (entry["value"] is None or entry["low"] is None):
                what = "Not measured" if entry["value"] is None else "No interval"
                of_rows, of_columns = places.setdefault((what, entry["reason"].rstrip(".")), ({}, {}))
                of_rows[name], of_columns[heading] = None, None
    sentences = []
    for (what, reason), (of_rows, of_columns) in places.items():
        where = "everything" if len(of_columns) == len(columns) else listed(of_columns)
        at = "" if len(of_rows) == len(rows) else f" at {listed(of_rows)}"
        sentences.append(f"{what}: {where}{at}: {reason}.")
    return sentences


def below(node: Any, *place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every cell below ``node`` with its place there, levels separated by slashes."""
    if isinstance(node, Mapping):
        if "trajectories" in node and "text" in node:
            yield "/".join(place), node
            return
        for key, child in node.items():
            yield from below(child, *place, str(key))


def csv_tables(results: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Return a CSV of the cells of each part: place, number, ends, independent trajectories, and why where there is none."""
    tables = {}
    for name in names:
        rows = [{"cell": place} | {column: found[column] for column in _COLUMNS} for place, found in below(results.get(name))]
        if rows:
            tables[name] = csv_text(rows)
    return tables
