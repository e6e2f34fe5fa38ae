"""What the rule does not look at, but whoever reads its verdict should know: other data, equal sizes, scale, diversity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product

from experiments.shared_vs_independent import returns
from experiments.shared_vs_independent.answer import DATA, RETURN_MARGIN, against_margin, common_weights, compared
from experiments.shared_vs_independent.cells import MODELS, RULE_STEPS
from experiments.shared_vs_independent.gather import FRACTION, Gathered, models
from experiments.shared_vs_independent.paired import difference, disagreement_less_noise, fall_area, rank_correlation
from experiments.shared_vs_independent.returns import Returns
from experiments.shared_vs_independent.robust import Estimate
from experiments.shared_vs_independent.tables import COMPARED_MODELS, HORIZONS, table

COUNTS = "seeds × episodes"
OTHER_DATA = (("broad", "narrow"), ("narrow", "narrow"), ("narrow", "broad"))
AGAINST_SHARED = COMPARED_MODELS[:2]  # the base as it is, and with the parameters of independent members


def pairs(gathered: Gathered, chosen: Sequence[tuple[str, str]] = COMPARED_MODELS) -> list[str]:
    """Return a table of what the rule compares, of its own models and data and of others."""
    rows = []
    for (first, second), (data, tested) in product(chosen, ((DATA, DATA), *OTHER_DATA)):
        found = {name: difference(gathered, first, second, data, tested, of) for name, of, _ in compared()}
        if next(iter(found.values())).value is not None:
            verdict = _verdict(found, {name: margin for name, _, margin in compared()})
            texts = [estimate.text(3) for estimate in found.values()]
            rows.append([f"`{first}` − `{second}`", data, tested, *texts, list(found.values())[-1].counts, verdict])
    header = ["difference", "trained on", "tested on", *(name for name, _, _ in compared())]
    return table([*header, COUNTS, "more than the margin?"], rows) if rows else ["not run yet"]


def _verdict(found: Mapping[str, Estimate], margins: Mapping[str, float]) -> str:
    """Return which differences are above their margin for sure, and of which that is not excluded."""
    judged = {name: against_margin(estimate, margins[name]) for name, estimate in found.items()}
    short = {name: name.split(",")[-1].split(" of ")[0].strip() for name in found}
    beyond = [short[name] for name, word in judged.items() if word == "beyond"]
    is_open = [short[name] for name, word in judged.items() if word == "open"]
    parts = [f"yes: {', '.join(beyond)}"] if beyond else []
    parts += [f"not excluded: {', '.join(is_open)}"] if is_open else []
    return "; ".join(parts) or "excluded"


def findings(gathered: Gathered) -> list[str]:
    """Return a sentence for each thing that there are results for."""
    found = [returns_differ(gathered, *pair) for pair in (("independent", "shared", "narrow"), ("priors", "independent", DATA))]
    found += [disagreement_or_noise(gathered), scale(gathered), diversity(gathered)]
    return [sentence for sentence in found if sentence]


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


def disagreement_or_noise(gathered: Gathered) -> str:
    """Return how much better the disagreement ranks errors and foresees falls than the noise that the same members predict."""
    ranks, areas = [], []
    for data, tested in ((DATA, DATA), *OTHER_DATA):
        for model in MODELS:
            rank = disagreement_less_noise(gathered, model, data, tested, partial(rank_correlation, RULE_STEPS[0]))
            area = disagreement_less_noise(gathered, model, data, tested, partial(fall_area, 5))
            ranks += [rank] if rank.low is not None else []
            areas += [area] if area.low is not None else []
    if not ranks:
        return ""
    parts = [f"rank correlation with the error at {RULE_STEPS[0]} steps {_signs(ranks)}"]
    parts += [f"AUROC of a fall within 5 steps {_signs(areas)}"] if areas else []
    return f"Disagreement − the noise that the same members predict, by model, training and test data: {'; '.join(parts)}."


def _signs(found: Sequence[Estimate]) -> str:
    """Return between which numbers differences are that have an interval, and how many of them are surely not 0."""
    values = sorted(estimate.value for estimate in found if estimate.value is not None)
    below = sum(estimate.high is not None and estimate.high < 0.0 for estimate in found)
    above = sum(estimate.low is not None and estimate.low > 0.0 for estimate in found)
    between = f"{values[0]:.3f} to {values[-1]:.3f}" if len(values) > 1 else f"{values[0]:.3f}"
    sure = [f"surely {word} 0 in {number}" for word, number in (("below", below), ("above", above)) if number]
    return f"{between}, {' and '.join(sure) or '0 not excluded in any'} of {len(found)}"


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
