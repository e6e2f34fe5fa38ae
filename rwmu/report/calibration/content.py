"""The page of a calibration analysis: the verdict, the figures with a sentence each, the tables, the counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from rwmu.measure.calibration.recalibrated import PREFERRED
from rwmu.report import cells, page
from rwmu.report import thresholds as at
from rwmu.report.calibration.figures import estimate_words
from rwmu.report.verdicts.calibration import verdicts
from rwmu.report.verdicts.calibration_words import JUDGED, METHODS, WORDS
from rwmu.report.wording import number_of

CAPTIONS = {
    "ranking_by_horizon": "The higher, the better the disagreement tells large errors from small ones; the grey line is what "
    "merely counting steps would reach, and bars are 95 % intervals over whole episodes.",
    "disagreement_against_error": "Each cell counts forecasts: a good ranking is a slope upwards, whatever its steepness.",
    "sparsification": "Remove the most uncertain forecasts: the faster the error left falls, and the nearer to the dotted line, "
    "the better.",
    "coverage_by_horizon": "Curves within the grey band have a usable scale, on average over dimensions; above it intervals are "
    "too wide, below it too narrow.",
    "reliability": "On the diagonal, intervals hold as many truths as they should; above it they are too wide, below it too "
    "narrow.",
    "by_dimension": "Which parts of the state are ranked and scaled well: blue ranks well (each dimension's error by the standard "
    "deviation of the members' means there); white holds 68 %, purple too much, orange too little, where averages over dimensions "
    "let opposite errors cancel. Intervals are of sampled trajectories, recalibrated as the title says.",
    "noise": "Off its data the model errs more; it may be trusted there if disagreement grows along with error and coverage stays.",
}
RANKING_COLUMNS = (
    *("rank", "within_step_rank", "overall_rank", "partial_rank", "step_counter_rank"),
    *("aleatoric_rank", "aleatoric_largest_rank", "ause", "ause_random", "error"),
)
SCALE_COLUMNS = ("coverage_683", "coverage_95", "width_683", "informative", "calibration_error", "ence", "nll", "crps")
NOISE_COLUMNS = ("error", "disagreement", "rank", "coverage_683", "coverage_95", "recalibrated_683", "recalibrated_95", "exploded")
LABELS = {
    "rank": "rank correlation at the step",
    "within_step_rank": "within a step",
    "overall_rank": "over all steps",
    "partial_rank": "given the step",
    "step_counter_rank": "step counter",
    "aleatoric_rank": "of the noise estimate (mean)",
    "aleatoric_largest_rank": "of the noise estimate (largest)",
    "ause": "AUSE",
    "ause_random": "AUSE of chance",
    "error": "median error",
    "coverage_683": "in 68.3 %",
    "coverage_95": "in 95 %",
    "width_683": "width of 68.3 %",
    "ence": "ENCE",
    "nll": "NLL",
    "crps": "CRPS",
    "recalibrated_683": "in 68.3 % (recalibrated)",
    "recalibrated_95": "in 95 % (recalibrated)",
}
FORECASTS = {
    "sampled": "Sampled trajectories",
    "propagated": "Propagated means",
    "members": "Each member's own Gaussian, one step ahead",
}
NOT_ASKED = "the analysis was told to leave it out."
FALLS = (
    "How surely a row shortly before a fall scores above any other row (AUROC: 1 always, 0.5 chance). "
    "What counts is the number of falls: {}."
)
HEADS = "Are the probabilities of contact and termination right, one step ahead, and what do they find?"
DIVERSITY = (
    "One step ahead: cosine between the members' predicted changes (1: they say the same), correlation of their errors, "
    "and how many members of independent errors would average as well."
)
# Columns in standard deviations, whose numbers beyond MOST say only that a forecast exploded.
EXPLODING = ("width_683", "crps", "error")
MOST = 100.0


def body(measured: Mapping[str, Any], images: Mapping[str, bytes]) -> str:
    """Return the page between ``<body>`` and ``</body>``."""

    def figures(*names: str) -> str:
        return page.figures(images, {name: CAPTIONS[name] for name in names})

    ranked = figures("ranking_by_horizon", "disagreement_against_error", "sparsification")
    sections = {
        "Ranking": ranked + _table(measured["ranking"], RANKING_COLUMNS),
        "Scale": figures("coverage_by_horizon", "reliability") + _scale_tables(measured["scale"]),
        "Part by part of the state": figures("by_dimension"),
        "Under noise": figures("noise") + _noise(measured.get("noise") or {"": {"missing": NOT_ASKED}}),
        "Falls": page.paragraph(FALLS.format(measured["test"]["falls"])) + _falls(measured["falls"]),
        "Heads": page.paragraph(HEADS)
        + _table(measured["heads"], ("calibration_error", "recall", "precision", "base_rate"), "head"),
        "Diversity": page.paragraph(DIVERSITY) + _table({"1": measured["diversity"]}, tuple(measured["diversity"])),
        "How to read this": "".join(map(page.paragraph, _method(measured))),
    }
    title = f"<h1>Can the uncertainty be trusted? {escape(measured['subject']['name'])}</h1>"
    head = title + page.paragraph(_intro(measured), "soft") + page.verdict_box(verdicts(measured))
    return head + "".join(page.section(name, text) for name, text in sections.items())


def _intro(measured: Mapping[str, Any]) -> str:
    test, fitted = measured["test"], measured["calibration"]
    recalibrated = "There is no calibration split, so nothing was recalibrated."
    if fitted is not None:
        others = f"{fitted['episodes']} other episodes ({fitted['falls']} falls)"
        recalibrated = f"Recalibrations were fitted on {others} and never scored on them."
    return (
        f"{number_of(measured['num_members'], 'member')}, warmed up on {measured['history']} rows. Tested on "
        f"{test['episodes']} episodes that the model never saw ({test['rows']} rows, {test['falls']} falls; {test['stretches']} "
        f"separate stretches, {test['long_stretches']} long ones) of {measured['subject']['tested_on']}. {recalibrated} One step "
        f"is {measured['subject']['step_dt']:g} s; errors and widths are in standard deviations of each state variable."
    )


def _table(rows: cells.Rows, columns: Sequence[str], first: str = "steps ahead") -> str:
    """Return a table of cells and what is to be known of it."""
    headings = {name: LABELS.get(name, name.replace("_", " ")) for name in columns}
    text = cells.table(rows, headings, first, forms=dict.fromkeys(EXPLODING, _at_most))
    if escape(_at_most(2.0 * MOST)) not in text:
        return text
    note = (
        f"> {MOST:g}: beyond {MOST:g} standard deviations, from trajectories that exploded, of which a few decide a mean; the "
        "tables as CSV have the number."
    )
    return text + page.paragraph(note, "absent")


def _at_most(value: float) -> str:
    return f"> {MOST:g}" if value > MOST else cells.significant(value)


def _scale_tables(scale: Mapping[str, Any]) -> str:
    text = ""
    for forecast, table in scale.items():
        rows = {f"{k}, {_method_words(method)}": cells for method, by in table.items() for k, cells in by.items()}
        ordered = dict(sorted(rows.items(), key=lambda item: int(item[0].split(",")[0])))
        text += page.paragraph(f"{FORECASTS[forecast]}: steps ahead and recalibration; averages over the state's dimensions.")
        text += _table(ordered, SCALE_COLUMNS)
    return text


def _noise(kinds: Mapping[str, Any]) -> str:
    text = ""
    for kind in kinds.values():
        if "missing" in kind:
            text += page.paragraph(f"Not measured: {kind['missing']}", "absent")
            continue
        rows = {f"{scale}, {k}": cells for scale, table in kind["scales"].items() for k, cells in table.items()}
        text += page.paragraph(kind["about"]) + _table(rows, NOISE_COLUMNS, "scale, steps ahead")
    return text


def _falls(scores: Mapping[str, Any]) -> str:
    rows = {name.replace("_", " "): {f"within {k}": cell for k, cell in cells.items()} for name, cells in scores.items()}
    return _table(rows, tuple(f"within {k}" for k in scores["disagreement"]), "score")


def _method(measured: Mapping[str, Any]) -> Sequence[str]:
    points, informative = 100 * at.COVERAGE_TOLERANCE, 100 * at.INFORMATIVE
    return (
        f"Numbers stand with their {100 * measured['level']:g} % interval, from resampling whole episodes, and the number of "
        "independent episodes in brackets. Where there is no interval the cell says so; a dash was not measured. The reasons stand "
        "below each table.",
        f"A ranking is called usable from a rank correlation of {at.RANKS} at a step (then the more uncertain of two "
        f"forecasts errs more in about 7 of 10 cases), with an interval above {at.RANKS_AT_LEAST}. Falls are called "
        f"foreseen from an AUROC of {at.FORESEES} for a fall within five steps, with an interval above "
        f"{at.CHANCE}, from at least {at.FEWEST_FALLS} falls.",
        f"A scale is called right if both intervals hold within {points:.0f} points of what they should, on average over the "
        f"state's dimensions, and at least {informative:.0f} % of them are narrower than those of one who knows only the data's "
        f"mean and spread. One combination is judged, named beforehand: {WORDS[JUDGED]}, as they are, and "
        f"recalibrated by the first of these that could be fitted: {', '.join(map(_method_words, PREFERRED))}. Others "
        "are listed as information: to choose among them by the same test episodes would be to choose by the result.",
        "Disagreement and error are those of a dream that follows one member, as imagination does, along the recorded actions. The "
        f"disagreement is the {estimate_words(measured)}, one number a step. The noise estimate is the standard deviation that the "
        "members themselves expect, their mean and the largest of them: it ranks errors without any disagreement, so one member "
        "has it too.",
        "'Sampled' is the spread of members x samples, each on its own way; 'propagated' lets each member go its way by its mean. "
        f"Recalibrations are fitted {GROUPED[measured['grouped_by']]}. 'Informative' is the share of 68 % intervals "
        "narrower than 2.",
    )


GROUPED = {
    "field": "for each field of the state by itself",
    "dimension": "for each dimension of the state by itself",
    "state": "for all dimensions of the state together",
}


def _method_words(method: str) -> str:
    return "as it is" if method == "raw" else METHODS.get(method, method)
