"""Write a calibration analysis: ``calibration.json``, recalibrations, CSV tables, figures and ``calibration.html``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rwmu.files import json_ready, write_json
from rwmu.report import cells, page, verdicts
from rwmu.report.calibration import content, figures
from rwmu.report.questions import Verdict

RESULT = "calibration.json"
TABLES = ("ranking", "scale", "diversity", "heads", "falls", "foresight", "outside", "noise")


def write(measured: Mapping[str, Any], folder: Path) -> list[Verdict]:
    """Judge what was measured, write everything into ``folder``, the page last, and return the answers.

    Args:
        measured: :func:`rwmu.measure.calibration.measure.measure_calibration`, ``subject`` (``name``, ``tested_on``, ``step_dt``,
            ``robot``, ``model_hash``), and any ``noise`` and ``options``.
    """
    plain: dict[str, Any] = json_ready(measured)
    answers = verdicts.of_calibration(plain)
    fitted = {"model_hash": plain["subject"]["model_hash"], "recalibrations": plain.pop("recalibrations")}
    write_json(folder / "recalibrations.json", fitted)
    write_json(folder / RESULT, plain | {"verdicts": [asdict(answer) for answer in answers]}, indent=1)
    images = figures.draw(plain)
    for name in figures.FIGURES:  # a figure of an earlier analysis that there are no data for now must not stay
        (folder / "figures" / f"{name}.png").unlink(missing_ok=True)
    page.write(
        folder / "calibration.html",
        f"rwmu calibration: {plain['subject']['name']}",
        content.body(plain, images, answers),
        {folder / "figures" / f"{name}.png": png for name, png in images.items()},
        {folder / f"{name}.csv": table for name, table in cells.csv_tables(plain, TABLES).items()},
    )
    return answers
