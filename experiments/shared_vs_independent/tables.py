"""The study's numbers as Markdown tables and as rows of a CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from experiments.shared_vs_independent import paired, returns
from experiments.shared_vs_independent.cells import (
    DATA,
    MODELS,
    POLICY_MODELS,
    RULE_STEPS,
    SEEDS,
    WEIGHTS,
    Cell,
    PolicyCell,
    model_cell,
)
from experiments.shared_vs_independent.gather import CORRELATION, FRACTION, NO_LIMITS, Gathered, at, models, policies, seconds_of
from experiments.shared_vs_independent.robust import Estimate

HORIZONS = ("1", "8", "24", "100")
WITHIN = ("1", "5", "10", "25")
METHODS = ("raw", "constant", "per_horizon", "isotonic", "conformal")
COMPARED_MODELS = (("independent", "shared"), ("independent", "shared_wide"), ("priors", "independent"))
TRAINED_TESTED = [(data, tested) for data in DATA for tested in DATA]
CSV_COLUMNS = (
    "cell",
    "kind",
    "model",
    "data",
    "seed",
    "penalty",
    "weight",
    "tested_on",
    "quantity",
    "value",
    "low",
    "high",
    "episodes",
)
_DEPLOYED = {"return": NO_LIMITS, "fall_fraction": FRACTION, "track_lin_vel_xy": FRACTION, "track_ang_vel_z": FRACTION}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _named(model: str, results: Sequence[dict[str, Any]]) -> str:
    """Return a model's name, with a star where any of the results was adopted from an earlier run."""
    return f"`{model}`{'*' if any(result['adopted'] for result in results) else ''}"


def _of_models(
    gathered: Gathered,
    header: Sequence[str],
    paths: Callable[[str], list[tuple[str, ...]]],
    limits: tuple[float, float] = NO_LIMITS,
    digits: int = 2,
    falls: bool = False,
) -> list[str]:
    """Return a row for each model, data and test data of which there is a result."""
    rows = []
    for data, tested in TRAINED_TESTED:
        for model in MODELS:
            cells = models(model, data)
            results = gathered.there(cells)
            if results:
                test = results[0]["tested_on"][tested]["test"]
                counts = [str(len(results)), str(test["episodes"]), *([str(test["falls"])] if falls else [])]
                numbers = [gathered.estimate(cells, path, limits).text(digits) for path in paths(tested)]
                rows.append([_named(model, results), data, tested, *counts, *numbers])
    columns = ["model", "trained on", "tested on", "seeds", "episodes", *(["falls"] if falls else []), *header]
    return table(columns, rows) if rows else ["not run yet"]


def ranking(gathered: Gathered) -> list[str]:
    """Return rank correlations at each step, with the overall one and its step counter at the longest horizon."""

    def paths(tested: str) -> list[tuple[str, ...]]:
        base = ("tested_on", tested, "ranking")
        at_step = [(*base, k, "rank") for k in HORIZONS]
        return [*at_step, *((*base, HORIZONS[-1], f"{depth}_rank") for depth in ("overall", "partial", "step_counter"))]

    longest = f"steps 1 to {HORIZONS[-1]}"
    header = [f"at step {k}" for k in HORIZONS] + [f"{longest}, overall", f"{longest}, partial", f"{longest}, step counter"]
    return _of_models(gathered, header, paths, CORRELATION)


def composition(gathered: Gathered) -> list[str]:
    """Return what the ranking at a step is made of: over all forecasts, within a collecting policy, within an episode."""
    header, statistics = ["model", "trained on", "tested on", "seeds", "episodes"], []
    for k in RULE_STEPS:
        header += [f"step {k}: all", "within a policy", "within an episode (pairs in order)"]
        statistics += [paired.rank_correlation(k), paired.within_level(k), paired.within_episode(k)]
    rows = []
    for data, tested in TRAINED_TESTED:
        for model in MODELS:
            results = gathered.there(models(model, data))
            found = [paired.level_of(gathered, model, data, tested, statistic) for statistic in statistics] if results else []
            if found and found[0].value is not None:
                counts = [str(found[0].seeds), str(found[0].episodes)]
                texts = [estimate.text() for estimate in found]
                if len(set(results[0]["tested_on"][tested]["rows"]["forecasts"]["level"])) == 1:
                    texts[1::3] = ["one policy"] * len(RULE_STEPS)
                rows.append([_named(model, results), data, tested, *counts, *texts])
    return table(header, rows) if rows else ["not run yet"]


def differences(gathered: Gathered) -> list[str]:
    """Return paired differences between models, of the data and test data that both have."""
    statistics = {f"rank at {k}": paired.rank_correlation(k) for k in RULE_STEPS}
    statistics |= {f"within a policy at {k}": paired.within_level(k) for k in RULE_STEPS}
    statistics |= {f"within an episode at {k}": paired.within_episode(k) for k in RULE_STEPS}
    statistics["AUROC within 5"] = paired.fall_area(5)
    rows = []
    for data, tested in TRAINED_TESTED:
        for first, second in COMPARED_MODELS:
            found = [paired.difference(gathered, first, second, data, tested, statistic) for statistic in statistics.values()]
            if found[0].value is not None:
                name = f"`{first}` − `{second}`"
                rows.append([name, data, tested, *_counts(found), *(estimate.text(3) for estimate in found)])
    header = ["difference", "trained on", "tested on", "seeds", "episodes", "falls", *statistics]
    return table(header, rows) if rows else ["not run yet"]


def against_noise(gathered: Gathered) -> list[str]:
    """Return what the disagreement does better than the noise that the same members predict, paired by seed and episode."""
    statistics = {f"rank at {k}": partial(paired.rank_correlation, k) for k in RULE_STEPS}
    statistics |= {f"within an episode at {k}": partial(paired.within_episode, k) for k in RULE_STEPS}
    statistics |= {f"AUROC within {k}": partial(paired.fall_area, k) for k in (5, 25)}
    rows = []
    for data, tested in TRAINED_TESTED:
        for model in MODELS:
            found = [paired.disagreement_less_noise(gathered, model, data, tested, of) for of in statistics.values()]
            if found[0].value is not None:
                rows.append([f"`{model}`", data, tested, *_counts(found), *(estimate.text(3) for estimate in found)])
    header = ["model", "trained on", "tested on", "seeds", "episodes", "falls", *statistics]
    return table(header, rows) if rows else ["not run yet"]


def _counts(found: Sequence[Estimate]) -> list[str]:
    """Return the seeds, the episodes and the falls that some estimates rest on, the last ones on falls too."""
    falls = found[-1].falls
    return [str(found[0].seeds), str(found[0].episodes), "" if falls is None else str(falls)]


def scale(gathered: Gathered) -> list[str]:
    """Return the coverage of the intervals of sampled trajectories, before and after each recalibration."""
    lines: list[str] = []
    for horizon in HORIZONS:
        for name, level in (("coverage_683", "68.3 %"), ("coverage_95", "95 %")):
            lines += [f"{horizon} step{'' if horizon == '1' else 's'} ahead, {level} intervals:", ""]

            def paths(tested: str, horizon: str = horizon, name: str = name) -> list[tuple[str, ...]]:
                return [("tested_on", tested, "scale", "sampled", method, horizon, name) for method in METHODS]

            lines += [*_of_models(gathered, METHODS, paths, FRACTION), ""]
    return lines


def diversity(gathered: Gathered) -> list[str]:
    """Return how much the members differ."""
    names = ("cosine", "error_correlation", "effective_members")
    return _of_models(
        gathered, [name.replace("_", " ") for name in names], lambda t: [("tested_on", t, "diversity", n) for n in names], digits=4
    )


def falls(gathered: Gathered) -> list[str]:
    """Return how well falls are foreseen, by the disagreement and by the termination head."""

    def paths(tested: str) -> list[tuple[str, ...]]:
        base = ("tested_on", tested, "falls")
        return [*((*base, "disagreement", k) for k in WITHIN), (*base, "termination_head", "5")]

    return _of_models(gathered, [*(f"within {k}" for k in WITHIN), "termination head, within 5"], paths, FRACTION, 3, falls=True)


def estimates(gathered: Gathered) -> list[str]:
    """Return how the disagreement compares with the noise that the members predict, which a single model has too."""

    def paths(tested: str) -> list[tuple[str, ...]]:
        ranks = [("tested_on", tested, "ranking", k, name) for k in HORIZONS for name in ("rank", "aleatoric_rank")]
        fall = [("tested_on", tested, "falls", name, "5") for name in ("disagreement", "noise_estimate", "termination_head")]
        return [*ranks, *fall]

    header = [f"{what}, {k}" for k in HORIZONS for what in ("disagreement", "noise")]
    header += [f"falls within 5: {what}" for what in ("disagreement", "noise", "termination head")]
    return _of_models(gathered, header, paths, (-1.0, 1.0), falls=True)


def error_and_cost(gathered: Gathered) -> list[str]:
    """Return errors on the model's own test episodes, sizes and seconds of training."""
    rows = []
    for data in DATA:
        for model in MODELS:
            cells = models(model, data)
            results = gathered.there(cells)
            if not results:
                continue
            found = [gathered.estimate(cells, ("dynamics", "normalized_error", k)) for k in HORIZONS]
            errors = [found[0].counts, *(estimate.text(3) for estimate in found)]
            seconds = ", ".join(f"{seconds_of(result, 'dynamics'):.0f}" for result in results)
            rows.append([_named(model, results), data, f"{results[0]['parameters']}", *errors, seconds])
    head = [
        "model",
        "trained on",
        "parameters",
        "seeds × episodes",
        *(f"error at {k}" for k in HORIZONS),
        "seconds of training (each seed)",
    ]
    return table(head, rows) if rows else ["not run yet"]


def deployed(gathered: Gathered) -> list[str]:
    """Return what each policy earns in the simulator, how often it falls, and how far its dream was off."""
    rows = []
    for data in DATA:
        for model in POLICY_MODELS:
            for penalty, weights in WEIGHTS.items():
                for weight in sorted(weights):
                    cells = policies(model, data, penalty, weight)
                    results = gathered.there(cells)
                    if results:
                        rows.append([_named(model, results), data, penalty, f"{weight:g}", *_of_policies(gathered, cells, results)])
        rows += _clone_row(gathered, data)
    header = ["model", "data", "penalty", "weight", "walk", "return", "return of each seed", "falls", "falls of each seed"]
    header += ["tracking xy", "tracking yaw", "more than the clone", "falls in its dream of 20 s", "dreamt − real return"]
    return table(header, rows) if rows else ["not run yet"]


def _of_policies(gathered: Gathered, cells: list[Cell], results: Sequence[dict[str, Any]]) -> list[str]:
    found = {name: gathered.estimate(cells, ("deployment", "deterministic", name), limits) for name, limits in _DEPLOYED.items()}
    walk = f"{sum(map(returns.walked, results))} of {len(results)}"
    first = cells[0]
    assert isinstance(first, PolicyCell)
    gain = returns.gain_over_clone(gathered, first.model.model, first.penalty, first.model.data, first.weight)
    dream = gathered.estimate(cells, ("imagination", "fall_fraction"), FRACTION)
    numbers = [found["return"].text(), found["return"].spread(1), found["fall_fraction"].text(), found["fall_fraction"].spread()]
    numbers += [found[name].text() for name in ("track_lin_vel_xy", "track_ang_vel_z")]
    return [walk, *numbers, gain.text(), dream.text(), gathered.estimate(cells, ("imagination", "gap", "return")).text()]


def _clone_row(gathered: Gathered, data: str) -> list[list[str]]:
    """Return the row of the clones that the policies of a data set start from: one a seed, of the first model in the plan."""
    cells: list[Cell] = [*gathered.clones(data)]
    if not cells:
        return []
    found = {name: gathered.estimate(cells, ("deployment", "clone", name), limits) for name, limits in _DEPLOYED.items()}
    numbers = [found["return"].text(), found["return"].spread(1), found["fall_fraction"].text(), found["fall_fraction"].spread()]
    tracking = [found[name].text() for name in ("track_lin_vel_xy", "track_ang_vel_z")]
    return [["the clones", data, "", "", "", *numbers, *tracking, "", "", ""]]


def policies_by_weight(gathered: Gathered) -> list[str]:
    """Return a row for each penalty and weight, beside one another what each model's policies earn and how often they fall."""
    lines: list[str] = []
    for data in DATA:
        rows = []
        for penalty, weights in WEIGHTS.items():
            for weight in sorted(weights):
                found = [_short(gathered, model, data, penalty, weight) for model in POLICY_MODELS]
                if any(map(any, found)):
                    rows.append([penalty, f"{weight:g}", *(text for pair in found for text in pair)])
        if rows:
            clones: list[Cell] = [*gathered.clones(data)]
            earn, fall = (
                gathered.estimate(clones, ("deployment", "clone", name), _DEPLOYED[name]) for name in ("return", "fall_fraction")
            )
            said = f"the clones earn {earn.text()} and fall in {fall.text()}"
            lines += ["", f"Models of {data} data; intervals are of {earn.counts} seeds × episodes; {said}:", ""]
            lines += table(["penalty", "weight", *(column for m in POLICY_MODELS for column in (f"`{m}`", "falls"))], rows)
    return lines[1:] or ["not run yet"]


def _short(gathered: Gathered, model: str, data: str, penalty: str, weight: float) -> tuple[str, str]:
    cells = policies(model, data, penalty, weight)
    if not gathered.there(cells):
        return "", ""
    falls_ = gathered.estimate(cells, ("deployment", "deterministic", "fall_fraction"), FRACTION)
    return returns.gain_over_clone(gathered, model, penalty, data, weight).text(), falls_.text()


def missing(gathered: Gathered) -> list[str]:
    """Return what has not been run: a line for the models, and one for the policies of each model and data."""
    lines = [f"- the result `{name}` is damaged and not counted; run it again" for name in gathered.damaged]
    by_model: dict[str, list[int]] = {}
    by_policy: dict[tuple[str, str], dict[str, list[int]]] = {}
    for cell in gathered.missing:
        model = model_cell(cell)
        if isinstance(cell, PolicyCell):
            penalties = by_policy.setdefault((model.model, model.data), {})
            penalties.setdefault(f"{cell.penalty} {cell.weight:g}", []).append(model.seed)
        else:
            by_model.setdefault(f"`{model.model}` of {model.data} data", []).append(model.seed)
    if by_model:
        lines.append(f"- models: {'; '.join(name + _of_seeds(seeds) for name, seeds in by_model.items())}")
    every = sum(map(len, WEIGHTS.values()))
    for (name, data), penalties in by_policy.items():
        whole = len(penalties) == every and all(len(seeds) == len(SEEDS) for seeds in penalties.values())
        which = "all" if whole else "; ".join(penalty + _of_seeds(seeds) for penalty, seeds in penalties.items())
        lines.append(f"- policies inside `{name}` models of {data} data: {which}")
    return lines or ["Nothing: every cell has been run."]


def _of_seeds(seeds: Sequence[int]) -> str:
    return "" if len(seeds) == len(SEEDS) else f" (seeds {', '.join(map(str, seeds))})"


def csv_rows(gathered: Gathered) -> list[list[Any]]:
    """Return one row a number of every result, in the order of ``CSV_COLUMNS``."""
    rows = []
    for name, result in gathered.by_name.items():
        common = [name, *(result.get(key) for key in ("kind", "model", "data", "seed", "penalty", "weight"))]
        for tested, quantity, found in _quantities(result):
            cell = found if isinstance(found, dict) else {"value": found}
            if isinstance(cell.get("value"), int | float):
                rows.append([*common, tested, quantity, cell["value"], cell.get("low"), cell.get("high"), cell.get("trajectories")])
    return rows


def _quantities(result: dict[str, Any]) -> list[tuple[str | None, str, Any]]:
    found: list[tuple[str | None, str, Any]] = []
    if result["kind"] == "policy":
        for policy, prefix in (("deterministic", "deployment"), ("clone", "clone")):
            for name, value in (at(result, ("deployment", policy)) or {}).items():
                found.append((None, f"{prefix}.{name}", value))
        return [*found, *((None, f"imagination.gap.{n}", v) for n, v in (at(result, ("imagination", "gap")) or {}).items())]
    found += [(None, "parameters", result["parameters"]), (None, "seconds", seconds_of(result, "dynamics"))]
    found += [(None, f"error.{k}", value) for k, value in result["dynamics"]["normalized_error"].items()]
    for tested, measured in result["tested_on"].items():
        for section in ("ranking", "scale", "diversity", "falls", "heads"):
            cells = _cells(measured.get(section, {}))
            chosen = [(path, cell) for path, cell in cells if section != "scale" or path[-1].startswith("coverage")]
            found += [(tested, ".".join((section, *path)), cell) for path, cell in chosen]
    return found


def _cells(section: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Return the path and content of every cell within a section."""
    if "value" in section and "trajectories" in section:
        return [(path, section)]
    return [item for key, inner in section.items() if isinstance(inner, dict) for item in _cells(inner, (*path, key))]
