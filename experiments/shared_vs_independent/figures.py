"""The study's figures: pure functions from the gathered results to matplotlib figures; None where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.shared_vs_independent.cells import DATA, MODELS, POLICY_MODELS, WEIGHTS
from experiments.shared_vs_independent.gather import FRACTION, NO_LIMITS, Gathered, models, policies, seconds_of
from experiments.shared_vs_independent.robust import Estimate
from experiments.shared_vs_independent.tables import HORIZONS, METHODS, WITHIN
from rwmu.evaluation.figures import BLUE, GREEN, GREY, INK, ORANGE, RED

COLOURS = {"shared": BLUE, "independent": ORANGE, "priors": GREEN, "shared_wide": RED}
MARKERS = {"shared": "o", "independent": "s", "priors": "^", "shared_wide": "D"}
_APART = 0.12  # between models at one place of the axis


def _figure(columns: int, rows: int = 1, width: float = 5.2) -> tuple[Figure, list[list[Axes]]]:
    figure = Figure(figsize=(width * columns, 3.7 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.ravel():
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=INK, labelsize=9, length=3)
        axis.grid(True, color="#E5E7EB", linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, axes.tolist()


def _title(axis: Axes, text: str) -> None:
    axis.set_title(text, loc="left", fontsize=10.5, color=INK, fontweight="bold")


def _legend(axes: Sequence[Sequence[Axes]]) -> None:
    """Explain the lines in the first panel that has any."""
    for axis in [axis for row in axes for axis in row]:
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize=8)
            return


def _line(axis: Axes, model: str, estimates: Sequence[Estimate], place: int, style: str = "-", label: str | None = None) -> bool:
    """Draw estimates at places 0, 1, ... of the axis, a little apart from other models'; returns whether there was any."""
    known = [(i, found) for i, found in enumerate(estimates) if found.value is not None]
    if not known:
        return False
    shift = _APART * (place - (len(MODELS) - 1) / 2)
    x = [i + shift for i, _ in known]
    y = [float(found.value) for _, found in known if found.value is not None]
    ends = [(found.low, found.high) for _, found in known]
    below = [0.0 if low is None else max(0.0, v - low) for v, (low, _) in zip(y, ends, strict=True)]
    above = [0.0 if high is None else max(0.0, high - v) for v, (_, high) in zip(y, ends, strict=True)]
    axis.errorbar(
        x,
        y,
        yerr=[below, above],
        color=COLOURS[model],
        marker=MARKERS[model],
        markersize=5,
        linewidth=1.5,
        capsize=3,
        linestyle=style,
        markerfacecolor="white" if style == "--" else COLOURS[model],
        label=model if label is None else label,
    )
    return True


def _ticks(axis: Axes, labels: Sequence[str], name: str) -> None:
    axis.set_xticks(range(len(labels)), labels)
    axis.set_xlim(-0.5, len(labels) - 0.5)
    axis.set_xlabel(name, fontsize=9)


def _by_data(
    gathered: Gathered, paths: Callable[[str], list[tuple[str, ...]]], labels: Sequence[str], x: str, y: str, level: float | None
) -> tuple[Figure, list[list[Axes]]] | None:
    """Draw a panel for each pair of training and test data of which there is a result, a line for each model."""
    pairs = [(d, t) for d in DATA for t in DATA if any(gathered.of(cell) for model in MODELS for cell in models(model, d))]
    if not pairs:
        return None
    figure, axes = _figure(2, len(pairs) // 2)
    for (data, tested), axis in zip(pairs, [axis for row in axes for axis in row], strict=True):
        drawn = [
            _line(axis, model, [gathered.estimate(models(model, data), path) for path in paths(tested)], place)
            for place, model in enumerate(MODELS)
        ]
        if level is not None:
            axis.axhline(level, color=GREY, linestyle="--", linewidth=1.2)
        if not any(drawn):
            axis.text(0.5, 0.5, gathered.reason(models("shared", data), paths(tested)[0]), ha="center", transform=axis.transAxes)
        _ticks(axis, labels, x)
        axis.set_ylabel(y, fontsize=9)
        _title(axis, f"trained on {data}, tested on {tested}")
    _legend(axes)
    return figure, axes


def ranking(gathered: Gathered) -> Figure | None:
    """Draw the rank correlation of disagreement with error at each horizon, where a step counter has none: depth is constant."""
    made = _by_data(
        gathered,
        lambda tested: [("tested_on", tested, "ranking", k, "rank") for k in HORIZONS],
        HORIZONS,
        "steps ahead",
        "rank correlation at that step",
        None,
    )
    return None if made is None else made[0]


def falls(gathered: Gathered) -> Figure | None:
    """Draw the AUROC of the disagreement before falls."""
    made = _by_data(
        gathered,
        lambda tested: [("tested_on", tested, "falls", "disagreement", k) for k in WITHIN],
        WITHIN,
        "steps before a fall, at most",
        "AUROC of the disagreement",
        0.5,
    )
    return None if made is None else made[0]


def coverage(gathered: Gathered) -> Figure | None:
    """Draw the coverage of 68.3 % intervals before and after each recalibration, by horizon; models on their own data."""
    ran = [data for data in DATA if any(gathered.of(cell) for model in MODELS for cell in models(model, data))]
    if not ran:
        return None
    figure, axes = _figure(len(HORIZONS), len(ran), 3.9)
    for data, row in zip(ran, axes, strict=True):
        for horizon, axis in zip(HORIZONS, row, strict=True):
            for place, model in enumerate(MODELS):
                base = ("tested_on", data, "scale", "sampled")
                found = [gathered.estimate(models(model, data), (*base, method, horizon, "coverage_683")) for method in METHODS]
                _line(axis, model, found, place, style="")
            axis.axhline(0.683, color=GREY, linestyle="--", linewidth=1.2)
            _ticks(axis, [method.replace("_", "\n") for method in METHODS], "")
            axis.set_ylim(0.0, 1.02)
            _title(axis, f"{data}, {horizon} step{'' if horizon == '1' else 's'} ahead")
        row[0].set_ylabel("inside the 68.3 % interval", fontsize=9)
    _legend(axes)
    return figure


def diversity(gathered: Gathered) -> Figure | None:
    """Draw how alike the members are, each model on the test episodes of its own data."""
    ran = [data for data in DATA if any(gathered.of(cell) for model in MODELS for cell in models(model, data))]
    if not ran:
        return None
    names = {"cosine": "cosine of the members' predicted changes", "error_correlation": "correlation of their errors"}
    names |= {"effective_members": "effective number of members"}
    figure, axes = _figure(len(names), 1, 3.9)
    for (name, label), axis in zip(names.items(), axes[0], strict=True):
        for place, model in enumerate(MODELS):
            _line(axis, model, [gathered.estimate(models(model, d), ("tested_on", d, "diversity", name)) for d in ran], place, "")
        _ticks(axis, ran, "trained and tested on")
        _title(axis, label)
    _legend(axes)
    return figure


def policies_over_weights(gathered: Gathered) -> Figure | None:
    """Draw return and falls over the penalty's weight: raw filled and solid, recalibrated open and dashed; the clone in grey."""
    ran = [
        data
        for data in DATA
        if any(gathered.of(c) for m in POLICY_MODELS for p, ws in WEIGHTS.items() for w in ws for c in policies(m, data, p, w))
    ]
    if not ran:
        return None
    axis_weights = sorted(WEIGHTS["raw"])
    figure, axes = _figure(2, len(ran))
    for data, row in zip(ran, axes, strict=True):
        for name, axis in zip(("return", "fall_fraction"), row, strict=True):
            path, limits = ("deployment", "deterministic", name), FRACTION if name == "fall_fraction" else NO_LIMITS
            for place, model in enumerate(POLICY_MODELS):
                for penalty, style in (("raw", "-"), ("recalibrated", "--")):
                    cells = [policies(model, data, penalty, w) if w in WEIGHTS[penalty] else [] for w in axis_weights]
                    found = [gathered.estimate(of_weight, path, limits) for of_weight in cells]
                    _line(axis, model, found, place, style, f"{model}, {penalty}")
            every = [c for m in POLICY_MODELS for w in axis_weights for c in policies(m, data, "raw", w)]
            clone = gathered.estimate(every, ("deployment", "clone", name), limits)
            if clone.value is not None:
                axis.axhline(clone.value, color=GREY, linestyle=":", linewidth=1.5, label="the clone that they start from")
            _ticks(axis, [f"{weight:g}" for weight in axis_weights], "weight of the penalty (lambda)")
            axis.set_ylabel({"return": "return, 20 s", "fall_fraction": "fraction that fell"}[name], fontsize=9)
            _title(axis, f"{name.replace('_', ' ')}, models of {data} data")
    _legend(axes)
    return figure


def cost(gathered: Gathered) -> Figure | None:
    """Draw seconds of training against the rank correlation at 24 steps, a point for each model and seed."""
    figure, axes = _figure(1)
    axis, drawn = axes[0][0], False
    for model in MODELS:
        cells = [cell for data in DATA for cell in models(model, data)]
        points = []
        for cell in cells:
            result = gathered.of(cell)
            number = gathered.numbers([cell], ("tested_on", result["data"], "ranking", "24", "rank")) if result else {}
            if result and number:
                points.append((seconds_of(result, "dynamics") / 60.0, next(iter(number.values())).value, result["data"]))
        for data in DATA:
            own = [(x, y) for x, y, of in points if of == data]
            if own:
                face = COLOURS[model] if data == "broad" else "white"
                x, y = zip(*own, strict=True)
                axis.plot(x, y, MARKERS[model], color=COLOURS[model], markerfacecolor=face, label=f"{model}, {data}")
                drawn = True
    axis.set_xlabel("minutes of training", fontsize=9)
    axis.set_ylabel("rank correlation, 24 steps ahead", fontsize=9)
    _title(axis, "what it costs, and what it brings")
    _legend(axes)
    return figure if drawn else None


FIGURES: dict[str, Callable[[Gathered], Figure | None]] = {
    "ranking": ranking,
    "coverage": coverage,
    "diversity": diversity,
    "falls": falls,
    "policies": policies_over_weights,
    "cost": cost,
}
