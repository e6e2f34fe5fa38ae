"""The page of a calibration analysis: the figures with a sentence each, the tables, the counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rwmu.report import cells, page
from rwmu.report.calibration.figures import METHODS
from rwmu.report.questions import Verdict
from rwmu.report.wording import number_of, significant

CAPTIONS = {
    "ranking_by_horizon": "The higher, the better a score tells large errors from small ones; what is grey needs no ensemble, and "
    "bars are 95 % intervals over whole episodes.",
    "disagreement_against_error": "Each cell counts forecasts: a good ranking is a slope upwards, whatever its steepness.",
    "sparsification": "Remove the most uncertain forecasts: the faster the error left falls, the nearer to the dotted line and the "
    "further below the grey one, the better.",
    "coverage_by_horizon": "Points within the grey band have a usable scale, on average over dimensions; above it intervals are "
    "too wide, below it too narrow.",
    "reliability": "On the diagonal, intervals hold as many truths as they should; above it they are too wide, below it too "
    "narrow.",
    "by_dimension": "Which parts of the state are ranked and scaled well: blue ranks well (each dimension's error by the standard "
    "deviation of the members' means there); white holds 68 %, purple too much, orange too little, where averages over dimensions "
    "let opposite errors cancel. Intervals are of sampled trajectories, recalibrated as the title says.",
    "noise": "Off its data the model errs more; it may be trusted there if disagreement grows along with error and coverage stays.",
}
RANKING = {
    "rank": "rank correlation at the step",
    "within_step_rank": "within a step",
    "overall_rank": "over all steps",
    "partial_rank": "given the step",
    "step_counter_rank": "step counter",
    "ause": "AUSE",
    "ause_random": "AUSE of chance",
    "error": "median error",
    "exploded": "exploded",
}
SCALE = {
    "coverage_683": "in 68.3 %",
    "coverage_95": "in 95 %",
    "width_683": "width of 68.3 %",
    "informative": "informative",
    "calibration_error": "calibration error",
    "ence": "ENCE",
    "nll": "NLL",
    "crps": "CRPS",
}
NOISE = {
    "error": "median error",
    "disagreement": "disagreement",
    "rank": "rank",
    "coverage_683": "in 68.3 %",
    "coverage_95": "in 95 %",
    "recalibrated_683": "in 68.3 % (recalibrated)",
    "recalibrated_95": "in 95 % (recalibrated)",
    "exploded": "exploded",
}
HEADS = {"calibration_error": "calibration error", "recall": "recall", "precision": "precision", "base_rate": "base rate"}
FORECASTS = {
    "sampled": "Sampled trajectories",
    "propagated": "Propagated means",
    "members": "Each member's own Gaussian, one step ahead",
}
# What a name of rwmu.uncertainty.estimates (EPISTEMIC, NOISE) measures, in words.
ESTIMATES = {
    "std": "sum of the standard deviations of the members' means",
    "variance": "sum of the variances of the members' means",
    "largest": "largest standard deviation of the members' means",
    "pairwise": "largest distance between two members' means",
    "noise": "sum of the standard deviations that the members expect, their mean",
    "noise_largest": "sum of the standard deviations that the members expect, the largest",
}
GROUPED = {
    "field": "for each field of the state by itself",
    "dimension": "for each dimension of the state by itself",
    "state": "for all dimensions of the state together",
}
ABOUT_HEADS = "Are the probabilities of contact and termination right, one step ahead, and what do they find?"
DIVERSITY = (
    "One step ahead: cosine between the members' predicted changes (1: they say the same), correlation of their errors, "
    "and how many members of independent errors would average as well."
)
# Columns in standard deviations, whose numbers beyond MOST say only that a forecast exploded.
EXPLODING = ("width_683", "crps", "error")
MOST = 100.0


def body(measured: Mapping[str, Any], images: Mapping[str, bytes], verdicts: Sequence[Verdict]) -> str:
    """Return the page between ``<body>`` and ``</body>``."""

    def figures(*names: str) -> str:
        return page.figures(images, {name: CAPTIONS[name] for name in names})

    ranked = figures("ranking_by_horizon", "disagreement_against_error", "sparsification")
    noises = measured.get("noise") or {"": {"missing": "the analysis was told to leave it out."}}
    diversity = measured["diversity"]
    sections = {
        "Ranking": ranked + cells.ranks(measured["ranking"]) + _table(measured["ranking"], RANKING),
        "Scale": figures("coverage_by_horizon", "reliability") + "".join(map(_scale, measured["scale"].items())),
        "Part by part of the state": figures("by_dimension"),
        "Under noise": figures("noise") + "".join(map(_noise, noises.values())),
        "Falls": cells.foresight(
            {"auroc": measured["falls"], **measured["foresight"]}, number_of(measured["falls_judged"], "fall")
        ),
        "Beyond the data": cells.outside(measured["outside"]),
        "Heads": page.paragraph(ABOUT_HEADS) + _table(measured["heads"], HEADS, "head"),
        "Diversity": page.paragraph(DIVERSITY) + _table({"1": diversity}, {name: name.replace("_", " ") for name in diversity}),
        "How to read this": "".join(map(page.paragraph, _method(measured))),
    }
    return page.body(f"Can the uncertainty be trusted? {measured['subject']['name']}", _intro(measured), verdicts, sections)


def estimate_words(measured: Mapping[str, Any]) -> str:
    """Return in words what the disagreement is."""
    name, _, weighted = str(measured["estimate"]).partition(", ")
    return ESTIMATES.get(name, name) + (f", {weighted}" if weighted else "")


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


def _table(rows: cells.Rows, columns: Mapping[str, str], first: str = "steps ahead") -> str:
    """Return a table of cells and what is to be known of it."""
    text = cells.table(rows, columns, first, forms=dict.fromkeys(EXPLODING, _at_most))
    if f"&gt; {MOST:g}" not in text:
        return text
    note = (
        f"> {MOST:g}: beyond {MOST:g} standard deviations, from trajectories that exploded, of which a few decide a mean; the "
        "tables as CSV have the number."
    )
    return text + page.paragraph(note, "absent")


def _at_most(value: float) -> str:
    return f"> {MOST:g}" if value > MOST else significant(value)


def _scale(forecast: tuple[str, Mapping[str, Any]]) -> str:
    name, table = forecast
    horizons = dict.fromkeys(k for by in table.values() for k in by)
    rows = {f"{k}, {METHODS[method][1]}": by[k] for k in horizons for method, by in table.items()}
    return page.paragraph(f"{FORECASTS[name]}: steps ahead and recalibration; averages over dimensions.") + _table(rows, SCALE)


def _noise(kind: Mapping[str, Any]) -> str:
    if "missing" in kind:
        return page.paragraph(f"Not measured: {kind['missing']}", "absent")
    rows = {f"{scale}, {k}": found for scale, table in kind["scales"].items() for k, found in table.items()}
    return page.paragraph(kind["about"]) + _table(rows, NOISE, "scale, steps ahead")


def _method(measured: Mapping[str, Any]) -> Sequence[str]:
    return (
        "One combination is judged, named beforehand: intervals of sampled trajectories, as they are, and recalibrated by the "
        "first of conformal, one factor a step, isotonic and one constant that could be fitted. Others are listed as information: "
        "to choose among them by the same test episodes would be to choose by the result.",
        "Disagreement and error are those of a dream that follows one member, as imagination does, along the recorded actions. The "
        f"disagreement is the {estimate_words(measured)}, one number a step. The noise estimate is the standard deviation that the "
        "members themselves expect, their mean and the largest of them: it ranks errors without any disagreement, so one member "
        "has it too.",
        "'Sampled' is the spread of members x samples, each on its own way; 'propagated' lets each member go its way by its mean. "
        f"Recalibrations are fitted {GROUPED[measured['grouped_by']]}. 'Informative' is the share of 68 % intervals narrower than "
        "2. A dash was not measured; the reasons stand below each table.",
    )
