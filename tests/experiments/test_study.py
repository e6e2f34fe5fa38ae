"""The study of shared and independent members: its rule on made-up results with known answers, and its answer from its table."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.shared_vs_independent import study
from experiments.shared_vs_independent.study import COMPARED, DATA, MODELS, POLICY_MODELS, SEEDS, WEIGHTS, Statistic, Table
from rwmu.dynamics.world_model import parameter_count
from rwmu.runs.configuration import compose_config
from rwmu.runs.experiment import build
from rwmu.uncertainty import pairing
from rwmu.uncertainty.functional.ranking import correlation

LUCK = np.array([-2.0, -1.0, -0.5, 0.0, 0.0, 0.5, 1.0, 2.0])  # of eight episodes, whatever the policy
EQUAL, SAME = dict.fromkeys(MODELS, 0.8), dict.fromkeys(MODELS, 20.0)
Row = dict[str, str]


def row(cell: str, on: str, quantity: str, value: float | None = None, series: Any = None) -> Row:
    number = "" if value is None else repr(value)
    words = "" if series is None else " ".join(map(str, series))
    empty = dict.fromkeys(("processor", "low", "high", "episodes"), "")
    return empty | {"cell": cell, "tested_on": on, "quantity": quantity, "value": number, "series": words}


def measured(cell: str, on: str, seed: int, quality: float) -> Iterator[Row]:
    """Forecast 150 times with a disagreement that follows the error as closely as ``quality`` says (1: exactly)."""
    generator = torch.Generator().manual_seed(seed)
    error, other = torch.rand(2, 150, generator=generator)
    error[7] = torch.nan  # the episode has ended before
    for k, (name, values) in product((8, 24), {"error": error, "disagreement": quality * error + (1 - quality) * other}.items()):
        yield row(cell, on, f"forecasts.{k}.{name}", series=values.tolist())
    before_fall = torch.arange(150) % 10 == 3
    yield row(cell, on, "fall_rows.disagreement", series=(torch.rand(150, generator=generator) + before_fall).tolist())
    for name, value in {"test.rows": 210.0, "test.episodes": 30.0, "history": 2.0}.items():
        yield row(cell, on, name, value)


def made_up(quality: dict[str, float], returns: dict[str, float]) -> list[Row]:
    """Return all results; a policy's return is its model's, plus 2 at raw weight 1, plus 3 at recalibrated 0.5, plus its seed."""
    rows = []
    steps = np.where(np.arange(150) % 10 == 3, 1, -1)
    for on in DATA:
        episode = np.arange(30).repeat(5)
        rows += [row("test", on, f"{kind}.episode", series=episode) for kind in ("forecasts", "fall_rows")]
        rows += [row("test", on, "fall_rows.steps", series=steps), row("test", on, "falls", 15.0)]
    for (model, data), seed, on in product(product(MODELS, DATA), SEEDS, DATA):
        rows += measured(study.models(model, data)[seed], on, seed, quality[model])
    for model, data, (penalty, weights) in product(POLICY_MODELS, DATA, WEIGHTS.items()):
        for weight, seed in product(weights, SEEDS):
            extra = {("raw", 1.0): 2.0, ("recalibrated", 0.5): 3.0}.get((penalty, weight), 0.0) + 0.01 * seed
            cell = study.policies(model, data, penalty, weight)[seed]
            rows.append(row(cell, "", "deterministic.returns", series=returns[model] + extra + LUCK))
            rows.append(row(cell, "", "clone.returns", series=20.0 + LUCK))
    return rows


@pytest.fixture(scope="module")
def equals() -> Table:
    """Return a study whose models are alike."""
    return Table(made_up(EQUAL, SAME))


def changed(table: Table, rows: list[Row]) -> Table:
    """Return a table with other rows in the place of some, and the draws that have been made of it."""
    new, other = Table([]), Table(rows)
    new.numbers, new.series = table.numbers | other.numbers, table.series | other.series
    new._drawn = table._drawn
    return new


def earning(name: str, value: float) -> list[Row]:
    """Let all policies of a model or a penalty earn the same."""
    kinds = product(POLICY_MODELS, DATA, WEIGHTS.items())
    cells = [cell for m, data, (penalty, ws) in kinds for weight in ws for cell in study.policies(m, data, penalty, weight)]
    return [row(cell, "", "deterministic.returns", series=value + LUCK) for cell in cells if f"-{name}-" in cell]


# -- the rule ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (("within",) * 4, "sufficient"),
        (("within", "within", "open", "within"), "undecided"),
        (("within", "beyond", "open", "within"), "insufficient"),
    ],
)
def test_all_criteria(verdicts: tuple[str, ...], expected: str) -> None:
    assert study.decide(verdicts) == expected


def test_a_study_of_equals_finds_the_shared_base_sufficient_and_that_recalibration_helps(equals: Table) -> None:
    found = study.answer(equals)
    assert (found["shared"], found["recalibration"]) == ("sufficient", "helps")
    assert [(c["difference"].value, c["difference"].low, c["difference"].high) for c in found["criteria"]] == [(0.0, 0.0, 0.0)] * 4
    assert [c["difference"].counts for c in found["criteria"]] == ["5 × 30", "5 × 30", "5 × 30, 15 falls", "5 × 8"]
    for by_penalty in found["best_weights"].values():
        assert {penalty: (best["weight"], best["wins"]) for penalty, best in by_penalty.items()} == {
            "raw": (1.0, 1.0),
            "recalibrated": (0.5, 1.0),
        }
        assert [by_penalty[name]["over_none"].value for name in WEIGHTS] == pytest.approx([2.0, 3.0])
        assert [by_penalty[name]["gain"].value for name in WEIGHTS] == pytest.approx([2.02, 3.02])
    alike = next(r["alike"] for r in found["recalibrated"] if (r["model"], r["data"]) == ("all", "broad"))
    assert alike.value == pytest.approx(1.0), "both have weight 1 and 0.5"


def test_a_study_in_which_independent_members_earn_more_finds_the_shared_base_insufficient(equals: Table) -> None:
    found = study.criteria(changed(equals, earning("independent", 24.0)))
    assert [criterion["verdict"] for criterion in found] == ["within", "within", "within", "beyond"]
    assert found[-1]["difference"].value == pytest.approx(24.0 / 22.02 - 1.0)


def test_few_falls_decide_nothing(equals: Table) -> None:
    found = study.criteria(changed(equals, [row("test", "broad", "falls", 3.0)]))
    assert [criterion["verdict"] for criterion in found] == ["within", "within", "open", "within"]


def test_a_better_ranking_is_seen() -> None:
    table = Table(made_up(EQUAL | {"independent": 0.95, "shared": 0.5}, SAME))
    found = study.difference(table, "independent", "shared", "broad", "broad", Statistic("rank", 24))
    assert found.against(study.MARGIN) == "beyond"
    columns = [table.values("model-shared-broad-seed0", f"forecasts.24.{name}", "broad") for name in ("disagreement", "error")]
    known = ~columns[1].isnan()
    rank = correlation(columns[0][known], columns[1][known], torch.ones(149, dtype=torch.bool))
    first = table.drawn("model-shared-broad-seed0", "broad", Statistic("rank", 24))[0]
    assert first == pytest.approx(float(rank), abs=1e-6)


@pytest.mark.parametrize(("value", "verdict"), [(15.0, "hurts"), (22.02, "not shown to help"), (30.0, "helps")])
def test_recalibration(equals: Table, value: float, verdict: str) -> None:
    table = changed(equals, earning("recalibrated", value))
    rule = next(r for r in study.recalibration(table) if (r["model"], r["data"]) == ("all", "broad"))
    assert rule["best"].value == pytest.approx(value - 22.02)
    assert study.helps(rule["best"]) == verdict


# -- the table --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table() -> Table:
    return Table.read()


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((study.HERE / "answer.json").read_text())
    return found


def test_the_committed_answer_follows_from_the_table(table: Table, committed: dict[str, Any]) -> None:
    """All but the intervals of the rule's first three criteria, which one of them stands for below: they take a minute."""
    assert study.plain(study.recalibration(table)) == committed["recalibrated"]
    weights = {model: {penalty: study.best_weight(table, model, penalty) for penalty in WEIGHTS} for model in POLICY_MODELS}
    assert study.plain(weights) == committed["best_weights"]
    assert study.decide([criterion["verdict"] for criterion in committed["criteria"]]) == committed["shared"]
    once = pairing.episode_draws(table.episodes("broad"))[:1]
    for (name, statistic), criterion in zip(study.OF_RULE.items(), committed["criteria"], strict=False):
        drawn = {m: [float(statistic(table, c, "broad", once)) for c in study.models(m, "broad")] for m in COMPARED[0]}
        each = [one - other for one, other in zip(drawn["independent"], drawn["shared"], strict=True)]
        assert criterion["name"] == name
        assert criterion["difference"]["each"] == pytest.approx(each, abs=1e-9)
        assert criterion["room"] == pytest.approx(1.0 - pairing.interquartile_mean(np.array(drawn["shared"])), abs=1e-9)
    deployed = study.plain(study.returns_differ(table, *COMPARED[0], "broad"))
    assert deployed == committed["criteria"][-1]["difference"]


def test_the_interval_of_a_criterion_follows_from_the_table(table: Table, committed: dict[str, Any]) -> None:
    found = study.difference(table, *COMPARED[0], "broad", "broad", Statistic("rank", 8))
    assert study.plain(found) == committed["criteria"][0]["difference"]


def test_what_was_hoped_of_independent_members_is_judged_by_the_table(table: Table) -> None:
    """The five lines of README.md under "What was hoped"."""
    cells = study.models("independent", "broad")
    ranks = [table.estimate(cells, f"ranking.{k}.rank", "broad").value for k in study.HORIZONS]
    assert [f"{rank:.3f}" for rank in ranks] == ["0.907", "0.918", "0.904", "0.839"]
    nominal = {"coverage_683": 0.683, "coverage_95": 0.95}
    off = {
        abs(table.estimate(cells, f"scale.sampled.conformal.{k}.{name}", "broad").value - share)
        for k, (name, share) in product(study.HORIZONS, nominal.items())
    }
    assert f"{max(off):.3f}" == "0.027"
    assert f"{table.estimate(cells, 'falls.disagreement.5', 'broad').value:.3f}" == "0.974"
    best = study.policies("independent", "broad", "raw", 2.0)
    assert min(table.value(cell, "deterministic.track_lin_vel_xy") for cell in best) >= 0.6
    assert max(table.value(cell, "deterministic.fall_fraction") for cell in best) <= 0.2
    raw = table.returns("independent", "broad")
    drops = [pairing.best_difference([(raw[4:5], raw[end : end + 1])]).text() for end in (0, 5)]
    assert (pairing.best_option(raw), drops) == (4, ["0.32 [-0.12, 0.68]", "0.46 [-0.02, 0.88]"])


def test_what_rounding_comes_to(table: Table) -> None:
    """The numbers of README.md under "Another processor": between processors, and over seeds."""
    other = Table.read(processor="another")

    def compared(quantity: str, on: str = "") -> list[str]:
        cells = [cell for cell, *rest in other.numbers if rest == [on, quantity]]
        both = np.array([[found.value(cell, quantity, on) for cell in cells] for found in (table, other)])
        kinds = np.array([re.sub(r"seed\d", "", cell) for cell in cells])
        spread = [both[0, kinds == kind].var(ddof=1) for kind in np.unique(kinds) if (kinds == kind).sum() > 1]
        gap = np.sqrt(np.square(both[0] - both[1]).mean() / 2.0)
        return [str(len(cells)), f"{gap:.3f}", f"{np.sqrt(np.mean(spread)):.3f}"]

    assert compared("error.100") == ["5", "0.014", "0.015"]
    assert compared("ranking.8.rank", "broad") == ["5", "0.006", "0.010"]
    assert compared("ranking.8.rank", "narrow") == ["5", "0.026", "0.047"]
    assert compared("deterministic.return") == ["11", "0.181", "0.414"]


def test_the_page_shows_the_committed_answer(committed: dict[str, Any]) -> None:
    page = (study.HERE / "README.md").read_text()
    assert f"**{committed['shared']}**" in page
    for criterion in committed["criteria"]:
        found = criterion["difference"]
        assert f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]" in page
    for one in committed["recalibrated"]:
        found = one["best"]
        assert f"| {one['model']} | {one['data']} | {found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]" in page
    for figure in study.FIGURES:
        assert f"figures/{figure}.png" in page
        assert (study.HERE / "figures" / f"{figure}.png").is_file()


# -- cells ------------------------------------------------------------------------------------------------------------------------


def test_every_cell_has_a_command_and_results(table: Table) -> None:
    lines = list(study.commands())
    assert len(lines) == len(DATA) * (len(MODELS) + len(POLICY_MODELS) * len(WEIGHTS))
    assert all(shlex.split(line)[:4] == ["python", "-m", "rwmu.train", "-m"] for line in lines)
    cells = {cell for cell, _, _ in table.numbers} - {"test"}
    assert len(cells) == 2 * 5 * (4 + 3 * 9)


@pytest.mark.parametrize("model", list(MODELS))
def test_the_configuration_of_a_model_has_the_measured_parameters(table: Table, model: str) -> None:
    config = compose_config("train", study.settings(model, "broad"))
    experiment = build(config)
    built, _ = experiment.fitter.new_model(experiment.task.robot)
    assert parameter_count(built) == table.value(study.models(model, "broad")[0], "parameters")


def test_a_figure_is_drawn_without_a_display(equals: Table, tmp_path: Path) -> None:
    study.finish(study.draw_policies(equals), tmp_path / "policies.png")
    assert (tmp_path / "policies.png").stat().st_size > 10_000
