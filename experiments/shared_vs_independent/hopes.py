"""What the study hoped to see of independent members on broad data, and what was found: met, not met, or not known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from experiments.shared_vs_independent import returns
from experiments.shared_vs_independent.cells import SEEDS, WEIGHTS, ModelCell
from experiments.shared_vs_independent.gather import Gathered, models, policies
from experiments.shared_vs_independent.returns import LEAST_TRACKING, MOST_FALLS, Returns, walked
from experiments.shared_vs_independent.tables import HORIZONS

MODEL, DATA = "independent", "broad"
RANK, FORESIGHT, COVERAGE_ERROR = 0.9, 0.95, 0.03
METHOD = "conformal"  # the recalibration that coverage is judged by, named before the last seeds were run
NOMINAL = {"coverage_683": 0.683, "coverage_95": 0.95}


@dataclass(frozen=True)
class Hope:
    """One hope.

    Attributes:
        text: what was hoped. found: the numbers. met: None where not all of it has been run.
    """

    text: str
    found: str
    met: bool | None

    @property
    def line(self) -> str:
        """Return it in one line."""
        verdict = "not known yet" if self.met is None else "met" if self.met else "not met"
        return f"{self.text}: **{verdict}**. {self.found}"


def _whole(gathered: Gathered) -> bool:
    return len(gathered.there(ModelCell(MODEL, DATA, seed) for seed in SEEDS)) == len(SEEDS)


def ranking(gathered: Gathered) -> Hope:
    """Judge the rank correlation at every horizon."""
    found = {k: gathered.estimate(models(MODEL, DATA), ("tested_on", DATA, "ranking", k, "rank")) for k in HORIZONS}
    values = [estimate.value for estimate in found.values()]
    numbers = ", ".join(f"{estimate.counted(3)} at {k}" for k, estimate in found.items())
    met = all(value is not None and value >= RANK for value in values) if _whole(gathered) else None
    return Hope(
        f"Within-step rank correlation of at least {RANK:g} at every horizon (of {', '.join(HORIZONS)})", f"{numbers}.", met
    )


def coverage(gathered: Gathered) -> Hope:
    """Judge the coverage of both intervals at every horizon after recalibration."""
    worst: dict[str, tuple[float, str]] = {}
    for name, nominal in NOMINAL.items():
        for k in HORIZONS:
            path = ("tested_on", DATA, "scale", "sampled", METHOD, k, name)
            value = gathered.estimate(models(MODEL, DATA), path).value
            if value is not None and abs(value - nominal) >= worst.get(name, (0.0, ""))[0]:
                worst[name] = (
                    abs(value - nominal),
                    f"{100 * nominal:g} % intervals hold {100 * value:.1f} % at {k} step{'' if k == '1' else 's'}",
                )
    text = f"Coverage within {100 * COVERAGE_ERROR:g} points of nominal at every horizon after recalibration ({METHOD}, pooled)"
    if not worst:
        return Hope(text, "Not run yet.", None)
    met = all(error <= COVERAGE_ERROR for error, _ in worst.values()) if _whole(gathered) else None
    return Hope(text, f"Farthest off: {'; '.join(said for _, said in worst.values())}.", met)


def foresight(gathered: Gathered) -> Hope:
    """Judge the foresight of falls."""
    found = gathered.estimate(models(MODEL, DATA), ("tested_on", DATA, "falls", "disagreement", "5"))
    results = gathered.there(models(MODEL, DATA))
    falls = f", {results[0]['tested_on'][DATA]['test']['falls']} falls" if results else ""
    met = (found.value is not None and found.value >= FORESIGHT) if _whole(gathered) else None
    return Hope(f"AUROC of at least {FORESIGHT:g} for a fall within five steps", f"{found.counted(3)}{falls}.", met)


def walking(gathered: Gathered) -> Hope:
    """Judge whether every seed walks at the best raw weight."""
    means = f"tracking at least {LEAST_TRACKING:g}, falls in at most {100 * MOST_FALLS:g} %"
    text = f"Five of five seeds walking at the best raw weight ({means})"
    raw = Returns.of(gathered, MODEL, "raw", DATA)
    if not raw.weights:
        return Hope(text, "Not run yet.", None)
    weight = raw.weights[returns.best_place(raw)]
    walks = [walked(result) for result in gathered.there(policies(MODEL, DATA, "raw", weight))]
    met = all(walks) if raw.complete else None
    ran = f"{len(raw.weights)} of {len(WEIGHTS['raw'])} weights run"
    return Hope(text, f"{sum(walks)} of {len(walks)} at weight {weight:g}, {ran}.", met)


def inverted_u(gathered: Gathered) -> Hope:
    """Judge whether the return rises and falls again over the raw penalty's weight."""
    text = "An inverted U of the return over the raw weight (the best neither the least nor the greatest, and above both for sure)"
    raw = Returns.of(gathered, MODEL, "raw", DATA)
    if not raw.complete:
        return Hope(text, f"{len(raw.weights)} of {len(WEIGHTS['raw'])} weights run for {len(raw.seeds)} seeds.", None)
    peak, ends = raw.weights[returns.best_place(raw)], (raw.weights[0], raw.weights[-1])
    drops = {end: returns.between_weights(raw, peak, end) for end in ends if end != peak}
    sure = len(drops) == len(ends) and all(drop.low is not None and drop.low > 0.0 for drop in drops.values())
    said = "; ".join(f"above weight {end:g} by {drop.counted()}" for end, drop in drops.items())
    return Hope(text, f"Best at {peak:g}, {said}.", sure)


HOPES: tuple[Callable[[Gathered], Hope], ...] = (ranking, coverage, foresight, walking, inverted_u)


def hopes(gathered: Gathered) -> list[Hope]:
    """Return every hope of the study with what was found."""
    return [judge(gathered) for judge in HOPES]
