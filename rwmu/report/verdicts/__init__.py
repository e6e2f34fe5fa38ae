"""Verdicts: one function a question, from measured results to an answer; :mod:`rwmu.report.thresholds` has the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["good", "middling", "bad", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """An answer to one question."""

    question: str
    tone: Tone
    answer: str


def graded(value: float, good: float, middling: float) -> Tone:
    """Return the tone of a number of which more is better."""
    return "good" if value >= good else "middling" if value >= middling else "bad"
