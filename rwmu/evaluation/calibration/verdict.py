"""Say in words whether a model's uncertainty can be used: as a ranking, as a scale, both or neither, and how far ahead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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
# A fall is foreseen where three of four rows before one score above a row elsewhere.
FORESEES = 0.75
LEVELS = {"coverage_683": 0.683, "coverage_95": 0.95}
WORDS = {"sampled": "sampled trajectories", "propagated": "propagated means"}
FORECASTS = tuple(WORDS)


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


def judge(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdict on what :func:`rwmu.evaluation.calibration.measure.measure_calibration` measured.

    Returns:
        - ``ranking``, ``scale_raw``, ``scale_recalibrated`` (either of ``FORECASTS``): horizon -> true, false or None (unknown);
        - ``raw_forecasts``: horizon -> which forecasts are right; ``recalibrated_by``: horizon -> forecast -> by which methods;
        - ``falls``: true, false or None;
        - ``by_horizon``: ``ranking and scale``, ``ranking and scale after recalibration``, ``ranking only``, ``scale only``,
          ``scale only, after recalibration``, ``neither`` or ``not known``; ``usable_as``: the same where all measured horizons
          agree, else ``mixed``;
        - ``sentences``: question -> text.
    """
    horizons = [str(k) for k in measured["horizons"]]
    answers = {
        k: {(method, forecast): scaled(cells[k]) for forecast in FORECASTS for method, cells in measured["scale"][forecast].items()}
        for k in horizons
    }
    raw = {k: {forecast: answers[k]["raw", forecast] for forecast in FORECASTS} for k in horizons}
    others = {k: {name: answer for name, answer in answers[k].items() if name[0] != "raw"} for k in horizons}
    verdict: dict[str, Any] = {
        "ranking": {k: ranks(measured["ranking"][k]) for k in horizons},
        "scale_raw": {k: _any(raw[k].values()) for k in horizons},
        "raw_forecasts": {k: [name for name, answer in raw[k].items() if answer] for k in horizons},
        "scale_recalibrated": {k: _any(others[k].values()) for k in horizons},
        "recalibrated_by": {
            k: {
                forecast: [method for (method, name), right in others[k].items() if right and name == forecast]
                for forecast in FORECASTS
            }
            for k in horizons
        },
        "falls": _foresees(measured),
    }
    verdict["by_horizon"] = {
        k: _use(verdict["ranking"][k], verdict["scale_raw"][k], verdict["scale_recalibrated"][k]) for k in horizons
    }
    uses = {use for use in verdict["by_horizon"].values() if use != "not known"}
    verdict["usable_as"] = uses.pop() if len(uses) == 1 else "mixed" if uses else "not known"
    verdict["sentences"] = sentences(verdict, measured)
    return verdict


def _any(answers: Iterable[bool | None]) -> bool | None:
    known = [answer for answer in answers if answer is not None]
    return any(known) if known else None


def _use(ranking: bool | None, raw: bool | None, recalibrated: bool | None) -> str:
    if ranking is None and raw is None:
        return "not known"
    scale = "scale" if raw else "scale after recalibration" if recalibrated else ""
    if ranking:
        return f"ranking and {scale}" if scale else "ranking only"
    return f"{scale.replace('scale', 'scale only', 1).replace('only after', 'only, after')}" if scale else "neither"


def _foresees(measured: Mapping[str, Any]) -> bool | None:
    value = measured["falls"]["disagreement"]["5"]["value"]
    return None if value is None else bool(value >= FORESEES)


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1] if words else ""


def _answer(table: Mapping[str, bool | None], yes: str, no: str) -> str:
    parts = []
    for wanted, words in ((True, yes), (False, no), (None, "not measured")):
        if horizons := [k for k, answer in table.items() if answer is wanted]:
            parts.append(f"{words} at {_list(horizons)}")
    return "; ".join(parts) + " steps ahead"


def sentences(verdict: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, str]:
    """Return the verdict as one sentence a question; a question that does not arise is left out."""
    uses: dict[str, list[str]] = {}
    for k, use in verdict["by_horizon"].items():
        uses.setdefault(use, []).append(k)
    overall = "; ".join(f"{use} at {_list(horizons)}" for use, horizons in uses.items())
    lines = {
        "overall": f"Usable as: {overall} steps ahead.",
        "ranking": _ranking_sentence(verdict, measured),
        "scale": _scale_sentence(verdict, measured),
        "recalibrated": _recalibrated_sentence(verdict),
        "width": _width_sentence(measured),
        "exploded": _exploded_sentence(measured),
        "falls": _falls_sentence(verdict, measured),
    }
    return {question: line for question, line in lines.items() if line}


def _ranking_sentence(verdict: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    rank = {k: measured["ranking"][k]["rank"]["value"] for k in verdict["ranking"]}
    figures = ", ".join(f"{value:.2f} at {k}" for k, value in rank.items() if value is not None)
    if not figures:
        return f"Ranking: not measured: {next(iter(measured['ranking'].values()))['rank']['reason']}."
    return (
        f"Ranking: {_answer(verdict['ranking'], 'usable', 'not usable')}. Rank correlation of disagreement with error at a step: "
        f"{figures} (usable from {RANKS}, with an interval above {RANKS_AT_LEAST})."
    )


def _scale_sentence(verdict: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    parts = []
    for name, words in WORDS.items():
        raw = measured["scale"][name]["raw"]
        covered = [
            f"{100 * raw[k]['coverage_683']['value']:.0f} % at {k}" for k in raw if raw[k]["coverage_683"]["value"] is not None
        ]
        parts.append(f"with {words}, {', '.join(covered) or 'not measured'}")
    return (
        f"Scale as it is: {_answer(verdict['scale_raw'], 'right', 'wrong')}. Intervals that should hold 68 % hold: "
        f"{'; '.join(parts)}."
    )


def _recalibrated_sentence(verdict: Mapping[str, Any]) -> str:
    by = "; ".join(
        f"at {k} " + ", ".join(f"{WORDS[name]} by {_list(methods)}" for name, methods in table.items() if methods)
        for k, table in verdict["recalibrated_by"].items()
        if any(table.values())
    ).replace("per_horizon", "one factor a step")
    answer = _answer(verdict["scale_recalibrated"], "right", "wrong")
    return f"Scale after recalibration: {answer}{' (' + by + ')' if by else ''}."


def _width_sentence(measured: Mapping[str, Any]) -> str:
    tables = [measured["scale"][name]["raw"] for name in FORECASTS]
    shares = {k: [table[k]["informative"]["value"] for table in tables] for k in tables[0]}
    idle = [k for k, values in shares.items() if None not in values and max(values) < INFORMATIVE]
    if not idle:
        return ""
    return (
        f"Width: at {_list(idle)} steps ahead most intervals are wider than those of one who knows the data's mean and spread, "
        "so their scale is of no use."
    )


def _exploded_sentence(measured: Mapping[str, Any]) -> str:
    shares = {k: cells["exploded"]["value"] for k, cells in measured["ranking"].items() if cells["exploded"]["value"]}
    if not shares:
        return ""
    figures = ", ".join(f"{100 * share:.0f} % at {k}" for k, share in shares.items())
    return f"Exploded: dreams that leave every known state (imagination clips them): {figures} steps ahead."


def _falls_sentence(verdict: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    fall = measured["falls"]["disagreement"]["5"]
    if fall["value"] is None:
        return f"Falls: not measured: {fall['reason']}."
    return (
        f"Falls: the disagreement {'foresees' if verdict['falls'] else 'does not foresee'} them five steps ahead (AUROC "
        f"{fall['value']:.2f}, usable from {FORESEES}; {measured['test']['falls']} falls)."
    )
