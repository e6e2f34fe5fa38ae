"""The sentences of a calibration verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rwmu.measure.calibration.recalibrated import PREFERRED, RAW
from rwmu.report import thresholds as at
from rwmu.report.wording import listed, number_of, steps

WORDS = {"sampled": "sampled trajectories", "propagated": "propagated means"}
JUDGED = "sampled"
METHODS = {"per_horizon": "one factor a step", "constant": "one constant"}  # the others are called by their name


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
        "noise": noise_sentence(measured["noise"]) if "noise" in measured else "",
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
        f"{figures} (usable from {at.RANKS}, with an interval above {at.RANKS_AT_LEAST})."
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
    return text + (f" Dimensions within {100 * at.NEAR:.0f} points of 68.3 %: {', '.join(parts)}." if parts else "")


def _also(right: Mapping[str, Iterable[str]]) -> str:
    """Name other combinations that are right, horizon -> their names, as what they are: chosen by the test episodes."""
    names = list(dict.fromkeys(name for table in right.values() for name in table))
    parts = [f"{name} at {listed(k for k, table in right.items() if name in table)}" for name in names]
    points = f"{100 * at.COVERAGE_TOLERANCE:.0f} points"
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
        if idle := [k for k, share in shares.items() if share is not None and share < at.INFORMATIVE]:
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
    fall, number = measured["falls"]["disagreement"][at.JUDGED_STEPS], verdict["num_falls"]
    if fall["value"] is None:
        return f"Falls: not measured: {fall['reason']}."
    falls = number_of(number, "fall")
    if verdict["falls"] is None:
        return (
            f"Falls: too few to judge by. AUROC {fall['value']:.2f} in the five steps before, from {falls}; {at.FEWEST_FALLS} "
            "falls and an interval are needed."
        )
    return (
        f"Falls: the disagreement {'foresees' if verdict['falls'] else 'does not foresee'} them in the five steps before (AUROC "
        f"{fall['value']:.2f} [{fall['low']:.2f}, {fall['high']:.2f}], usable from {at.FORESEES} with an interval above "
        f"{at.CHANCE}; {falls})."
    )


_NOISE_WORDS = {"error": "error", "disagreement": "disagreement", "recalibrated_683": "coverage of recalibrated 68 % intervals"}


def noise_sentence(noise: Mapping[str, Any]) -> str:
    """Say how error, disagreement and coverage change from no noise to the most, or what they are where one scale was asked for."""
    parts = []
    for name, words in (("given", "noise on what the model is given"), ("simulated", "noise on the actions in the simulator")):
        scales = list((noise.get(name, {}).get("scales") or {}).items())
        if not scales:
            continue
        (low, first), (high, last) = scales[0], scales[-1]
        known = [k for k in first if first[k]["error"]["value"] is not None and last[k]["error"]["value"] is not None]
        if not known:
            continue
        k = max((k for k in known if int(k) <= 24), key=int, default=known[0])
        figures = []
        for cell, what in _NOISE_WORDS.items():
            before, after = first[k][cell]["value"], last[k][cell]["value"]
            if before is not None and after is not None:
                figures.append(f"{what} {before:.2g}" + (f" to {after:.2g}" if len(scales) > 1 else ""))
        scale = f"scale {low} to {high}" if len(scales) > 1 else f"scale {low} alone"
        parts.append(f"{words}, {scale}, {steps(k)} ahead: {', '.join(figures)}")
    missing = noise.get("simulated", {}).get("missing")
    sentence = f"Noise: {'; '.join(parts) or 'not measured'}."
    return sentence + (f" Noise in the simulator: not measured: {missing}" if missing else "")
