"""The figures of a calibration analysis: pure functions from what was measured to a matplotlib Figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy
from matplotlib.figure import Figure

from rwmu.report import style
from rwmu.report.style import BLUE, GREEN, GREY, HORIZON_COLOURS, INK, ORANGE, PURPLE
from rwmu.report.verdicts.calibration_words import WORDS
from rwmu.report.wording import steps

METHOD_STYLES = {
    "raw": (INK, "-", "o", "as it is"),
    "constant": (ORANGE, "--", "s", "one constant"),
    "per_horizon": (BLUE, "-.", "^", "one a step"),
    "isotonic": (PURPLE, ":", "v", "isotonic"),
    "conformal": (GREEN, "-", "D", "conformal"),
}
# What a name of rwmu.uncertainty.estimates (EPISTEMIC, NOISE) measures, in words.
ESTIMATES = {
    "std": "sum of the standard deviations of the members' means",
    "variance": "sum of the variances of the members' means",
    "largest": "largest standard deviation of the members' means",
    "pairwise": "largest distance between two members' means",
    "noise": "sum of the standard deviations that the members expect, their mean",
    "noise_largest": "sum of the standard deviations that the members expect, the largest",
}


def estimate_words(measured: Mapping[str, Any]) -> str:
    """Return in words what the disagreement is."""
    name, _, weighted = str(measured["estimate"]).partition(", ")
    return ESTIMATES.get(name, name) + (f", {weighted}" if weighted else "")


def reliability(measured: Mapping[str, Any]) -> Figure | None:
    """Draw the reliability curves of every method, a panel a horizon, a row a forecast."""
    curves = measured["reliability"]
    forecasts = [name for name in WORDS if any(_drawable(curves[name]))]
    reached = {k for name in forecasts for table in curves[name].values() for k in table}
    horizons = [k for k in map(str, measured["horizons"]) if k in reached]
    if not horizons:
        return None
    rows, columns = len(forecasts), len(horizons)
    figure, axes = style.new_figure(2.3 * columns + 0.6, 2.5 * rows + 0.7, rows, columns, sharex=True)
    for index, axis in enumerate(axes):
        forecast, k = forecasts[index // len(horizons)], horizons[index % len(horizons)]
        axis.plot([0, 1], [0, 1], color=GREY, linewidth=1.0, linestyle=(0, (1, 2)))
        for method, table in curves[forecast].items():
            colour, line, _, label = METHOD_STYLES[method]
            curve = table.get(k, {"observed": ""})
            if not isinstance(curve["observed"], str):
                axis.plot(curve["expected"], curve["observed"], line, color=colour, linewidth=1.6, label=label)
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1)
        axis.set_aspect("equal")
        style.draw_title(axis, steps(k))
        if index % len(horizons) == 0:
            axis.set_ylabel(f"{WORDS[forecast]}\nfraction of truths inside", fontsize=9)
    figure.supxlabel("probability that the interval should hold", fontsize=10)
    style.shared_legend(figure, axes[0], "outside upper center", 5)
    return figure


def _drawable(tables: Mapping[str, Mapping[str, Any]]) -> list[bool]:
    return [not isinstance(curve["observed"], str) for table in tables.values() for curve in table.values()]


def coverage_by_horizon(measured: Mapping[str, Any]) -> Figure | None:
    """Draw the coverage of both intervals over the horizon, before and after each recalibration."""
    tables, horizons = measured["coverage_by_step"], [str(k) for k in measured["horizons"]]
    if not tables["sampled"]["raw"]["steps"]:
        return None
    figure, axes = style.new_figure(9.6, 6.2, 2, 2, sharex=True)
    for index, axis in enumerate(axes):
        forecast, name = list(WORDS)[index // 2], ("coverage_683", "coverage_95")[index % 2]
        nominal = (68.3, 95.0)[index % 2]
        axis.axhspan(nominal - 5.0, min(nominal + 5.0, 100.0), color=style.BAND, zorder=0)
        axis.axhline(nominal, color=GREY, linewidth=1.0, linestyle=(0, (1, 2)))
        for method, table in tables[forecast].items():
            colour, line, marker, label = METHOD_STYLES[method]
            values = [numpy.nan if isinstance(entry, str) else 100.0 * entry for entry in table[name]]
            axis.plot(table["steps"], values, line, color=colour, linewidth=1.3, label=label)
            cells = measured["scale"][forecast][method]
            known = [k for k in horizons if cells[k][name]["value"] is not None]
            if known and method in ("raw", "conformal"):
                y, error = style.interval_values([cells[k][name] for k in known])
                points = [int(k) for k in known], 100.0 * y, 100.0 * error
                axis.errorbar(*points, fmt=marker, color=colour, markersize=4, capsize=2)
        style.log_steps(axis, horizons)
        axis.set_xlabel("steps ahead" if index > 1 else "")
        axis.set_ylabel("truths inside (%)")
        style.draw_title(axis, f"{WORDS[forecast]}: intervals of {nominal:g} %")
    style.shared_legend(figure, axes[0], "outside lower center", 5)
    return figure


def disagreement_against_error(measured: Mapping[str, Any]) -> Figure | None:
    """Draw where forecasts lie in the plane of disagreement and error, a panel a horizon; both axes logarithmic."""
    points = {k: table for k, table in measured["points"].items() if len(table["error"]) > 1}
    if not points:
        return None
    figure, axes = style.new_figure(2.7 * len(points) + 0.5, 3.1, 1, len(points))
    for index, (axis, (k, table)) in enumerate(zip(axes, points.items(), strict=True)):
        x, y = (numpy.log10(numpy.maximum(table[name], 1e-6)) for name in ("disagreement", "error"))
        if min(numpy.ptp(x), numpy.ptp(y)) > 1e-9:
            axis.hexbin(x, y, gridsize=16, cmap="Blues", mincnt=1, linewidths=0.1, edgecolors=style.LINE)
        else:
            axis.plot(x, y, ".", color=BLUE, alpha=0.5)
        rank = measured["ranking"][k]["rank"]["value"]
        style.draw_title(axis, steps(k) + ("" if rank is None else f"\nrank correlation {rank:.2f}"))
        for set_ticks, low, high in ((axis.set_xticks, x.min(), x.max()), (axis.set_yticks, y.min(), y.max())):
            powers = _powers(low, high)
            set_ticks(powers, [f"{10.0**power:.3g}" if -3 <= power < 4 else f"$10^{{{power:g}}}$" for power in powers])
        if index == 0:
            axis.set_ylabel("error made (standard deviations)")
    figure.supxlabel(f"disagreement ({estimate_words(measured)})", fontsize=10)
    return figure


def _powers(low: float, high: float) -> list[float]:
    """Return three or so powers of ten within, halves where there are too few."""
    whole = [float(power) for power in range(int(numpy.ceil(low)), int(numpy.floor(high)) + 1)]
    if len(whole) >= 2:
        return whole[:: max(1, round(len(whole) / 4))]
    halves = [float(numpy.log10(mark * 10.0**power)) for power in range(-7, 8) for mark in (1, 2, 5)]
    return [power for power in halves if low <= power <= high][:4]


def sparsification(measured: Mapping[str, Any]) -> Figure | None:
    """Draw the error that is left when the most uncertain forecasts are removed, a panel a horizon."""
    curves = measured["sparsification"]
    curves = {k: table for k, table in curves.items() if not isinstance(table["uncertainty"][0], str)}
    if not curves:
        return None
    figure, axes = style.new_figure(2.5 * len(curves) + 0.5, 3.1, 1, len(curves), sharey=True)
    for index, (axis, (k, table)) in enumerate(zip(axes, curves.items(), strict=True)):
        removed = [100.0 * part for part in table["removed"]]
        axis.axhline(100.0, color=GREY, linestyle="--", linewidth=1.2, label="at random")
        axis.plot(removed, [100.0 * part for part in table["uncertainty"]], color=BLUE, linewidth=2.0, label="most uncertain first")
        axis.plot(removed, [100.0 * part for part in table["oracle"]], ":", color=INK, linewidth=1.6, label="largest error first")
        axis.set_ylim(0.0, 108.0)
        style.draw_title(axis, steps(k))
        if index == 0:
            axis.set_ylabel("error left (%)")
    figure.supxlabel("forecasts removed (%)", fontsize=10)
    style.shared_legend(figure, axes[0], "outside upper center", 3)
    return figure


def by_dimension(measured: Mapping[str, Any]) -> Figure | None:
    """Draw a heat map of every dimension at every horizon: ranking, coverage before and after, error."""
    table, columns = measured["by_dimension"], measured["by_dimension"]["columns"]
    horizons = [k for k in map(str, measured["horizons"]) if k in table]
    if not horizons:
        return None
    panels = (
        ("rank", "rank correlation", "RdBu", -1.0, 1.0),
        ("coverage_683_raw", "inside 68 % interval\nsampled trajectories\nas it is", "PuOr", 0.366, 1.0),
        ("coverage_683_recalibrated", f"inside 68 % interval\nsampled trajectories\n{recalibrated_by(table)}", "PuOr", 0.366, 1.0),
        ("error", "error (std)\ncolour ends at 2", "Greys", 0.0, 2.0),
    )
    figure, axes = style.new_figure(10.0, 0.17 * len(columns) + 1.6, 1, len(panels), sharey=True)
    for axis, (name, title, colours, low, high) in zip(axes, panels, strict=True):
        rows = [[numpy.nan] * len(columns) if isinstance(table[k][name], str) else table[k][name] for k in horizons]
        grid = numpy.array([[numpy.nan if isinstance(entry, str) else entry for entry in row] for row in rows], dtype=float).T
        image = axis.imshow(grid, aspect="auto", cmap=colours, vmin=low, vmax=high)
        axis.set_xticks(range(len(horizons)), horizons)
        axis.set_yticks(range(len(columns)), columns, fontsize=7)
        axis.grid(False)
        style.draw_title(axis, title)
        figure.colorbar(image, ax=axis, fraction=0.06, pad=0.02).ax.tick_params(labelsize=8)
        if numpy.isnan(grid).all():
            axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", color=GREY)
    figure.supxlabel("steps ahead", fontsize=10)
    return figure


def recalibrated_by(table: Mapping[str, Any]) -> str:
    """Return by which recalibration the dimensions' coverage is, with the horizons where these differ."""
    horizons: dict[str | None, list[str]] = {}
    for k, row in table.items():
        if isinstance(row, Mapping):
            horizons.setdefault(row["recalibrated_by"], []).append(k)
    fitted = {METHOD_STYLES[by][3]: ks for by, ks in horizons.items() if by is not None}
    if not fitted:
        return "not recalibrated"
    if len(fitted) == 1:
        return f"recalibrated ({next(iter(fitted))})"
    return "recalibrated:\n" + "\n".join(f"{label} at {', '.join(ks)}" for label, ks in fitted.items())


def ranking_by_horizon(measured: Mapping[str, Any]) -> Figure | None:
    """Draw the rank correlations over the horizon, and beside them what a mere step counter reaches."""
    cells = measured["ranking"]
    horizons = [k for k in map(str, measured["horizons"]) if cells[k]["rank"]["value"] is not None]
    if not horizons:
        return None
    figure, (axis,) = style.new_figure(7.4, 3.8)
    lines = (
        ("rank", BLUE, "-", "o", "at that step alone"),
        ("within_step_rank", GREEN, "--", "s", "within a step, mean over steps so far"),
        ("overall_rank", ORANGE, "-.", "^", "over all steps so far"),
        ("partial_rank", PURPLE, ":", "v", "the same, given the step"),
        ("step_counter_rank", GREY, "-", "x", "the step counter's own"),
    )
    for shift, (name, colour, line, marker, label) in enumerate(lines):
        x = numpy.array([int(k) for k in horizons]) * 1.03 ** (shift - 2)
        y, error = style.interval_values([cells[k][name] for k in horizons])
        axis.errorbar(x, y, error, fmt=marker, linestyle=line, color=colour, capsize=2, label=label)
    axis.set_ylim(min(0.0, axis.get_ylim()[0]), 1.03)
    style.log_steps(axis, horizons)
    axis.set_ylabel("rank correlation with the error")
    style.draw_title(axis, "Does the disagreement rank the errors?")
    style.draw_legend(axis, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def noise(measured: Mapping[str, Any]) -> Figure | None:
    """Draw error, disagreement and coverage over the scale of the noise, a line a horizon, a row a kind of noise."""
    kinds = {name: part["scales"] for name, part in (measured.get("noise") or {}).items() if part.get("scales")}
    if not kinds:
        return None
    titles = {"given": "noise on what the model is given", "simulated": "noise on the actions in the simulator"}
    panels = (
        ("error", "error (standard deviations)", True),
        ("disagreement", "disagreement", True),
        ("rank", "rank correlation", False),
        ("coverage_683", "inside 68 %, as it is", False),
        ("recalibrated_683", "inside 68 %, recalibrated", False),
    )
    figure, axes = style.new_figure(2.7 * len(panels), 2.7 * len(kinds) + 0.7, len(kinds), len(panels))
    for index, axis in enumerate(axes):
        kind, (name, title, logarithmic) = list(kinds)[index // len(panels)], panels[index % len(panels)]
        _noise_panel(axis, kinds[kind], name)
        drawn = [y for line in axis.get_lines() for y in numpy.asarray(line.get_ydata(), dtype=float).tolist() if y == y]
        if logarithmic and drawn and min(drawn) > 0 and max(drawn) > 20 * min(drawn):
            axis.set_yscale("log")
        if name.endswith("683"):
            axis.axhline(0.683, color=GREY, linestyle=(0, (1, 2)), linewidth=1.0)
            axis.set_ylim(0, 1.03)
        style.draw_title(axis, title)
        if index % len(panels) == 0:
            axis.set_ylabel(titles[kind], fontsize=9)
        if not drawn:
            axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", color=GREY)
            axis.set_xticks([])
            axis.set_yticks([])
    figure.supxlabel("scale of the noise", fontsize=10)
    style.shared_legend(figure, axes[0], "outside upper center", 6)
    return figure


def _noise_panel(axis: Any, scales: Mapping[str, Mapping[str, Any]], name: str) -> None:
    x = [float(scale) for scale in scales]
    for place, k in enumerate(next(iter(scales.values()))):
        y, error = style.interval_values([scales[scale][k][name] for scale in scales])
        look = {"marker": "os^vDx"[place % 6], "color": HORIZON_COLOURS[place % len(HORIZON_COLOURS)]}
        axis.errorbar(x, y, error, markersize=4, linewidth=1.3, capsize=2, label=steps(k), **look)


FIGURES: dict[str, Callable[[Mapping[str, Any]], Figure | None]] = {
    "ranking_by_horizon": ranking_by_horizon,
    "disagreement_against_error": disagreement_against_error,
    "sparsification": sparsification,
    "coverage_by_horizon": coverage_by_horizon,
    "reliability": reliability,
    "by_dimension": by_dimension,
    "noise": noise,
}


def draw(measured: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the PNG of every figure that there are data for."""
    drawn = {name: make(measured) for name, make in FIGURES.items()}
    return {name: style.png(figure) for name, figure in drawn.items() if figure is not None}
