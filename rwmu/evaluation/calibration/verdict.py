"""Say in words whether a model's uncertainty can be used: as a ranking, as a scale, both or neither, and how far ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# At a rank correlation of 0.6, of two forecasts of the same depth the more uncertain one errs more in about 7 of 10 cases
# (Kendall's tau is then near 0.42, and (1 + tau) / 2 the share): enough to steer away from the worst.
RANKS = 0.6
# The lower end of the interval must still mean something: at 0.3 it is 6 of 10.
RANKS_AT_LEAST = 0.3
# Coverage within 5 points of 68.3 % means a scale right within about 12 %; within 5 points of 95 %, one not too small by more
# than 16 %.
COVERAGE_TOLERANCE = 0.05
# A fall is foreseen where three of four rows before one score above a row elsewhere.
FORESEES = 0.75
LEVELS = {"coverage_683": 0.683, "coverage_95": 0.95}
FORECAST = "sampled"  # the whole distribution of trajectories is what a scale at horizon k is of


def ranks(cells: Mapping[str, Any]) -> bool | None:
    """Return whether the disagreement ranks errors at a horizon; None where that could not be measured."""
    rank = cells["rank"]
    if rank["value"] is None:
        return None
    low = rank["value"] if rank["low"] is None else rank["low"]
    return bool(rank["value"] >= RANKS and low >= RANKS_AT_LEAST)


def scaled(cells: Mapping[str, Any]) -> bool | None:
    """Return whether the intervals hold what they should at a horizon; None where that could not be measured."""
    values = {name: cells[name]["value"] for name in LEVELS}
    if any(value is None for value in values.values()):
        return None
    return all(abs(value - LEVELS[name]) <= COVERAGE_TOLERANCE + 1e-12 for name, value in values.items())


def judge(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdict on what :func:`rwmu.evaluation.calibration.measure.measure_calibration` measured.

    Returns:
        ``ranking``, ``scale_raw`` and ``scale_recalibrated``: horizon -> true, false or None (not measured); ``recalibrated_by``:
        horizon -> the methods that bring the scale within the tolerance; ``falls`` (true, false or None); ``usable_as``
        (``ranking and scale``, ``ranking and scale after recalibration``, ``ranking only``, ``scale only``, ``scale only, after
        recalibration``, ``neither``, ``not known``) where every measured horizon agrees, else ``mixed``; ``by_horizon``, the same
        at each; ``sentences``, question -> text.
    """
    horizons = [str(k) for k in measured["horizons"]]
    table = measured["scale"][FORECAST]
    methods = [name for name in table if name != "raw"]
    by = {k: [name for name in methods if scaled(table[name][k])] for k in horizons}
    tried = {k: any(scaled(table[name][k]) is not None for name in methods) for k in horizons}
    verdict: dict[str, Any] = {
        "ranking": {k: ranks(measured["ranking"][k]) for k in horizons},
        "scale_raw": {k: scaled(table["raw"][k]) for k in horizons},
        "scale_recalibrated": {k: bool(by[k]) if tried[k] else None for k in horizons},
        "recalibrated_by": by,
        "falls": _foresees(measured),
    }
    verdict["by_horizon"] = {
        k: _use(verdict["ranking"][k], verdict["scale_raw"][k], verdict["scale_recalibrated"][k]) for k in horizons
    }
    uses = {use for use in verdict["by_horizon"].values() if use != "not known"}
    verdict["usable_as"] = uses.pop() if len(uses) == 1 else "mixed" if uses else "not known"
    verdict["sentences"] = sentences(verdict, measured)
    return verdict


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


def _where(table: Mapping[str, bool | None], wanted: bool | None) -> str:
    return _list([k for k, answer in table.items() if answer is wanted])


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1] if words else ""


def _answer(table: Mapping[str, bool | None], yes: str, no: str) -> str:
    parts = []
    for wanted, words in ((True, yes), (False, no), (None, "not measured")):
        if horizons := _where(table, wanted):
            parts.append(f"{words} at {horizons}")
    return "; ".join(parts)


def sentences(verdict: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, str]:
    """Return the verdict as one sentence a question."""
    rank = {k: measured["ranking"][k]["rank"]["value"] for k in verdict["ranking"]}
    figures = ", ".join(f"{value:.2f} at {k}" for k, value in rank.items() if value is not None)
    lines = {"overall": f"Usable as: {verdict['usable_as']} (steps ahead: {_each(verdict['by_horizon'])})."}
    if figures:
        lines["ranking"] = (
            f"Ranking: {_answer(verdict['ranking'], 'usable', 'not usable')} steps ahead. Rank correlation of disagreement with "
            f"error at a step: {figures} (usable from {RANKS})."
        )
    else:
        lines["ranking"] = f"Ranking: not measured: {next(iter(measured['ranking'].values()))['rank']['reason']}."
    raw = measured["scale"][FORECAST]["raw"]
    covered = ", ".join(
        f"{100 * raw[k]['coverage_683']['value']:.0f} % at {k}" for k in raw if raw[k]["coverage_683"]["value"] is not None
    )
    lines["scale"] = (
        f"Scale as it is: {_answer(verdict['scale_raw'], 'right', 'wrong')} steps ahead; intervals that should hold 68 % hold "
        f"{covered}."
        if covered
        else f"Scale: not measured: {next(iter(raw.values()))['coverage_683']['reason']}."
    )
    methods = {k: _list(names) for k, names in verdict["recalibrated_by"].items() if names}
    lines["recalibrated"] = f"Scale after recalibration: {_answer(verdict['scale_recalibrated'], 'right', 'wrong')} steps ahead" + (
        " (" + "; ".join(f"{k}: {names}" for k, names in methods.items()) + ")." if methods else "."
    )
    fall = measured["falls"]["disagreement"]["5"]
    lines["falls"] = (
        f"Falls: not measured: {fall['reason']}."
        if fall["value"] is None
        else f"Falls: the disagreement {'foresees' if verdict['falls'] else 'does not foresee'} them five steps ahead (AUROC "
        f"{fall['value']:.2f}, usable from {FORESEES})."
    )
    return lines


def _each(by_horizon: Mapping[str, str]) -> str:
    return "; ".join(f"{k} {use}" for k, use in by_horizon.items())
