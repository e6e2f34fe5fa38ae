"""Generated parts of hand-written pages: the text between two marks, which name the command that wrote it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rwmu.files import write_text


def marks(part: str, command: str) -> tuple[str, str]:
    """Return the comments before and after a part that ``command`` writes."""
    return f"<!-- {part}: begin ({command}) -->", f"<!-- {part}: end -->"


def with_part(page: str, part: str, command: str, lines: Sequence[str]) -> str:
    """Return a page with what stands between a part's marks replaced; a page without them stays as it is."""
    begin, end = marks(part, command)
    if begin not in page or end not in page:
        return page
    before, rest = page.split(begin, 1)
    body = "\n".join(lines).strip()
    return f"{before}{begin}\n\n{body}\n\n{end}{rest.split(end, 1)[1]}"


def rewrite(page: Path, command: str, parts: Mapping[str, Sequence[str]]) -> None:
    """Write the lines of parts, by their names, into a page."""
    text = page.read_text()
    for part, lines in parts.items():
        text = with_part(text, part, command, lines)
    write_text(page, text)


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(map(str, line))} |" for line in (header, ["---"] * len(header), *rows)]


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file of results; none where there is no file yet."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def rows_as_markdown(path: Path) -> list[str]:
    """Return the lines of a Markdown table of a CSV file's rows, as they are."""
    rows = read_rows(path)
    return markdown(list(rows[0]), [list(row.values()) for row in rows]) if rows else []
