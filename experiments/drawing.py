"""Estimates with their intervals as figures of a page, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rwmu.report.style import GREY, INK, new_figure
from rwmu.uncertainty.pairing import Estimate

PALE = "#EDF0F4"
Look = tuple[str, str]  # colour, marker


def panels(rows: int, columns: int, height: float, **more: Any) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure of the width of a page and its axes, ``height`` inches each; ``more`` goes to ``Figure.subplots``."""
    figure, axes = new_figure(8.8, height * rows + 0.5, rows, columns, **more)
    return figure, [axes[columns * row : columns * (row + 1)] for row in range(rows)]


def title(axis: Axes, text: str, beneath: str = "") -> None:
    """Put a title above a panel, to its left, and smaller beneath it what its numbers rest on."""
    axis.set_title(text, loc="left", fontsize=10.5, color=INK, fontweight="bold", pad=20 if beneath else 6)
    axis.annotate(beneath, (0.0, 1.0), (0, 6), "axes fraction", textcoords="offset points", fontsize=9, color=GREY)


def ticks(axis: Axes, places: Sequence[float], names: Sequence[str]) -> None:
    """Name the places of the horizontal axis."""
    axis.set_xticks(places, names)
    axis.set_xlim(min(places) - 0.6, max(places) + 0.6)
    axis.grid(False, axis="x")


def draw(
    axis: Axes,
    series: Mapping[str, tuple[Look, Sequence[Estimate]]],
    places: Sequence[float],
    apart: float = 0.18,
    upright: bool = True,
) -> None:
    """Draw estimates beside one another, hollow where there are too few seeds or falls for an interval.

    Args:
        series: name in the legend (none, if it begins with "_") -> look, and an estimate for each place, or for the first ones.
        apart: between series at one place. upright: whether numbers go up the axis, or along it from top to bottom.
    """
    for i, (name, ((colour, marker), estimates)) in enumerate(series.items()):
        offset = apart * (i - (len(series) - 1) / 2) * (1 if upright else -1)
        for j, (place, found) in enumerate(zip(places, estimates, strict=False)):
            whiskers = None
            if found.low is not None and found.high is not None:
                whiskers = [[found.value - found.low], [found.high - found.value]]
            look: dict[str, Any] = {"fmt": marker, "color": colour, "markersize": 5, "capsize": 2.5, "elinewidth": 1.5}
            look |= {"markerfacecolor": "white" if found.few else colour, "label": None if j else name}
            x, y = (place + offset, found.value) if upright else (found.value, place + offset)
            axis.errorbar(x, y, **{"yerr" if upright else "xerr": whiskers}, **look)


def finish(figure: Figure, path: Path, columns: int = 3) -> None:
    """Explain below all panels what is drawn in them, each thing once, and write the figure."""
    named: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            named.setdefault(name, handle)
    look: dict[str, Any] = {"frameon": False, "fontsize": 9, "labelcolor": INK}
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=min(len(named), columns), **look)
    figure.savefig(path, facecolor="white", metadata={"Software": None})
