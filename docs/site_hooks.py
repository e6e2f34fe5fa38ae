"""Hooks of mkdocs: pages that lie outside docs/ join the site, links between all of them are mended, equations become MathML.

README, CONTRIBUTING, CHANGELOG and the studies' pages are read where they lie, so that no text exists twice. Links are written as
they work in the repository; here they are turned into links within the site. MathML needs no script and no network.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parents[1]
# What joins the site from outside docs/: patterns of paths in the repository.
OUTSIDE = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "NOTICE"),
    *("experiments/*/README.md", "experiments/*/table.md", "experiments/*/figures/*"),
)
# A Markdown link or image: before the target, the target without its anchor, the anchor.
_LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?(?=\)|\s)")
# What docstrings write as :class:`~rwmu.records.Window`.
_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):<code>~?([\w.]+)</code>")
_EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def site_path(path: str) -> str:
    """Return where a file of the repository stands in the site."""
    return "index.md" if path == "README.md" else path.removeprefix("docs/")


def repository_path(path: str) -> str:
    """Return where a file of the site lies in the repository."""
    if path == "index.md":
        return "README.md"
    return f"docs/{path}" if (REPOSITORY / "docs" / path).exists() else path


def on_files(files: Files, config: Any) -> Files:
    """Add what lies outside docs/."""
    for pattern in OUTSIDE:
        for file in sorted(REPOSITORY.glob(pattern)):
            uri = site_path(file.relative_to(REPOSITORY).as_posix())
            files.append(File.generated(config, uri, abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    here = posixpath.dirname(page.file.src_uri)
    folder = posixpath.dirname(repository_path(page.file.src_uri))

    def mended(match: re.Match[str]) -> str:
        target = site_path(posixpath.normpath(posixpath.join(folder, match[2])))
        return f"{match[1]}{posixpath.relpath(target, here or '.')}{match[3] or ''}"

    return _LINK.sub(mended, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Write equations as MathML, which browsers draw by themselves, and docstrings' references as links."""

    def drawn(match: re.Match[str]) -> str:
        latex = match[2].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        return convert(latex, display="block" if match[1] == "div" else "inline")

    def referred(match: re.Match[str]) -> str:
        name = match[1].rpartition(".")[2]
        return f'<autoref optional identifier="{match[1]}"><code>{name}</code></autoref>'

    return _ROLE.sub(referred, _EQUATION.sub(drawn, html))
