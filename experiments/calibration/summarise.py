"""Keep the tables of analyses and write their main numbers into README.md beside this file.

    python -m experiments.calibration.summarise shared=runs/.../calibration independent=runs/.../calibration
    python -m experiments.calibration.summarise pushed=... slippery=... weak_motors=...

The second line is of test sets of falls (``simulator=pushed`` ...), of which only what foresees falls is kept, in falls/; they have
a table of their own. Without arguments, the README is written anew from what is kept.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.generated import markdown, read_rows, rewrite
from rwmu.errors import ConfigError
from rwmu.files import write_json
from rwmu.measure.calibration.ranking import BEYOND, RANKS
from rwmu.report.calibration.report import TABLES
from rwmu.report.wording import SCORES

HERE = Path(__file__).parent
COMMAND = "python -m experiments.calibration.summarise"
# Heading -> table and cell, with the horizon in place of {k}.
RANKING = {
    "rank correlation": ("ranking", "{k}/rank"),
    "within a step": ("ranking", "{k}/within_step_rank"),
    "step counter": ("ranking", "{k}/step_counter_rank"),
    "of the predicted noise": ("ranking", "{k}/aleatoric_rank"),
    "median error": ("ranking", "{k}/error"),
    "exploded": ("ranking", "{k}/exploded"),
}
SCALE = {
    "in 68.3 %, sampled": ("scale", "sampled/raw/{k}/coverage_683"),
    "the same, conformal": ("scale", "sampled/conformal/{k}/coverage_683"),
    "in 68.3 %, propagated": ("scale", "propagated/raw/{k}/coverage_683"),
    "the same, conformal ": ("scale", "propagated/conformal/{k}/coverage_683"),
    "in 95 %, propagated, conformal": ("scale", "propagated/conformal/{k}/coverage_95"),
}
OTHERS = {
    "falls within 5 steps: AUROC of the disagreement": ("falls", "disagreement/5"),
    "falls within 25 steps": ("falls", "disagreement/25"),
    "falls within 5 steps: AUROC of the predicted noise": ("falls", "noise_estimate/5"),
    "falls within 5 steps: AUROC of the termination head": ("falls", "termination_head/5"),
    "cosine of the members' predicted changes": ("diversity", "cosine"),
    "effective number of members": ("diversity", "effective_members"),
    "contact head: calibration error": ("heads", "contact/calibration_error"),
    "termination head: recall": ("heads", "termination/recall"),
    "given noise 0.8, 8 steps: error": ("noise", "given/scales/0.8/8/error"),
    "given noise 0.8, 8 steps: coverage, recalibrated": ("noise", "given/scales/0.8/8/recalibrated_683"),
    "simulated noise 0.8, 8 steps: error": ("noise", "simulated/scales/0.8/8/error"),
    "simulated noise 0.8, 8 steps: coverage, recalibrated": ("noise", "simulated/scales/0.8/8/recalibrated_683"),
}

# Heading -> table and cell of a score, and those of what it has more than the best trivial score.
BESIDE = {
    "AUROC, fall within 5 steps": ("falls", "{score}/5", "foresight", "beyond_trivial/{score}/5"),
    "within 25": ("falls", "{score}/25", "foresight", "beyond_trivial/{score}/25"),
    "rows of like tilt, within 5": ("foresight", "given_tilt/{score}/5", "foresight", "beyond_trivial_given_tilt/{score}/5"),
    "of like tilt, within 25": ("foresight", "given_tilt/{score}/25", "foresight", "beyond_trivial_given_tilt/{score}/25"),
    "alarm 10 steps before": ("foresight", "lead/{score}/10", "", ""),
    "25 steps before": ("foresight", "lead/{score}/25", "", ""),
    "AUROC, beyond the data": ("outside", "auroc/{score}", "outside", "beyond_trivial/{score}"),
}

FALLS, OF_FORESIGHT = ("pushed", "slippery", "weak_motors"), ("falls", "foresight")
OF_FALLS = {
    "AUROC, fall within 5 steps": ("falls", "{score}/5"),
    "within 25": ("falls", "{score}/25"),
    "of like tilt, within 5": ("foresight", "given_tilt/{score}/5"),
    "of like tilt, within 25": ("foresight", "given_tilt/{score}/25"),
    "alarm 25 steps before": ("foresight", "lead/{score}/25"),
}

Cells = dict[str, dict[str, dict[str, str]]]  # table -> cell -> column -> text
VERDICT = "verdict.json"
FIELD = "field"


def keep(name: str, folder: Path, results: Path) -> None:
    """Copy the tables of an analysis into ``results/name``.

    Raises:
        ConfigError: there is no analysis in the folder.
    """
    if not (folder / "calibration.json").is_file():
        raise ConfigError(f"There is no calibration analysis in {folder}; run python -m experiments.calibration first.")
    (results / name).mkdir(parents=True, exist_ok=True)
    for table in OF_FORESIGHT if name in FALLS else TABLES:
        if (folder / f"{table}.csv").is_file():
            shutil.copyfile(folder / f"{table}.csv", results / name / f"{table}.csv")
    measured = json.loads((folder / "calibration.json").read_text())
    kept = {part: measured[part] for part in ("verdicts", "dimensions")} | {"grouped_by": measured.get("grouped_by", FIELD)}
    write_json(results / name / VERDICT, kept, indent=1)


def read(folder: Path) -> Cells:
    """Return the tables of one analysis."""
    tables = {table: read_rows(folder / f"{table}.csv") for table in TABLES}
    return {table: {row["cell"]: row for row in rows} for table, rows in tables.items() if rows}


def text(cells: Cells, table: str, name: str, counted: bool = False, digits: int = 2) -> str:
    """Return a cell: the number, its interval and, if wanted, the independent episodes behind it; a dash where there is none."""
    row = cells.get(table, {}).get(name)
    if row is None or not row["value"]:
        return "–"
    interval = f" [{float(row['low']):.{digits}f}, {float(row['high']):.{digits}f}]" if row["low"] else ""
    count = f" ({row['trajectories']})" if counted else ""
    return f"{float(row['value']):.{digits}f}{interval}{count}"


def near(verdict: dict[str, Any], k: str, kind: str) -> str:
    """Return how many dimensions of the state have a coverage within 10 points of 68.3 %, and the worst; a dash if not measured."""
    found = verdict.get("dimensions", {}).get(k, {}).get(kind)
    return "–" if found is None else f"{found['near']} of {found['of']}, {found['worst']} {100 * found['coverage']:.0f} %"


def lines(analyses: dict[str, Cells], verdicts: dict[str, dict[str, Any]]) -> list[str]:
    """Return the README's tables."""
    # How a recalibration is grouped changes the scale after it and nothing else.
    models = {name: cells for name, cells in analyses.items() if verdicts[name].get("grouped_by", FIELD) == FIELD}

    def by_horizon(chosen: dict[str, Cells], columns: dict[str, tuple[str, str]], kinds: Sequence[str] = ()) -> list[list[str]]:
        rows = []
        for name, cells in chosen.items():
            for k in dict.fromkeys(cell.split("/")[0] for cell in cells["ranking"]):
                numbers = [text(cells, table, cell.format(k=k)) for table, cell in columns.values()]
                dimensions = [near(verdicts[name], k, kind) for kind in kinds]
                rows.append([name, k, cells["ranking"][f"{k}/error"]["trajectories"], *numbers, *dimensions])
        return rows

    first = ["model", "steps ahead", "episodes"]
    dimensions = ["dimensions within 10 points, and the worst", "the same, recalibrated"]
    others = [[words, *(text(cells, *cell, counted=True) for cells in models.values())] for words, cell in OTHERS.items()]
    return [
        *markdown([*first, *RANKING], by_horizon(models, RANKING)),
        "",
        *markdown([*first, *map(str.strip, SCALE), *dimensions], by_horizon(analyses, SCALE, ("raw", "recalibrated"))),
        "",
        *markdown(["", *models], others),
    ]


def beside_trivial(name: str, cells: Cells) -> list[str]:
    """Return tables of one analysis, a row a score: ranking by steps ahead, and what scores tell one step ahead."""
    horizons = list(dict.fromkeys(cell.split("/")[0] for cell in cells["ranking"]))
    ranks, told = [], []
    for score, words in SCORES.items():
        if score in RANKS:
            ranks.append([words, *(text(cells, "ranking", f"{k}/{RANKS[score]}") for k in horizons)])
        if f"{score}/5" in cells["falls"]:
            told.append([words, *(text(cells, of[0], of[1].format(score=score), digits=3) for of in BESIDE.values())])
    for score, cell in BEYOND.items():
        more = f"{SCORES[score]}, less the best trivial score"
        ranks.append([more, *(text(cells, "ranking", f"{k}/{cell}") for k in horizons)])
        told.append([more, *(text(cells, of[2], of[3].format(score=score), digits=3) for of in BESIDE.values())])
    header = [f"`{name}`: rank correlation with the error", *(f"{k} step{'' if k == '1' else 's'}" for k in horizons)]
    return [*markdown(header, ranks), "", *markdown([f"`{name}`, one step ahead", *BESIDE], told), ""]


def of_falls(name: str, cells: Cells) -> list[str]:
    """Return the table of a test set of falls, a row a score."""
    scores = [score for score in SCORES if f"{score}/5" in cells["falls"]]
    rows = [
        [SCORES[score], *(text(cells, table, cell.format(score=score)) for table, cell in OF_FALLS.values())] for score in scores
    ]
    return [*markdown([f"`{name}`, one step ahead", *OF_FALLS], rows), ""]


def main(arguments: Sequence[str] | None = None, here: Path = HERE) -> None:
    """Keep what is given and rewrite the README."""
    for argument in sys.argv[1:] if arguments is None else arguments:
        name, _, folder = argument.partition("=")
        keep(name, Path(folder), here / ("falls" if name in FALLS else "results"))
    folders = sorted((here / "results").iterdir())
    analyses = {folder.name: read(folder) for folder in folders}
    verdicts = {folder.name: json.loads((folder / VERDICT).read_text()) for folder in folders}
    table = lines(analyses, verdicts)
    compared = [line for name, cells in analyses.items() if "foresight" in cells for line in beside_trivial(name, cells)]
    fallen = [line for name in FALLS if (folder := here / "falls" / name).is_dir() for line in of_falls(name, read(folder))]
    rewrite(here / "README.md", COMMAND, {"results": table, "trivial": compared, "falls": fallen})
    print("\n".join([*table, "", *compared, *fallen]))


if __name__ == "__main__":
    main()
