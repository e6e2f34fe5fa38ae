"""What the rule does not look at, but whoever reads its verdict should know: other data, equal sizes, scale, diversity."""

from __future__ import annotations

from functools import partial

from experiments.shared_vs_independent import returns
from experiments.shared_vs_independent.answer import DATA, RETURN_MARGIN, against_margin, common_weights, compared
from experiments.shared_vs_independent.cells import MODELS, RULE_STEPS
from experiments.shared_vs_independent.gather import FRACTION, Gathered, models
from experiments.shared_vs_independent.paired import difference, disagreement_less_noise, fall_area, rank_correlation
from experiments.shared_vs_independent.returns import Returns
from experiments.shared_vs_independent.robust import Estimate
from experiments.shared_vs_independent.tables import HORIZONS

OTHER_DATA = (("broad", "narrow"), ("narrow", "narrow"), ("narrow", "broad"))


def other_data(gathered: Gathered) -> list[str]:
    """Return what the rule compares, on other data than its own."""
    found = [models_differ(gathered, "independent", "shared", data, tested_on) for data, tested_on in OTHER_DATA]
    return [sentence for sentence in found if sentence]


def findings(gathered: Gathered) -> list[str]:
    """Return a sentence for each thing that there are results for."""
    found = other_data(gathered)
    found.append(models_differ(gathered, "independent", "shared_wide", DATA, DATA, ", at equal parameters"))
    found.append(models_differ(gathered, "priors", "independent", DATA, DATA))
    found += [returns_differ(gathered, *pair) for pair in (("independent", "shared", "narrow"), ("priors", "independent", DATA))]
    estimates = [disagreement_or_noise(gathered, data, tested) for data, tested in (("broad", "broad"), *OTHER_DATA)]
    return [sentence for sentence in [*found, *estimates, scale(gathered), diversity(gathered)] if sentence]


def models_differ(gathered: Gathered, first: str, second: str, data: str, tested_on: str, beside: str = "") -> str:
    """Return what the rule compares, of other models or other data."""
    parts = []
    for name, statistic, margin in compared():
        found = difference(gathered, first, second, data, tested_on, statistic)
        if found.value is not None:
            parts.append(f"{name} {_judged(found, margin)}")
    where = f"trained on {data}, tested on {tested_on}{beside}"
    return f"`{first}` − `{second}`, {where}: {'; '.join(parts)}." if parts else ""


def returns_differ(gathered: Gathered, first: str, second: str, data: str) -> str:
    """Return the relative difference of the deployed returns, each model at its best raw weight of those that both have."""
    sides = common_weights([Returns.of(gathered, model, "raw", data) for model in (first, second)])
    found = returns.difference(sides[0], sides[1], relative=True)
    if found.value is None:
        return ""
    yet = "" if all(side.complete for side in sides) else " (not all weights have been run)"
    what = f"`{first}` − `{second}`, {data} data, deployed return at the best raw weights, relative"
    return f"{what}: {_judged(found, RETURN_MARGIN)}{yet}."


def _judged(found: Estimate, margin: float) -> str:
    """Return a difference, with a word where its advantage is not within the margin for sure."""
    note = {"within": "", "beyond": f", more than {margin:g}", "open": f", not surely within {margin:g}"}
    return f"{found.counted(3)}{note[against_margin(found, margin)]}"


def disagreement_or_noise(gathered: Gathered, data: str, tested: str) -> str:
    """Return how much better the disagreement ranks errors and foresees falls than the noise that the same members predict."""
    parts = []
    for model in MODELS:
        rank = disagreement_less_noise(gathered, model, data, tested, partial(rank_correlation, RULE_STEPS[0]))
        area = disagreement_less_noise(gathered, model, data, tested, partial(fall_area, 5))
        if rank.value is not None:
            foresight = area.counted(3) if area.value is not None else area.reason
            parts.append(f"`{model}` {rank.counted(3)}, foresight of falls {foresight}")
    what = f"Disagreement − noise that the members predict, rank correlation at {RULE_STEPS[0]} steps, AUROC of a fall within 5"
    return f"{what}, trained on {data}, tested on {tested}: {'; '.join(parts)}." if parts else ""


def scale(gathered: Gathered) -> str:
    """Return how many of the errors lie inside intervals of 68.3 %, as they are and after conformal recalibration."""

    def held(model: str, method: str) -> str:
        paths = [("tested_on", DATA, "scale", "sampled", method, k, "coverage_683") for k in HORIZONS]
        values = [gathered.estimate(models(model, DATA), path, FRACTION).value for path in paths]
        return " / ".join("-" if value is None else f"{100 * value:.0f}" for value in values)

    ran = [model for model in MODELS if gathered.there(models(model, DATA))]
    if not ran:
        return ""
    said = "; ".join(f"`{model}` {held(model, 'raw')} %, conformal {held(model, 'conformal')} %" for model in ran)
    steps = " / ".join(HORIZONS)
    return f"Scale: intervals of sampled trajectories that should hold 68.3 % of the errors hold, at {steps} steps: {said}."


def diversity(gathered: Gathered) -> str:
    """Return how many members the members are worth."""
    path = ("tested_on", DATA, "diversity", "effective_members")
    found = {model: gathered.estimate(models(model, DATA), path) for model in MODELS}
    said = ", ".join(f"`{model}` {estimate.counted()}" for model, estimate in found.items() if estimate.value is not None)
    return f"Diversity: the five members' errors are worth as many independent ones as {said}." if said else ""
