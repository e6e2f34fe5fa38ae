"""Every question that a page answers, and the one rule by which it is answered: the only numbers of judgement in the package.

A question rests on measured cells, each at a horizon (a *label*). A cell is **good** where its number reaches ``good`` and the
worse end of its interval still reaches ``sure``, **middling** where the number reaches ``middling``, else **bad**. Without an
interval there is too little to judge by. The same question has the same rule on every page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rwmu.report.wording import fixed, listed, number_of, percent, signed_percent

Tone = Literal["good", "middling", "bad", "unknown"]
Cells = Mapping[str, Mapping[str, Any]]  # label -> cell
_ORDER: tuple[Tone, ...] = ("unknown", "bad", "middling", "good")
_ANSWERS = {"good": "Yes", "middling": "Partly", "bad": "No", "unknown": "Not known"}


@dataclass(frozen=True)
class Rule:
    """When a number is good enough.

    Attributes:
        what: the number is. good, sure, middling: thresholds, see the head of this file. why: what speaks for them.
        less: whether less is better.
        target: what the number should be; thresholds are then distances from it.
        form: writes the number.
    """

    what: str
    good: float
    sure: float
    middling: float
    why: str = ""
    less: bool = False
    target: float | None = None
    form: Callable[[float], str] = fixed

    def tone(self, cell: Mapping[str, Any]) -> Tone:
        """Judge a cell."""
        if cell["value"] is None or cell["low"] is None:
            return "unknown"
        value, *ends = (self._merit(cell[name]) for name in ("value", "low", "high"))
        good, sure, middling = (-bound if self.falling else bound for bound in (self.good, self.sure, self.middling))
        slack = 1e-12
        if value >= good - slack and min(ends) >= sure - slack:
            return "good"
        return "middling" if value >= middling - slack else "bad"

    @property
    def falling(self) -> bool:
        """Return whether thresholds are upper bounds."""
        return self.less or self.target is not None

    def _merit(self, number: float) -> float:
        distance = number if self.target is None else abs(number - self.target)
        return -distance if self.falling else distance

    def thresholds(self) -> tuple[str, str]:
        """Return in words when a number is good, and when it is middling."""
        bound = "up to" if self.falling else "from"
        around = "" if self.target is None else f" around {self.form(self.target)}"
        good, sure, middling = map(self.form, (self.good, self.sure, self.middling))
        return f"{bound} {good}{around}, all of the interval {bound} {sure}", f"{bound} {middling}{around}"


RULES = {
    "tracking": Rule("tracking of the commanded speed", 0.6, 0.45, 0.45, "1 at best; a robot that stands still has about 0.2"),
    "fall_share": Rule("robots that fall", 0.2, 0.3, 0.5, "of an episode", less=True, form=percent),
    "gain": Rule("return gained", 0.0, 0.0, -0.05, "a gain must be beyond chance", form=signed_percent),
    "skill": Rule(
        "error over that of a forecast that nothing changes", 0.7, 1.0, 1.0, "at 1 a forecast is worth nothing", less=True
    ),
    "rank": Rule(
        "rank correlation of disagreement with error",
        0.6,
        0.3,
        0.4,
        # Kendall's tau is then near 0.42, and (1 + tau) / 2 the share; at 0.3 it is 6 of 10.
        "at 0.6 the more uncertain of two forecasts of one depth errs more in about 7 of 10 cases",
    ),
    "gap": Rule(
        "dream less reality, as a part of the real reward",
        0.15,
        0.3,
        0.4,
        "a policy is judged in the dream by such gaps",
        target=0.0,
        form=signed_percent,
    ),
    "coverage_683": Rule(
        "truths within intervals of 68.3 %", 0.05, 0.1, 0.1, "a scale right within about 12 %", target=0.683, form=percent
    ),
    "coverage_95": Rule("within intervals of 95 %", 0.05, 0.1, 0.1, "not too small by more than 16 %", target=0.95, form=percent),
    "informative": Rule(
        "of these narrower than those of one who knows only the data's mean and spread",
        0.5,
        0.4,
        0.4,
        "a scale that is right only because its intervals hold anything is of no use",
        form=percent,
    ),
    "exploded": Rule(
        "dreams beyond every known state", 0.01, 0.05, 0.1, "10 standard deviations from the truth", less=True, form=percent
    ),
    "auroc": Rule("AUROC of the disagreement", 0.95, 0.8, 0.8, "1 is perfect, 0.5 chance"),
    "beyond": Rule(
        "more than the best trivial score", 1e-9, 0.0, 0.0, "what tilt or distance from the data tell as well needs no ensemble"
    ),
    "outside": Rule(
        "rows in which the model errs more than in 99 of 100 held-out rows",
        0.05,
        0.1,
        0.1,
        "the data themselves have 1 %",
        less=True,
        form=percent,
    ),
}
FEWEST_FALLS = 5  # fewer can be drawn in too few ways
LEAST_RETURN, LEAST_RATE = 5.0, 0.25  # an episode, a second: what a gap or gain is at least a part of
WARNING_RATIO = 1.5  # of a score to normal walking: a warning
STANDARD_ERRORS = 2.0  # beyond which a difference is more than chance


@dataclass(frozen=True)
class Question:
    """A question, the rules of the numbers that it rests on, and what these are counted in."""

    text: str
    rules: tuple[str, ...]
    unit: str = "independent episode"


_SCALE = ("coverage_683", "coverage_95", "informative")
QUESTIONS = {
    "walks": Question("Does it walk?", ("tracking", "fall_share")),
    "helped": Question("Did imagination help?", ("gain",)),
    "predicts": Question("Does the model predict?", ("skill",)),
    "knows": Question("Does the model know what it does not know?", ("rank", "beyond")),
    "falls": Question("Does its disagreement foresee falls?", ("auroc", "beyond")),
    "tells": Question("Does its disagreement tell where its data end?", ("auroc", "beyond")),
    "dream": Question("Is the dream like reality?", ("gap",)),
    "scale": Question("Is its uncertainty of the right size, as it is?", _SCALE),
    "recalibrated": Question("Is it of the right size, once recalibrated?", _SCALE),
    "known_world": Question("Do dreams stay in the known world?", ("exploded",)),
    "noise": Question("Does it keep its size off the data, under noise?", ("coverage_683",)),
    "left": Question("Did the policy leave the data?", ("outside",)),
    "exploited": Question("Did the optimisation exploit the model?", ()),
}


@dataclass(frozen=True)
class Verdict:
    """An answer to one question, with the tone of each label that it rests on."""

    question: str
    tone: Tone
    answer: str
    tones: dict[str, Tone] = field(default_factory=dict)


def worst(tones: Iterable[Tone]) -> Tone:
    """Return the worst tone; one that is not known leaves all unknown."""
    return min(tones, key=_ORDER.index, default="unknown")


def summed(tones: Iterable[Tone]) -> Tone:
    """Return one tone for several labels: theirs where those that are known agree, else middling."""
    known = {tone for tone in tones if tone != "unknown"}
    return "unknown" if not known else known.pop() if len(known) == 1 else "middling"


def unknown(name: str, reason: str) -> Verdict:
    """Return that a question cannot be answered, and why."""
    return Verdict(QUESTIONS[name].text, "unknown", f"Not known: {reason.rstrip('.')}.")


def answer(
    name: str,
    measured: Mapping[str, Cells],
    note: str = "",
    unit: str = "",
    words: Mapping[str, str] = _ANSWERS,
) -> Verdict:
    """Answer a question.

    Args:
        measured: rule -> label -> cell.
        note: a sentence to follow the numbers. unit: what the trajectories of a cell are, if not episodes.
        words: tone -> what it is called.
    """
    question = QUESTIONS[name]
    labels = dict.fromkeys(label for cells in measured.values() for label in cells)
    tones: dict[str, Tone] = {}
    for label in labels:
        each = [RULES[rule].tone(measured[rule][label]) for rule in question.rules if label in measured.get(rule, {})]
        tones[label] = worst(each)
    tone = summed(tones.values())
    numbers = "; ".join(text for rule in question.rules if rule in measured and (text := _numbers(RULES[rule], measured[rule])))
    every = [cell for cells in measured.values() for cell in cells.values()]
    told = f"{numbers[0].upper()}{numbers[1:]}{_counted(every, unit or question.unit)}" if numbers else ""
    parts = [_lead(tones, words), told, *_reasons(measured)]
    return Verdict(question.text, tone, ". ".join(part.rstrip(".") for part in (*parts, note) if part) + ".", tones)


def _lead(tones: Mapping[str, Tone], words: Mapping[str, str]) -> str:
    known = {label: tone for label, tone in tones.items() if tone != "unknown"}
    if len(set(known.values())) <= 1:
        return words[summed(tones.values())]
    groups = {tone: [label for label in known if known[label] == tone] for tone in reversed(_ORDER) if tone in known.values()}
    text = "; ".join(f"{words[tone].lower()} {listed(labels)}" for tone, labels in groups.items())
    return text[0].upper() + text[1:]


def quoted(cell: Mapping[str, Any], form: Callable[[float], str] = fixed) -> str:
    """Return a cell within a sentence: its number and its interval."""
    if cell["value"] is None:
        return f"not measured ({cell['reason']})"
    value = form(cell["value"])
    return value if cell["low"] is None else f"{value} [{form(cell['low'])}, {form(cell['high'])}]"


def _numbers(rule: Rule, cells: Cells) -> str:
    known = [f"{quoted(cell, rule.form)} {label}" for label, cell in cells.items() if cell["value"] is not None]
    return f"{rule.what}: {', '.join(known)}" if known else ""


def _counted(cells: Iterable[Mapping[str, Any]], unit: str) -> str:
    counts = sorted({cell["trajectories"] for cell in cells if cell["value"] is not None})
    if not counts:
        return ""
    return f" ({number_of(counts[0], unit)})" if len(counts) == 1 else f" ({counts[0]} to {number_of(counts[-1], unit)})"


def _reasons(measured: Mapping[str, Cells]) -> list[str]:
    """Return why some labels are not judged, each reason once."""
    places: dict[str, dict[str, None]] = {}
    for cells in measured.values():
        for label, cell in cells.items():
            if cell["value"] is None or cell["low"] is None:
                places.setdefault(cell["reason"], {})[label] = None
    return [f"Not judged {listed(labels)}: {reason}" for reason, labels in places.items()]


def table_of_rules(names: Iterable[str]) -> list[list[str]]:
    """Return, for some questions, each number that is judged, when it is good, when middling, and why."""
    used = dict.fromkeys(rule for name in names for rule in QUESTIONS[name].rules)
    return [[RULES[rule].what, *RULES[rule].thresholds(), RULES[rule].why] for rule in used]
