"""From plain results to answers: what is measured for each question of :mod:`rwmu.report.questions`, the same for every page.

``report`` is a run's ``report.json``, ``exploit`` a run's ``exploit.json``, ``measured`` an analysis of calibration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rwmu.measure.calibration.recalibrated import PREFERRED, RAW
from rwmu.report import questions as at
from rwmu.report.questions import Verdict, answer, unknown
from rwmu.report.wording import SCORES, fixed, listed, missing, number, number_of, percent, steps
from rwmu.uncertainty.baselines import TRIVIAL
from rwmu.uncertainty.functional.summary import share_interval

JUDGED = (
    "sampled"  # forecasts whose scale is judged: named beforehand, for to choose by the test episodes is to choose by the result
)
JUDGED_STEPS = "5"  # before a fall
NOT_BESIDE = ("disagreement", "error", *TRIVIAL)  # the error made is not known beforehand; the best trivial score is named
NORMAL = 1.96
LEVELS = ("coverage_683", "coverage_95", "informative")


def _around(value: float, error: float | None, trajectories: int) -> dict[str, Any]:
    """Return the cell of a number and its standard error."""
    cell: dict[str, Any] = {"value": value, "low": None, "high": None, "trajectories": trajectories}
    if error is None:
        return cell | {"reason": "there is no standard error"}
    return cell | {"low": value - NORMAL * error, "high": value + NORMAL * error, "reason": ""}


def _parted(cell: Mapping[str, Any], whole: float) -> dict[str, Any]:
    """Return a cell as a part of a number above 0."""
    return {**cell, **{name: cell[name] / whole for name in ("value", "low", "high") if cell[name] is not None}}


def _ahead(horizons: Mapping[str, Any], cell: str) -> dict[str, Any]:
    return {f"at {steps(k)}": cells[cell] for k, cells in horizons.items()}


# -- the run ------------------------------------------------------------------------------------------------------------------


def of_run(report: Mapping[str, Any], exploit: Mapping[str, Any] | None = None) -> list[Verdict]:
    """Answer the questions of a run; those that cannot be answered come last."""
    dynamics = report["dynamics"]
    found = [walks(report), helped(report), predicts(report), knows(dynamics.get("ranking") or {}, missing(report, "dynamics"))]
    if dynamics.get("falls"):
        found.append(foresees({"auroc": dynamics["falls"], **dynamics["foresight"]}, dynamics["falls_judged"]))
    found.append(dream(report, exploit))
    if exploit is not None:
        found += [left(exploit), exploited(exploit)]
    return sorted(found, key=lambda verdict: verdict.tone == "unknown")


def walks(report: Mapping[str, Any]) -> Verdict:
    """Judge the deployed policy by its tracking and its falls."""
    ours = (report.get("deployment") or {}).get("deterministic") or {}
    over, episodes = _episode(report), int(ours.get("num_episodes") or 0)
    tracking, falls = number(ours, "track_lin_vel_xy"), number(ours, "fall_fraction")
    if tracking is None or falls is None or not episodes:
        return unknown("walks", missing(report, "deployment"))
    share = dict(zip(("low", "high"), share_interval(falls, episodes), strict=True))
    measured = {
        "tracking": {over: _around(tracking, number(ours, "standard_error", "track_lin_vel_xy"), episodes)},
        "fall_share": {over: _around(falls, None, episodes) | share | {"reason": ""}},
    }
    still = number(report, "deployment", "standing_still", "track_lin_vel_xy")
    return answer("walks", measured, "" if still is None else f"A robot that stands still tracks with {still:.2f}")


def _episode(report: Mapping[str, Any]) -> str:
    length = number(report, "deployment", "episode_s") or number(report, "imagination", "full_length_s")
    return "over an episode" if length is None else f"over an episode of {length:g} s"


def helped(report: Mapping[str, Any]) -> Verdict:
    """Judge what the policy earns beyond its clone and beyond the best policy that collected the data, both deployed as it is."""
    deployment = report.get("deployment") or {}
    ours, gains = number(deployment, "deterministic", "return"), deployment.get("gain") or {}
    if ours is None or not gains:
        return unknown("helped", missing(report, "deployment") if ours is None else "there is no other policy to compare it with")
    names = {"clone": "over the clone it started from", "best": "over the best collecting policy ({}) deployed alike"}
    labels = {key: words.format(gains[key]["name"]) for key, words in names.items() if key in gains}
    cells = {label: _parted(gains[key]["gain"], max(abs(gains[key]["return"]), at.LEAST_RETURN)) for key, label in labels.items()}
    returns = ", ".join(f"{gains[key]['return']:.1f} ({gains[key]['name']})" for key in labels)
    return answer("helped", {"gain": cells}, f"Returns {_episode(report)}: {ours:.1f} against {returns}")


def predicts(report: Mapping[str, Any]) -> Verdict:
    """Judge the open-loop error beside that of the forecast that nothing changes."""
    skill = (report.get("dynamics") or {}).get("skill")
    if not skill:
        return unknown("predicts", missing(report, "dynamics"))
    return answer("predicts", {"skill": {f"at {steps(k)}": cell for k, cell in skill.items()}})


def knows(ranking: Mapping[str, Any], why: str = "") -> Verdict:
    """Judge whether the members disagree where the model errs, at each horizon, and tell it better than any trivial score."""
    if not ranking:
        return unknown("knows", why)
    noise = [f"{cells['aleatoric_rank']['value']:.2f} at {k}" for k, cells in ranking.items() if _known(cells["aleatoric_rank"])]
    note = f"The noise that the members expect, which one member has too, ranks with {', '.join(noise)}" if noise else ""
    measured = {rule: _ahead(ranking, cell) for rule, cell in (("rank", "rank"), ("beyond", "beyond_trivial"))}
    return answer("knows", measured, f"{_best(measured['beyond'])}{note}")


def _best(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """Say which trivial score was the best, and where."""
    of: dict[str, list[str]] = {}
    for label, cell in cells.items():
        if "best" in cell:
            of.setdefault(SCORES[cell["best"]].removesuffix(" (trivial)"), []).append(label)
    named = [name if len(of) == 1 else f"{name} {listed(labels)}" for name, labels in of.items()]
    return f"Best trivial score: {'; '.join(named)}. " if named else ""


def _known(cell: Mapping[str, Any] | None) -> bool:
    return cell is not None and cell["value"] is not None


def foresees(tables: Mapping[str, Any], falls: int, unit: str = "") -> Verdict:
    """Judge whether the disagreement foresees falls; it is worth nothing unless it does better than the best trivial score.

    Args:
        tables: :func:`rwmu.measure.detection.foresight`. falls: that were judged.
    """
    if 0 < falls < at.FEWEST_FALLS:
        return unknown("falls", f"{number_of(falls, 'fall')} to judge by, and {at.FEWEST_FALLS} are needed")
    cells = {name: table[JUDGED_STEPS] for name, table in tables["auroc"].items()}
    others = [f"{SCORES[name]} {cell['value']:.3f}" for name, cell in cells.items() if name not in NOT_BESIDE and _known(cell)]
    more = [number_of(falls, "fall"), *([f"Beside it: {', '.join(others)}"] if others else [])]
    alike = tables["given_tilt"].get("disagreement", {}).get(JUDGED_STEPS)
    if _known(alike):
        more.append(f"Among rows of like tilt it has {at.quoted(alike)}")
    return _told("falls", tables, f"within {JUDGED_STEPS} steps", ". ".join(more), unit, JUDGED_STEPS)


def tells(outside: Mapping[str, Any] | None, unit: str = "") -> Verdict:
    """Judge whether the disagreement tells the rows in which the model errs more than on held-out data."""
    if outside is None or not _known(outside["share"]):
        return unknown("tells", "there are no held-out data to compare with" if outside is None else outside["share"]["reason"])
    return _told("tells", outside, "at 1 step", f"They are {at.quoted(outside['share'], percent)} of the rows", unit)


def _told(question: str, tables: Mapping[str, Any], label: str, note: str, unit: str, place: str | None = None) -> Verdict:
    """Answer by the disagreement's AUROC, and by how much more that is than the best trivial one's."""
    found = {rule: tables[name].get("disagreement") for rule, name in (("auroc", "auroc"), ("beyond", "beyond_trivial"))}
    if any(not cell for cell in found.values()):
        return unknown(question, "one member has no disagreement")
    measured = {rule: {label: cell if place is None else cell[place]} for rule, cell in found.items()}
    return answer(question, measured, _best(measured["beyond"]) + note, unit)


def dream(report: Mapping[str, Any] | None, exploit: Mapping[str, Any] | None) -> Verdict:
    """Compare the imagined with the real reward of the final policy: of whole episodes, and of short ways from the same rows."""
    cells: dict[str, Any] = {}
    notes = []
    gap = (exploit or {}).get("gap")
    if isinstance(gap, Mapping):
        depth, entry = list(gap["depths"].items())[-1]
        seconds = int(depth) * (exploit or {})["settings"]["step_dt"]
        total, label = entry["total"], f"over {steps(depth)} ({seconds:g} s) from the same rows"
        own = _around(total["gap"], total["standard_error"], gap["trajectories"])
        cells[label] = _parted(own, max(abs(total["real"]), at.LEAST_RATE))
        notes.append(f"{label}: {total['imagined']:.2f} a second imagined, {total['real']:.2f} real")
    imagined, real = number(report or {}, "imagination", "return"), number(report or {}, "deployment", "deterministic", "return")
    if report is not None and imagined is not None and real is not None:
        label, sides = _episode(report), (report["imagination"], report["deployment"]["deterministic"])
        errors = [number(side, "standard_error", "return") for side in sides]
        error = None if None in errors else math.hypot(*(e for e in errors if e is not None))
        if number(report, "imagination", "gap", "return") is not None:
            number_of_episodes = int(min(side.get("num_episodes") or 0 for side in sides))
            cells[label] = _parted(_around(imagined - real, error, number_of_episodes), max(abs(real), at.LEAST_RETURN))
        notes.append(f"{label}: {imagined:.1f} imagined, {real:.1f} real")
    if not cells:
        part = "deployment" if imagined is not None else "imagination"
        why = gap if isinstance(gap, str) else "returns are not of one length" if notes and report else missing(report or {}, part)
        return unknown("dream", f"{why.rstrip('.')}; {'; '.join(notes)}" if notes else why)
    return answer("dream", {"gap": cells}, f"Reward {'; '.join(notes)}")


# -- the exploit diagnostic ---------------------------------------------------------------------------------------------------


def of_exploit(exploit: Mapping[str, Any], report: Mapping[str, Any] | None = None) -> list[Verdict]:
    """Answer the questions of an exploit diagnostic."""
    aligned, label = exploit["aligned"], "at 1 step, along the final policy's own way"
    rules = {"rank": "rank", "beyond": "beyond_trivial"}
    ranked = {rule: {label: exploit["ranking"][table]["disagreement"]} for rule, table in rules.items()}
    known = answer("knows", ranked, _best(ranked["beyond"]), unit="start")
    found = [left(exploit), known, tells(exploit["left"], "start"), foresees(aligned, aligned["falls"]["starts"], "start")]
    return [*found, dream(report, exploit), exploited(exploit)]


def left(exploit: Mapping[str, Any]) -> Verdict:
    """Judge whether the final policy goes where the model errs more than on held-out data."""
    outside = exploit["policies"][-1]["outside"]
    if not _known(outside.get("error")):
        return unknown("left", exploit["missing"].get("reference", "no row could be scored"))
    noticed = outside.get("disagreement")
    note = f"Its members disagree more than on held-out data in {at.quoted(noticed, percent)} of the rows" if noticed else ""
    words = {"good": "No", "middling": "A little", "bad": "Yes", "unknown": "Not known"}
    return answer("left", {"outside": {"at 1 step": outside["error"]}}, note, "start", words=words)


def exploited(exploit: Mapping[str, Any]) -> Verdict:
    """Say at which checkpoint the dream's gap had grown while the real return had not."""
    question, rows = at.QUESTIONS["exploited"].text, exploit["policies"]
    if len(rows) < 2:
        return unknown("exploited", exploit["missing"].get("checkpoints", "there is one policy only"))
    best = max(rows, key=lambda row: float(row["return"]["value"]))
    figures = ", ".join(f"{at.quoted(row['return'], _one_digit)} ({row['name']})" for row in rows)
    text = f"the real return goes {figures}, of {number_of(rows[-1]['episodes'], 'start')} each."
    begun, change = first_exploiting(rows), best["final_less_this"]
    if begun is not None:
        rise = at.quoted(begun["less_first"], _one_digit)
        return Verdict(
            question,
            "bad",
            f"Yes, at {begun['name']}: the dream's reward of {steps(begun['gap']['depth'])} had outgrown the real one beyond "
            f"chance, and the real return had not risen beyond chance ({rise}); {text}",
        )
    if change["high"] is not None and change["high"] < 0.0:
        return Verdict(question, "middling", f"The return fell after {best['name']}, but the dream did not flatter more: {text}")
    return Verdict(question, "good", f"There is no sign of it: {text}")


def _one_digit(value: float) -> str:
    return fixed(value, 1)


def first_exploiting(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the first policy that the dream overrates, and overrates more than the first one, without a better real return.

    Each beyond chance; the dream's gap is that of the deepest comparison. Returns are of the same starts and commands.
    """
    start = rows[0].get("gap")
    if start is None:
        return None
    for row in rows[1:]:
        gap, rise = row.get("gap"), row["less_first"]["low"]
        if gap is None:
            continue
        own = gap["standard_error"] or 0.0
        growth, noise = gap["gap"] - start["gap"], math.hypot(own, start["standard_error"] or 0.0)
        risen = rise is not None and rise > 0.0
        if growth > at.STANDARD_ERRORS * noise and gap["gap"] > at.STANDARD_ERRORS * own and not risen:
            return row
    return None


# -- calibration --------------------------------------------------------------------------------------------------------------


def of_calibration(measured: Mapping[str, Any]) -> list[Verdict]:
    """Answer the questions of an analysis of calibration."""
    exploded = {label: cell for label, cell in _ahead(measured["ranking"], "exploded").items() if _known(cell)}
    found = [knows(measured["ranking"]), scale(measured), recalibrated(measured)]
    found.append(answer("known_world", {"exploded": exploded}) if exploded else unknown("known_world", "no episode is long enough"))
    found.append(foresees({"auroc": measured["falls"], **measured["foresight"]}, measured["falls_judged"]))
    found.append(tells(measured["outside"]))
    return [*found, *([noise(measured["noise"])] if "noise" in measured else [])]


def scale(measured: Mapping[str, Any]) -> Verdict:
    """Judge the intervals of sampled trajectories as they are."""
    cells = measured["scale"][JUDGED][RAW]
    return answer("scale", {name: _ahead(cells, name) for name in LEVELS}, _dimensions(measured, "raw"))


def recalibrated(measured: Mapping[str, Any]) -> Verdict:
    """Judge the same once recalibrated, by the method that is named beforehand."""
    tables = measured["scale"][JUDGED]
    methods = {str(k): named_method(measured, str(k)) for k in measured["horizons"]}
    fitted = {k: tables[method][k] for k, method in methods.items() if method is not None}
    if not fitted:
        reasons = [tables[name][k]["coverage_683"]["reason"] for name in PREFERRED if name in tables for k in methods]
        return unknown("recalibrated", next(filter(None, reasons), "no recalibration was asked for"))
    used = listed(dict.fromkeys(method.replace("_", " ") for method in methods.values() if method))
    note = f"Recalibrated by: {used}. {_dimensions(measured, 'recalibrated')}"
    return answer("recalibrated", {name: _ahead(fitted, name) for name in LEVELS}, note)


def named_method(measured: Mapping[str, Any], horizon: str) -> str | None:
    """Return the first of ``PREFERRED`` with intervals of both levels at a horizon, whatever they hold; None where none has."""
    tables = measured["scale"][JUDGED]
    for method in PREFERRED:
        if method in tables and all(_known(tables[method][horizon][name]) for name in LEVELS[:2]):
            return method
    return None


def _dimensions(measured: Mapping[str, Any], kind: str) -> str:
    """Say what an average over dimensions hides."""
    found = {k: row[kind] for k, row in measured["dimensions"].items() if row[kind] is not None}
    parts = [f"{row['near']} of {row['of']} at {k} (worst {row['worst']}: {percent(row['coverage'])})" for k, row in found.items()]
    return f"An average over dimensions, of which within 10 points of 68.3 %: {', '.join(parts)}" if parts else ""


def noise(kinds: Mapping[str, Any]) -> Verdict:
    """Judge recalibrated intervals under the most noise: they hold as many truths where the spread grows with the error."""
    cells: dict[str, Any] = {}
    notes, horizon = [], None
    for kind, words in (("given", "given noise"), ("simulated", "action noise in the simulator")):
        scales = list((kinds.get(kind, {}).get("scales") or {}).items())
        if not scales:
            continue
        (low, first), (high, last) = scales[0], scales[-1]
        known = [k for k in first if _known(first[k]["error"]) and _known(last[k]["error"])]
        horizon = max((k for k in known if int(k) <= 24), key=int, default=None)
        if horizon is None:
            continue
        label = f"under {words} of {high}, at {steps(horizon)}"
        cells[label] = last[horizon]["recalibrated_683"]
        grown = [
            f"{name} {first[horizon][name]['value']:.2g} to {last[horizon][name]['value']:.2g}"
            for name in ("error", "disagreement")
            if _known(first[horizon][name]) and _known(last[horizon][name])
        ]
        notes.append(f"{words} {low} to {high}: {', '.join(grown)}")
    absent = [kinds[kind]["missing"] for kind in kinds if "missing" in kinds[kind]]
    if not any(map(_known, cells.values())):
        return unknown("noise", "; ".join(absent) or "no test episode is long enough")
    told = "; ".join([*notes, *(f"in the simulator not measured: {why}" for why in absent)])
    return answer("noise", {"coverage_683": cells}, f"Error and disagreement, {told}")


def said(verdicts: Sequence[Verdict]) -> list[str]:
    """Return verdicts as lines for a terminal."""
    marks = {"good": "+", "middling": "~", "bad": "-", "unknown": "?"}
    return [f"{marks[verdict.tone]} {verdict.question} {verdict.answer}" for verdict in verdicts]
