"""Whether a model's uncertainty can be used: as a ranking, as a scale, both or neither, and how far ahead.

A scale is judged for one combination that is named here, before anything is measured: the intervals of ``JUDGED`` trajectories, as
they are, and after the first recalibration of ``PREFERRED`` that could be fitted. To take whichever of eight combinations does
well on the test episodes would be to choose by the result; those others are listed as information, and said to be read off the
same episodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rwmu.measure.calibration.recalibrated import PREFERRED, RAW
from rwmu.report import thresholds as at
from rwmu.report.verdicts import Tone, Verdict
from rwmu.report.verdicts.calibration_words import JUDGED, WORDS, sentences

LEVELS = {"coverage_683": 0.683, "coverage_95": 0.95}
FORECASTS = tuple(WORDS)
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
# (ranking, scale) -> what the uncertainty can be used as; see _scale_state.
_USES = {
    (True, "raw"): "ranking and scale",
    (True, "recalibrated"): "ranking and scale after recalibration",
    (True, "no"): "ranking only",
    (True, "not raw"): "ranking, not a scale as it is",
    (True, "unknown"): "ranking (scale not measured)",
    (False, "raw"): "scale only",
    (False, "recalibrated"): "scale only, after recalibration",
    (False, "no"): "neither",
    (False, "not raw"): "not a ranking, and not a scale as it is",
    (False, "unknown"): "not a ranking (scale not measured)",
    (None, "raw"): "scale (ranking not measured)",
    (None, "recalibrated"): "scale after recalibration (ranking not measured)",
    (None, "no"): "not a scale (ranking not measured)",
    (None, "not raw"): "not a scale as it is (ranking not measured)",
    (None, "unknown"): "not known",
}


def verdicts(measured: Mapping[str, Any]) -> list[Verdict]:
    """Return an answer to each question that arises, from results that :func:`judge` has judged."""
    verdict = measured["verdict"]
    use = verdict["usable_as"]
    overall: Tone = "good" if use.startswith("ranking and") else "bad" if use == "neither" else "middling"
    tones: dict[str, Tone] = {
        "overall": "unknown" if use.startswith("not ") else overall,  # neither usable nor wholly measured
        "ranking": _tone(verdict["ranking"].values()),
        "scale": _tone(verdict["scale_raw"].values()),
        "recalibrated": _tone(verdict["scale_recalibrated"].values()),
        "width": "middling",
        "exploded": "middling",
        "falls": _tone([verdict["falls"]]),
    }
    return [Verdict(QUESTIONS[name], tones.get(name, "unknown"), text) for name, text in verdict["sentences"].items()]


def _tone(answers: Iterable[bool | None]) -> Tone:
    known = [answer for answer in answers if answer is not None]
    return "unknown" if not known else "good" if all(known) else "middling" if any(known) else "bad"


def ranks(cells: Mapping[str, Any]) -> bool | None:
    """Return whether the disagreement ranks errors at a horizon; None where that could not be measured."""
    rank = cells["rank"]
    if rank["value"] is None or rank["low"] is None:  # without an interval there are too few episodes to judge
        return None
    return bool(rank["value"] >= at.RANKS and rank["low"] >= at.RANKS_AT_LEAST)


def scaled(cells: Mapping[str, Any]) -> bool | None:
    """Return whether the intervals hold what they should, and say something; None where that could not be measured."""
    values = {name: cells[name]["value"] for name in LEVELS}
    if any(value is None or cells[name]["low"] is None for name, value in values.items()):
        return None
    right = all(abs(value - LEVELS[name]) <= at.COVERAGE_TOLERANCE + 1e-12 for name, value in values.items())
    return right and bool(cells["informative"]["value"] >= at.INFORMATIVE)


def named_method(measured: Mapping[str, Any], horizon: str) -> str | None:
    """Return the first of ``PREFERRED`` with intervals of both levels at a horizon, whatever they hold; None where none has."""
    tables = measured["scale"][JUDGED]
    for method in PREFERRED:
        if method in tables and all(tables[method][horizon][name]["value"] is not None for name in LEVELS):
            return method
    return None


def judge(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdict on what :func:`rwmu.measure.calibration.measure.measure_calibration` measured.

    Returns:
        - ``ranking``: horizon -> true, false or None (unknown);
        - ``scale_raw``, ``scale_recalibrated``: the same, of sampled trajectories alone, as they are and after the recalibration
          ``judged_by``: horizon -> the first of ``PREFERRED`` that was fitted, None where none was;
        - ``raw_forecasts``: horizon -> which forecasts are right as they are; ``recalibrated_by``: horizon -> forecast -> by which
          methods it is right. Both are information, read off the test episodes; nothing else here depends on them;
        - ``dimensions``: horizon -> ``raw`` and ``recalibrated`` -> ``near`` (how many dimensions of the state are within ``NEAR``
          of 68.3 %), ``of`` (all of them), ``worst`` (name), ``coverage`` (of the worst) and ``method``; None where not measured;
        - ``falls``: true, false or None, from ``num_falls`` falls;
        - ``by_horizon``: a value of ``_USES``; ``usable_as``: the same where all horizons that are known agree, else ``mixed``, or
          ``not known``. A scale is one on average over the state's dimensions;
        - ``sentences``: question -> text, see :func:`rwmu.report.verdicts.calibration_words.sentences`.
    """
    horizons = [str(k) for k in measured["horizons"]]
    answers = {
        k: {(method, forecast): scaled(cells[k]) for forecast in FORECASTS for method, cells in measured["scale"][forecast].items()}
        for k in horizons
    }
    judged_by = {k: named_method(measured, k) for k in horizons}
    verdict: dict[str, Any] = {
        "ranking": {k: ranks(measured["ranking"][k]) for k in horizons},
        "scale_raw": {k: answers[k][RAW, JUDGED] for k in horizons},
        "scale_recalibrated": {k: None if by is None else answers[k][by, JUDGED] for k, by in judged_by.items()},
        "judged_by": judged_by,
        "raw_forecasts": {k: [name for name in FORECASTS if answers[k][RAW, name]] for k in horizons},
        "recalibrated_by": {
            k: {
                forecast: [method for (method, name), right in answers[k].items() if right and name == forecast and method != RAW]
                for forecast in FORECASTS
            }
            for k in horizons
        },
        "dimensions": {k: _dimensions(measured["by_dimension"], k) for k in horizons},
        "falls": foresees(measured),
        "num_falls": num_falls(measured),
    }
    verdict["by_horizon"] = {
        k: _USES[verdict["ranking"][k], _scale_state(verdict["scale_raw"][k], verdict["scale_recalibrated"][k])] for k in horizons
    }
    uses = {use for use in verdict["by_horizon"].values() if use != "not known"}
    verdict["usable_as"] = uses.pop() if len(uses) == 1 else "mixed" if uses else "not known"
    verdict["sentences"] = sentences(verdict, measured)
    return verdict


def _scale_state(raw: bool | None, recalibrated: bool | None) -> str:
    if raw or recalibrated:
        return "raw" if raw else "recalibrated"
    if raw is None and recalibrated is None:
        return "unknown"
    return "not raw" if recalibrated is None else "no"


def _dimensions(table: Mapping[str, Any], horizon: str) -> dict[str, dict[str, Any] | None]:
    """Return what an average over dimensions hides: how many are near 68.3 %, and the worst."""
    found: dict[str, dict[str, Any] | None] = {"raw": None, "recalibrated": None}
    for kind in found:
        row = table.get(horizon, {}).get(f"coverage_683_{kind}")
        if not isinstance(row, Sequence) or isinstance(row, str) or any(isinstance(entry, str) for entry in row):
            continue
        off = [abs(entry - LEVELS["coverage_683"]) for entry in row]
        worst = max(range(len(off)), key=off.__getitem__)
        found[kind] = {
            "near": sum(distance <= at.NEAR + 1e-12 for distance in off),
            "of": len(row),
            "worst": table["columns"][worst],
            "coverage": row[worst],
            "method": RAW if kind == "raw" else table[horizon]["recalibrated_by"],
        }
    return found


def num_falls(measured: Mapping[str, Any]) -> int:
    """Return how many falls have a row at most ``JUDGED_STEPS`` steps before them that was scored."""
    rows = measured["fall_rows"]
    return len({episode for episode, left in zip(rows["episode"], rows["steps"], strict=True) if 1 <= left <= int(at.JUDGED_STEPS)})


def foresees(measured: Mapping[str, Any]) -> bool | None:
    """Return whether the disagreement foresees falls; None where it was not measured, or from too few to judge."""
    cell = measured["falls"]["disagreement"][at.JUDGED_STEPS]
    if cell["value"] is None or cell["low"] is None or num_falls(measured) < at.FEWEST_FALLS:
        return None
    return bool(cell["value"] >= at.FORESEES and cell["low"] > at.CHANCE)
