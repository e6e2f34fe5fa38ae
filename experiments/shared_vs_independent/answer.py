"""The study's answer, by the rule that the protocol laid down before the runs; nothing here is decided by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from experiments.shared_vs_independent import returns
from experiments.shared_vs_independent.cells import MODELS, POLICY_MODELS, RULE_STEPS, SEEDS, WEIGHTS, ModelCell
from experiments.shared_vs_independent.gather import Gathered, seconds_of
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
    """

    name: str
    difference: Estimate
    margin: float
    lacking: str = ""
    beside: str = ""

    @property
    def verdict(self) -> str:
        """Return ``within`` the margin, ``beyond`` it, or ``open``."""
        if self.difference.low is None or self.difference.high is None or self.lacking:
            return "open"
        if self.difference.high <= self.margin:
            return "within"
        return "beyond" if self.difference.low > self.margin else "open"

    @property
    def sentence(self) -> str:
        """Return what was found and what it means."""
        found = f"{self.name}: independent less shared {self.difference.text(3)}, margin {self.margin:g}"
        if self.difference.value is None:
            return f"{found}: nothing can be said"
        meaning = {
            "within": "an advantage beyond the margin is excluded",
            "beyond": "the advantage is beyond the margin",
            "open": "the interval includes the margin",
        }
        said = f"{self.lacking}, too few to decide" if self.lacking else meaning[self.verdict]
        return f"{found}: {said}{f' ({self.beside})' if self.beside else ''}"


@dataclass(frozen=True)
class BestWeight:
    """The weight of the highest return, where all weights have been run.

    Attributes:
        weight: None where they have not. ran: weights run for all seeds. of: weights of the protocol.
        wins: how often it is the best over draws of seeds and episodes.
    """

    weight: float | None
    ran: int
    of: int
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
        shared: ``sufficient``, ``insufficient`` or ``undecided``. reasons: a sentence on each criterion.
        recalibration: ``helps``, ``not shown to help`` or ``undecided``. recalibration_reasons: sentences on models and on all.
        best_weights: model -> penalty -> the weight of the highest return on broad data.
        cost: what independent members cost beside a shared base, in words.
    """

    shared: str
    reasons: list[str]
    recalibration: str
    recalibration_reasons: list[str]
    best_weights: dict[str, dict[str, BestWeight]]
    cost: list[str]

    def plain(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


# -- is the shared base sufficient? -----------------------------------------------------------------------------------------------


def criteria(gathered: Gathered) -> list[Criterion]:
    """Return the differences of the decision rule."""
    wanted: list[tuple[str, Statistic, float]] = [
        (f"Rank correlation of disagreement with error at step {k}", rank_correlation(k), RANK_MARGIN) for k in RULE_STEPS
    ]
    wanted.append(("AUROC of a fall within five steps", fall_area(5), FALLS_MARGIN))
    found = []
    for name, statistic, margin in wanted:
        estimate = difference(gathered, "independent", "shared", DATA, DATA, statistic)
        base = level_of(gathered, "shared", DATA, DATA, statistic)
        room = "" if base.value is None else f"the shared base has {base.text()}, so at most {1 - base.value:.3f} more are possible"
        found.append(Criterion(name, estimate, margin, _seeds_lacking(estimate), room))
    return [*found, _return_criterion(gathered)]


def _seeds_lacking(estimate: Estimate) -> str:
    return "" if estimate.seeds == len(SEEDS) else f"{estimate.seeds} of {len(SEEDS)} seeds are there"


def _return_criterion(gathered: Gathered) -> Criterion:
    sides = common_weights([Returns.of(gathered, model, "raw", DATA) for model in ("independent", "shared")])
    estimate = returns.difference(sides[0], sides[1], relative=True)
    gains = [
        f"{model} {returns.gain_over_clone(gathered, model, DATA, 'raw', side.weights[returns.best_place(side)]).text()}"
        for model, side in zip(("independent", "shared"), sides, strict=True)
        if side.weights and side.seeds
    ]
    beside = f"gained over the clone that both start from: {', '.join(gains)}" if gains else ""
    name = "Deployed return, each at its best raw weight, relative"
    return Criterion(name, estimate, RETURN_MARGIN, _weights_lacking(sides, "raw"), beside)


def common_weights(sides: Sequence[Returns]) -> list[Returns]:
    """Keep the weights that all have been given a chance at."""
    common = set.intersection(*(set(side.weights) for side in sides))
    return [side.only(side.seeds, sorted(common)) for side in sides]


def _weights_lacking(sides: Sequence[Returns], penalty: str) -> str:
    if all(side.complete for side in sides):
        return ""
    ran = min(sum(len(side.seeds) == len(SEEDS) for _ in side.weights) for side in sides)
    return f"{ran} of {len(WEIGHTS[penalty])} weights have been run for all {len(SEEDS)} seeds"


def decide(found: Sequence[Criterion]) -> str:
    """Return the verdict on the shared base."""
    verdicts = [criterion.verdict for criterion in found]
    if "beyond" in verdicts:
        return "insufficient"
    return "sufficient" if all(verdict == "within" for verdict in verdicts) else "undecided"


# -- does recalibration help? -----------------------------------------------------------------------------------------------------


def recalibration(gathered: Gathered) -> tuple[str, list[str]]:
    """Return the verdict on the recalibrated penalty, and what it rests on."""
    reasons = []
    by_data = {}
    for data in (DATA, "narrow"):
        pairs = {
            model: (Returns.of(gathered, model, "recalibrated", data), Returns.of(gathered, model, "raw", data))
            for model in POLICY_MODELS
        }
        by_data[data] = list(pairs.values())
        for model, (recalibrated, raw) in pairs.items():
            found = returns.difference(recalibrated, raw)
            if found.value is None:
                reasons.append(f"{model}, {data}: not run yet")
                continue
            fewer = returns.difference(recalibrated, raw.only(raw.seeds, WEIGHTS["recalibrated"]))
            text = f"{model}, {data}: recalibrated less raw return, each at its best weight, {found.text()}"
            reasons.append(f"{text}; raw at the same three weights only {fewer.text()}; {_other_seeds_choice(recalibrated, raw)}")
    found = returns.pooled(by_data[DATA])
    whole = all(side.complete for pair in by_data[DATA] for side in pair)
    reasons.append(f"all models on {DATA} data together: {found.text()}{'' if whole else '; not all of its cells have been run'}")
    if not whole or found.low is None:
        return "undecided", reasons
    return ("helps" if found.low > 0.0 else "not shown to help"), reasons


def _other_seeds_choice(recalibrated: Returns, raw: Returns) -> str:
    """Return the difference with each seed's weights chosen by the other seeds, in words."""
    seeds = [seed for seed in recalibrated.seeds if seed in raw.seeds]
    if len(seeds) < 2:
        return "weights cannot be chosen by other seeds yet"
    sides = [returns.chosen_by_others(side.only(seeds)) for side in (recalibrated, raw)]
    mean = sum(one - other for one, other in zip(*sides, strict=True)) / len(seeds)
    return f"each seed's weights chosen by the others {mean:.2f}"


# -- the rest ---------------------------------------------------------------------------------------------------------------------


def best_weight(found: Returns, penalty: str) -> BestWeight:
    """Return the weight of the highest return."""
    of = len(WEIGHTS[penalty])
    if not found.complete:
        return BestWeight(None, len(found.weights) if len(found.seeds) == len(SEEDS) else 0, of)
    place = returns.best_place(found)
    return BestWeight(found.weights[place], of, of, returns.share_of_wins(found)[place])


def cost(gathered: Gathered) -> list[str]:
    """Return what the other models cost beside the shared base, in parameters and in time of training."""

    def of(model: str) -> list[dict[str, Any]]:
        return gathered.there(ModelCell(model, DATA, seed) for seed in SEEDS)

    base = of("shared")
    lines = []
    for model in MODELS:
        results = of(model)
        if model == "shared" or not results or not base:
            continue
        own, other = (sorted(seconds_of(result, "dynamics") for result in group) for group in (results, base))
        times = own[len(own) // 2] / other[len(other) // 2]
        parameters = results[0]["parameters"] / base[0]["parameters"]
        sizes = f"{parameters:.2f} times the shared base's parameters"
        lines.append(f"{model}: {sizes}, {times:.1f} times its seconds of training (medians)")
    return lines


def answer(gathered: Gathered) -> Answer:
    """Return the study's answer, from the results that there are."""
    found = criteria(gathered)
    verdict, reasons = recalibration(gathered)
    weights = {
        model: {penalty: best_weight(Returns.of(gathered, model, penalty, DATA), penalty) for penalty in WEIGHTS}
        for model in POLICY_MODELS
    }
    return Answer(decide(found), [criterion.sentence for criterion in found], verdict, reasons, weights, cost(gathered))
