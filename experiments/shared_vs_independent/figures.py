"""The study's figures: pure functions from the gathered results to matplotlib figures; None where there is nothing to draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.shared_vs_independent import paired, returns
from experiments.shared_vs_independent.answer import RANK_MARGIN, compared
from experiments.shared_vs_independent.cells import DATA, MODELS, POLICY_MODELS, WEIGHTS
from experiments.shared_vs_independent.gather import CORRELATION, FRACTION, NO_LIMITS, Gathered, models, policies, seconds_of
from experiments.shared_vs_independent.robust import Estimate
from experiments.shared_vs_independent.tables import COMPARED_MODELS, HORIZONS, METHODS, WITHIN
from rwmu.evaluation.figures import BLUE, GREEN, GREY, INK, ORANGE, RED

COLOURS = {"shared": BLUE, "independent": ORANGE, "priors": GREEN, "shared_wide": RED}
MARKERS = {"shared": "o", "independent": "s", "priors": "^", "shared_wide": "D"}
_APART = 0.12  # between series at one place of the axis


class Series(NamedTuple):
    """Estimates at places 0, 1, ... of an axis, with how they are drawn."""

    label: str
    estimates: Sequence[Estimate]
    colour: str
    marker: str


def _figure(columns: int, rows: int = 1, width: float = 5.2, sharey: bool = False) -> tuple[Figure, list[list[Axes]]]:
    figure = Figure(figsize=(width * columns, 3.7 * rows + 0.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    for axis in axes.ravel():
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=INK, labelsize=9, length=3)
        axis.grid(True, color="#E5E7EB", linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, axes.tolist()


def _title(axis: Axes, text: str) -> None:
    axis.set_title(text, loc="left", fontsize=10.5, color=INK, fontweight="bold")


def _legend(figure: Figure) -> None:
    """Explain the series of all panels below them."""
    named: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if named:
        figure.legend(
            list(named.values()), list(named), loc="outside lower center", ncols=min(len(named), 5), frameon=False, fontsize=9
        )


def _draw(axis: Axes, series: Sequence[Series], style: str = "-") -> bool:
    """Draw series a little apart from one another; a line stops where an estimate is missing. Returns whether there was any."""
    drawn = False
    for place, one in enumerate(series):
        y = [math.nan if found.value is None else found.value for found in one.estimates]
        below = [0.0 if found.low is None else max(0.0, value - found.low) for value, found in zip(y, one.estimates, strict=True)]
        above = [0.0 if found.high is None else max(0.0, found.high - value) for value, found in zip(y, one.estimates, strict=True)]
        if all(map(math.isnan, y)):
            continue
        shift = _APART * (place - (len(series) - 1) / 2)
        x = [i + shift for i in range(len(y))]
        look: dict[str, Any] = {"color": one.colour, "marker": one.marker, "linestyle": style, "label": one.label}
        axis.errorbar(x, y, yerr=[below, above], markersize=5, linewidth=1.5, capsize=3, **look)
        drawn = True
    return drawn


def _of_models(names: Sequence[str], estimate: Callable[[str], Sequence[Estimate]]) -> list[Series]:
    return [Series(model, estimate(model), COLOURS[model], MARKERS[model]) for model in names]


def _ticks(axis: Axes, labels: Sequence[str], name: str) -> None:
    axis.set_xticks(range(len(labels)), labels)
    axis.set_xlim(-0.5, len(labels) - 0.5)
    axis.set_xlabel(name, fontsize=9)


def _ran(gathered: Gathered) -> list[str]:
    """Return the data of which there is a fitted model."""
    return [data for data in DATA if any(gathered.of(cell) for model in MODELS for cell in models(model, data))]


# -- of the models ------------------------------------------------------------------------------------------------------------


def _by_data(
    gathered: Gathered, series: Callable[[str, str], list[Series]], labels: Sequence[str], x: str, y: str, style: str = "-"
) -> Figure | None:
    """Draw a panel for each pair of training and test data of which there is a result."""
    pairs = [(data, tested) for data in _ran(gathered) for tested in DATA]
    if not pairs:
        return None
    figure, axes = _figure(2, len(pairs) // 2, sharey=True)
    for (data, tested), axis in zip(pairs, [axis for row in axes for axis in row], strict=True):
        lines = series(data, tested)
        if not _draw(axis, lines, style):
            axis.text(0.5, 0.5, lines[0].estimates[0].reason, ha="center", transform=axis.transAxes)
        _ticks(axis, labels, x)
        axis.set_ylabel(y, fontsize=9)
        _title(axis, f"trained on {data}, tested on {tested}")
    _legend(figure)
    return figure


def ranking(gathered: Gathered) -> Figure | None:
    """Draw the rank correlation of disagreement with error at each horizon, where a step counter has none: depth is constant."""

    def series(data: str, tested: str) -> list[Series]:
        paths = [("tested_on", tested, "ranking", k, "rank") for k in HORIZONS]
        return _of_models(tuple(MODELS), lambda m: [gathered.estimate(models(m, data), path, CORRELATION) for path in paths])

    return _by_data(gathered, series, HORIZONS, "steps ahead", "rank correlation at that step")


def falls(gathered: Gathered) -> Figure | None:
    """Draw the AUROC of the disagreement before falls."""

    def series(data: str, tested: str) -> list[Series]:
        paths = [("tested_on", tested, "falls", "disagreement", k) for k in WITHIN]
        return _of_models(tuple(MODELS), lambda m: [gathered.estimate(models(m, data), path, FRACTION) for path in paths])

    return _by_data(gathered, series, WITHIN, "steps before a fall, at most", "AUROC of the disagreement (chance: 0.5)")


def differences(gathered: Gathered) -> Figure | None:
    """Draw the paired differences between models in what the rule compares, with the rule's margin."""
    looks = {pair: (COLOURS[pair[0]], MARKERS[pair[0]]) for pair in COMPARED_MODELS}
    looks["independent", "shared_wide"] = (COLOURS["shared_wide"], MARKERS["shared_wide"])

    def series(data: str, tested: str) -> list[Series]:
        return [
            Series(
                f"{first} less {second}",
                [paired.difference(gathered, first, second, data, tested, statistic) for _, statistic, _ in compared()],
                *looks[first, second],
            )
            for first, second in COMPARED_MODELS
        ]

    labels = [name.replace(", ", ",\n").replace(" of a fall ", "\nof a fall ") for name, _, _ in compared()]
    figure = _by_data(gathered, series, labels, "", "difference", style="")
    for axis in [] if figure is None else figure.axes:
        axis.axhline(0.0, color=GREY, linewidth=1.0)
        axis.axhline(RANK_MARGIN, color=INK, linestyle="--", linewidth=1.2)
    return figure


def coverage(gathered: Gathered) -> Figure | None:
    """Draw the coverage of 68.3 % intervals before and after each recalibration, by horizon; models on their own data."""
    ran = _ran(gathered)
    if not ran:
        return None
    figure, axes = _figure(len(HORIZONS), len(ran), 3.9)
    for data, row in zip(ran, axes, strict=True):
        for horizon, axis in zip(HORIZONS, row, strict=True):
            paths: list[tuple[str, ...]] = [
                ("tested_on", data, "scale", "sampled", method, horizon, "coverage_683") for method in METHODS
            ]

            def estimates(model: str, paths: list[tuple[str, ...]] = paths, data: str = data) -> list[Estimate]:
                return [gathered.estimate(models(model, data), path, FRACTION) for path in paths]

            _draw(axis, _of_models(tuple(MODELS), estimates), style="")
            axis.axhline(0.683, color=GREY, linestyle="--", linewidth=1.2)
            _ticks(axis, [method.replace("_", "\n") for method in METHODS], "")
            axis.set_ylim(0.0, 1.02)
            _title(axis, f"{data}, {horizon} step{'' if horizon == '1' else 's'} ahead")
        row[0].set_ylabel("inside the 68.3 % interval", fontsize=9)
    _legend(figure)
    return figure


def diversity(gathered: Gathered) -> Figure | None:
    """Draw how alike the members are, each model on the test episodes of its own data."""
    ran = _ran(gathered)
    if not ran:
        return None
    names = {
        "cosine": ("cosine of the members' predicted changes", CORRELATION),
        "error_correlation": ("correlation of their errors", CORRELATION),
        "effective_members": ("effective number of members, of 5", NO_LIMITS),
    }
    figure, axes = _figure(len(names), 1, 3.9)
    for (name, (label, limits)), axis in zip(names.items(), axes[0], strict=True):

        def estimates(model: str, name: str = name, limits: tuple[float, float] = limits) -> list[Estimate]:
            return [gathered.estimate(models(model, data), ("tested_on", data, "diversity", name), limits) for data in ran]

        _draw(axis, _of_models(tuple(MODELS), estimates), style="")
        _ticks(axis, ran, "trained and tested on")
        _title(axis, label)
    _legend(figure)
    return figure


# -- of the policies, and the cost --------------------------------------------------------------------------------------------


def policies_over_weights(gathered: Gathered) -> Figure | None:
    """Draw what policies earn more than the clone that they start from, and how often they fall, over the penalty's weight."""
    ran = [data for data in DATA if gathered.clones(data)]
    if not ran:
        return None
    figure, axes = _figure(2 * len(WEIGHTS), len(ran), 4.0)
    for data, row in zip(ran, axes, strict=True):
        clone = gathered.estimate(gathered.clones(data), ("deployment", "clone", "fall_fraction"), FRACTION).value
        for column, (penalty, weights) in enumerate(WEIGHTS.items()):
            _policies_of(gathered, data, penalty, sorted(weights), (row[column], row[len(WEIGHTS) + column]), clone)
        for pair in (row[:2], row[2:]):
            pair[1].sharey(pair[0])
    _legend(figure)
    return figure


def _policies_of(
    gathered: Gathered, data: str, penalty: str, weights: Sequence[float], axes: tuple[Axes, Axes], clone: float | None
) -> None:
    """Draw the gain and the falls of one penalty's policies."""

    def gains(model: str) -> list[Estimate]:
        return [returns.gain_over_clone(gathered, model, penalty, data, weight) for weight in weights]

    def fallen(model: str) -> list[Estimate]:
        path = ("deployment", "deterministic", "fall_fraction")
        return [gathered.estimate(policies(model, data, penalty, weight), path, FRACTION) for weight in weights]

    for axis, estimates, level, label in zip(
        axes,
        (gains, fallen),
        (0.0, clone),
        ("return over 20 s, more than the clone's", "fraction of episodes with a fall"),
        strict=True,
    ):
        _draw(axis, _of_models(POLICY_MODELS, estimates))
        if level is not None:
            axis.axhline(level, color=GREY, linestyle=":", linewidth=1.5, label="the clone that they start from")
        _ticks(axis, [f"{weight:g}" for weight in weights], "weight of the penalty (lambda)")
        axis.set_ylabel(label, fontsize=9)
        _title(axis, f"{penalty} penalty, {data} data")


def cost(gathered: Gathered) -> Figure | None:
    """Draw minutes of training against the rank correlation at 24 steps, a point for each model and seed, on its own data."""
    ran = _ran(gathered)
    if not ran:
        return None
    figure, axes = _figure(len(ran))
    for data, axis in zip(ran, axes[0], strict=True):
        for model in MODELS:
            cells = models(model, data)
            ranks = gathered.numbers(cells, ("tested_on", data, "ranking", "24", "rank"))
            minutes = {result["seed"]: seconds_of(result, "dynamics") / 60.0 for result in gathered.there(cells)}
            x, y = [minutes[seed] for seed in ranks], [number.value for number in ranks.values()]
            if x:
                axis.plot(x, y, MARKERS[model], color=COLOURS[model], label=model)
        axis.set_xlabel("minutes of training", fontsize=9)
        axis.set_ylabel("rank correlation, 24 steps ahead", fontsize=9)
        _title(axis, f"{data} data")
    _legend(figure)
    return figure


FIGURES: dict[str, Callable[[Gathered], Figure | None]] = {
    "differences": differences,
    "policies": policies_over_weights,
    "ranking": ranking,
    "coverage": coverage,
    "diversity": diversity,
    "falls": falls,
    "cost": cost,
}
CAPTIONS = {
    "differences": "Paired differences in what the rule compares; dashed, its margin. Whiskers are 95 % intervals everywhere.",
    "policies": "What the policies earn more than the clone, paired by seed and episode, and how often they fall.",
    "ranking": "Rank correlation of disagreement with error, each model alone; whiskers hide that the episodes are the same.",
    "coverage": "Share of the errors inside 68.3 % intervals of sampled trajectories, as they are and after each recalibration.",
    "diversity": "How alike the members are.",
    "falls": "How well the disagreement foresees falls.",
    "cost": "A point for each seed.",
}
