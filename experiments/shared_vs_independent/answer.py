"""The study's answer, by the rule that the protocol laid down before the runs; nothing here is decided by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from experiments.shared_vs_independent.cells import POLICY_MODELS, SEEDS, WEIGHTS
from experiments.shared_vs_independent.gather import Gathered, policies
from experiments.shared_vs_independent.paired import difference, fall_area, rank_correlation
from experiments.shared_vs_independent.robust import Estimate, Floats, interquartile_mean, of_statistic

DATA = "broad"
RANK_MARGIN, FALLS_MARGIN, RETURN_MARGIN = 0.05, 0.05, 0.05  # of the protocol; the last as a fraction of the shared base's return
RETURN = ("deployment", "deterministic", "return")


@dataclass(frozen=True)
class Criterion:
    """One of the differences that decide.

    Attributes:
        name: what differs. difference: ``independent - shared``. margin: the largest advantage that does not matter.
    """

    name: str
    difference: Estimate
    margin: float

    @property
    def verdict(self) -> str:
        """Return ``within`` the margin, ``beyond`` it, or ``open``."""
        if self.difference.low is None or self.difference.high is None or self.difference.seeds < len(SEEDS):
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
        if self.difference.seeds < len(SEEDS):
            return f"{found}: {self.difference.seeds} of {len(SEEDS)} seeds are there, too few to decide"
        meaning = {
            "within": "an advantage beyond the margin is excluded",
            "beyond": "the advantage is beyond the margin",
            "open": "the interval includes the margin",
        }
        return f"{found}: {meaning[self.verdict]}"


@dataclass(frozen=True)
class Answer:
    """What the study says.

    Attributes:
        shared: ``sufficient``, ``insufficient`` or ``undecided``. reasons: a sentence on each criterion.
        recalibration: ``helps``, ``does not help`` or ``undecided``. recalibration_reasons: a sentence on each model and on all.
        best_weights: model -> penalty -> the weight of the highest return, or None where none was run.
    """

    shared: str
    reasons: list[str]
    recalibration: str
    recalibration_reasons: list[str]
    best_weights: dict[str, dict[str, float | None]]

    def plain(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


def returns(
    gathered: Gathered, model: str, penalty: str, data: str = DATA
) -> tuple[tuple[float, ...], dict[float, dict[int, float]]]:
    """Return the weights that were run, ascending, and for each the return of every seed that there is."""
    found = {weight: gathered.numbers(policies(model, data, penalty, weight), RETURN) for weight in sorted(WEIGHTS[penalty])}
    ran = {weight: by_seed for weight, by_seed in found.items() if by_seed}
    return tuple(ran), ran


def complete(table: dict[float, dict[int, float]]) -> dict[float, dict[int, float]]:
    """Return a table less the weights that have been run for fewer seeds than others: they are still on their way."""
    most = max(map(len, table.values()), default=0)
    return {weight: by_seed for weight, by_seed in table.items() if len(by_seed) == most}


def common_seeds(tables: Sequence[dict[float, dict[int, float]]]) -> list[int]:
    """Return the seeds of which every table has every weight that it has at all."""
    return [seed for seed in SEEDS if all(seed in by_seed for table in tables for by_seed in table.values())]


def scores(table: dict[float, dict[int, float]], seeds: Sequence[int]) -> Floats:
    """Return ``[W, S]`` returns."""
    return np.array([[by_seed[seed] for seed in seeds] for by_seed in table.values()], dtype=np.float64)


def best(table: Floats, places: np.ndarray[Any, Any]) -> Floats:
    """Return the interquartile mean at the weight where it is highest, chosen anew for every draw of seeds: ``[R]``."""
    return np.asarray(interquartile_mean(table[:, places]).max(axis=0))


def return_difference(gathered: Gathered) -> Estimate:
    """Return by which fraction independent members exceed the shared base in return, each at its best weight of the raw penalty."""
    tables = [complete(returns(gathered, model, "raw")[1]) for model in ("independent", "shared")]
    both = set(tables[0]) & set(tables[1])  # what only one has been given a chance at does not count
    tables = [{weight: table[weight] for weight in table if weight in both} for table in tables]
    seeds = common_seeds(tables)
    if not all(tables) or not seeds:
        return Estimate(None, reason="not run yet")
    independent, shared = (scores(table, seeds) for table in tables)

    def relative(places: np.ndarray[Any, Any]) -> Floats:
        reference = best(shared, places)
        return np.asarray((best(independent, places) - reference) / np.abs(reference))

    return of_statistic(relative, [len(seeds)])


def recalibration_difference(gathered: Gathered, models: Sequence[str]) -> Estimate:
    """Return the return of the recalibrated penalty at its best weight less that of the raw one at its own, seeds paired."""
    pairs = []
    for model in models:
        tables = [complete(returns(gathered, model, penalty)[1]) for penalty in ("recalibrated", "raw")]
        seeds = common_seeds(tables)
        if not all(tables) or not seeds:
            return Estimate(None, reason="not run yet")
        pairs.append(tuple(scores(table, seeds) for table in tables))
    sizes = [pair[0].shape[1] for pair in pairs]
    firsts = np.cumsum([0, *sizes[:-1]])

    def mean_difference(places: np.ndarray[Any, Any]) -> Floats:
        parts = []
        for (recalibrated, raw), first, size in zip(pairs, firsts, sizes, strict=True):
            own = places[:, first : first + size] - first
            parts.append(best(recalibrated, own) - best(raw, own))
        return np.asarray(np.mean(parts, axis=0))

    return of_statistic(mean_difference, sizes)


def criteria(gathered: Gathered) -> list[Criterion]:
    """Return the differences of the decision rule."""
    pair = (gathered, "independent", "shared", DATA, DATA)
    found = [
        Criterion(f"Rank correlation of disagreement with error at step {k}", difference(*pair, rank_correlation(k)), RANK_MARGIN)
        for k in (8, 24)
    ]
    found.append(Criterion("AUROC of a fall within five steps", difference(*pair, fall_area(5)), FALLS_MARGIN))
    found.append(Criterion("Deployed return, each at its best raw weight, relative", return_difference(gathered), RETURN_MARGIN))
    return found


def decide(found: Sequence[Criterion]) -> str:
    """Return the verdict on the shared base."""
    verdicts = [criterion.verdict for criterion in found]
    if "beyond" in verdicts:
        return "insufficient"
    return "sufficient" if all(verdict == "within" for verdict in verdicts) else "undecided"


def _recalibration(gathered: Gathered) -> tuple[str, list[str]]:
    estimates = {model: recalibration_difference(gathered, [model]) for model in POLICY_MODELS}
    ran = [model for model, found in estimates.items() if found.value is not None]
    reasons = [
        f"{model}: recalibrated less raw return, each at its best weight, {found.text()}" for model, found in estimates.items()
    ]
    pooled = recalibration_difference(gathered, ran) if ran else Estimate(None, reason="not run yet")
    reasons.append(f"all of these together: {pooled.text()}")
    if pooled.low is None or pooled.high is None or pooled.seeds < len(SEEDS) or len(ran) < len(POLICY_MODELS):
        return "undecided", reasons
    if pooled.low > 0.0:
        return "helps", reasons
    return ("does not help" if pooled.high <= 0.0 else "undecided"), reasons


def answer(gathered: Gathered) -> Answer:
    """Return the study's answer, from the results that there are."""
    found = criteria(gathered)
    recalibration, reasons = _recalibration(gathered)
    weights: dict[str, dict[str, float | None]] = {}
    for model in POLICY_MODELS:
        weights[model] = {}
        for penalty in WEIGHTS:
            table = complete(returns(gathered, model, penalty)[1])
            ran = tuple(table)
            means = [float(interquartile_mean(np.array(list(table[weight].values())))) for weight in ran]
            weights[model][penalty] = ran[int(np.argmax(means))] if ran else None
    return Answer(decide(found), [criterion.sentence for criterion in found], recalibration, reasons, weights)
