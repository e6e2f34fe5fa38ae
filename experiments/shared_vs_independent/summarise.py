"""Make tables, figures and the answer from results/: ``python -m experiments.shared_vs_independent.summarise``.

Writes results.csv, answer.json, table.md and figures/ beside this file, and the generated parts of README.md here and of the main
one. Works with whatever results there are: what is missing is named, and the protocol's rule says "undecided" where it has too
little to decide.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.generated import with_part
from experiments.shared_vs_independent import page, processors, tables
from experiments.shared_vs_independent.answer import answer
from experiments.shared_vs_independent.cells import HERE
from experiments.shared_vs_independent.figures import FIGURES
from experiments.shared_vs_independent.gather import Gathered
from experiments.shared_vs_independent.hopes import hopes
from rwmu.files import json_ready, write_json, write_text

COMMAND = "python -m experiments.shared_vs_independent.summarise"
PARTS = ("answer", "results", "processors", "missing")


def write_figures(gathered: Gathered, folder: Path) -> list[str]:
    """Draw every figure that there are results for; returns their names."""
    drawn = []
    for name, draw in FIGURES.items():
        figure = draw(gathered)
        if figure is not None:
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(folder / f"{name}.png", facecolor="white", metadata={"Software": None})
            drawn.append(name)
    return drawn


def rewrite(readme: Path, parts: Mapping[str, Sequence[str]]) -> None:
    """Replace the generated parts of a page, if it is there."""
    if readme.is_file():
        whole = readme.read_text()
        for name, lines in parts.items():
            whole = with_part(whole, name, COMMAND, lines)
        write_text(readme, whole)


def _rounded(plain: Mapping[str, Any]) -> Any:
    """Return plain values without their last digits, which depend on the number of threads."""
    return json.loads(json.dumps(json_ready(plain)), parse_float=lambda digits: round(float(digits), 9))


def main(arguments: Sequence[str] | None = None) -> None:
    """Summarise a folder of results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=HERE, help="with results/ and README.md; gets everything that is written")
    folder = parser.parse_args(arguments).folder
    gathered = Gathered.read(folder / "results")
    found, judged = answer(gathered), hopes(gathered)
    drawn = write_figures(gathered, folder / "figures")
    parts = {
        "answer": page.answer_lines(found, judged, gathered),
        "results": page.result_lines(gathered, drawn),
        "processors": processors.lines(gathered, Gathered.read(folder / "results" / processors.FOLDER)),
        "missing": tables.missing(gathered),
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([tables.CSV_COLUMNS, *tables.csv_rows(gathered)])
    write_text(folder / "results.csv", text.getvalue())
    write_json(folder / "answer.json", _rounded(found.plain() | {"hopes": [asdict(hope) for hope in judged]}), indent=1)
    write_text(folder / "table.md", "\n".join([*parts["answer"], "", *page.all_tables(gathered)]) + "\n")
    rewrite(folder / "README.md", parts)
    if folder == HERE:
        rewrite(HERE.parent.parent / "README.md", {"study": page.short_lines(found, gathered)})
    print("\n".join(parts["answer"]))


if __name__ == "__main__":
    main()
