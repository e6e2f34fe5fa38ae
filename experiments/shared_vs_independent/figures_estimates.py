"""The figure of what disagreement knows that the noise that a single model predicts does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.shared_vs_independent.cells import MODELS
from experiments.shared_vs_independent.figures_drawing import (
    COLOURS,
    LINES,
    Series,
    counted,
    draw,
    key,
    label,
    legend,
    limit,
    panels,
    present,
    ticks,
    title,
)
from experiments.shared_vs_independent.figures_models import AREA, RANK, STEPS_AHEAD, STEPS_BEFORE, Tested, mark_few, pairs
from experiments.shared_vs_independent.gather import CORRELATION, FRACTION, Gathered, Keys, models, number_at
from experiments.shared_vs_independent.tables import HORIZONS, WITHIN
from rwmu.report.style import INK

MARKERS = {"disagreement": "o", "predicted noise": "X", "termination head (falls only)": "v"}
RANKS = {"disagreement": "rank", "predicted noise": "aleatoric_rank"}
AREAS = {
    "disagreement": "disagreement",
    "predicted noise": "noise_estimate",
    "termination head (falls only)": "termination_head",
}


class Beside(NamedTuple):
    """What two panels show of a pair of training and test data."""

    pair: Tested
    ranks: list[Series]
    areas: list[Series]


def estimates(gathered: Gathered) -> Figure | None:
    """Draw how well errors are ranked and falls foreseen by the disagreement and by the noise that the members predict.

    Of the models and seeds whose noise has been measured; None where none has.
    """
    rows = [row for row in (_beside(gathered, pair) for row in pairs(gathered) for pair in row) if row.ranks or row.areas]
    if not rows:
        return None
    figure, axes = panels(len(rows), 2, sharey="col")
    for row, (left, right) in zip(rows, axes, strict=True):
        _draw(left, row.ranks, len(RANKS), HORIZONS)
        title(left, row.pair.name, f"ranking errors: {counted(row.ranks)}")
        _draw(right, row.areas, len(AREAS), WITHIN)
        title(right, "", f"foreseeing falls: {counted(row.areas)}{row.pair.of_falls}")
        label(left, STEPS_AHEAD if row is rows[-1] else "", RANK)
        label(right, STEPS_BEFORE if row is rows[-1] else "", AREA)
        mark_few(right, row.pair.falls)
    limit([left for left, _ in axes], 0.5, 1.0, 0.1)
    limit([right for _, right in axes], 0.5, 1.0, 0.1)
    _explain(axes[0][0], [series for row in rows for series in (*row.ranks, *row.areas)])
    legend(figure, 4)
    return figure


def _beside(gathered: Gathered, pair: Tested) -> Beside:
    base = ("tested_on", pair.on)
    ranks = {name: [(*base, "ranking", k, path) for k in HORIZONS] for name, path in RANKS.items()}
    areas = {name: [(*base, "falls", path, k) for k in WITHIN] for name, path in AREAS.items()}
    found = [_with_noise(gathered, pair.data, *paths) for paths in ((ranks, CORRELATION), (areas, FRACTION))]
    return Beside(pair, found[0], found[1])


def _with_noise(gathered: Gathered, data: str, paths: Mapping[str, Sequence[Keys]], limits: tuple[float, float]) -> list[Series]:
    """Return a series for each model and estimate, of the seeds of which the noise has been measured."""
    found = []
    for model in MODELS:
        results = [(cell, gathered.of(cell)) for cell in models(model, data)]
        cells = [cell for cell, result in results if result and any(number_at(result, path) for path in paths["predicted noise"])]
        if cells:
            found += [
                Series(model, [gathered.estimate(cells, path, limits) for path in of_estimate], COLOURS[model], MARKERS[name])
                for name, of_estimate in paths.items()
            ]
    return found


def _draw(axis: Axes, series: list[Series], together: int, names: Sequence[str]) -> None:
    draw(axis, [one._replace(label="") for one in series], together=together)
    ticks(axis, names)
    for place in range(1, len(names)):
        axis.axvline(place - 0.5, color=LINES, linewidth=1.0, zorder=0.5)


def _explain(axis: Axes, series: Sequence[Series]) -> None:
    """Say that colours are models and markers estimates."""
    drawn = {one.label for one in present(series)}
    for model in [model for model in MODELS if model in drawn]:
        axis.plot([], [], color=COLOURS[model], linewidth=6.0, label=model)
    for name, marker in MARKERS.items():
        key(axis, name, INK, marker)
