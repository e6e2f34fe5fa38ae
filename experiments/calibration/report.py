"""One page that is understood alone: the verdict, the figures with a sentence each, the tables, the counts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from rwmu.evaluation import page
from rwmu.evaluation.calibration import verdict as thresholds
from rwmu.evaluation.verdict import Verdict

CAPTIONS = {
    "ranking_by_horizon": "The higher, the better the disagreement tells large errors from small ones; the grey line is what "
    "merely "
    "counting steps would reach, and bars are 95 % intervals over whole episodes.",
    "disagreement_against_error": "Each cell counts forecasts: a good ranking is a slope upwards, whatever its steepness.",
    "sparsification": "Remove the most uncertain forecasts: the faster the error left falls, and the nearer to the dotted line, "
    "the better.",
    "coverage_by_horizon": "Curves within the grey band have a usable scale; above it intervals are too wide, below it too narrow.",
    "reliability": "On the diagonal, intervals hold as many truths as they should; above it they are too wide, below it too "
    "narrow.",
    "by_dimension": "Which parts of the state are ranked and scaled well: blue ranks well; white holds 68 %, purple too much, "
    "orange too "
    "little.",
    "noise": "Off its data the model errs more; it may be trusted there if disagreement grows along with error and coverage stays.",
}
QUESTIONS = {
    "overall": "Can this model's uncertainty be used?",
    "ranking": "As a ranking?",
    "scale": "As a scale, as it is?",
    "recalibrated": "As a scale, once recalibrated?",
    "width": "Do its intervals say anything?",
    "exploded": "Do dreams stay in the known world?",
    "falls": "Does it foresee falls?",
    "noise": "Does it notice that it is off its data?",
}
RANKING_COLUMNS = ("rank", "within_step_rank", "overall_rank", "partial_rank", "step_counter_rank", "ause", "ause_random", "error")
SCALE_COLUMNS = ("coverage_683", "coverage_95", "width_683", "informative", "calibration_error", "ence", "nll", "crps")
NOISE_COLUMNS = ("error", "disagreement", "rank", "coverage_683", "coverage_95", "recalibrated_683", "recalibrated_95", "exploded")
LABELS = {
    "rank": "rank correlation at the step",
    "within_step_rank": "within a step",
    "overall_rank": "over all steps",
    "partial_rank": "given the step",
    "step_counter_rank": "step counter",
    "ause": "AUSE",
    "ause_random": "AUSE of chance",
    "error": "median error",
    "coverage_683": "in 68.3 %",
    "coverage_95": "in 95 %",
    "width_683": "width of 68.3 %",
    "ence": "ENCE",
    "nll": "NLL",
    "crps": "CRPS",
    "recalibrated_683": "in 68.3 %, recalibrated",
    "recalibrated_95": "in 95 %, recalibrated",
}
METHODS = {"raw": "as it is", "constant": "one constant", "per_horizon": "one factor a step"}


def short(cell: Mapping[str, Any]) -> str:
    """Return a cell as text: the number, its interval and the count of episodes in brackets; a dash where there is none."""
    if cell["value"] is None:
        return "–"
    number = f"{cell['value']:.3g}"
    interval = "" if cell["low"] is None else f" [{cell['low']:.3g}, {cell['high']:.3g}]"
    return f"{number}{interval} ({cell['trajectories']})"


def html(measured: Mapping[str, Any], images: Mapping[str, bytes]) -> str:
    """Return the page."""
    subject = measured["subject"]
    body = "".join(
        [
            f"<h1>Can the uncertainty be trusted? {subject['name']}</h1>",
            page.paragraph(_intro(measured), "soft"),
            page.verdict_box(_verdicts(measured)),
            *(page.section(title, *_part(measured, images, names)) for title, names in _SECTIONS.items()),
            _numbers(measured),
            _method(measured),
        ]
    )
    return page.document(f"rwmu calibration: {subject['name']}", body)


_SECTIONS = {
    "Ranking": ("ranking_by_horizon", "disagreement_against_error", "sparsification"),
    "Scale": ("coverage_by_horizon", "reliability"),
    "Part by part of the state": ("by_dimension",),
    "Under noise": ("noise",),
}


def _intro(measured: Mapping[str, Any]) -> str:
    test, fitted = measured["test"], measured["calibration"]
    recalibrated = (
        "There is no calibration split, so nothing was recalibrated."
        if fitted is None
        else f"Recalibrations were fitted on {fitted['episodes']} other episodes ({fitted['falls']} falls) and never scored on "
        "them."
    )
    return (
        f"{measured['num_members']} member{'s' if measured['num_members'] > 1 else ''}, warmed up on {measured['history']} rows. "
        "Tested on "
        f"{test['episodes']} episodes that the model never saw ({test['rows']} rows, {test['falls']} falls; {test['stretches']} "
        "separate "
        f"stretches, {test['long_stretches']} long ones) of {measured['subject']['tested_on']}. {recalibrated} One step is "
        f"{measured['subject']['step_dt']:g} s; errors and widths are in standard deviations of each state variable."
    )


def _verdicts(measured: Mapping[str, Any]) -> list[Verdict]:
    verdict = measured["verdict"]
    tones = {
        "ranking": _tone(verdict["ranking"].values()),
        "scale": _tone(verdict["scale_raw"].values()),
        "recalibrated": _tone(verdict["scale_recalibrated"].values()),
        "width": "middling",
        "exploded": "middling",
        "falls": _tone([verdict["falls"]]),
    }
    use = verdict["usable_as"]
    tones["overall"] = (
        "good" if use.startswith("ranking and") else "bad" if use == "neither" else "unknown" if use == "not known" else "middling"
    )
    return [Verdict(QUESTIONS[name], tones.get(name, "unknown"), text) for name, text in verdict["sentences"].items()]


def _tone(answers: Any) -> str:
    known = [answer for answer in answers if answer is not None]
    return "unknown" if not known else "good" if all(known) else "middling" if any(known) else "bad"


def _part(measured: Mapping[str, Any], images: Mapping[str, bytes], names: tuple[str, ...]) -> list[str]:
    parts = [page.figure(images.get(name), CAPTIONS[name]) for name in names]
    if "ranking_by_horizon" in names:
        reason = next((c["rank"]["reason"] for c in measured["ranking"].values() if c["rank"]["value"] is None), "")
        parts.append(page.paragraph(f"Where there is no number: {reason}.", "absent") if reason else "")
        parts.append(_table(measured["ranking"], RANKING_COLUMNS))
    if "coverage_by_horizon" in names:
        parts += _scale_tables(measured)
    if "noise" in names:
        parts += _noise_parts(measured)
    return parts


def _table(rows: Mapping[str, Mapping[str, Any]], columns: tuple[str, ...], first: str = "steps ahead") -> str:
    header = [first, *(LABELS.get(name, name.replace("_", " ")) for name in columns)]
    return page.table(header, [[name, *(short(cells[column]) for column in columns)] for name, cells in rows.items()])


def _scale_tables(measured: Mapping[str, Any]) -> list[str]:
    parts: list[str] = []
    reasons: dict[str, list[str]] = {}
    titles = {
        "sampled": "Sampled trajectories",
        "propagated": "Propagated means",
        "members": "Each member's own Gaussian, one step ahead",
    }
    for forecast, table in measured["scale"].items():
        rows = {f"{k}, {METHODS.get(method, method)}": cells for method, by in table.items() for k, cells in by.items()}
        ordered = dict(sorted(rows.items(), key=lambda item: int(item[0].split(",")[0])))
        parts.append(page.paragraph(f"{titles[forecast]}: steps ahead and recalibration."))
        parts.append(_table(ordered, SCALE_COLUMNS))
        for name, cells in ordered.items():
            for column in ("coverage_683", "coverage_95"):
                if cells[column]["value"] is None:
                    reasons.setdefault(cells[column]["reason"], []).append(f"{name} ({LABELS[column]})")
    parts += [page.paragraph(f"Not measured at {'; '.join(names)}: {why.rstrip('.')}.", "absent") for why, names in reasons.items()]
    return parts


def _noise_parts(measured: Mapping[str, Any]) -> list[str]:
    parts = []
    for kind in (measured.get("noise") or {"": {"missing": "the analysis was told to leave it out."}}).values():
        if "missing" in kind:
            parts.append(page.paragraph(f"Not measured: {kind['missing']}", "absent"))
            continue
        rows = {f"{scale}, {k}": cells for scale, table in kind["scales"].items() for k, cells in table.items()}
        parts += [page.paragraph(kind["about"]), _table(rows, NOISE_COLUMNS, "scale, steps ahead")]
    return parts


def _numbers(measured: Mapping[str, Any]) -> str:
    falls = {
        name.replace("_", " "): {f"within {k}": cell for k, cell in cells.items()} for name, cells in measured["falls"].items()
    }
    reasons = {cell["reason"] for cells in measured["falls"].values() for cell in cells.values() if cell["value"] is None}
    diversity = measured["diversity"]
    return "".join(
        [
            page.section(
                "Falls",
                page.paragraph(
                    "How surely a row shortly before a fall scores above any other row (AUROC: 1 always, 0.5 chance). "
                    f"What counts is the number of falls: {measured['test']['falls']}."
                ),
                _table(falls, tuple(f"within {k}" for k in measured["falls"]["disagreement"]), "score"),
                *(page.paragraph(f"Not measured: {reason}.", "absent") for reason in reasons),
            ),
            page.section(
                "Heads",
                page.paragraph("Are the probabilities of contact and termination right, one step ahead, and what do they find?"),
                _table(measured["heads"], ("calibration_error", "recall", "precision", "base_rate"), "head"),
            ),
            page.section(
                "Diversity",
                page.paragraph(
                    "One step ahead: cosine between the members' predicted changes (1: they say the same), correlation of their "
                    "errors, "
                    "and how many members of independent errors would average as well."
                ),
                page.table([name.replace("_", " ") for name in diversity], [[short(cell) for cell in diversity.values()]]),
                *({page.paragraph(f"Not measured: {c['reason']}.", "absent") for c in diversity.values() if c["value"] is None}),
            ),
        ]
    )


def _method(measured: Mapping[str, Any]) -> str:
    lines = (
        "Every number stands with its 95 % interval, from resampling whole episodes, and the number of independent episodes in "
        "brackets; a "
        "dash was not measured, for the reason given.",
        f"A ranking is called usable from a rank correlation of {thresholds.RANKS} at a step (then the more uncertain of two "
        "forecasts errs "
        f"more in about 7 of 10 cases), with an interval above {thresholds.RANKS_AT_LEAST}. A scale is called right if both "
        "intervals hold "
        f"within {100 * thresholds.COVERAGE_TOLERANCE:.0f} points of what they should, and at least "
        f"{100 * thresholds.INFORMATIVE:.0f} % of them are narrower than those of one who knows only the data's mean and spread. "
        "Falls are "
        f"called foreseen from an AUROC of {thresholds.FORESEES}.",
        "Disagreement and error are those of a dream that follows one member, as imagination does, along the recorded actions. "
        "'Sampled' is the "
        "spread of members x samples, each on its own way; 'propagated' lets each member go its way by its mean. Recalibrations "
        "are fitted "
        "for each field of the state by itself. 'Informative' is the share of 68 % intervals narrower than 2.",
    )
    return page.section("How to read this", *(page.paragraph(line) for line in lines))


def cells(measured: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield every cell with the table that it belongs to and its place there, levels separated by slashes."""

    def walk(node: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
        if isinstance(node, Mapping):
            if "trajectories" in node and "text" in node:
                yield place, node
                return
            for key, child in node.items():
                yield from walk(child, (*place, str(key)))

    for table in ("ranking", "scale", "diversity", "heads", "falls", "noise"):
        for place, cell in walk(measured.get(table), ()):
            yield table, "/".join(place), cell


def csv_tables(measured: Mapping[str, Any]) -> dict[str, str]:
    """Return a CSV for each table: place, number, ends of the interval, independent episodes, and why where there is none."""
    tables: dict[str, io.StringIO] = {}
    for table, place, cell in cells(measured):
        if table not in tables:
            tables[table] = io.StringIO()
            csv.writer(tables[table], lineterminator="\n").writerow(["cell", "value", "low", "high", "trajectories", "reason"])
        row = [place, *(cell[name] for name in ("value", "low", "high", "trajectories", "reason"))]
        csv.writer(tables[table], lineterminator="\n").writerow(["" if entry is None else entry for entry in row])
    return {name: buffer.getvalue() for name, buffer in tables.items()}
