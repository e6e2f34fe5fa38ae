"""Figures of what the study compares: models with one another, in what its rule rests on, and policies with their clone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.shared_vs_independent import paired, returns
from experiments.shared_vs_independent.answer import DATA as RULE_DATA
from experiments.shared_vs_independent.answer import RETURN_MARGIN, common_weights, compared
from experiments.shared_vs_independent.cells import DATA, POLICY_MODELS, WEIGHTS
from experiments.shared_vs_independent.figures_drawing import (
    COLOURS,
    LINES,
    MARKERS,
    NOT_TO_SCALE,
    PALE,
    Series,
    counted,
    draw,
    label,
    legend,
    level,
    of_models,
    panels,
    present,
    ticks,
    title,
)
from experiments.shared_vs_independent.figures_models import ran, tested
from experiments.shared_vs_independent.gather import FRACTION, Gathered, policies
from experiments.shared_vs_independent.returns import Returns
from experiments.shared_vs_independent.robust import Estimate
from experiments.shared_vs_independent.tables import COMPARED_MODELS
from rwmu.report.style import GREY, INK

# Every pair is of independent members and another model, whose look it has.
LOOKS = {pair: next(model for model in pair if model != "independent") for pair in COMPARED_MODELS}
CLONE = "the clone that they start from (band: its interval)"
WEIGHT = f"weight of the penalty {NOT_TO_SCALE}"
_GAP = 1.25  # between the rows of a section and the next one's heading


# -- models -------------------------------------------------------------------------------------------------------------------


class Section(NamedTuple):
    """Some of the differences between models trained on the same data.

    Attributes:
        heading: where they were measured. rows: what differs. series: of each pair of models.
        falls: in the test episodes, in words. of_rule: whether the protocol's rule rests on those of its pair.
    """

    heading: str
    rows: list[str]
    series: list[Series]
    falls: str
    of_rule: bool


def differences(gathered: Gathered) -> Figure | None:
    """Draw the paired differences between models in what the rule compares, with the rule's margin: a panel a training data."""
    by_data = {data: _sections(gathered, data) for data in ran(gathered)}
    drawn = {data: sections for data, sections in by_data.items() if any(present(section.series) for section in sections)}
    if not drawn:
        return None
    figure, (axes,) = panels(1, len(drawn), 5.6, sharey=True, sharex=True)
    for (data, sections), axis in zip(drawn.items(), axes, strict=True):
        _draw_sections(axis, sections)
        title(axis, f"trained on {data}")
        label(axis, "difference (> 0: the first of the two is better)")
    legend(figure, 3)
    return figure


def _sections(gathered: Gathered, data: str) -> list[Section]:
    """Return the differences of models trained on some data: on its own test episodes, on the others, in the simulator."""
    rule = data == RULE_DATA
    names = [name for name, _, _ in compared()]

    def of_pairs(estimates: Callable[[str, str], list[Estimate]]) -> list[Series]:
        return [
            Series(f"{first} − {second}", estimates(first, second), COLOURS[look], MARKERS[look])
            for (first, second), look in LOOKS.items()
        ]

    def on(test: str, heading: str) -> Section:
        def estimates(first: str, second: str) -> list[Estimate]:
            return [paired.difference(gathered, first, second, data, test, statistic) for _, statistic, _ in compared()]

        return Section(heading, names, of_pairs(estimates), tested(gathered, data, test).of_falls, rule and test == data)

    other = next(name for name in DATA if name != data)
    deployed = of_pairs(lambda first, second: [_returns_differ(gathered, first, second, data)])
    simulator = Section("in the simulator", ["deployed return, relative"], deployed, "", rule)
    return [on(data, "tested on the same data"), on(other, "tested on the other data"), simulator]


def _returns_differ(gathered: Gathered, first: str, second: str, data: str) -> Estimate:
    """Return the relative difference of the deployed returns, each at its best of the raw weights that both have been run with."""
    sides = common_weights([Returns.of(gathered, model, "raw", data) for model in (first, second)])
    return returns.difference(sides[0], sides[1], relative=True)


def _draw_sections(axis: Axes, sections: Sequence[Section]) -> None:
    """Draw the differences from top to bottom, each section under its heading, with how much it rests on."""
    top = 0.0
    named: dict[float, str] = {}
    for heading, rows, series, falls, of_rule in sections:
        places = [top - 1.0 - i for i in range(len(rows))]
        named |= {top: heading, **dict(zip(places, rows, strict=True))}
        if of_rule:
            name = "the rule's criteria (of independent − shared)"
            axis.axhspan(places[-1] - 0.5, places[0] + 0.5, facecolor=PALE, edgecolor=LINES, zorder=0.0, label=name)
        there = present(series)
        if there:
            draw(axis, there, places, upright=False)
        counts = counted(there) + falls if there else "not run yet"
        beside: dict[str, Any] = {"va": "center", "ha": "right", "fontsize": 9, "color": GREY, "backgroundcolor": "white"}
        axis.text(1.0, top, counts, transform=axis.get_yaxis_transform(), **beside)
        top = places[-1] - _GAP
    axis.axvline(0.0, color=GREY, linewidth=1.3, zorder=1.5)
    for margin in sorted({RETURN_MARGIN, *(margin for _, _, margin in compared())}):
        axis.axvline(margin, color=INK, linestyle="--", linewidth=1.3, zorder=1.5, label=f"the rule's margin: {margin:g}")
    axis.set_yticks(list(named), list(named.values()))
    axis.set_ylim(top + 0.5, 0.5)
    axis.grid(False, axis="y")
    headings = {section.heading for section in sections}
    for tick in axis.get_yticklabels():
        tick.set_fontweight("bold" if tick.get_text() in headings else "normal")


# -- policies -----------------------------------------------------------------------------------------------------------------


def policies_over_weights(gathered: Gathered) -> Figure | None:
    """Draw what policies earn more than the clone that they start from, and how often they fall, over the penalty's weight."""
    there = [data for data in DATA if gathered.clones(data)]
    if not there:
        return None
    ratios = [len(weights) + 1 for weights in WEIGHTS.values()]
    figure, axes = panels(2 * len(there), len(WEIGHTS), sharey="row", width_ratios=ratios)
    for place, data in enumerate(there):
        _gains(gathered, data, axes[2 * place])
        _fallen(gathered, data, axes[2 * place + 1])
    legend(figure)
    return figure


def _gains(gathered: Gathered, data: str, axes: Sequence[Axes]) -> None:
    """Draw what each penalty's policies earn more than the clone."""
    for (penalty, weights), axis in zip(WEIGHTS.items(), axes, strict=True):

        def gains(model: str, penalty: str = penalty, weights: Sequence[float] = sorted(weights)) -> list[Estimate]:
            return [returns.gain_over_clone(gathered, model, penalty, data, weight) for weight in weights]

        level(axis, 0.0, name=CLONE)
        series = of_models(gains, POLICY_MODELS)
        _over_weights(axis, series, penalty)
        title(axis, f"{penalty} penalty, {data} data", counted(series))
    label(axes[0], y="return over 20 s,\nmore than the clone's")


def _fallen(gathered: Gathered, data: str, axes: Sequence[Axes]) -> None:
    """Draw how often each penalty's policies fall, and the clone with its interval."""
    clone = gathered.estimate(gathered.clones(data), ("deployment", "clone", "fall_fraction"), FRACTION)
    path = ("deployment", "deterministic", "fall_fraction")
    for (penalty, weights), axis in zip(WEIGHTS.items(), axes, strict=True):

        def fallen(model: str, penalty: str = penalty, weights: Sequence[float] = sorted(weights)) -> list[Estimate]:
            return [gathered.estimate(policies(model, data, penalty, weight), path, FRACTION) for weight in weights]

        if clone.value is not None:
            level(axis, clone.value, name=CLONE)
        if clone.low is not None and clone.high is not None:
            axis.axhspan(clone.low, clone.high, color=PALE, zorder=0.0)
        _over_weights(axis, of_models(fallen, POLICY_MODELS), penalty)
        label(axis, WEIGHT)
    axes[0].set_ylim(-0.03 * axes[0].get_ylim()[1])  # with room for whole markers
    label(axes[0], WEIGHT, "share of episodes\nwith a fall")


def _over_weights(axis: Axes, series: Sequence[Series], penalty: str) -> None:
    draw(axis, series)
    ticks(axis, [f"{weight:g}" for weight in sorted(WEIGHTS[penalty])])
