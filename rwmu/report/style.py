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

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#6B7280"
INK, PALE, LINE, BAND = "#1F2937", "#C3C8D0", "#9CA3AF", "#E5E7EB"
Place = Literal["outside lower center", "outside upper center", "outside upper right"]
HORIZON_COLOURS = (SKY, BLUE, GREEN, ORANGE, RED, PURPLE, GREY)


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


def interval_values(cells: Sequence[Mapping[str, Any]]) -> tuple[Any, Any]:
    """Return the numbers of cells ``[N]``, nan where there is none, and how far their intervals reach ``[2, N]``."""
    rows = [(cell["value"], cell["low"], cell["high"]) for cell in cells]
    ends = [(0.0, 0.0) if None in row else (max(row[0] - row[1], 0.0), max(row[2] - row[0], 0.0)) for row in rows]
    return numpy.array([row[0] for row in rows], dtype=float), numpy.array(ends).reshape(-1, 2).T


def term_name(name: str) -> str:
    """Return a reward term's name as figures write it."""
    return name.removesuffix("_exp").removesuffix("_l2").replace("_", " ")


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()
