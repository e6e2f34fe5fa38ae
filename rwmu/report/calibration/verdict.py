"""Say in words whether a model's uncertainty can be used: as a ranking, as a scale, both or neither, and how far ahead.

A scale is judged for one combination that is named here, before anything is measured: the intervals of ``JUDGED`` trajectories, as
they are, and after the first recalibration of ``PREFERRED`` that could be fitted. To take whichever of eight combinations does
well on the test episodes would be to choose by the result; those others are listed as information, and said to be read off the
same episodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rwmu.uncertainty.resampling import NEEDED

# At a rank correlation of 0.6, of two forecasts of the same depth the more uncertain one errs more in about 7 of 10 cases
# (Kendall's tau is then near 0.42, and (1 + tau) / 2 the share): enough to steer away from the worst.
RANKS = 0.6
# The lower end of the interval must still mean something: at 0.3 it is 6 of 10.
RANKS_AT_LEAST = 0.3
# Coverage within 5 points of 68.3 % means a scale right within about 12 %; within 5 points of 95 %, one not too small by more
# than 16 %.
COVERAGE_TOLERANCE = 0.05
# A scale that is right only because its intervals hold anything is of no use: at least half of them must say more than the data's
# mean and spread do.
INFORMATIVE = 0.5
# A fall is foreseen where three of four rows before one score above a row elsewhere, and chance is outside the interval.
FORESEES = 0.75
CHANCE = 0.5
WITHIN = "5"  # steps before a fall
# Falls are independent events as episodes are: fewer can be drawn in too few ways. The exploit diagnostic asks for as many.
FEWEST_FALLS = NEEDED
LEVELS = {"coverage_683": 0.683, "coverage_95": 0.95}
WORDS = {"sampled": "sampled trajectories", "propagated": "propagated means"}
FORECASTS = tuple(WORDS)
JUDGED = "sampled"
RAW = "raw"
# What stands for "after recalibration": the first that could be fitted. Chosen beforehand, not by its result.
PREFERRED = ("conformal", "per_horizon", "isotonic", "constant")
METHODS = {"per_horizon": "one factor a step", "constant": "one constant"}  # the others are called by their name
# How far a dimension of the state may be off to be counted as near, in the description; nothing is passed or failed by it.
NEAR = 0.1
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


def ranks(cells: Mapping[str, Any]) -> bool | None:
    """Return whether the disagreement ranks errors at a horizon; None where that could not be measured."""
    rank = cells["rank"]
    if rank["value"] is None or rank["low"] is None:  # without an interval there are too few episodes to judge
        return None
    return bool(rank["value"] >= RANKS and rank["low"] >= RANKS_AT_LEAST)


def scaled(cells: Mapping[str, Any]) -> bool | None:
    """Return whether the intervals hold what they should, and say something; None where that could not be measured."""
    values = {name: cells[name]["value"] for name in LEVELS}
    if any(value is None or cells[name]["low"] is None for name, value in values.items()):
        return None
    right = all(abs(value - LEVELS[name]) <= COVERAGE_TOLERANCE + 1e-12 for name, value in values.items())
    return right and bool(cells["informative"]["value"] >= INFORMATIVE)


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
        - ``sentences``: question -> text.
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
            "near": sum(distance <= NEAR + 1e-12 for distance in off),
            "of": len(row),
            "worst": table["columns"][worst],
            "coverage": row[worst],
            "method": RAW if kind == "raw" else table[horizon]["recalibrated_by"],
        }
    return found


def num_falls(measured: Mapping[str, Any]) -> int:
    """Return how many falls have a row at most ``WITHIN`` steps before them that was scored."""
    rows = measured["fall_rows"]
    return len({episode for episode, left in zip(rows["episode"], rows["steps"], strict=True) if 1 <= left <= int(WITHIN)})


def foresees(measured: Mapping[str, Any]) -> bool | None:
    """Return whether the disagreement foresees falls; None where it was not measured, or from too few to judge."""
    cell = measured["falls"]["disagreement"][WITHIN]
    if cell["value"] is None or cell["low"] is None or num_falls(measured) < FEWEST_FALLS:
        return None
    return bool(cell["value"] >= FORESEES and cell["low"] > CHANCE)


# -- sentences --------------------------------------------------------------------------------------------------------------


def listed(words: Iterable[str]) -> str:
    """Return words with commas, and "and" before the last."""
    every = list(words)
    return "".join(every) if len(every) < 2 else ", ".join(every[:-1]) + " and " + every[-1]


def _answer(table: Mapping[str, bool | None], yes: str, no: str) -> str:
    parts = []
    for wanted, words in ((True, yes), (False, no), (None, "not known")):
        if horizons := [k for k, answer in table.items() if answer is wanted]:
            parts.append(f"{words} at {listed(horizons)}")
    return "; ".join(parts) + " steps ahead"


def sentences(verdict: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, str]:
    """Return the verdict as a few sentences a question; a question that does not arise is left out."""
    lines = {
        "overall": _overall_sentence(verdict),
        "ranking": _ranking_sentence(verdict, measured),
        "scale": _scale_sentence(verdict, measured),
        "recalibrated": _recalibrated_sentence(verdict, measured),
        "width": _width_sentence(verdict, measured),
        "exploded": _exploded_sentence(measured),
        "falls": _falls_sentence(verdict, measured),
    }
    return {question: line for question, line in lines.items() if line}


def _by_value(table: Mapping[str, Any]) -> dict[Any, list[str]]:
    """Return value -> the horizons that have it."""
    found: dict[Any, list[str]] = {}
    for k, value in table.items():
        found.setdefault(value, []).append(k)
    return found


def _overall_sentence(verdict: Mapping[str, Any]) -> str:
    overall = "; ".join(f"{use} at {listed(horizons)}" for use, horizons in _by_value(verdict["by_horizon"]).items())
    usable = any(verdict["scale_raw"].values()) or any(verdict["scale_recalibrated"].values())
    average = " A scale: on average over dimensions, not in each of them." if usable else ""
    return f"Usable as: {overall} steps ahead.{average}"


def _ranking_sentence(verdict: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    rank = {k: measured["ranking"][k]["rank"]["value"] for k in verdict["ranking"]}
    figures = ", ".join(f"{value:.2f} at {k}" for k, value in rank.items() if value is not None)
    if not figures:
        return f"Ranking: not measured: {next(iter(measured['ranking'].values()))['rank']['reason']}."
    return (
        f"Ranking: {_answer(verdict['ranking'], 'usable', 'not usable')}. Rank correlation of disagreement with error at a step: "
        f"{figures} (usable from {RANKS}, with an interval above {RANKS_AT_LEAST})."
    )


def _method(name: str) -> str:
    return METHODS.get(name, name)


def _held(verdict: Mapping[str, Any], measured: Mapping[str, Any], methods: Mapping[str, str | None], kind: str) -> str:
    """Say what the judged intervals hold: on average over dimensions, and in the worst of them."""
    tables = measured["scale"][JUDGED]
    held = {k: tables[by][k]["coverage_683"]["value"] for k, by in methods.items() if by is not None}
    figures = ", ".join(f"{100 * value:.0f} % at {k}" for k, value in held.items() if value is not None)
    if not figures:
        return ""
    found = {k: table[kind] for k, table in verdict["dimensions"].items() if table[kind] is not None}
    text = f" Intervals that should hold 68 % hold, on average over dimensions: {figures}."
    parts = []
    for k, row in found.items():
        other = f"by {_method(row['method'])}, " if row["method"] != methods[k] else ""
        parts.append(f"{row['near']} of {row['of']} at {k} ({other}worst {row['worst']} with {100 * row['coverage']:.0f} %)")
    return text + (f" Dimensions within {100 * NEAR:.0f} points of 68.3 %: {', '.join(parts)}." if parts else "")


def _also(right: Mapping[str, Iterable[str]]) -> str:
    """Name other combinations that are right, horizon -> their names, as what they are: chosen by the test episodes."""
    names = list(dict.fromkeys(name for table in right.values() for name in table))
    parts = [f"{name} at {listed(k for k, table in right.items() if name in table)}" for name in names]
    points = f"{100 * COVERAGE_TOLERANCE:.0f} points"
    return f" Also within {points}, but read off these test episodes: {'; '.join(parts)}." if parts else ""


def _scale_sentence(verdict: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    also = {k: [WORDS[name] for name in names if name != JUDGED] for k, names in verdict["raw_forecasts"].items()}
    held = _held(verdict, measured, dict.fromkeys(verdict["scale_raw"], RAW), "raw")
    return f"Scale as it is, {WORDS[JUDGED]}: {_answer(verdict['scale_raw'], 'right', 'wrong')}.{held}{_also(also)}"


def _recalibrated_sentence(verdict: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    by = verdict["judged_by"]
    also = {
        k: [f"{WORDS[name]} by {_method(m)}" for name, methods in table.items() for m in methods if (name, m) != (JUDGED, by[k])]
        for k, table in verdict["recalibrated_by"].items()
    }
    fitted = _by_value({k: method for k, method in by.items() if method is not None})
    if not fitted:
        tables = measured["scale"][JUDGED]
        reasons = [tables[name][k]["coverage_683"]["reason"] for name in PREFERRED if name in tables for k in by]
        reason = next((reason for reason in reasons if reason), "no recalibration was asked for")
        return f"Scale after recalibration: not measured: {reason.rstrip('.')}.{_also(also)}"
    named = listed(_method(m) + (f" at {listed(ks)}" if len(fitted) > 1 else "") for m, ks in fitted.items())
    answer = _answer(verdict["scale_recalibrated"], "right", "wrong")
    held = _held(verdict, measured, by, "recalibrated")
    return f"Scale after recalibration, {WORDS[JUDGED]} by {named}: {answer}.{held}{_also(also)}"


def _width_sentence(verdict: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    tables = measured["scale"][JUDGED]
    parts = []
    for methods, words in ((dict.fromkeys(verdict["judged_by"], RAW), "as they are"), (verdict["judged_by"], "recalibrated")):
        shares = {k: tables[by][k]["informative"]["value"] for k, by in methods.items() if by is not None}
        if idle := [k for k, share in shares.items() if share is not None and share < INFORMATIVE]:
            parts.append(f"{words} at {listed(idle)}")
    if not parts:
        return ""
    return (
        f"Width: most intervals of {WORDS[JUDGED]} are wider than those of one who knows the data's mean and spread, "
        f"{'; '.join(parts)} steps ahead, so their scale is of no use there."
    )


def _exploded_sentence(measured: Mapping[str, Any]) -> str:
    shares = {k: cells["exploded"]["value"] for k, cells in measured["ranking"].items() if cells["exploded"]["value"]}
    if not shares:
        return ""
    figures = ", ".join(f"{100 * share:.0f} % at {k}" for k, share in shares.items())
    return f"Exploded: dreams that leave every known state (imagination clips them): {figures} steps ahead."


def _falls_sentence(verdict: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    fall, number = measured["falls"]["disagreement"][WITHIN], verdict["num_falls"]
    if fall["value"] is None:
        return f"Falls: not measured: {fall['reason']}."
    falls = f"{number} fall{'' if number == 1 else 's'}"
    if verdict["falls"] is None:
        return (
            f"Falls: too few to judge by. AUROC {fall['value']:.2f} in the five steps before, from {falls}; {FEWEST_FALLS} falls "
            "and an interval are needed."
        )
    return (
        f"Falls: the disagreement {'foresees' if verdict['falls'] else 'does not foresee'} them in the five steps before (AUROC "
        f"{fall['value']:.2f} [{fall['low']:.2f}, {fall['high']:.2f}], usable from {FORESEES} with an interval above {CHANCE}; "
        f"{falls})."
    )
