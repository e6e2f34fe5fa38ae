"""Make tables, figures and the answer from results/: ``python -m experiments.shared_vs_independent.summarise``.

Writes results.csv, answer.json, table.md and figures/ beside this file, and the generated parts of README.md. Works with whatever
results there are: what is missing is named, and the protocol's rule says "undecided" where it has too little to decide.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from experiments.generated import with_part
from experiments.shared_vs_independent import tables
from experiments.shared_vs_independent.answer import Answer, answer
from experiments.shared_vs_independent.cells import HERE, plan
from experiments.shared_vs_independent.figures import FIGURES
from experiments.shared_vs_independent.gather import Gathered
from experiments.shared_vs_independent.hopes import Hope, hopes
from rwmu.evaluation.json_files import write_json, write_text

COMMAND = "python -m experiments.shared_vs_independent.summarise"
PARTS = ("answer", "results", "missing")


def answer_lines(found: Answer, judged: Sequence[Hope], gathered: Gathered) -> list[str]:
    """Return the answer in words, each with its reasons."""
    if not gathered.by_name:
        return ["Not run yet."]
    done, planned = len(gathered.by_name), len(plan())
    adopted = sum(bool(result["adopted"]) for result in gathered.by_name.values())
    meaning = {
        "sufficient": "The shared base is sufficient (broad data, tested on broad data, by the rule below).",
        "insufficient": "The shared base is insufficient.",
        "undecided": "Undecided whether the shared base is sufficient.",
    }
    helps = {
        "helps": "Recalibrating the penalty helps the robot.",
        "not shown to help": "Recalibrating the penalty has not been shown to help the robot.",
        "undecided": "Undecided whether recalibrating the penalty helps the robot.",
    }
    weights = [
        f"{model}, {penalty}: {found_weight.text}"
        for model, by_penalty in found.best_weights.items()
        for penalty, found_weight in by_penalty.items()
    ]
    rest = "all" if done == planned else "the others are listed below"
    return [
        f"From {done} of {planned} cells ({rest}), {adopted} of them adopted from earlier runs.",
        "",
        f"**{meaning[found.shared]}**",
        "",
        *(f"- {reason}." for reason in found.reasons),
        "",
        f"**{helps[found.recalibration]}**",
        "",
        *(f"- {reason}." for reason in found.recalibration_reasons),
        "",
        "**Which weight, and at what cost?** Highest return on broad data:",
        "",
        *(f"- {line}." for line in [*weights, *found.cost]),
        "",
        "**What was hoped of independent members on broad data, and what was found:**",
        "",
        *(f"- {hope.line}" for hope in judged),
    ]


def result_lines(gathered: Gathered) -> list[str]:
    """Return every table under its heading."""
    sections = {
        "Ranking: rank correlation of disagreement with error (200 long forecasts)": tables.ranking(gathered),
        "What the ranking is made of (1000 short forecasts)": tables.composition(gathered),
        "Differences between models, paired by seed and episode (not part of the rule)": tables.differences(gathered),
        "Scale: share inside the intervals of sampled trajectories": tables.scale(gathered),
        "Diversity of the members": tables.diversity(gathered),
        "Foresight of falls: AUROC of the disagreement": tables.falls(gathered),
        "Error, size and time": tables.error_and_cost(gathered),
        "Deployed policies": tables.deployed(gathered),
    }
    lines = [
        "Interquartile means over seeds (of fewer than four, means) with 95 % intervals over seeds and test episodes; where no",
        "interval can be had, every seed's number. * marks models and policies of which some were adopted from an earlier run.",
        "Errors are in the normalised units of the data that a model was trained on.",
    ]
    for heading, body in sections.items():
        lines += ["", f"### {heading}", "", *body]
    return lines


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Summarise a folder of results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=HERE, help="with results/ and README.md; gets everything that is written")
    folder = parser.parse_args(arguments).folder
    gathered = Gathered.read(folder / "results")
    found, judged = answer(gathered), hopes(gathered)
    drawn = write_figures(gathered, folder / "figures")
    parts = {
        "answer": answer_lines(found, judged, gathered),
        "results": [*result_lines(gathered), *(line for name in drawn for line in ("", f"![{name}](figures/{name}.png)"))],
        "missing": tables.missing(gathered),
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([tables.CSV_COLUMNS, *tables.csv_rows(gathered)])
    write_text(folder / "results.csv", text.getvalue())
    write_json(folder / "answer.json", found.plain() | {"hopes": [asdict(hope) for hope in judged]}, indent=1)
    write_text(folder / "table.md", "\n".join([*parts["answer"], "", *result_lines(gathered)]) + "\n")
    readme = folder / "README.md"
    if readme.is_file():
        page = readme.read_text()
        for name, lines in parts.items():
            page = with_part(page, name, COMMAND, lines)
        write_text(readme, page)
    print("\n".join(parts["answer"]))


if __name__ == "__main__":
    main()
