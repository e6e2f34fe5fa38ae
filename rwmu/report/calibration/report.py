"""Write a calibration analysis: ``calibration.json``, recalibrations, CSV tables, figures and ``calibration.html``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rwmu.files import json_ready, write_json
from rwmu.report import page
from rwmu.report.calibration import content, figures
from rwmu.report.verdicts.calibration import judge
from rwmu.report.wording import csv_text

RESULT = "calibration.json"
_COLUMNS = ("value", "low", "high", "trajectories", "reason")


def write(measured: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Judge what was measured and write everything into ``folder``, the page last.

    Args:
        measured: :func:`rwmu.measure.calibration.measure.measure_calibration`, ``subject`` (``name``, ``tested_on``, ``step_dt``,
            ``robot``, ``model_hash``), and any ``noise`` and ``options``.

    Returns:
        The results as they were written, with their ``verdict``.
    """
    plain: dict[str, Any] = json_ready(measured) | {"verdict": judge(measured)}
    fitted = {"model_hash": plain["subject"]["model_hash"], "recalibrations": plain.pop("recalibrations")}
    write_json(folder / "recalibrations.json", fitted)
    write_json(folder / RESULT, plain, indent=1)
    images = figures.draw(plain)
    for name in figures.FIGURES:  # a figure of an earlier analysis that there are no data for now must not stay
        (folder / "figures" / f"{name}.png").unlink(missing_ok=True)
    page.write(
        folder / "calibration.html",
        f"rwmu calibration: {plain['subject']['name']}",
        content.body(plain, images),
        {folder / "figures" / f"{name}.png": png for name, png in images.items()},
        {folder / f"{name}.csv": table for name, table in csv_tables(plain).items()},
    )
    return plain


def cells(node: Any, *place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every cell below ``node`` with its place there, levels separated by slashes."""
    if isinstance(node, Mapping):
        if "trajectories" in node and "text" in node:
            yield "/".join(place), node
            return
        for key, child in node.items():
            yield from cells(child, *place, str(key))


def csv_tables(measured: Mapping[str, Any]) -> dict[str, str]:
    """Return a CSV for each table: place, number, ends of the interval, independent episodes, and why where there is none."""
    tables = {}
    for table in ("ranking", "scale", "diversity", "heads", "falls", "noise"):
        rows = [{"cell": place} | {name: cell[name] for name in _COLUMNS} for place, cell in cells(measured.get(table))]
        if rows:
            tables[table] = csv_text(rows)
    return tables
