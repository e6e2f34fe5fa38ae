"""How the study's figures are drawn: estimates with their intervals, side by side, to be read at the width of a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from experiments.shared_vs_independent.cells import MODELS
from experiments.shared_vs_independent.robust import FEWEST_SEEDS, Estimate
from rwmu.report.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE

COLOURS = {"shared": BLUE, "independent": ORANGE, "priors": GREEN, "shared_wide": PURPLE}
MARKERS = {"shared": "o", "independent": "s", "priors": "^", "shared_wide": "D"}
HOLLOW = f"hollow: fewer than {FEWEST_SEEDS} seeds or falls"
NOT_TO_SCALE = "(not to scale)"
PALE, LINES = "#EDF0F4", "#E0E3E8"

_WIDTH = 8.8  # inches: where a page shows it 880 pixels wide, a point is 1.4 of them
_DPI = 160
_APART = 0.2  # between series at one place of the axis, places being 1 apart
_STEPS = 7.5  # of a vertical axis; where there are more, every other one is left out
_TOGETHER = 0.8  # of the room around a place, that its series may fill


class Series(NamedTuple):
    """Estimates at the places of an axis, with how they are drawn.

    Attributes:
        label: in the legend; empty for none. estimates: one a place.
    """

    label: str
    estimates: Sequence[Estimate]
    colour: str
    marker: str


def of_models(estimates: Callable[[str], Sequence[Estimate]], names: Sequence[str] = tuple(MODELS)) -> list[Series]:
    """Return a series for each model, in the model's look."""
    return [Series(model, estimates(model), COLOURS[model], MARKERS[model]) for model in names]


def present(series: Sequence[Series]) -> list[Series]:
    """Keep the series that have a number."""
    return [one for one in series if any(found.value is not None for found in one.estimates)]


# -- panels -------------------------------------------------------------------------------------------------------------------


def panels(rows: int, columns: int, height: float = 2.7, **arguments: Any) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure of the width of a page and its axes, ``height`` inches each; arguments of ``Figure.subplots``."""
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(_WIDTH, height * rows + 0.5), dpi=_DPI, layout=layout)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **arguments)
    for axis in axes.ravel():
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color("#9CA3AF")
        axis.tick_params(colors=INK, labelsize=9.5, length=3)
        axis.grid(True, color=LINES, linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, axes.tolist()


def title(axis: Axes, text: str, beneath: str = "") -> None:
    """Put a title above a panel, to its left, and smaller beneath it what its numbers rest on."""
    axis.set_title(text, loc="left", fontsize=10.5, color=INK, fontweight="bold", pad=21 if beneath else 7)
    axis.annotate(beneath, (0.0, 1.0), (0, 7), "axes fraction", textcoords="offset points", fontsize=9, color=GREY)


def say(axis: Axes, text: str, height: float = 0.5) -> None:
    """Write across a panel."""
    axis.text(0.5, height, text, transform=axis.transAxes, ha="center", va="center", fontsize=9.5, color=GREY, wrap=True)


def label(axis: Axes, x: str = "", y: str = "") -> None:
    """Name the axes."""
    axis.set_xlabel(x, fontsize=10, color=INK)
    axis.set_ylabel(y, fontsize=10, color=INK)


def ticks(axis: Axes, names: Sequence[str]) -> None:
    """Name the places 0, 1, ... of the horizontal axis."""
    axis.set_xticks(range(len(names)), names)
    axis.set_xlim(-0.5, len(names) - 0.5)
    axis.grid(False, axis="x")


def grouped(axis: Axes, groups: Sequence[str], names: Sequence[str]) -> list[float]:
    """Name places in groups, the same in each, whose names stand beneath; returns the places, group by group."""
    size = len(names)
    places = [float(group * (size + 0.5) + i) for group in range(len(groups)) for i in range(size)]
    axis.set_xticks(places, [*names] * len(groups))
    axis.set_xlim(-0.75, places[-1] + 0.75)
    axis.grid(False, axis="x")
    for group, name in enumerate(groups):
        middle = group * (size + 0.5) + (size - 1) / 2
        look: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 9.5, "color": INK, "fontweight": "bold"}
        axis.annotate(name, (middle, 0.0), (0, -19), axis.get_xaxis_transform(), textcoords="offset points", **look)
        if group:
            axis.axvline(middle - size / 2 - 0.25, color=LINES, linewidth=1.2)
    return places


def limit(axes: Sequence[Axes], least: float, most: float, step: float) -> None:
    """Let panels share a vertical axis that goes from ``least`` to ``most``, and further by whole steps where numbers do."""
    drawn = [end for axis in axes for end in (axis.dataLim.y0, axis.dataLim.y1) if math.isfinite(end)]
    low, high = min([least, *drawn]), max([most, *drawn])
    step = step if high - low < _STEPS * step else 2 * step
    down, up = (math.ceil(distance / step - 1e-6) for distance in (most - low, high - most))
    for axis in axes:
        axis.set_yticks([most + step * i for i in range(-down, up + 1)])
        axis.set_ylim(most - step * (down + 0.2), most + step * (up + 0.2))  # with room for whole markers


def level(axis: Axes, value: float, colour: str = GREY, name: str = "") -> None:
    """Draw a dashed horizontal line, for the legend if it has a name."""
    axis.axhline(value, color=colour, linestyle="--", linewidth=1.3, zorder=1.5, label=name or None)


# -- series and legend --------------------------------------------------------------------------------------------------------


def draw(
    axis: Axes, series: Sequence[Series], places: Sequence[float] = (), line: bool = False, together: int = 1, upright: bool = True
) -> None:
    """Draw those series that have a number, a little apart; where there are none, say why.

    Args:
        places: of the estimates; 0, 1, ... if empty. line: whether to join them. together: series that belong to one another.
        upright: whether numbers go up the axis, or along it.
    """
    there = present(series)
    if not there:
        reasons = [found.reason for one in series for found in one.estimates if found.reason]
        say(axis, reasons[0] if reasons else "not run yet")
        return
    at = _beside(len(there), places or range(len(there[0].estimates)), together)
    for one, own in zip(there, at if upright else reversed(at), strict=True):
        _draw_one(axis, one, own, line, upright)


def _beside(number: int, places: Sequence[float], together: int = 1) -> list[list[float]]:
    """Return the places of each of several series, so that they stand beside one another."""
    slots = [i + 0.7 * (i // together if together > 1 else 0) for i in range(number)]
    apart = min(_APART, _TOGETHER / max([1.0, *slots]))
    return [[place + apart * (slot - slots[-1] / 2) for place in places] for slot in slots]


def _draw_one(axis: Axes, one: Series, at: Sequence[float], line: bool, upright: bool) -> None:
    """Draw a series: markers, hollow ones where there are few seeds or falls, and whiskers where there is an interval."""

    def plot(places: Sequence[float], values: Sequence[float], **look: Any) -> None:
        x, y = (places, values) if upright else (values, places)
        axis.plot(x, y, color=one.colour, **look)

    known = [(place, found.value, found) for place, found in zip(at, one.estimates, strict=True) if found.value is not None]
    for place, _, found in known:
        if found.low is not None and found.high is not None:
            ends = {"marker": "_" if upright else "|", "markersize": 5, "solid_capstyle": "butt"}
            plot([place] * 2, [found.low, found.high], linewidth=1.5, zorder=2.0, **ends)
    if line:
        values = [math.nan if found.value is None else found.value for found in one.estimates]
        plot(at, values, linewidth=1.0, alpha=0.6, zorder=1.8)
    look = {"linestyle": "", "marker": one.marker, "markersize": 5.5, "zorder": 2.5}
    many, few = ([point for point in known if point[2].few is hollow] for hollow in (False, True))
    plot([place for place, _, _ in many], [value for _, value, _ in many], label=one.label or None, **look)
    if few:
        plot([place for place, _, _ in few], [value for _, value, _ in few], markerfacecolor="white", **look)
        key(axis, HOLLOW, GREY, "o", "white")


def key(axis: Axes, name: str, colour: str, marker: str, face: str | None = None) -> None:
    """Add a line to the legend, and nothing to the panel."""
    axis.plot([], [], marker, color=colour, markerfacecolor=face or colour, markersize=5.5, label=name)


def legend(figure: Figure, columns: int = 5) -> None:
    """Explain below all panels what is drawn in them, each thing once, and last what is true of any model."""
    named: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            named.setdefault(name, handle)
    names = sorted(named, key=lambda name: name == HOLLOW)
    if names:
        handles = [named[name] for name in names]
        look = {"frameon": False, "fontsize": 9.5, "handletextpad": 0.5, "columnspacing": 1.6, "labelcolor": INK}
        for number in range(min(len(names), columns), 0, -1):  # as many columns as the figure is wide enough for
            made = figure.legend(handles, names, loc="outside lower center", ncols=number, **look)
            if number == 1 or made.get_window_extent().width <= figure.bbox.width:
                break
            made.remove()


def write_values(axis: Axes, series: Sequence[Series], places: Sequence[float], digits: int, below: bool) -> None:
    """Write beside drawn estimates what they are."""
    there = present(series)
    for one, at in zip(there, _beside(len(there), places), strict=True):
        for place, found in zip(at, one.estimates, strict=True):
            if found.value is not None:
                look: dict[str, Any] = {
                    "rotation": 90,
                    "ha": "center",
                    "va": "top" if below else "bottom",
                    "fontsize": 8.5,
                    "color": INK,
                }
                offset = (0, -7 if below else 7)
                axis.annotate(f"{found.value:.{digits}f}", (place, found.value), offset, textcoords="offset points", **look)


def counted(series: Sequence[Series]) -> str:
    """Return how many seeds and test episodes estimates rest on, in words; where these differ, the least and the most."""
    found = [estimate for one in present(series) for estimate in one.estimates if estimate.value is not None]
    seeds = _between([estimate.seeds for estimate in found])
    episodes = _between([estimate.episodes for estimate in found if estimate.episodes])
    of_seeds = f"{seeds} seed{'' if seeds == '1' else 's'}" if seeds else ""
    return f"{of_seeds} × {episodes} episodes" if seeds and episodes else of_seeds


def _between(numbers: Sequence[int]) -> str:
    least, most = min(numbers, default=0), max(numbers, default=0)
    return "" if not most else f"{least}" if least == most else f"{least} to {most}"
