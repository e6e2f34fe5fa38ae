"""The study's analysis: robust means against scipy, pairing, the protocol's rule on numbers made for it, and incomplete results."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from experiments.generated import marks
from experiments.shared_vs_independent import paired, robust, summarise, tables
from experiments.shared_vs_independent.answer import (
    Criterion,
    answer,
    best,
    complete,
    decide,
    recalibration_difference,
    return_difference,
)
from experiments.shared_vs_independent.cells import FORMAT, MODELS, SEEDS, WEIGHTS, Cell, ModelCell, PolicyCell, plan
from experiments.shared_vs_independent.gather import Gathered, models
from experiments.shared_vs_independent.robust import Estimate
from rwmu.uncertainty.functional.falls import fall_foresight
from rwmu.uncertainty.functional.ranking import correlation

# -- robust means -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 3, 4, 5, 9, 10, 15])
def test_the_interquartile_mean_is_scipys(number: int) -> None:
    scores = np.random.default_rng(number).standard_normal((6, number))
    expected = scipy.stats.trim_mean(scores, 0.25, axis=1)
    np.testing.assert_allclose(robust.interquartile_mean(scores), expected, rtol=1e-12)


def test_draws_stay_within_their_stratum() -> None:
    draws = robust.stratified_draws([5, 3], resamples=200)
    assert draws.shape == (200, 8)
    assert set(np.unique(draws[:, :5])) == set(range(5))
    assert set(np.unique(draws[:, 5:])) == {5, 6, 7}


def test_the_interval_is_scipys() -> None:
    """The percentile interval of the trimmed mean, to the noise of resampling."""
    scores = np.random.default_rng(0).standard_normal(25)
    found = robust.estimate([scores.tolist()])
    expected = scipy.stats.bootstrap(
        (scores,), lambda x, axis: scipy.stats.trim_mean(x, 0.25, axis=axis), method="percentile", n_resamples=5000, rng=1
    ).confidence_interval
    assert found.low == pytest.approx(expected.low, abs=0.03)
    assert found.high == pytest.approx(expected.high, abs=0.03)


def test_strata_that_differ_do_not_widen_the_interval() -> None:
    """Two models at 0 and at 10, no spread within: whatever is drawn, the middle half is the same."""
    found = robust.estimate([[0.0] * 4, [10.0] * 4])
    assert (found.value, found.low, found.high) == (5.0, 5.0, 5.0)


def test_too_few_seeds_have_no_interval() -> None:
    found = robust.estimate([[1.0, 2.0]])
    assert (found.value, found.low, found.seeds) == (1.5, None, 2)
    assert "3 seeds" in found.reason
    assert robust.estimate([[]]).text() == "not run yet"


def test_episodes_add_to_the_spread_of_the_seeds() -> None:
    """Five equal seeds, whose number depends on the episodes drawn: the interval is that of the draws."""
    draws = np.linspace(0.0, 1.0, 2001)[None].repeat(5, axis=0)
    found = robust.of_resampled([0.5] * 5, draws, episodes=40)
    assert (found.value, found.episodes) == (0.5, 40)
    assert found.low == pytest.approx(0.025, abs=1e-6)
    assert found.high == pytest.approx(0.975, abs=1e-6)


# -- results made up ----------------------------------------------------------------------------------------------------------


def measured(seed: int, quality: float, falls: float = 1.0) -> dict[str, Any]:
    """Return a measurement whose disagreement follows the error as closely as ``quality`` says (1: exactly)."""
    generator = torch.Generator().manual_seed(seed)
    episode = torch.arange(30).repeat_interleave(5)
    error = torch.rand(150, generator=generator)
    disagreement = quality * error + (1.0 - quality) * torch.rand(150, generator=generator)
    points = {"disagreement": disagreement.tolist(), "error": error.tolist(), "episode": episode.tolist()}
    steps = torch.full((150,), -1)
    steps[4::10], steps[3::10] = 0, 1  # every other episode falls
    score = torch.rand(150, generator=generator) + falls * (steps == 1)
    rows = {"disagreement": score.tolist(), "steps": steps.tolist(), "episode": episode.tolist()}
    cell = {"value": quality, "low": quality - 0.1, "high": quality + 0.1, "trajectories": 30}
    return {
        "history": 2,
        "test": {"episodes": 30, "rows": 150 + 60},
        "ranking": {k: {"rank": cell, "overall_rank": cell} for k in ("1", "8", "24", "100")},
        "scale": {"sampled": {"raw": {"8": {"coverage_683": cell, "width_683": cell}}}},
        "diversity": {"cosine": cell},
        "falls": {"disagreement": {"5": {"value": None, "trajectories": 30, "reason": "no test episode ends in a fall"}}},
        "rows": {"points": {"8": points, "24": points}, "falls": rows},
    }


def made(cell: Cell, **particular: Any) -> dict[str, Any]:
    model = cell if isinstance(cell, ModelCell) else cell.model
    common = {"format": FORMAT, "kind": cell.kind, "name": cell.name, "model": model.model, "data": model.data, "seed": model.seed}
    of_policy = {"penalty": cell.penalty, "weight": cell.weight} if isinstance(cell, PolicyCell) else {}
    return common | of_policy | {"adopted": None, "seconds": {"dynamics": 60.0}} | particular


def model_result(cell: ModelCell, quality: float, falls: float = 1.0) -> dict[str, Any]:
    tested = {name: measured(cell.seed, quality, falls) for name in ("broad", "narrow")}
    return made(cell, parameters=1000, dynamics={"normalized_error": {"1": 0.2, "8": 0.3}}, tested_on=tested)


def policy_result(cell: PolicyCell, value: float) -> dict[str, Any]:
    deterministic = {"return": value, "fall_fraction": 0.1, "num_episodes": 256}
    return made(cell, deployment={"deterministic": deterministic, "clone": {"return": 20.0}}, imagination={"gap": {"return": 1.0}})


def whole_study(quality: dict[str, float], returns: dict[str, float]) -> Gathered:
    """Return all results; a policy's return is its model's, plus 2 at raw weight 1, plus 3 at recalibrated 0.5, plus its seed."""
    results = {}
    for cell in plan():
        if isinstance(cell, ModelCell):
            results[cell.name] = model_result(cell, quality[cell.model])
        else:
            extra = {("raw", 1.0): 2.0, ("recalibrated", 0.5): 3.0}.get((cell.penalty, cell.weight), 0.0)
            results[cell.name] = policy_result(cell, returns[cell.model.model] + extra + 0.01 * cell.model.seed)
    return Gathered(results)


EQUAL = dict.fromkeys(MODELS, 0.8)
SAME = dict.fromkeys(MODELS, 20.0)

# -- pairing ------------------------------------------------------------------------------------------------------------------


def test_statistics_of_all_episodes_are_those_of_the_package() -> None:
    found = measured(3, 0.6, 0.4)
    once = torch.ones(1, 30, dtype=torch.float64)
    points, rows = found["rows"]["points"]["8"], found["rows"]["falls"]
    disagreement, error = (torch.tensor(points[name]) for name in ("disagreement", "error"))
    rank = correlation(disagreement, error, torch.ones(150, dtype=torch.bool))
    assert float(paired.rank_correlation(8)(found, once)) == pytest.approx(float(rank), abs=1e-9)
    area = fall_foresight(torch.tensor(rows["disagreement"]), torch.tensor(rows["steps"]), 5)
    assert float(paired.fall_area(5)(found, once)) == pytest.approx(float(area), abs=1e-6)


def test_rows_far_from_falls_count_for_what_they_stand_for() -> None:
    """Half of the far rows are kept: each counts twice, so a row near a fall that scores high costs half as much."""
    rows = {"disagreement": [0.5, 0.9, 0.1, 0.1], "steps": [1, 20, -1, -1], "episode": [0, 0, 1, 1]}
    found = {"history": 1, "test": {"episodes": 2, "rows": 8}, "rows": {"falls": rows}}
    assert paired.rows_each_stands_for(found, 2, 4) == 2.0  # 6 rows predicted, 2 of them near a fall
    area = paired.fall_area(5)(found, torch.ones(1, 2, dtype=torch.float64))
    assert float(area) == pytest.approx(4 / 5)


def test_models_that_are_alike_differ_by_nothing_at_all() -> None:
    found = paired.difference(whole_study(EQUAL, SAME), "independent", "shared", "broad", "broad", paired.rank_correlation(8))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert (found.seeds, found.episodes) == (5, 30)


def test_a_better_ranking_is_seen_and_only_seeds_that_both_have_count() -> None:
    gathered = whole_study(EQUAL | {"independent": 0.95}, SAME)
    for seed in (0, 3):
        del gathered.by_name[ModelCell("shared", "broad", seed).name]
    found = paired.difference(gathered, "independent", "shared", "broad", "broad", paired.rank_correlation(24))
    assert found.seeds == 3
    assert found.low is not None
    assert found.low > 0.0


def test_without_falls_there_is_no_difference_of_foresight() -> None:
    gathered = whole_study(EQUAL, SAME)
    for cell in models("shared", "broad"):
        gathered.by_name[cell.name]["tested_on"]["broad"]["rows"]["falls"]["steps"] = [-1] * 150
    found = paired.difference(gathered, "independent", "shared", "broad", "broad", paired.fall_area(5))
    assert found.value is None
    assert "no falls" in found.reason


# -- the rule -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "seeds", "verdict"),
    [
        (-0.02, 0.05, 5, "within"),
        (-0.02, 0.051, 5, "open"),
        (0.051, 0.2, 5, "beyond"),
        (0.05, 0.2, 5, "open"),
        (-0.02, 0.01, 4, "open"),
        (None, None, 5, "open"),
    ],
)
def test_one_criterion(low: float | None, high: float | None, seeds: int, verdict: str) -> None:
    assert Criterion("something", Estimate(0.0, low, high, seeds), 0.05).verdict == verdict


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (("within", "within", "within", "within"), "sufficient"),
        (("within", "within", "open", "within"), "undecided"),
        (("within", "beyond", "open", "within"), "insufficient"),
    ],
)
def test_all_criteria(verdicts: tuple[str, ...], expected: str) -> None:
    intervals = {"within": (0.0, 0.01), "open": (0.0, 0.1), "beyond": (0.06, 0.1)}
    assert decide([Criterion("x", Estimate(0.0, *intervals[verdict], 5), 0.05) for verdict in verdicts]) == expected


def test_a_whole_study_of_equals_finds_the_shared_base_sufficient_and_that_recalibration_helps() -> None:
    found = answer(whole_study(EQUAL, SAME))
    assert found.shared == "sufficient"
    assert found.recalibration == "helps"
    assert found.best_weights == {model: {"raw": 1.0, "recalibrated": 0.5} for model in ("shared", "independent", "priors")}


def test_a_study_in_which_independent_members_earn_more_finds_the_shared_base_insufficient() -> None:
    found = answer(whole_study(EQUAL, SAME | {"independent": 22.0}))
    assert found.shared == "insufficient"
    assert any("return" in reason and "beyond the margin" in reason for reason in found.reasons)


def test_the_return_is_compared_at_weights_that_both_have() -> None:
    """Without raw weight 1 of the shared base, its 2 more do not count for the other either: 20.02 on both sides."""
    gathered = whole_study(EQUAL, SAME)
    for seed in SEEDS:
        del gathered.by_name[PolicyCell(ModelCell("shared", "broad", seed), "raw", 1.0).name]
    assert return_difference(gathered).value == 0.0
    found = return_difference(whole_study(EQUAL, SAME | {"independent": 21.0}))
    assert found.value == pytest.approx(1.0 / 22.02)


def test_recalibration_is_paired_by_seed_and_weights_still_on_their_way_do_not_count() -> None:
    gathered = whole_study(EQUAL, SAME)
    found = recalibration_difference(gathered, ["shared", "priors"])
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))
    del gathered.by_name[PolicyCell(ModelCell("shared", "broad", 2), "recalibrated", 0.5).name]
    assert recalibration_difference(gathered, ["shared"]).value == pytest.approx(-2.0)
    assert complete({1.0: {0: 1.0, 1: 2.0}, 5.0: {0: 1.0}}) == {1.0: {0: 1.0, 1: 2.0}}


def test_the_best_weight_is_chosen_anew_in_every_draw() -> None:
    scores = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 3.0]])
    np.testing.assert_allclose(best(scores, np.array([[0, 0, 0, 0], [3, 3, 3, 3], [1, 2, 1, 2]])), [1.0, 3.0, 0.0])


# -- what is written ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    text = "".join(f"{begin}\n{end}\n" for begin, end in (marks(part, summarise.COMMAND) for part in summarise.PARTS))
    (tmp_path / "README.md").write_text(f"# Study\n{text}The end.\n")
    return tmp_path


def test_nothing_run_yet(folder: Path) -> None:
    summarise.main(["--folder", str(folder)])
    readme = (folder / "README.md").read_text()
    assert "Not run yet." in readme
    assert "- model `shared` on broad: all seeds" in readme
    assert readme.endswith("The end.\n")
    assert not (folder / "figures").exists()
    assert json.loads((folder / "answer.json").read_text())["shared"] == "undecided"


def test_a_part_of_the_study(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1, 2):
        cell = ModelCell("shared", "broad", seed)
        (folder / "results" / f"{cell.name}.json").write_text(json.dumps(model_result(cell, 0.8)))
    policy = PolicyCell(ModelCell("shared", "broad", 0), "raw", 1.0)
    (folder / "results" / f"{policy.name}.json").write_text(json.dumps(policy_result(policy, 22.0)))
    (folder / "results" / "model-priors-broad-seed0.json").write_text('{"name": "mod')
    summarise.main(["--folder", str(folder)])
    once = (folder / "README.md").read_text()
    assert "From 4 of 310 cells" in capsys.readouterr().out
    assert "| `shared` | broad | broad | 0.80 [0.80, 0.80]" in once
    assert "no test episode ends in a fall" in once, "the reason stands where a number would"
    assert "| `shared` | broad | raw | 1 | 1 | 22.00 (1 seed) |" in once
    assert "- model `shared` on broad: seeds 3, 4" in once
    assert "`model-priors-broad-seed0` is damaged" in once
    assert {path.stem for path in (folder / "figures").glob("*.png")} == {
        "ranking",
        "coverage",
        "diversity",
        "falls",
        "policies",
        "cost",
    }
    summarise.main(["--folder", str(folder)])
    assert (folder / "README.md").read_text() == once
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    ours = [row for row in rows if row["cell"] == policy.name and row["quantity"] == "deployment.return"]
    assert [(row["penalty"], row["weight"], row["value"]) for row in ours] == [("raw", "1.0", "22.0")]
    assert {row["tested_on"] for row in rows if row["quantity"] == "ranking.8.rank"} == {"broad", "narrow"}


def test_every_cell_is_missing_once() -> None:
    lines = tables.missing(Gathered({}))
    assert len(lines) == 2 * (len(MODELS) + 3 * sum(map(len, WEIGHTS.values())))
    assert tables.missing(whole_study(EQUAL, SAME)) == ["- nothing"]


def test_seconds_of_adopted_cells_are_those_of_their_making() -> None:
    result = made(ModelCell("shared", "broad", 0)) | {"adopted": {"seconds": {"dynamics": 1234.0}}}
    assert tables.seconds_of(result, "dynamics") == 1234.0
    assert tables.gathered_seconds([result], "dynamics") == "1234*"
