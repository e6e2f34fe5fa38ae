"""Say in plain words what the figures of a run mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FEWEST_WINDOWS = 20  # below it a correlation says nothing
TONES = ("good", "middling", "bad", "unknown")


@dataclass(frozen=True)
class Verdict:
    """An answer to one question: ``tone`` is one of ``TONES``."""

    question: str
    tone: str
    answer: str


def verdicts(report: Mapping[str, Any]) -> list[Verdict]:
    """Answer the report's four questions."""
    return [walks(report), better_than_data(report), knows(report), dream_gap(report)]


def number(report: Mapping[str, Any], *path: str) -> float | None:
    """Return the number at ``path``, or None where there is none."""
    value: Any = report
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, (int, float)) and value == value else None


def walks(report: Mapping[str, Any]) -> Verdict:
    """Judge the deployed policy by its tracking and its falls."""
    question = "Does it walk?"
    ours = ("deployment", "deterministic")
    tracking, falls = number(report, *ours, "track_lin_vel_xy"), number(report, *ours, "fall_fraction")
    if tracking is None or falls is None:
        return Verdict(question, "unknown", f"Not known: {missing(report, 'deployment')}")
    still = number(report, "deployment", "standing_still", "track_lin_vel_xy")
    figures = (
        f"{_percent(falls)} of the robots fall in an episode, and the commanded speed is tracked to {tracking:.2f} of at most 1"
        + (f" (a robot that stands still: {still:.2f})." if still is not None else ".")
    )
    if tracking >= 0.75 and falls <= 0.05:
        return Verdict(question, "good", f"Yes, reliably: {figures}")
    if tracking >= 0.6 and falls <= 0.2:
        return Verdict(question, "good", f"Yes: {figures}")
    if still is not None and tracking <= still:
        return Verdict(question, "bad", f"No: {figures}")
    words = "It moves as told while it is up, but falls too often" if falls > 0.2 else "Partly"
    return Verdict(question, "middling" if tracking >= 0.45 else "bad", f"{words}: {figures}")


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
    tone = "good" if above_all and len(below) >= len(returns) - 1 else "middling" if above_all else "bad"
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
    if windows is not None and windows < FEWEST_WINDOWS:
        return Verdict(question, "unknown", f"Too little to tell: there are only {windows:.0f} separate test windows.")
    first, last = min(known), max(known)
    figures = (
        f"rank correlation of disagreement with the error made is {known[first]:.2f} at {_steps(first)} and "
        f"{known[last]:.2f} at {_steps(last)} (1 is perfect, 0 is chance)."
    )
    if known[first] >= 0.7 and known[last] >= 0.4:
        return Verdict(question, "good", f"Largely: {figures}")
    if known[first] >= 0.5:
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
    relative = abs(gap) / max(abs(real), 5.0)
    if relative <= 0.15:
        return Verdict(question, "good", f"Yes: {figures}")
    word = "flatters" if gap > 0 else "is harder than reality"
    if relative <= 0.4:
        return Verdict(question, "middling", f"Roughly; the dream {word}: {figures}")
    return Verdict(question, "bad", f"No; the dream {word}: {figures}")


def missing(report: Mapping[str, Any], part: str) -> str:
    """Return why a part of the results is absent, as a sentence."""
    reason = (report.get("missing") or {}).get(part)
    return str(reason) if reason else f"this run has no {part} stage."


def _percent(fraction: float) -> str:
    return "none" if fraction == 0.0 else f"{100.0 * fraction:.0f} %" if fraction >= 0.01 else f"{100.0 * fraction:.1f} %"


def _steps(k: int) -> str:
    return "one step" if k == 1 else f"{k} steps"
