"""The study's figures: what they show is where it should be, nothing is cut off, and few seeds or falls are said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from experiments.shared_vs_independent.answer import criteria
from experiments.shared_vs_independent.cells import SEEDS, Cell, ModelCell, PolicyCell, plan
from experiments.shared_vs_independent.figures import CAPTIONS, FIGURES
from experiments.shared_vs_independent.figures_drawing import COLOURS, HOLLOW, MARKERS, Series, draw, limit, panels
from experiments.shared_vs_independent.gather import Gathered
from experiments.shared_vs_independent.robust import Estimate
from tests.experiments.made_up_study import EQUAL, SAME, policy_result, whole_study

MANY = (1.0,) * len(SEEDS)
SURE = {"value": 0.6, "low": 0.5, "high": 0.7, "trajectories": 30}


def study(falls: int = 15, noise: bool = True) -> Gathered:
    """Return all results, which foresee falls, with the noise that older ones lack; one of the last policies falls often."""
    gathered = whole_study(EQUAL, SAME)
    often = PolicyCell(ModelCell("independent", "broad", 0), "recalibrated", 2.0)
    gathered.by_name[often.name] = policy_result(often, 20.0, falls=0.9)
    for result in gathered.by_name.values():
        for tested in result.get("tested_on", {}).values():
            tested["test"]["falls"] = falls
            tested["falls"] = {name: dict.fromkeys(("1", "5", "10", "25"), SURE) for name in ("disagreement", "termination_head")}
            if noise:
                tested["falls"]["noise_estimate"] = tested["falls"]["disagreement"]
                tested["ranking"] = {k: at_step | {"aleatoric_rank": SURE} for k, at_step in tested["ranking"].items()}
    return gathered


def without(gathered: Gathered, *cells: Cell) -> Gathered:
    names = {cell.name for cell in cells}
    return Gathered({name: result for name, result in gathered.by_name.items() if name not in names})


@pytest.fixture(scope="module")
def whole() -> Gathered:
    return study()


def drawn(name: str, gathered: Gathered) -> Figure:
    figure = FIGURES[name](gathered)
    assert figure is not None
    figure.canvas.draw()
    return figure


def explained(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def title_of(axis: Axes) -> str:
    return axis.get_title(loc="left")


def words(axis: Axes) -> str:
    return " | ".join([title_of(axis), *(text.get_text() for text in axis.texts)])


def points(axis: Axes, model: str) -> Any:
    """Return the places and values ``[N, 2]`` of a model's markers."""
    lines = [
        line for line in axis.lines if line.get_marker() == MARKERS[model] and to_hex(line.get_color()) == COLOURS[model].lower()
    ]
    return np.concatenate([np.zeros((0, 2)), *(np.asarray(line.get_xydata()) for line in lines)])


# -- drawing ------------------------------------------------------------------------------------------------------------------


def one_panel(*series: Series) -> tuple[Figure, Axes]:
    figure, ((axis,),) = panels(1, 1)
    draw(axis, series)
    return figure, axis


def test_a_series_stands_on_the_ticks_whatever_has_not_been_run() -> None:
    there, missing = (Estimate(0.5, 0.4, 0.6, MANY), Estimate(0.7, each=MANY)), (Estimate(None, reason="not run yet"),) * 2
    of = {model: Series(model, missing, COLOURS[model], MARKERS[model]) for model in COLOURS}
    of["independent"] = of["independent"]._replace(estimates=there)
    _, axis = one_panel(*of.values())
    assert points(axis, "independent").tolist() == [[0.0, 0.5], [1.0, 0.7]]
    of["shared"] = of["shared"]._replace(estimates=there)
    _, axis = one_panel(*of.values())
    assert [points(axis, model)[:, 0].mean() for model in ("shared", "independent")] == pytest.approx([0.4, 0.6])
    _, axis = one_panel(of["priors"])
    assert words(axis).endswith("not run yet")


def test_few_seeds_are_hollow() -> None:
    estimates = (Estimate(0.5, 0.4, 0.6, MANY), Estimate(0.6, each=(0.5, 0.7)))
    _, axis = one_panel(Series("shared", estimates, COLOURS["shared"], "o"))
    faces = {tuple(line.get_xdata()): to_hex(line.get_markerfacecolor()) for line in axis.lines if line.get_marker() == "o"}
    assert faces[(0.0,)] == COLOURS["shared"].lower()
    assert faces[(1.0,)] == "#ffffff"
    assert HOLLOW in axis.get_legend_handles_labels()[1]
    assert [tuple(line.get_xdata()) for line in axis.lines if line.get_marker() == "_"] == [(0.0, 0.0)]


@pytest.mark.parametrize(("low", "places"), [(0.55, range(5, 11)), (0.37, range(3, 11)), (0.11, range(0, 11, 2))])
def test_an_axis_goes_further_where_numbers_do_and_is_not_crowded(low: float, places: range) -> None:
    _, axis = one_panel(Series("shared", (Estimate(0.6, low, 0.7, MANY),), COLOURS["shared"], "o"))
    limit([axis], 0.5, 1.0, 0.1)
    assert axis.get_yticks() == pytest.approx([place / 10 for place in places])


# -- the figures --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_the_legend_of_a_study_half_run_fits_the_figure_too(name: str, whole: Gathered) -> None:
    """Which has one entry more, of hollow points."""
    missing = [cell for cell in plan() if (cell.seed if isinstance(cell, ModelCell) else cell.model.seed) > 2]
    figure = drawn(name, without(whole, *missing))
    legend = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= legend.x0 <= legend.x1 <= figure.bbox.x1


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_as_wide_as_a_page_and_nothing_is_cut_off(name: str, whole: Gathered) -> None:
    figure = drawn(name, whole)
    assert figure.get_figwidth() == 8.8
    assert CAPTIONS[name].endswith(".")
    legend = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= legend.x0 <= legend.x1 <= figure.bbox.x1
    for axis in figure.axes:
        place = axis.get_subplotspec()
        assert place is not None
        assert place.get_gridspec().ncols <= 2
        low, high = sorted(axis.get_ylim())
        for line in axis.lines:
            values = np.asarray(line.get_ydata(), dtype=float)
            if line.get_transform() == axis.transData:
                assert np.all((low <= values) & (values <= high) | np.isnan(values))


def test_nothing_is_drawn_of_nothing() -> None:
    assert {figure(Gathered({})) for figure in FIGURES.values()} == {None}


def test_the_four_criteria_are_drawn_where_the_page_has_them(whole: Gathered) -> None:
    figure = drawn("differences", whole)
    axis = figure.axes[0]
    assert title_of(axis) == "trained on broad"
    rows = {place: text.get_text() for place, text in zip(axis.get_yticks(), axis.get_yticklabels(), strict=True)}
    assert list(rows.values())[-1] == "deployed return, relative"
    shown = points(axis, "shared")  # the look of independent - shared
    found = [criterion.difference.value for criterion in criteria(whole)]
    assert shown[:, 0][[0, 1, 2, -1]] == pytest.approx(found)
    assert len(shown) == 7, "three of them on other data too"
    assert "5 seeds × 30 episodes, 15 falls" in words(axis)
    assert "the rule's margin: 0.05" in explained(figure)
    assert HOLLOW not in explained(figure)


def test_differences_without_a_pair_of_models_are_not_drawn(whole: Gathered) -> None:
    others = [cell for cell in plan() if "shared-broad" not in cell.name]
    assert FIGURES["differences"](without(whole, *others)) is None


def test_policies_are_points_beside_their_clone(whole: Gathered) -> None:
    lost = PolicyCell(ModelCell("shared", "broad", 2), "recalibrated", 2.0)
    figure = drawn("policies", without(whole, lost))
    gains, recalibrated, fallen, _ = figure.axes[:4]
    assert [title_of(axis) for axis in (gains, recalibrated)] == ["raw penalty, broad data", "recalibrated penalty, broad data"]
    assert "4 to 5 seeds × 8 episodes" in words(recalibrated)
    assert gains.get_ylim() == recalibrated.get_ylim()
    assert points(gains, "shared")[:, 1] == pytest.approx([0.02, 0.02, 0.02, 2.02, 0.02, 0.02])
    assert all(line.get_linestyle() == "None" for line in gains.lines if line.get_marker() in MARKERS.values())
    assert fallen.get_ylim()[0] < 0.0, "with room for a marker at 0"
    assert explained(figure)[-1] == HOLLOW


def test_few_falls_are_said() -> None:
    figure = drawn("falls", study(falls=3))
    assert all("5 seeds × 30 episodes, 3 falls" in words(axis) for axis in figure.axes)
    assert all("only 3 falls" in words(axis) for axis in figure.axes)
    figure = drawn("falls", study(falls=5))
    assert not any("only" in words(axis) for axis in figure.axes)
    assert figure.axes[0].get_yticks()[0] == 0.5


def test_estimates_are_compared_where_the_noise_is_known(whole: Gathered) -> None:
    assert FIGURES["estimates"](study(noise=False)) is None
    assert len(drawn("estimates", whole).axes) == 2 * 4
    some = study(noise=False)
    for seed in (0, 1):
        name = ModelCell("priors", "narrow", seed).name
        some.by_name[name] = whole.by_name[name]
    figure = drawn("estimates", some)
    assert len(figure.axes) == 2 * 2
    assert title_of(figure.axes[0]) == "trained on narrow, tested on broad"
    assert "ranking errors: 2 seeds × 30 episodes" in words(figure.axes[0])
    estimates = ["disagreement", "predicted noise", "termination head (falls only)"]
    assert explained(figure) == ["priors", *estimates, HOLLOW]


def test_members_are_shown_with_their_numbers(whole: Gathered) -> None:
    """The made-up results have the cosine alone: 0.8."""
    alike, worth = drawn("diversity", whole).axes
    assert alike.get_yticks()[[0, -1]].tolist() == [0.0, 1.0]
    assert worth.get_yticks().tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert words(alike).count("0.800") == 4 * 2
