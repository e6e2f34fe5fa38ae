"""The figures of a calibration analysis: pure functions from what was measured to a matplotlib Figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy
from matplotlib.figure import Figure

from rwmu.measure.calibration.ranking import RANKS
from rwmu.report import style
from rwmu.report.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE
from rwmu.report.wording import SCORES, steps

FORECASTS = {"sampled": "sampled trajectories", "propagated": "propagated means"}
METHODS: dict[str, tuple[dict[str, Any], str]] = {
    "raw": ({"color": INK, "linestyle": "-", "marker": "o"}, "as it is"),
    "constant": ({"color": ORANGE, "linestyle": "--", "marker": "s"}, "one constant"),
    "per_horizon": ({"color": BLUE, "linestyle": "-.", "marker": "^"}, "one a step"),
    "isotonic": ({"color": PURPLE, "linestyle": ":", "marker": "v"}, "isotonic"),
    "conformal": ({"color": GREEN, "linestyle": "-", "marker": "D"}, "conformal"),
}


def reliability(measured: Mapping[str, Any]) -> Figure | None:
    """Draw the reliability curves of every method, a panel a horizon, a row a forecast."""
    curves, found = measured["reliability"], {}
    for forecast, k in product(FORECASTS, map(str, measured["horizons"])):
        lines = {method: table[k] for method, table in curves[forecast].items() if k in table}
        if any(not isinstance(curve["observed"], str) for curve in lines.values()):
            found[forecast, k] = lines
    if not found:
        return None
    columns = len({k for _, k in found})
    figure, axes = style.panels(len(found), columns, 2.3, 2.5, (0.6, 0.7), sharex=True)
    for index, (axis, ((forecast, k), lines)) in enumerate(zip(axes, found.items(), strict=True)):
        axis.plot([0, 1], [0, 1], color=GREY, linewidth=1.0, linestyle=(0, (1, 2)))
        for method, curve in lines.items():
            looks, label = METHODS[method]
            if not isinstance(curve["observed"], str):
                axis.plot(curve["expected"], curve["observed"], linewidth=1.6, label=label, **looks | {"marker": None})
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1)
        axis.set_aspect("equal")
        style.draw_title(axis, steps(k))
        if index % columns == 0:
            axis.set_ylabel(f"{FORECASTS[forecast]}\nfraction of truths inside", fontsize=9)
    figure.supxlabel("probability that the interval should hold", fontsize=10)
    style.shared_legend(figure, axes[0], "outside upper center", 5)
    return figure


def coverage_by_horizon(measured: Mapping[str, Any]) -> Figure | None:
    """Draw the coverage of both intervals over the horizon, before and after each recalibration."""
    scale = measured["scale"]
    horizons = [k for k, cells in scale["sampled"]["raw"].items() if cells["coverage_683"]["value"] is not None]
    if not horizons:
        return None
    figure, axes = style.panels(4, 2, 4.8, 2.8, sharex=True)
    for axis, (forecast, name) in zip(axes, product(FORECASTS, ("coverage_683", "coverage_95")), strict=True):
        nominal = 68.3 if name == "coverage_683" else 95.0
        axis.axhspan(nominal - 5.0, min(nominal + 5.0, 100.0), color=style.BAND, zorder=0)
        style.reference(axis, nominal)
        for shift, (method, table) in enumerate(scale[forecast].items()):
            looks, label = METHODS[method]
            x = [int(k) * 1.02 ** (shift - 2) for k in horizons]
            style.draw_cells(axis, x, [table[k][name] for k in horizons], 100.0, label=label, **looks)
        style.log_steps(axis, horizons)
        axis.set_ylabel("truths inside (%)")
        style.draw_title(axis, f"{FORECASTS[forecast]}: intervals of {nominal:g} %")
    style.shared_legend(figure, axes[0], "outside lower center", 5)
    return figure


def disagreement_against_error(points: Mapping[str, Any], ranking: Mapping[str, Any]) -> Figure | None:
    """Draw where forecasts lie in the plane of disagreement and error, a panel a horizon; both axes logarithmic.

    Args:
        points: horizon -> ``disagreement`` and ``error``. ranking: horizon -> cells.
    """
    points = {k: table for k, table in points.items() if len(table["error"]) > 1}
    if not points:
        return None
    figure, axes = style.panels(len(points), len(points), 2.7, 3.1)
    for axis, (k, table) in zip(axes, points.items(), strict=True):
        x, y = (numpy.maximum(table[name], 1e-6) for name in ("disagreement", "error"))
        if min(numpy.ptp(numpy.log(x)), numpy.ptp(numpy.log(y))) > 1e-9:
            arguments: dict[str, Any] = {"cmap": "Blues", "mincnt": 1, "linewidths": 0.1, "edgecolors": style.LINE}
            cells = axis.hexbin(x, y, gridsize=16, xscale="log", yscale="log", **arguments)
            most = float(numpy.max(numpy.asarray(cells.get_array())))
            cells.set_clim(-most / 2.0, most)  # one forecast alone is to be seen too
        else:
            axis.plot(x, y, ".", color=BLUE, alpha=0.5)
        style.log_marks(axis)
        rank, beyond = (ranking[k][name]["value"] for name in ("rank", "beyond_trivial"))
        best = "" if rank is None or beyond is None else f"\nbest trivial {rank - beyond:.2f}"
        style.draw_title(axis, steps(k) + ("" if rank is None else f"\nrank correlation {rank:.2f}") + best)
    axes[0].set_ylabel("error made (standard deviations)")
    figure.supxlabel("disagreement of the members", fontsize=10)
    return figure


def sparsification(measured: Mapping[str, Any]) -> Figure | None:
    """Draw the error that is left when the most uncertain forecasts are removed, a panel a horizon."""
    curves = measured["sparsification"]
    curves = {k: table for k, table in curves.items() if not isinstance(table["uncertainty"][0], str)}
    if not curves:
        return None
    figure, axes = style.panels(len(curves), len(curves), 2.5, 3.1, sharey=True)
    for axis, (k, table) in zip(axes, curves.items(), strict=True):
        removed = [100.0 * part for part in table["removed"]]
        axis.axhline(100.0, color=GREY, linestyle="--", linewidth=1.2, label="at random")
        axis.plot(removed, [100.0 * part for part in table["uncertainty"]], color=BLUE, linewidth=2.0, label="most uncertain first")
        axis.plot(removed, [100.0 * part for part in table["oracle"]], ":", color=INK, linewidth=1.6, label="largest error first")
        axis.plot(removed, [100.0 * part for part in table["trivial"]], "-.", color=GREY, label="by the best trivial score")
        axis.set_ylim(0.0, 108.0)
        style.draw_title(axis, steps(k))
    axes[0].set_ylabel("error left (%)")
    figure.supxlabel("forecasts removed (%)", fontsize=10)
    style.shared_legend(figure, axes[0], "outside upper center", 4)
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
            style.nothing_drawn(axis)
    figure.supxlabel("steps ahead", fontsize=10)
    return figure


def recalibrated_by(table: Mapping[str, Any]) -> str:
    """Return by which recalibration the dimensions' coverage is, with the horizons where these differ."""
    horizons: dict[str, list[str]] = {}
    for k, row in table.items():
        if isinstance(row, Mapping) and row["recalibrated_by"] is not None:
            horizons.setdefault(METHODS[row["recalibrated_by"]][1], []).append(k)
    if len(horizons) < 2:
        return f"recalibrated ({next(iter(horizons))})" if horizons else "not recalibrated"
    return "recalibrated:\n" + "\n".join(f"{label} at {', '.join(ks)}" for label, ks in horizons.items())


def ranking_by_horizon(measured: Mapping[str, Any]) -> Figure | None:
    """Draw the rank correlations over the horizon: every score at that step alone, and the disagreement over all steps so far."""
    cells = measured["ranking"]
    horizons = [k for k in map(str, measured["horizons"]) if cells[k]["rank"]["value"] is not None]
    if not horizons:
        return None
    figure, axes = style.new_figure(10.0, 5.4, 1, 2, sharey=True)
    over_steps = {
        "within_step_rank": "within a step, mean over steps",
        "overall_rank": "over all steps",
        "partial_rank": "the same, given the step",
        "step_counter_rank": "the step counter's own",
    }
    alone = [(RANKS[score], words, style.look_of(score)) for score, words in SCORES.items() if score in RANKS]
    so_far = [(name, words, style.look(place)) for place, (name, words) in enumerate(over_steps.items())]
    titles = ("At that step alone, every score", "Over the steps so far, the disagreement")
    for axis, lines, title in zip(axes, (alone, so_far), titles, strict=True):
        for index, (name, label, looks) in enumerate(lines):
            x = numpy.array([int(k) for k in horizons]) * 1.02 ** (index - len(lines) / 2)
            style.draw_cells(axis, x, [cells[k][name] for k in horizons], label=label, **looks)
        style.log_steps(axis, horizons)
        style.draw_title(axis, title)
        style.draw_legend(axis, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
    axes[0].set_ylim(min(0.0, axes[0].get_ylim()[0]), 1.03)
    axes[0].set_ylabel("rank correlation with the error")
    return figure


_NOISES = {"given": "noise on what the model is given", "simulated": "noise on the actions in the simulator"}
_OF_NOISE = {
    "error": "error (standard deviations)",
    "disagreement": "disagreement",
    "rank": "rank correlation",
    "coverage_683": "inside 68 %, as it is",
    "recalibrated_683": "inside 68 %, recalibrated",
}


def noise(measured: Mapping[str, Any]) -> Figure | None:
    """Draw error, disagreement and coverage over the scale of the noise, a line a horizon, a row a kind of noise."""
    kinds = {name: part["scales"] for name, part in (measured.get("noise") or {}).items() if part.get("scales")}
    if not kinds:
        return None
    figure, axes = style.panels(len(_OF_NOISE) * len(kinds), len(_OF_NOISE), 2.7, 2.7, (0.0, 0.7))
    for axis, (kind, name) in zip(axes, product(kinds, _OF_NOISE), strict=True):
        scales = kinds[kind]
        known = [table[k][name]["value"] for table in scales.values() for k in table if table[k][name]["value"] is not None]
        for place, k in enumerate(next(iter(scales.values()))):
            cells = [table[k][name] for table in scales.values()]
            style.draw_cells(axis, [float(scale) for scale in scales], cells, label=steps(k), **style.look(place))
        if name in ("error", "disagreement") and known and min(known) > 0 and max(known) > 20 * min(known):
            axis.set_yscale("log")
        if name.endswith("683"):
            style.reference(axis, 0.683)
            axis.set_ylim(0, 1.03)
        style.draw_title(axis, _OF_NOISE[name])
        if name == "error":
            axis.set_ylabel(_NOISES[kind], fontsize=9)
        if not known:
            style.nothing_drawn(axis)
    figure.supxlabel("scale of the noise", fontsize=10)
    style.shared_legend(figure, axes[0], "outside upper center", 6)
    return figure


FIGURES: dict[str, Callable[[Mapping[str, Any]], Figure | None]] = {
    "ranking_by_horizon": ranking_by_horizon,
    "disagreement_against_error": lambda measured: disagreement_against_error(measured["points"], measured["ranking"]),
    "sparsification": sparsification,
    "coverage_by_horizon": coverage_by_horizon,
    "reliability": reliability,
    "by_dimension": by_dimension,
    "noise": noise,
}


def draw(measured: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the PNG of every figure that there are data for."""
    return style.pngs({name: make(measured) for name, make in FIGURES.items()})
