"""The study's answer, by the rule that the protocol laid down before the runs; nothing here is decided by hand."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from experiments.shared_vs_independent import returns
from experiments.shared_vs_independent.cells import DATA as ALL_DATA
from experiments.shared_vs_independent.cells import MODELS, POLICY_MODELS, RULE_STEPS, SEEDS, WEIGHTS
from experiments.shared_vs_independent.gather import Gathered, models, seconds_of
from experiments.shared_vs_independent.paired import Statistic, difference, fall_area, level_of, rank_correlation
from experiments.shared_vs_independent.returns import Returns
from experiments.shared_vs_independent.robust import Estimate

DATA = "broad"
RANK_MARGIN, FALLS_MARGIN, RETURN_MARGIN = 0.05, 0.05, 0.05  # of the protocol; the last as a fraction of the shared base's return


@dataclass(frozen=True)
class Criterion:
    """One of the differences that decide.

    Attributes:
        name: what differs. difference: ``independent - shared``. margin: the largest advantage that does not matter.
        lacking: what has still to be run before this may decide; empty where nothing is.
        beside: what a reader should know to judge the difference.
        room: the largest advantage that was possible, where there is a bound.
    """

    name: str
    difference: Estimate
    margin: float
    lacking: str = ""
    beside: str = ""
    room: float | None = None

    @property
    def verdict(self) -> str:
        """Return ``within`` the margin, ``beyond`` it, or ``open``."""
        if self.lacking:
            return "open"
        return against_margin(self.difference, self.margin)

    @property
    def meaning(self) -> str:
        """Return the verdict in words."""
        if self.difference.value is None:
            return self.difference.reason
        if self.lacking:
            return f"open: {self.lacking}"
        return {
            "within": f"more than {self.margin:g} is excluded",
            "beyond": f"more than {self.margin:g}",
            "open": f"open: the interval includes {self.margin:g}",
        }[self.verdict]

    def plain(self) -> dict[str, Any]:
        """Return the fields and the verdict, for JSON."""
        return asdict(self) | {"verdict": self.verdict}


@dataclass(frozen=True)
class Recalibrated:
    """What policies with the recalibrated penalty earned more than those with the raw one.

    Attributes:
        model: or ``all``, the mean over models. models: of which there are both. data: that they were trained on.
        best: each penalty at its best weight. over_seeds: the same with an interval of seeds alone.
        alike: each may choose only among the weights that both have been run with.
        by_others: each seed's weights are chosen by the other seeds; None where there are none.
        complete: whether every weight has been run for every seed.
    """

    model: str
    models: tuple[str, ...]
    data: str
    best: Estimate
    over_seeds: Estimate
    alike: Estimate
    by_others: float | None
    complete: bool


@dataclass(frozen=True)
class BestWeight:
    """The weight of the highest return, where all weights have been run.

    Attributes:
        weight: None where they have not. ran: weights run for all seeds. of: weights of the protocol.
        wins: how often it is the best over draws of seeds and episodes.
        gain: over the clone, at the best of the weights that have been run, not chosen anew: the best of several against one
            would be above it whatever they are worth.
        gain_by_others: the mean of the same, each seed's weight chosen by the other seeds, so that no luck is in it.
        over_none: of the best weight so far, not chosen anew, over the same model's policies without a penalty.
    """

    weight: float | None
    ran: int
    of: int
    gain: Estimate
    gain_by_others: float | None
    over_none: Estimate
    wins: float | None = None

    @property
    def text(self) -> str:
        """Return it in words."""
        if self.weight is None or self.wins is None:
            return f"not known ({self.ran} of {self.of} weights run)"
        return f"{self.weight:g} (the best in {100 * self.wins:.0f} % of the draws)"


@dataclass(frozen=True)
class Answer:
    """What the study says.

    Attributes:
        shared: ``sufficient``, ``insufficient`` or ``undecided``. criteria: what that rests on.
        recalibration: ``helps``, ``not shown to help``, ``hurts`` or ``undecided``.
        recalibrated: what that rests on, and narrow data.
        best_weights: model -> penalty -> the weight of the highest return on broad data.
        cost: what the other models cost beside a shared base, in words.
    """

    shared: str
    criteria: list[Criterion]
    recalibration: str
    recalibrated: list[Recalibrated]
    best_weights: dict[str, dict[str, BestWeight]]
    cost: list[str]

    def plain(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self) | {"criteria": [criterion.plain() for criterion in self.criteria]}


def against_margin(difference: Estimate, margin: float) -> str:
    """Return whether an advantage is ``within`` a margin for sure, ``beyond`` it for sure, or that is ``open``."""
    if difference.low is None or difference.high is None:
        return "open"
    if difference.high <= margin:
        return "within"
    return "beyond" if difference.low > margin else "open"


# -- is the shared base sufficient? -----------------------------------------------------------------------------------------------


def compared() -> list[tuple[str, Statistic, float]]:
    """Return what the rule compares of the models themselves: name, statistic and margin."""
    ranks = [(f"rank correlation, {k} steps", rank_correlation(k), RANK_MARGIN) for k in RULE_STEPS]
    return [*ranks, ("AUROC of a fall within 5 steps", fall_area(5), FALLS_MARGIN)]


def criteria(gathered: Gathered) -> list[Criterion]:
    """Return the differences of the decision rule."""
    found = []
    for name, statistic, margin in compared():
        estimate = difference(gathered, "independent", "shared", DATA, DATA, statistic)
        base = level_of(gathered, "shared", DATA, DATA, statistic)
        room = None if base.value is None else 1.0 - base.value
        beside = "" if room is None else f"the shared base has {base.text()}: at most {room:.3f} more are possible"
        found.append(Criterion(name, estimate, margin, _seeds_lacking(estimate), beside, room))
    return [*found, _return_criterion(gathered)]


def _seeds_lacking(estimate: Estimate) -> str:
    return "" if estimate.seeds == len(SEEDS) else f"{estimate.seeds} of {len(SEEDS)} seeds run"


def _return_criterion(gathered: Gathered) -> Criterion:
    compared_models = ("independent", "shared")
    sides = common_weights([Returns.of(gathered, model, "raw", DATA) for model in compared_models])
    estimate = returns.difference(sides[0], sides[1], relative=True)
    gains = [
        f"{model} {by_others:.2f}"
        for model, side in zip(compared_models, sides, strict=True)
        if (by_others := returns.chosen_by_others_differ([(side, Returns.of_clones(gathered, DATA, model))])) is not None
    ]
    beside = f"earned more than the clone, weights chosen by the other seeds: {', '.join(gains)}" if gains else ""
    name = "deployed return, each at its best raw weight, relative"
    return Criterion(name, estimate, RETURN_MARGIN, _weights_lacking(sides, "raw"), beside)


def common_weights(sides: Sequence[Returns]) -> list[Returns]:
    """Keep the weights that all have been given a chance at."""
    common = set.intersection(*(set(side.weights) for side in sides))
    return [side.only(side.seeds, sorted(common)) for side in sides]


def _weights_lacking(sides: Sequence[Returns], penalty: str) -> str:
    if all(side.complete for side in sides):
        return ""
    ran = min(sum(len(side.seeds) == len(SEEDS) for _ in side.weights) for side in sides)
    return f"{ran} of {len(WEIGHTS[penalty])} weights run for all {len(SEEDS)} seeds"


def decide(found: Sequence[Criterion]) -> str:
    """Return the verdict on the shared base: none, whatever the intervals say, before all that it rests on has been run."""
    verdicts = [criterion.verdict for criterion in found]
    if any(criterion.lacking for criterion in found):
        return "undecided"
    if "beyond" in verdicts:
        return "insufficient"
    return "sufficient" if all(verdict == "within" for verdict in verdicts) else "undecided"


# -- does recalibration help? -----------------------------------------------------------------------------------------------------


def recalibration(gathered: Gathered) -> tuple[str, list[Recalibrated]]:
    """Return the verdict on the recalibrated penalty, and what it rests on."""
    found = []
    for data in (DATA, "narrow"):
        pairs = {
            model: (Returns.of(gathered, model, "recalibrated", data), Returns.of(gathered, model, "raw", data))
            for model in POLICY_MODELS
        }
        found += [_recalibrated(model, data, {model: pair}) for model, pair in pairs.items()]
        found.append(_recalibrated("all", data, pairs))
    rule = next(row for row in found if (row.model, row.data) == ("all", DATA))
    if not rule.complete or rule.best.low is None or rule.best.high is None:
        return "undecided", found
    if rule.best.high < 0.0:
        return "hurts", found
    return ("helps" if rule.best.low > 0.0 else "not shown to help"), found


def _recalibrated(model: str, data: str, by_model: dict[str, tuple[Returns, Returns]]) -> Recalibrated:
    pairs = list(by_model.values())
    common = [(sides[0], sides[1]) for sides in map(common_weights, pairs)]
    return Recalibrated(
        model,
        tuple(name for name, pair in by_model.items() if all(side.weights for side in pair)),
        data,
        returns.pooled(pairs),
        returns.pooled(pairs, seeds_alone=True),
        returns.pooled(common),
        returns.chosen_by_others_differ(pairs),
        all(side.complete for pair in pairs for side in pair),
    )


# -- the rest ---------------------------------------------------------------------------------------------------------------------


def best_weight(gathered: Gathered, model: str, penalty: str) -> BestWeight:
    """Return the weight of the highest return."""
    found, of = Returns.of(gathered, model, penalty, DATA), len(WEIGHTS[penalty])
    clones = Returns.of_clones(gathered, DATA, model)
    best = found.only(found.seeds, [found.weights[returns.best_place(found)]]) if found.seeds else found
    gains = returns.difference(best, clones), returns.chosen_by_others_differ([(found, clones)])
    over_none = returns.difference(best, Returns.of(gathered, model, "raw", DATA, 0.0))
    if not found.complete:
        return BestWeight(None, len(found.weights) if len(found.seeds) == len(SEEDS) else 0, of, *gains, over_none)
    place = returns.best_place(found)
    return BestWeight(found.weights[place], of, of, *gains, over_none, returns.share_of_wins(found)[place])


def cost(gathered: Gathered) -> list[str]:
    """Return what the other models cost beside the shared base, in parameters and in time of training.

    Times are compared where both were taken on the same machine, on the first data of which there are such.
    """
    lines = []
    for model in MODELS:
        pairs = [(gathered.there(models(model, data)), gathered.there(models("shared", data))) for data in ALL_DATA]
        ran = [(own, base) for own, base in pairs if own and base]
        if model == "shared" or not ran:
            continue
        own, base = ran[0]
        sizes = f"{own[0]['parameters'] / base[0]['parameters']:.2f} times the shared base's parameters"
        times = [ratio for ratio in (_times(own, base) for own, base in ran) if ratio]
        lines.append(f"`{model}`: {sizes}, {times[0] if times else 'its time not yet taken on one machine'}")
    return lines


def _times(own: Sequence[dict[str, Any]], base: Sequence[dict[str, Any]]) -> str:
    """Return how many times longer the median training took, of those on a machine that both have been on; empty if none."""
    for machine in (result.get("machine") for result in own):
        groups = [[seconds_of(r, "dynamics") for r in group if r.get("machine") == machine] for group in (own, base)]
        if machine and all(groups):
            medians = [statistics.median(group) for group in groups]
            numbers = " and ".join(str(len(group)) for group in groups)
            of = f"{own[0]['data']}; medians of {numbers}, beside other work"
            return f"{medians[0] / medians[1]:.1f} times its seconds of training ({of})"
    return ""


def answer(gathered: Gathered) -> Answer:
    """Return the study's answer, from the results that there are."""
    found = criteria(gathered)
    verdict, rows = recalibration(gathered)
    weights = {model: {penalty: best_weight(gathered, model, penalty) for penalty in WEIGHTS} for model in POLICY_MODELS}
    return Answer(decide(found), found, verdict, rows, weights, cost(gathered))
