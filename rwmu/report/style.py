"""The style of all figures, drawn without a display.

Colours are Okabe and Ito's, told apart by colour-blind readers too; what is compared differs in marker or line style as well.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from rwmu.report.wording import SCORES
from rwmu.uncertainty.baselines import TRIVIAL

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#6B7280"
INK, PALE, LINE, BAND = "#1F2937", "#C3C8D0", "#9CA3AF", "#E5E7EB"
Place = Literal["outside lower center", "outside upper center", "outside upper right"]
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, GREY)


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **arguments: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure in the house style and its axes; sizes in inches."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = numpy.atleast_1d(figure.subplots(rows, columns, **arguments)).ravel().tolist()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(LINE)
        axis.tick_params(colors=INK, labelsize=9, length=3)
        axis.grid(True, color=BAND, linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, axes


def draw_title(axis: Axes, text: str) -> None:
    """Put the title above the axis, to its left."""
    axis.set_title(text, loc="left", fontsize=10.5, color=INK, fontweight="bold")


def draw_legend(axis: Axes, **arguments: Any) -> None:
    """Draw the legend without a frame."""
    axis.legend(frameon=False, fontsize=9, **arguments)


def shared_legend(figure: Figure, axis: Axes, place: Place, columns: int) -> None:
    """Draw the legend of one axis for the whole figure."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc=place, ncols=columns, frameon=False, fontsize=9)


def log_steps(axis: Axes, horizons: Sequence[str]) -> None:
    """Make the x axis one of steps ahead, logarithmic, with these as its marks."""
    axis.set_xscale("log")
    axis.set_xticks([int(k) for k in horizons], list(horizons))
    axis.minorticks_off()
    axis.set_xlabel("steps ahead")


def log_marks(axis: Axes) -> None:
    """Mark logarithmic axes at a few of 1, 2 and 5 times powers of ten."""
    for side in (axis.xaxis, axis.yaxis):
        if side.get_scale() == "log":
            side.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=4))
            side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axis.minorticks_off()


Cells = Sequence[Mapping[str, Any]]


def look(index: int) -> dict[str, Any]:
    """Return colour, marker and line of the line of this number: told apart without colours too."""
    line = ("-", "--", "-.", ":")[index % 4]
    return {"color": COLOURS[index % len(COLOURS)], "marker": "os^vDx"[index % 6], "linestyle": line}


def look_of(score: str) -> dict[str, Any]:
    """Return the look of a score of ``SCORES``: trivial ones are grey."""
    place = list(SCORES).index(score)
    return look(place) | ({"color": GREY, "alpha": 0.8} if score in TRIVIAL else {})


def panels(
    number: int, columns: int, width: float, height: float, extra: tuple[float, float] = (0.5, 0.6), **arguments: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many panels of this size (inches), ``columns`` in a row; ``extra`` is for what stands around them."""
    columns = min(columns, number)
    rows = -(-number // columns)
    figure, axes = new_figure(width * columns + extra[0], height * rows + extra[1], rows, columns, **arguments)
    for axis in axes[number:]:
        axis.set_visible(False)
    for axis in axes[max(0, number - columns) : number]:
        axis.tick_params(labelbottom=True)
    return figure, axes[:number]


def interval_values(cells: Cells) -> tuple[Any, Any]:
    """Return the numbers of cells ``[N]``, nan where there is none, and how far their intervals reach ``[2, N]``."""
    rows = [(cell["value"], cell["low"], cell["high"]) for cell in cells]
    ends = [(0.0, 0.0) if None in row else (max(row[0] - row[1], 0.0), max(row[2] - row[0], 0.0)) for row in rows]
    return numpy.array([row[0] for row in rows], dtype=float), numpy.array(ends).reshape(-1, 2).T


def draw_cells(axis: Axes, x: Any, cells: Cells, scale: float = 1.0, **looks: Any) -> None:
    """Draw cells over x, joined by a line, with their intervals as bars; those without a number are left out."""
    y, error = interval_values(cells)
    axis.errorbar(x, scale * y, scale * error, **({"markersize": 4, "linewidth": 1.4, "capsize": 2} | looks))


def draw_band(axis: Axes, x: Any, low: Any, high: Any, colour: str, label: str | None = None) -> None:
    """Shade what lies between two lines."""
    axis.fill_between(x, low, high, color=colour, alpha=0.24, linewidth=0, label=label)


def draw_bars(axis: Axes, rows: Sequence[tuple[str, float, float]], colours: Sequence[str]) -> Any:
    """Draw horizontal bars, the first on top: name, length, and how far its error reaches to either side."""
    place = numpy.arange(len(rows))[::-1]
    names, values, errors = zip(*rows, strict=True)
    bars = axis.barh(place, values, 0.66, color=colours)
    axis.errorbar(values, place, xerr=errors, fmt="none", ecolor=INK, elinewidth=1.2, capsize=2.5)
    axis.axvline(0.0, color=LINE, linewidth=0.8)
    axis.set_yticks(place, names)
    axis.grid(False, axis="y")
    return bars


def reference(axis: Axes, y: float, label: str | None = None) -> None:
    """Draw a dotted line at a height to compare with."""
    axis.axhline(y, color=GREY, linewidth=1.1, linestyle=(0, (1, 2)), label=label)


def nothing_drawn(axis: Axes) -> None:
    """Say that a panel is empty because nothing was measured."""
    axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", color=GREY)
    axis.set_xticks([])


def term_name(name: str) -> str:
    """Return a reward term's name as figures write it."""
    return name.removesuffix("_exp").removesuffix("_l2").replace("_", " ")


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()


def pngs(figures: Mapping[str, Figure | None]) -> dict[str, bytes]:
    """Return those figures that there are, as PNGs."""
    return {name: png(figure) for name, figure in figures.items() if figure is not None}
