"""What the figures of a run mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rwmu.report import thresholds
from rwmu.report.verdicts import Tone, Verdict
from rwmu.report.wording import missing, number, percent, steps


def verdicts(report: Mapping[str, Any]) -> list[Verdict]:
    """Answer the report's four questions."""
    return [walks(report), better_than_data(report), knows(report), dream_gap(report)]


def walks(report: Mapping[str, Any]) -> Verdict:
    """Judge the deployed policy by its tracking and its falls."""
    question = "Does it walk?"
    ours = ("deployment", "deterministic")
    tracking, falls = number(report, *ours, "track_lin_vel_xy"), number(report, *ours, "fall_fraction")
    if tracking is None or falls is None:
        return Verdict(question, "unknown", f"Not known: {missing(report, 'deployment')}")
    still = number(report, "deployment", "standing_still", "track_lin_vel_xy")
    figures = (
        f"{percent(falls)} of the robots fall in an episode, and the commanded speed is tracked to {tracking:.2f} of at most 1"
        + (f" (a robot that stands still: {still:.2f})." if still is not None else ".")
    )
    for (least, most), words in ((thresholds.RELIABLY, "Yes, reliably"), (thresholds.WALKS, "Yes")):
        if tracking >= least and falls <= most:
            return Verdict(question, "good", f"{words}: {figures}")
    if still is not None and tracking <= still:
        return Verdict(question, "bad", f"No: {figures}")
    words = "It moves as told while it is up, but falls too often" if falls > thresholds.WALKS[1] else "Partly"
    return Verdict(question, "middling" if tracking >= thresholds.PARTLY_WALKS else "bad", f"{words}: {figures}")


def better_than_data(report: Mapping[str, Any]) -> Verdict:
    """Place the deployed policy's return among those of the policies that collected the data."""
    question = "Is it better than the data it learnt from?"
    ours, average = number(report, "deployment", "deterministic", "return"), number(report, "dataset", "return_per_20s")
    if ours is None:
        return Verdict(question, "unknown", f"Not known: {missing(report, 'deployment')}")
    behaviour = (report.get("deployment") or {}).get("behaviour") or {}
    returns = {name: value for name in behaviour if (value := number(behaviour, name, "return")) is not None}
    below = [name for name, value in returns.items() if value < ours]
    parts = [f"Its return is {ours:.1f}"]
    if average is not None:
        parts.append(f"the data's average over the same time is {average:.1f}")
    still = number(report, "deployment", "standing_still", "return")
    if still is not None:
        parts.append(f"standing still gives {still:.1f}")
    if returns:
        parts.append(f"it is above {len(below)} of the {len(returns)} collecting policies")
    above_all = (average is None or ours > average) and (still is None or ours > still)
    tone: Tone = "good" if above_all and len(below) >= len(returns) - 1 else "middling" if above_all else "bad"
    return Verdict(question, tone, "; ".join(parts) + ".")


def knows(report: Mapping[str, Any]) -> Verdict:
    """Judge whether the members disagree where the model errs, at one step and at the longest horizon."""
    question = "Does the model know what it does not know?"
    members = number(report, "dynamics", "num_members")
    ranks = ((report.get("dynamics") or {}).get("epistemic_correlation") or {}).get("spearman") or {}
    if members is None:
        return Verdict(question, "unknown", f"Not known: {missing(report, 'dynamics')}")
    known = {int(k): value for k, value in ranks.items() if isinstance(value, (int, float)) and value == value}
    if members < 2 or not known:
        return Verdict(question, "unknown", "It cannot: a single member has nobody to disagree with.")
    windows = number(report, "dynamics", "epistemic_correlation", "windows")
    if windows is not None and windows < thresholds.FEWEST_WINDOWS:
        return Verdict(question, "unknown", f"Too little to tell: there are only {windows:.0f} separate test windows.")
    first, last = min(known), max(known)
    figures = (
        f"rank correlation of disagreement with the error made is {known[first]:.2f} at {steps(first, 'one step')} and "
        f"{known[last]:.2f} at {steps(last, 'one step')} (1 is perfect, 0 is chance)."
    )
    if known[first] >= thresholds.KNOWS_FIRST and known[last] >= thresholds.KNOWS_LAST:
        return Verdict(question, "good", f"Largely: {figures}")
    if known[first] >= thresholds.KNOWS_SHORTLY:
        return Verdict(question, "middling", f"In the short run: {figures}")
    return Verdict(question, "bad", f"Hardly: {figures}")


def dream_gap(report: Mapping[str, Any]) -> Verdict:
    """Compare the final policy's imagined return with its real one."""
    question = "Is the dream like reality?"
    imagined, real = number(report, "imagination", "return"), number(report, "deployment", "deterministic", "return")
    if imagined is None or real is None:
        part = "imagination" if imagined is None else "deployment"
        return Verdict(question, "unknown", f"Not known: {missing(report, part)}")
    gap = number(report, "imagination", "gap", "return")
    if gap is None:
        length = number(report, "imagination", "full_length_s")
        return Verdict(
            question,
            "unknown",
            f"Returns are not of one length: {imagined:.1f} imagined over {length or 0.0:g} s, {real:.1f} real.",
        )
    figures = f"the final policy earns {imagined:.1f} an episode in the dream and {real:.1f} in the simulator (gap {gap:+.1f})."
    relative = abs(gap) / max(abs(real), thresholds.LEAST_RETURN)
    if relative <= thresholds.LIKE_REALITY:
        return Verdict(question, "good", f"Yes: {figures}")
    word = "flatters" if gap > 0 else "is harder than reality"
    if relative <= thresholds.ROUGHLY_REAL:
        return Verdict(question, "middling", f"Roughly; the dream {word}: {figures}")
    return Verdict(question, "bad", f"No; the dream {word}: {figures}")
