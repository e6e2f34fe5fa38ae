"""The study's numbers as Markdown tables and as rows of a CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from experiments.shared_vs_independent.cells import DATA, MODELS, POLICY_MODELS, SEEDS, WEIGHTS, PolicyCell, model_cell
from experiments.shared_vs_independent.gather import Gathered, at, models, policies

HORIZONS = ("1", "8", "24", "100")
WITHIN = ("1", "5", "10", "25")
METHODS = ("raw", "constant", "per_horizon", "isotonic", "conformal")
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
_DEPLOYED = ("return", "fall_fraction", "track_lin_vel_xy", "track_ang_vel_z")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _of_models(gathered: Gathered, header: Sequence[str], paths: Callable[[str], list[tuple[str, ...]]]) -> list[str]:
    """Return a row for each model, data and test data of which there is a result."""
    rows = []
    for data, tested in TRAINED_TESTED:
        for model in MODELS:
            cells = models(model, data)
            if any(gathered.of(cell) for cell in cells):
                numbers = [gathered.estimate(cells, path).text() for path in paths(tested)]
                rows.append([f"`{model}`", data, tested, *numbers])
    return table(["model", "trained on", "tested on", *header], rows) if rows else ["not run yet"]


def ranking(gathered: Gathered) -> list[str]:
    """Return rank correlations at each step, with the overall one and its step counter at the longest horizon."""

    def paths(tested: str) -> list[tuple[str, ...]]:
        base = ("tested_on", tested, "ranking")
        at_step = [(*base, k, "rank") for k in HORIZONS]
        return [*at_step, *((*base, HORIZONS[-1], f"{depth}_rank") for depth in ("overall", "partial", "step_counter"))]

    longest = f"steps 1 to {HORIZONS[-1]}"
    header = [f"at step {k}" for k in HORIZONS] + [f"{longest}, overall", f"{longest}, partial", f"{longest}, step counter"]
    return _of_models(gathered, header, paths)


def scale(gathered: Gathered) -> list[str]:
    """Return the coverage of the 68.3 % intervals of sampled trajectories, before and after each recalibration."""
    lines: list[str] = []
    for horizon in ("1", "8", "24", "100"):
        lines += [f"{horizon} step{'' if horizon == '1' else 's'} ahead:", ""]

        def paths(tested: str, horizon: str = horizon) -> list[tuple[str, ...]]:
            return [("tested_on", tested, "scale", "sampled", method, horizon, "coverage_683") for method in METHODS]

        lines += [*_of_models(gathered, METHODS, paths), ""]
    return lines


def diversity(gathered: Gathered) -> list[str]:
    """Return how much the members differ."""
    names = ("cosine", "error_correlation", "effective_members")
    return _of_models(
        gathered, [name.replace("_", " ") for name in names], lambda t: [("tested_on", t, "diversity", n) for n in names]
    )


def falls(gathered: Gathered) -> list[str]:
    """Return how well falls are foreseen, by the disagreement and by the termination head."""

    def paths(tested: str) -> list[tuple[str, ...]]:
        base = ("tested_on", tested, "falls")
        return [*((*base, "disagreement", k) for k in WITHIN), (*base, "termination_head", "5")]

    return _of_models(gathered, [*(f"within {k}" for k in WITHIN), "termination head, within 5"], paths)


def error_and_cost(gathered: Gathered) -> list[str]:
    """Return errors on the model's own test episodes, sizes and seconds of training."""
    rows = []
    for data in DATA:
        for model in MODELS:
            cells = models(model, data)
            results = [result for result in map(gathered.of, cells) if result]
            if not results:
                continue
            errors = [gathered.estimate(cells, ("dynamics", "normalized_error", k)).text(3) for k in HORIZONS]
            seconds = gathered_seconds(results, "dynamics")
            rows.append([f"`{model}`", data, f"{results[0]['parameters']}", *errors, seconds])
    head = ["model", "trained on", "parameters", *(f"error at {k}" for k in HORIZONS), "seconds of training (each seed)"]
    return table(head, rows) if rows else ["not run yet"]


def seconds_of(result: dict[str, Any], stage: str) -> float:
    """Return the seconds that a stage took, of an adopted cell where it was made."""
    seconds = (result["adopted"] or result)["seconds"] if stage in ("dynamics", "policy") else result["seconds"]
    return float(seconds.get(stage, 0.0))


def gathered_seconds(results: Sequence[dict[str, Any]], stage: str) -> str:
    """Return each seed's seconds; a star marks those that were adopted, from other code on a machine with other work."""
    return ", ".join(f"{seconds_of(result, stage):.0f}{'*' if result['adopted'] else ''}" for result in results)


def deployed(gathered: Gathered) -> list[str]:
    """Return what each policy earns in the simulator, how often it falls, and how far its dream was off."""
    rows = []
    for data in DATA:
        for model in POLICY_MODELS:
            for penalty, weights in WEIGHTS.items():
                for weight in sorted(weights):
                    cells = policies(model, data, penalty, weight)
                    seeds = sum(gathered.of(cell) is not None for cell in cells)
                    if seeds:
                        numbers = [gathered.estimate(cells, ("deployment", "deterministic", name)).text() for name in _DEPLOYED]
                        gap = gathered.estimate(cells, ("imagination", "gap", "return")).text()
                        rows.append([f"`{model}`", data, penalty, f"{weight:g}", str(seeds), *numbers, gap])
    header = [
        "model",
        "data",
        "penalty",
        "weight",
        "seeds",
        "return",
        "falls",
        "tracking xy",
        "tracking yaw",
        "dreamt less real return",
    ]
    return table(header, rows) if rows else ["not run yet"]


def missing(gathered: Gathered) -> list[str]:
    """Return what has not been run, a line for all seeds of the same."""
    blocks: dict[str, list[int]] = {}
    for cell in gathered.missing:
        model = model_cell(cell)
        of_policy = f", {cell.penalty} penalty of weight {cell.weight:g}" if isinstance(cell, PolicyCell) else ""
        blocks.setdefault(f"{cell.kind} `{model.model}` on {model.data}{of_policy}", []).append(model.seed)
    lines = [
        f"- {name}: {'all seeds' if len(seeds) == len(SEEDS) else 'seeds ' + ', '.join(map(str, seeds))}"
        for name, seeds in blocks.items()
    ]
    damaged = [f"- the result `{name}` is damaged and not counted; run it again" for name in gathered.damaged]
    return [*damaged, *lines] or ["- nothing"]


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
        for name, value in (at(result, ("deployment", "deterministic")) or {}).items():
            found.append((None, f"deployment.{name}", value))
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
