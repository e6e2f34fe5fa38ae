"""A page of HTML that needs nothing beside itself: verdicts, tables, embedded figures, embedded video."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rwmu.files import write_bytes, write_text
from rwmu.report.questions import QUESTIONS, Verdict, table_of_rules
from rwmu.report.wording import missing

EMBED_LIMIT_BYTES = 2_000_000  # a page is to be mailed
_MEDIA = {".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif", ".png": "image/png"}

_STYLE = """
:root { --ink: #1f2937; --soft: #6b7280; --line: #e5e7eb;
        --good: #009e73; --middling: #b7791f; --bad: #c2410c; --unknown: #6b7280; }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: var(--ink); background: #fff;
       max-width: 64rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; }
p { margin: .5rem 0; } .soft, figcaption, small { color: var(--soft); font-size: .92rem; }
.verdict { border: 1px solid var(--line); border-radius: 10px; padding: .4rem 1.2rem; margin: 1.4rem 0; background: #f9fafb; }
.verdict div { border-left: 5px solid var(--unknown); padding: .1rem 0 .1rem .9rem; margin: .9rem 0; }
.verdict .good { border-color: var(--good); } .verdict .middling { border-color: var(--middling); }
.verdict .bad { border-color: var(--bad); }
.verdict strong { display: block; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; margin: .8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .7rem .28rem 0; border-bottom: 1px solid var(--line); text-align: right; }
td { white-space: nowrap; } table.words td { white-space: normal; text-align: left; }
th:first-child, td:first-child { text-align: left; } thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
tr.ours td { font-weight: 600; }
figure { margin: 1.2rem 0; } figure img, figure video { max-width: 100%; height: auto; } figure video { border-radius: 8px; }
code { font-size: .88em; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; font-size: .92rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; } .absent { color: var(--soft); font-style: italic; }
@media (max-width: 640px) {
  body { padding: 1rem .9rem 3rem; } thead { display: none; } table, tbody { display: block; }
  tr { display: block; padding: .5rem 0; border-bottom: 1px solid var(--line); }
  td, td:first-child, table.words td { display: flex; gap: 1rem; justify-content: space-between; padding: .1rem 0; border: 0;
    white-space: normal; text-align: right; }
  td::before { content: attr(data-of); color: var(--soft); font-weight: 400; text-align: left; }
  td:first-child { font-weight: 600; } td:first-child::before { content: none; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
}
"""


def document(title: str, body: str) -> str:
    """Return a whole HTML document."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def write(path: Path, title: str, body: str, images: Mapping[Path, bytes], tables: Mapping[Path, str] | None = None) -> None:
    """Write a page and what lies beside it: PNGs, and tables as CSV; the page last."""
    for place, table in (tables or {}).items():
        write_text(place, table)
    for place, png in images.items():
        write_bytes(place, png)
    write_text(path, document(title, body))


def body(
    title: str, intro: str, verdicts: Sequence[Verdict], sections: Mapping[str, str], links: Mapping[str, str] | None = None
) -> str:
    """Return a page between ``<body>`` and ``</body>``: title, what it is about, answers, sections that are not empty, rules.

    Args:
        sections: heading -> HTML. links: words -> address of a file beside the page.
    """
    linked = ", ".join(f'<a href="{escape(address)}">{escape(words)}</a>' for words, address in (links or {}).items())
    head = f"<h1>{escape(title)}</h1>{paragraph(intro, 'soft')}" + (f'<p class="soft">See also: {linked}</p>' if linked else "")
    asked = [name for name, question in QUESTIONS.items() if question.text in {verdict.question for verdict in verdicts}]
    rules = section("How the questions are judged", paragraph(_RULES), table(_RULE_COLUMNS, table_of_rules(asked), kind="words"))
    return head + verdict_box(verdicts) + "".join(section(name, text) for name, text in sections.items() if text) + rules


_RULE_COLUMNS = ("number", "good", "partly", "why")
_RULES = (
    "One rule a question, the same on every page. Brackets hold the 95 % interval from resampling whole independent episodes; "
    "where there is none, nothing is judged. With fewer than 20 episodes an interval is too narrow to be taken at its word."
)


def verdict_box(verdicts: Sequence[Verdict]) -> str:
    """Return the box of answers at the top."""
    rows = (f'<div class="{v.tone}"><strong>{escape(v.question)}</strong>{escape(v.answer)}</div>' for v in verdicts)
    return f'<section class="verdict">{"".join(rows)}</section>'


def section(title: str, *parts: str) -> str:
    """Return a headed section of the parts that are not empty."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>\n"


def paragraph(text: str, kind: str = "") -> str:
    """Return one paragraph of plain text."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], highlighted: Sequence[int] = (), kind: str = "") -> str:
    """Return a table of plain text cells; of sentences if ``kind`` is ``words``."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        f"<tr{' class=ours' if i in highlighted else ''}>" + "".join(map(_cell, header, row)) + "</tr>"
        for i, row in enumerate(rows)
    )
    return f'<div class="table"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(heading: str, text: str) -> str:
    """Return a cell that carries its heading, which a narrow screen shows beside it."""
    return f'<td data-of="{escape(heading)}">{escape(text)}</td>'


def definitions(items: Mapping[str, Any]) -> str:
    """Return a list of names and values."""
    rows = (f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in items.items() if value not in (None, ""))
    return f"<dl>{''.join(rows)}</dl>"


def figure(png: bytes | None, caption: str) -> str:
    """Return an embedded PNG with its caption, or nothing."""
    if png is None:
        return ""
    image = f'<img alt="{escape(caption)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def figures(images: Mapping[str, bytes], captions: Mapping[str, str]) -> str:
    """Return those of the captioned figures that there are, in the order of their captions."""
    return "".join(figure(images.get(name), caption) for name, caption in captions.items())


def video(path: Path | None, run_dir: Path, reason: str, caption: str) -> str:
    """Return the video: embedded if it is small, linked if it is large, and why it is absent if it is."""
    if path is None or not path.is_file() or path.suffix not in _MEDIA:
        return f'<p class="absent">There is no video: {escape(reason)}</p>'
    if path.stat().st_size > EMBED_LIMIT_BYTES:
        shown = path.relative_to(run_dir) if path.is_relative_to(run_dir) else path
        return f'<p>The video is too large to embed: <a href="{escape(shown.as_posix())}">{escape(shown.as_posix())}</a>.</p>'
    media = _MEDIA[path.suffix]
    source = f"data:{media};base64,{base64.b64encode(path.read_bytes()).decode()}"
    if media.startswith("image/"):
        player = f'<img alt="{escape(caption)}" src="{source}">'
    else:
        player = f'<video controls autoplay loop muted playsinline src="{source}"></video>'
    return f"<figure>{player}<figcaption>{escape(caption)}</figcaption></figure>"


def absent(report: Mapping[str, Any], part: str) -> str:
    """Return a sentence on why a part of the results is missing."""
    return f'<p class="absent">Not measured: {escape(missing(report, part))}</p>'
