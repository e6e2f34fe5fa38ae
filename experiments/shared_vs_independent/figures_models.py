"""Figures of the models' uncertainty: what it ranks, covers and foresees, and how alike the members are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.shared_vs_independent.cells import DATA, MODELS
from experiments.shared_vs_independent.figures_drawing import (
    NOT_TO_SCALE,
    PALE,
    counted,
    draw,
    grouped,
    label,
    legend,
    level,
    limit,
    of_models,
    panels,
    say,
    ticks,
    title,
    write_values,
)
from experiments.shared_vs_independent.gather import CORRELATION, FRACTION, NO_LIMITS, Gathered, Keys, models
from experiments.shared_vs_independent.robust import FEWEST_FALLS, Estimate
from experiments.shared_vs_independent.tables import HORIZONS, METHODS, WITHIN
from rwmu.report.style import INK

STEPS_AHEAD = f"steps ahead {NOT_TO_SCALE}"
STEPS_BEFORE = f"steps before a fall, at most {NOT_TO_SCALE}"
RANK, AREA = "rank correlation", "AUROC (chance: 0.5)"
MEMBERS = 5


def ran(gathered: Gathered) -> list[str]:
    """Return the data of which there is a fitted model."""
    return [data for data in DATA if any(gathered.of(cell) for model in MODELS for cell in models(model, data))]


class Tested(NamedTuple):
    """A pair of training and test data, and the falls in the test episodes."""

    data: str
    on: str
    falls: int | None

    @property
    def name(self) -> str:
        """Return the title of a panel."""
        return f"trained on {self.data}, tested on {self.on}"

    @property
    def of_falls(self) -> str:
        """Return how many falls there are, in words."""
        return "" if self.falls is None else f", {self.falls} fall{'' if self.falls == 1 else 's'}"


def tested(gathered: Gathered, data: str, on: str) -> Tested:
    """Return a pair of which there is a result, with its falls."""
    results = gathered.there(cell for model in MODELS for cell in models(model, data))
    return Tested(data, on, results[0]["tested_on"][on]["test"].get("falls"))


def pairs(gathered: Gathered) -> list[list[Tested]]:
    """Return what there are results for, a row for each training data."""
    return [[tested(gathered, data, on) for on in DATA] for data in ran(gathered)]


def mark_few(axis: Axes, falls: int | None) -> None:
    """Say of a panel that it rests on few falls."""
    if falls is not None and falls < FEWEST_FALLS:
        axis.set_facecolor(PALE)
        say(axis, f"only {falls} fall{'' if falls == 1 else 's'}: says little", 0.12)


class Shown(NamedTuple):
    """What a figure shows of each pair of training and test data.

    Attributes:
        names: of the places. limits: of the numbers. x, y: names of the axes. of_falls: whether falls have to be there for it.
    """

    names: Sequence[str]
    limits: tuple[float, float]
    x: str
    y: str
    of_falls: bool = False


def _by_data(gathered: Gathered, paths: Callable[[str], Sequence[Keys]], shown: Shown) -> Figure | None:
    """Draw a panel for each pair of training and test data, of the numbers at ``paths`` of what they are tested on."""
    rows = pairs(gathered)
    if not rows:
        return None
    figure, axes = panels(len(rows), len(DATA), sharey=True)
    for row, beside in zip(rows, axes, strict=True):
        for pair, axis in zip(row, beside, strict=True):

            def estimates(model: str, pair: Tested = pair) -> list[Estimate]:
                return [gathered.estimate(models(model, pair.data), path, shown.limits) for path in paths(pair.on)]

            series = of_models(estimates)
            draw(axis, series, line=True)
            ticks(axis, shown.names)
            label(axis, shown.x, shown.y if axis is beside[0] else "")
            title(axis, pair.name, counted(series) + (pair.of_falls if shown.of_falls else ""))
            if shown.of_falls:
                mark_few(axis, pair.falls)
    limit([axis for beside in axes for axis in beside], 0.5, 1.0, 0.1)
    legend(figure)
    return figure


def ranking(gathered: Gathered) -> Figure | None:
    """Draw the rank correlation of disagreement with error at each horizon, where a step counter has none: depth is constant."""

    def paths(on: str) -> list[Keys]:
        return [("tested_on", on, "ranking", k, "rank") for k in HORIZONS]

    return _by_data(gathered, paths, Shown(HORIZONS, CORRELATION, STEPS_AHEAD, RANK))


def falls(gathered: Gathered) -> Figure | None:
    """Draw the AUROC of the disagreement before falls, from that of chance on."""

    def paths(on: str) -> list[Keys]:
        return [("tested_on", on, "falls", "disagreement", k) for k in WITHIN]

    return _by_data(gathered, paths, Shown(WITHIN, FRACTION, STEPS_BEFORE, AREA, of_falls=True))


def coverage(gathered: Gathered) -> Figure | None:
    """Draw the coverage of 68.3 % intervals before and after each recalibration, by horizon; models on their own data."""
    there = ran(gathered)
    if not there:
        return None
    figure, axes = panels(len(there), 1, 2.9)
    for data, (axis,) in zip(there, axes, strict=True):
        places = grouped(axis, [method.replace("_", " ") for method in METHODS], HORIZONS)
        paths: list[Keys] = [
            ("tested_on", data, "scale", "sampled", method, k, "coverage_683") for method in METHODS for k in HORIZONS
        ]

        def estimates(model: str, paths: list[Keys] = paths, data: str = data) -> list[Estimate]:
            return [gathered.estimate(models(model, data), path, FRACTION) for path in paths]

        series = of_models(estimates)
        level(axis, 0.683, INK, "nominal: 0.683")
        draw(axis, series, places)
        title(axis, f"trained and tested on {data}", counted(series))
        label(axis, y="share of errors inside")
        axis.annotate(
            "steps ahead:", (0.0, 0.0), (-8, -13), "axes fraction", ha="right", textcoords="offset points", fontsize=9, color=INK
        )
    limit([axis for (axis,) in axes], 0.5, 1.0, 0.1)
    legend(figure)
    return figure


def diversity(gathered: Gathered) -> Figure | None:
    """Draw how alike the members are, each model on the test episodes of its own data, on axes from one extreme to the other."""
    there = ran(gathered)
    if not there:
        return None
    figure, (axes,) = panels(1, 2, 3.6, width_ratios=[2, 1])
    alike = {"cosine": "cosine of their\npredicted changes", "error_correlation": "correlation of\ntheir errors"}
    counts = _members(gathered, axes[0], there, alike, CORRELATION, 3)
    title(axes[0], "how alike the five members are", counts)
    limit(axes[:1], 0.0, 1.0, 0.2)
    label(axes[0], y="0: unlike, 1: the same")
    counts = _members(gathered, axes[1], there, {"effective_members": "effective number\nof members"}, NO_LIMITS, 2)
    title(axes[1], "how many they are worth", counts)
    limit(axes[1:], 1.0, float(MEMBERS), 1.0)
    say(axes[1], "5: independent members", 0.9)
    legend(figure)
    return figure


def _members(
    gathered: Gathered, axis: Axes, there: Sequence[str], names: dict[str, str], limits: tuple[float, float], digits: int
) -> str:
    """Draw some statistics of the members with their values, a group of places each, the data within it; returns the counts."""
    paths: list[tuple[str, Keys]] = [(data, ("tested_on", data, "diversity", name)) for name in names for data in there]
    series = of_models(lambda model: [gathered.estimate(models(model, data), path, limits) for data, path in paths])
    places = grouped(axis, list(names.values()), there)
    draw(axis, series, places)
    write_values(axis, series, places, digits, below=limits == CORRELATION)
    return counted(series)
