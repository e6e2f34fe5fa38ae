"""The study's analysis: robust means against scipy, pairing, the protocol's rule on numbers made for it, and incomplete results."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from experiments.generated import marks
from experiments.shared_vs_independent import hopes, page, paired, returns, robust, summarise, tables
from experiments.shared_vs_independent.answer import Criterion, answer, cost, criteria, decide, recalibration
from experiments.shared_vs_independent.cells import FORMAT, MODELS, SEEDS, Cell, ModelCell, PolicyCell, plan
from experiments.shared_vs_independent.gather import Gathered, models, number_at, seconds_of
from experiments.shared_vs_independent.returns import Returns
from experiments.shared_vs_independent.robust import Estimate
from rwmu.uncertainty.functional.falls import fall_foresight
from rwmu.uncertainty.functional.ranking import correlation

# -- robust means -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 3, 4, 5, 9, 10, 15])
def test_the_interquartile_mean_is_scipys(number: int) -> None:
    scores = np.random.default_rng(number).standard_normal((6, number))
    expected = scipy.stats.trim_mean(scores, 0.25, axis=1)
    np.testing.assert_allclose(robust.interquartile_mean(scores), expected, rtol=1e-12)


def test_the_interval_over_seeds_is_scipys_percentile_bootstrap() -> None:
    """Where episodes add nothing, drawing seeds alone is what Agarwal et al. do for one task, up to the draws' own luck."""
    each = np.random.default_rng(3).normal(20.0, 2.0, 8)
    ours = robust.of_resampled(each.tolist(), np.repeat(each[:, None], robust.RESAMPLES, axis=1), episodes=40)

    def iqm(sample: Any, axis: int = -1) -> Any:
        return scipy.stats.trim_mean(sample, 0.25, axis=axis)

    theirs = scipy.stats.bootstrap((each,), iqm, method="percentile", n_resamples=20_000, rng=np.random.default_rng(0))
    assert ours.value == pytest.approx(iqm(each), abs=1e-12)
    assert ours.low is not None
    assert ours.high is not None
    assert [ours.low, ours.high] == pytest.approx(list(theirs.confidence_interval), abs=0.15)
    assert ours.high - ours.low > 1.5, "wide beside the tolerance"


def test_a_combined_interval_has_the_spread_of_seeds_and_that_of_episodes() -> None:
    """Three seeds, standard deviation 1: Student's half-width is 4.303 / sqrt(3); the episodes' own are 3 below and 1 above."""
    found = robust.combined([1.0, 2.0, 3.0], [(-2.0, 2.0), (-1.0, 3.0), (0.0, 4.0)], 40)
    over_seeds = scipy.stats.t.ppf(0.975, 2) / np.sqrt(3.0)
    assert found.value == 2.0
    assert found.low == pytest.approx(2.0 - np.hypot(3.0, over_seeds), abs=1e-3)
    assert found.high == pytest.approx(2.0 + np.hypot(1.0, over_seeds), abs=1e-3)
    assert (found.seeds, found.episodes) == (3, 40)
    limited = robust.combined([1.0, 2.0, 3.0], [(-2.0, 2.0), (-1.0, 3.0), (0.0, 4.0)], 40, (0.0, 4.0))
    assert (limited.low, limited.high) == (0.0, 4.0)


def test_students_quantiles() -> None:
    for number, quantile in robust.STUDENT.items():
        assert quantile == pytest.approx(scipy.stats.t.ppf(0.975, number - 1), abs=5e-3)


def test_one_seed_has_the_interval_of_its_episodes_or_none() -> None:
    assert robust.combined([1.0], [(0.5, 1.5)]).text() == "1.00 [0.50, 1.50]"
    assert robust.combined([1.0], [None]).text() == "1.00 (1 seed: 1.00)"
    assert robust.combined([], []).text() == "not run yet"


def test_fewer_than_five_seeds_are_not_resampled_but_shown() -> None:
    found = robust.of_resampled([1.0, 2.0, 4.5], np.ones((3, 100)), episodes=40)
    assert (found.value, found.low, found.each) == (2.5, None, (1.0, 2.0, 4.5))
    assert found.text(1) == "2.5 (3 seeds: 1.0, 2.0, 4.5)"
    assert "5 seeds" in found.reason


def test_the_coverage_that_the_module_speaks_of() -> None:
    """The percentile interval of the interquartile mean of n normal scores: 90 % with five seeds, 75 % with three."""
    generator = np.random.default_rng(0)
    for number, expected in ((5, 0.90), (3, 0.75)):
        scores = generator.standard_normal((4000, number))
        means = robust.interquartile_mean(scores[:, robust.seed_draws(number, 400)])
        low, high = np.quantile(means, robust.ENDS, axis=1)
        assert ((low <= 0.0) & (high >= 0.0)).mean() == pytest.approx(expected, abs=0.02)


def test_luck_of_a_seed_with_an_episode_widens_an_interval_and_luck_of_seeds_does_not() -> None:
    """Returns of five seeds and 40 episodes, each of a luck of its own: the page says that the interval is nearly twice too wide.

    Drawing seeds alone, it has the width of five means' own spread; what all seeds share, it would not see.
    """
    generator = np.random.default_rng(0)
    drawn, alone = [], []
    for _ in range(30):
        luck = [Returns((0.0,), SEEDS, generator.standard_normal((1, 5, 40)), complete=True) for _ in range(2)]
        for widths, seeds_alone in ((drawn, False), (alone, True)):
            found = returns.pooled([(luck[0], luck[1])], seeds_alone)
            widths.append(float(found.high or 0.0) - float(found.low or 0.0))
    needed = 2 * 1.96 * np.sqrt(2.0 / (5 * 40))  # of a mean; an interquartile mean needs a little more
    assert 1.4 * needed < np.mean(drawn) < 2.2 * needed
    assert 0.75 * needed < np.mean(alone) < 1.3 * needed


def test_more_seeds_than_there_are_quantiles_for_are_refused() -> None:
    with pytest.raises(ValueError, match="5 seeds, not for 6"):
        robust.combined([1.0] * 6, [None] * 6)


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
    columns: dict[str, list[float | None]] = {"disagreement": disagreement.tolist(), "error": error.tolist()}
    columns["error"][7] = columns["disagreement"][7] = None  # the episode has ended before
    level = ["expert" if i % 2 else "poor" for i in episode.tolist()]
    forecasts = {"episode": episode.tolist(), "level": level, "steps": {"8": columns, "24": columns}}
    steps = torch.full((150,), -1)
    steps[4::10], steps[3::10] = 0, 1  # every other episode falls
    score = torch.rand(150, generator=generator) + falls * (steps == 1)
    rows = {"disagreement": score.tolist(), "steps": steps.tolist(), "episode": episode.tolist()}
    cell = {"value": quality, "low": quality - 0.1, "high": quality + 0.1, "trajectories": 30}
    return {
        "history": 2,
        "test": {"episodes": 30, "rows": 150 + 60, "falls": 15, "data_hash": "d"},
        "ranking": {k: {"rank": cell, "overall_rank": cell} for k in ("1", "8", "24", "100")},
        "scale": {"sampled": {"raw": {"8": {"coverage_683": cell, "width_683": cell}}}},
        "diversity": {"cosine": cell},
        "falls": {"disagreement": {"5": {"value": None, "trajectories": 30, "reason": "no test episode ends in a fall"}}},
        "rows": {"forecasts": forecasts, "falls": rows},
    }


def made(cell: Cell, **particular: Any) -> dict[str, Any]:
    model = cell if isinstance(cell, ModelCell) else cell.model
    common = {"format": FORMAT, "kind": cell.kind, "name": cell.name, "model": model.model, "data": model.data, "seed": model.seed}
    of_policy = {"penalty": cell.penalty, "weight": cell.weight} if isinstance(cell, PolicyCell) else {}
    return common | of_policy | {"adopted": None, "seconds": {"dynamics": 60.0}} | particular


def model_result(cell: ModelCell, quality: float, falls: float = 1.0) -> dict[str, Any]:
    tested = {name: measured(cell.seed, quality, falls) for name in ("broad", "narrow")}
    return made(cell, parameters=1000, dynamics={"normalized_error": {"1": 0.2, "8": 0.3}}, tested_on=tested)


def policy_result(cell: PolicyCell, value: float, falls: float = 0.1) -> dict[str, Any]:
    """Return a policy that earns ``value`` on average, with the same luck in each of eight episodes whatever the policy."""
    luck = np.array([-2.0, -1.0, -0.5, 0.0, 0.0, 0.5, 1.0, 2.0])
    deterministic = {"return": value, "fall_fraction": falls, "track_lin_vel_xy": 0.9, "num_episodes": 8}
    clone = {"return": 20.0, "fall_fraction": 0.1, "num_episodes": 8}
    episodes = {"deterministic": {"return": (value + luck).tolist()}, "clone": {"return": (20.0 + luck).tolist()}}
    deployment = {"deterministic": deterministic | {"standard_error": {"return": 0.5}}, "clone": clone}
    return made(cell, deployment=deployment, imagination={"gap": {"return": 1.0}}, episodes=episodes)


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
    columns, rows = found["rows"]["forecasts"]["steps"]["8"], found["rows"]["falls"]
    known = [i for i in range(150) if i != 7]
    disagreement, error = (torch.tensor([columns[name][i] for i in known]) for name in ("disagreement", "error"))
    rank = correlation(disagreement, error, torch.ones(149, dtype=torch.bool))
    assert float(paired.rank_correlation(8)(found, once)) == pytest.approx(float(rank), abs=1e-9)
    area = fall_foresight(torch.tensor(rows["disagreement"]), torch.tensor(rows["steps"]), 5)
    assert float(paired.fall_area(5)(found, once)) == pytest.approx(float(area), abs=1e-6)


def hard_and_easy(within: float) -> dict[str, Any]:
    """Return forecasts of a hard and an easy level: disagreement tells them apart; within an episode it is right or wrong."""
    error = [1.0, 1.1, 1.2, 1.3, 0.1, 0.2, 0.3, 0.4]
    disagreement = [10.0 + within * e for e in error[:4]] + [1.0 + within * e for e in error[4:]]
    forecasts = {"episode": [0, 0, 1, 1, 2, 2, 3, 3], "level": ["poor"] * 4 + ["expert"] * 4}
    return {"rows": {"forecasts": forecasts | {"steps": {"8": {"disagreement": disagreement, "error": error}}}}}


def test_telling_levels_apart_is_no_merit_within_them() -> None:
    once = torch.ones(1, 4, dtype=torch.float64)
    right, wrong = hard_and_easy(1.0), hard_and_easy(-1.0)
    assert float(paired.rank_correlation(8)(right, once)) == pytest.approx(1.0)
    assert float(paired.rank_correlation(8)(wrong, once)) > 0.5, "the level alone ranks"
    assert float(paired.within_level(8)(right, once)) == pytest.approx(1.0)
    assert float(paired.within_level(8)(wrong, once)) == pytest.approx(-1.0)
    assert float(paired.within_episode(8)(right, once)) == 1.0
    assert float(paired.within_episode(8)(wrong, once)) == 0.0


def test_pairs_of_an_episode_count_as_often_as_it_is_drawn() -> None:
    """Episode 0 is in order, the others are not: drawn three times beside episode 1 once, it makes three pairs of four."""
    found = hard_and_easy(-1.0)
    columns = found["rows"]["forecasts"]["steps"]["8"]
    columns["disagreement"][0], columns["disagreement"][1] = 1.0, 2.0
    times = torch.tensor([[3.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    assert float(paired.within_episode(8)(found, times)) == pytest.approx(0.75)


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
    assert found.low is None, "three seeds have no interval"
    assert len(gathered.drawn) == 6, "each model's draws are made once"
    assert min(found.each) > 0.0
    base = paired.level_of(gathered, "shared", "broad", "broad", paired.rank_correlation(24))
    assert base.low is not None, "but its episodes have"
    assert base.low < float(base.value or 0.0)


def with_noise(gathered: Gathered, quality: float) -> Gathered:
    """Give every model a predicted noise that follows error and falls as closely as ``quality`` says."""
    for result in gathered.by_name.values():
        for found in result.get("tested_on", {}).values():
            other = measured(100 + result["seed"], quality)["rows"]
            for k, columns in found["rows"]["forecasts"]["steps"].items():
                error, noise = columns["error"], other["forecasts"]["steps"][k]["disagreement"]
                mixed = [None if e is None else quality * e + (1.0 - quality) * n for e, n in zip(error, noise, strict=True)]
                mixed[7] = None
                columns["noise"] = mixed
            found["rows"]["falls"]["noise"] = [0.5] * len(found["rows"]["falls"]["steps"])
    return gathered


def test_disagreement_is_compared_with_the_noise_of_the_same_models() -> None:
    """A disagreement that follows the error exactly, beside a noise that follows it by half and falls not at all."""
    gathered = with_noise(whole_study(dict.fromkeys(MODELS, 1.0), SAME), 0.5)
    rank = paired.disagreement_less_noise(gathered, "shared", "broad", "broad", lambda score: paired.rank_correlation(8, score))
    noise = [
        paired.drawn_values(gathered, cell, "broad", paired.rank_correlation(8, "noise"))[0] for cell in models("shared", "broad")
    ]
    assert rank.value == pytest.approx(1.0 - robust.interquartile_mean(np.array([noise], dtype=float))[0], abs=1e-9)
    assert rank.low is not None
    assert rank.low > 0.0
    assert (rank.seeds, rank.episodes) == (5, 30)
    area = paired.disagreement_less_noise(gathered, "shared", "broad", "broad", lambda score: paired.fall_area(5, score))
    alone = paired.level_of(gathered, "shared", "broad", "broad", paired.fall_area(5))
    assert area.value is not None
    assert alone.value is not None
    assert area.value == pytest.approx(alone.value - 0.5, abs=1e-9), "a constant noise foresees by chance"
    assert tables.against_noise(gathered)[2].startswith("| `shared` | broad | broad | 5 | 30 | ")


def test_results_without_the_noise_are_left_out_of_that_comparison() -> None:
    gathered = whole_study(EQUAL, SAME)
    found = paired.disagreement_less_noise(gathered, "shared", "broad", "broad", lambda score: paired.rank_correlation(8, score))
    assert (found.value, found.reason) == (None, "not run yet")
    assert tables.against_noise(gathered) == ["not run yet"]


def test_few_falls_have_no_interval_and_say_how_many_they_are() -> None:
    gathered = with_noise(whole_study(EQUAL, SAME), 0.5)
    enough = paired.difference(gathered, "independent", "shared", "broad", "broad", paired.fall_area(5))
    assert enough.counted(3) == "0.000 [0.000, 0.000] (5 × 30, 15 falls)"
    for cell in plan():
        if isinstance(cell, ModelCell):
            gathered.by_name[cell.name]["tested_on"]["broad"]["test"]["falls"] = 3
    few = paired.difference(gathered, "independent", "shared", "broad", "broad", paired.fall_area(5))
    assert (few.counted(3), few.few) == ("0.000 (no interval: 3 falls)", True)
    assert paired.level_of(gathered, "shared", "broad", "broad", paired.fall_area(5)).low is None
    area = paired.disagreement_less_noise(gathered, "shared", "broad", "broad", lambda score: paired.fall_area(5, score))
    assert area.text().endswith("(no interval: 3 falls)")
    rank = paired.difference(gathered, "independent", "shared", "broad", "broad", paired.rank_correlation(8))
    assert rank.low is not None, "rankings do not rest on falls"
    assert "| 5 | 30 | 3 | " in tables.differences(gathered)[2]
    assert answer(gathered).shared == "undecided"


def test_without_falls_there_is_no_difference_of_foresight() -> None:
    gathered = whole_study(EQUAL, SAME)
    for model in ("shared", "independent"):
        for cell in models(model, "broad"):
            gathered.by_name[cell.name]["tested_on"]["broad"]["rows"]["falls"]["steps"] = [-1] * 150
    found = paired.difference(gathered, "independent", "shared", "broad", "broad", paired.fall_area(5))
    assert found.value is None
    assert "no falls" in found.reason


def test_measurements_of_other_episodes_are_not_paired() -> None:
    gathered = whole_study(EQUAL, SAME)
    gathered.by_name[ModelCell("shared", "broad", 2).name]["tested_on"]["broad"]["test"]["data_hash"] = "other"
    found = paired.difference(gathered, "independent", "shared", "broad", "broad", paired.rank_correlation(8))
    assert found.value is None
    assert "different episodes" in found.reason


# -- the rule -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "lacking", "verdict"),
    [
        (-0.02, 0.05, "", "within"),
        (-0.02, 0.051, "", "open"),
        (0.051, 0.2, "", "beyond"),
        (0.05, 0.2, "", "open"),
        (-0.02, 0.01, "4 of 5 seeds are there", "open"),
        (None, None, "", "open"),
    ],
)
def test_one_criterion(low: float | None, high: float | None, lacking: str, verdict: str) -> None:
    criterion = Criterion("something", Estimate(0.0, low, high, (0.0,) * 5), 0.05, lacking)
    assert criterion.verdict == verdict
    assert criterion.meaning.startswith(
        {"within": "more than 0.05 is excluded", "beyond": "more than 0.05", "open": "open"}[verdict]
    )
    assert lacking in criterion.meaning


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
    assert decide([Criterion("x", Estimate(0.0, *intervals[verdict], (0.0,) * 5), 0.05) for verdict in verdicts]) == expected


def test_a_whole_study_of_equals_finds_the_shared_base_sufficient_and_that_recalibration_helps() -> None:
    found = answer(whole_study(EQUAL, SAME))
    assert found.shared == "sufficient"
    assert found.recalibration == "helps"
    for by_penalty in found.best_weights.values():
        known = {penalty: (best.weight, best.wins) for penalty, best in by_penalty.items()}
        assert known == {"raw": (1.0, 1.0), "recalibrated": (0.5, 1.0)}
        assert [by_penalty[name].over_none.value for name in ("raw", "recalibrated")] == pytest.approx([2.0, 3.0])
    assert found.cost[0] == "`independent`: 1.00 times the shared base's parameters, its time not yet taken on one machine"


def test_a_study_in_which_independent_members_earn_more_finds_the_shared_base_insufficient() -> None:
    found = answer(whole_study(EQUAL, SAME | {"independent": 24.0}))
    assert found.shared == "insufficient"
    assert [criterion.verdict for criterion in found.criteria] == ["within", "within", "within", "beyond"]


def test_nothing_is_decided_before_every_weight_has_been_run_for_every_seed() -> None:
    """One missing policy, of whichever weight, leaves both questions open; so does having run the first weight alone."""
    whole = whole_study(EQUAL, SAME | {"independent": 24.0})
    lost = dict(whole.by_name)
    del lost[PolicyCell(ModelCell("shared", "broad", 2), "raw", 0.2).name]
    found = answer(Gathered(lost))
    assert (found.shared, found.recalibration) == ("undecided", "undecided")
    assert found.criteria[-1].meaning == "open: 5 of 6 weights run for all 5 seeds"
    assert found.best_weights["shared"]["raw"].text == "not known (5 of 6 weights run)"
    first = {name: result for name, result in whole.by_name.items() if result["kind"] == "model" or result["weight"] == 1.0}
    assert answer(Gathered(first)).shared == "undecided"
    assert criteria(Gathered(first))[-1].verdict == "open"
    better = dict(whole_study(EQUAL | {"independent": 0.99, "shared": 0.2}, SAME).by_name)
    del better[PolicyCell(ModelCell("shared", "broad", 2), "raw", 0.2).name]
    found = answer(Gathered(better))
    assert found.criteria[0].verdict == "beyond"
    assert found.shared == "undecided", "not even that it is insufficient"


def test_a_return_says_how_far_it_is_above_the_clone_and_a_ranking_how_far_it_could_rise() -> None:
    found = answer(whole_study(EQUAL, SAME)).criteria
    assert found[-1].beside == "earned more than the clone, weights chosen by the other seeds: independent 2.02, shared 2.02"
    assert "at most 0." in found[0].beside


def test_the_gain_over_the_clone_is_the_difference_of_the_means_that_the_tables_show() -> None:
    """Of the seeds' returns 1, 2, 3, 4, 90 less clones' 0, 0, 0, 0, 80: interquartile means 3 and 0, of the pairs 3.33."""
    gathered = whole_study(EQUAL, SAME)
    for seed, (own, clone) in enumerate(((1.0, 0.0), (2.0, 0.0), (3.0, 0.0), (4.0, 0.0), (90.0, 80.0))):
        for cell in plan([seed]):
            if isinstance(cell, PolicyCell) and cell.model.data == "broad":
                gathered.by_name[cell.name]["episodes"] = {"deterministic": {"return": [own] * 8}, "clone": {"return": [clone] * 8}}
    assert returns.gain_over_clone(gathered, "shared", "raw", "broad", 0.2).value == 3.0


def test_recalibration_that_does_worse_for_sure_hurts_and_what_may_be_either_is_not_shown_to_help() -> None:
    gathered = whole_study(EQUAL, SAME)
    for cell in plan():
        if isinstance(cell, PolicyCell) and cell.penalty == "recalibrated":
            gathered.by_name[cell.name] = policy_result(cell, 15.0 if cell.model.seed % 2 else 30.0)
    assert recalibration(gathered)[0] == "not shown to help"
    for cell in plan():
        if isinstance(cell, PolicyCell) and cell.penalty == "recalibrated":
            gathered.by_name[cell.name] = policy_result(cell, 15.0)
    verdict, rows = recalibration(gathered)
    assert verdict == "hurts"
    assert [(row.model, row.data) for row in rows[3:5]] == [("all", "broad"), ("shared", "narrow")]
    assert all(row.complete for row in rows)
    assert rows[3].best.value == pytest.approx(-7.02)
    assert rows[3].by_others == pytest.approx(-7.02)


def test_a_recalibrated_penalty_half_run_is_compared_at_weights_that_both_have() -> None:
    """Raw earns 2 more at weight 1 alone, recalibrated 3 more at 0.5: of weight 2, run alone, neither says anything more."""
    gathered = whole_study(EQUAL, SAME)
    policies = [cell for cell in plan() if isinstance(cell, PolicyCell)]
    for cell in policies:
        if cell.model.model == "priors" or (cell.penalty == "recalibrated" and cell.weight < 2.0):
            del gathered.by_name[cell.name]
    found = answer(gathered)
    row = next(row for row in found.recalibrated if (row.model, row.data) == ("all", "broad"))
    assert row.best.value == pytest.approx(-2.0)
    assert (row.alike.value, row.models, row.complete) == (0.0, ("shared", "independent"), False)
    lines = page.answer_lines(found, [], gathered)
    assert any("so far, at those that both have been run with, neither surely earns more." in line for line in lines)
    assert any(line.startswith("| **shared and independent** | broad (not all weights run) | -2.00 [") for line in lines)
    assert any("Return − that of the raw penalty: 0.00 [0.00, 0.00] (5 × 8)." in line for line in page.short_lines(found, gathered))


# -- returns ------------------------------------------------------------------------------------------------------------------


def raw_returns(table: list[list[float]]) -> Returns:
    """Return made-up returns of weights by seeds, of one episode each."""
    scores = np.array(table)[:, :, None]
    return Returns(tuple(float(i) for i in range(len(table))), tuple(range(scores.shape[1])), scores, complete=True)


def test_the_best_weight_is_chosen_anew_in_every_draw() -> None:
    found = raw_returns([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 3.0]])
    places = np.array([[0, 0, 0, 0], [3, 3, 3, 3], [1, 2, 1, 2]])
    np.testing.assert_allclose(returns.best(found, returns.Draws(places, np.ones((3, 1)))), [1.0, 3.0, 0.0])


def test_other_seeds_choose_a_seeds_weight() -> None:
    """Each seed is best at a weight of its own by luck: those chosen by the others do not have that luck."""
    lucky = raw_returns([[9.0, 1.0, 1.0], [1.0, 9.0, 1.0], [1.0, 1.0, 9.0]])
    assert returns.chosen_by_others(lucky) == [1.0, 1.0, 1.0]
    assert returns.chosen_by_others(raw_returns([[5.0, 6.0, 7.0], [1.0, 1.0, 1.0]])) == [5.0, 6.0, 7.0]


def test_the_gain_at_the_best_weight_has_no_luck_of_the_choice_in_its_other_number() -> None:
    """Every two seeds are lucky at a weight of their own, and earn as much as their clones at the others."""
    gathered = whole_study(EQUAL, SAME)
    for cell in plan():
        if isinstance(cell, PolicyCell) and cell.penalty == "raw":
            place = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0).index(cell.weight)
            lucky = cell.model.seed in (place % 5, (place + 1) % 5)
            gathered.by_name[cell.name] = policy_result(cell, 29.0 if lucky else 20.0)
    best = answer(gathered).best_weights["shared"]["raw"]
    assert best.gain_by_others == 0.0
    assert (best.gain.value, best.gain.low) == (pytest.approx(3.0), 0.0), "chosen anew in every draw, the low end would be above 0"


def test_the_return_is_compared_at_weights_that_both_have() -> None:
    """Without raw weight 1 of the shared base, its 2 more do not count for the other either: 20.02 on both sides."""
    gathered = whole_study(EQUAL, SAME)
    for seed in SEEDS:
        del gathered.by_name[PolicyCell(ModelCell("shared", "broad", seed), "raw", 1.0).name]
    assert criteria(gathered)[-1].difference.value == 0.0
    found = criteria(whole_study(EQUAL, SAME | {"independent": 21.0}))[-1].difference
    assert found.value == pytest.approx(1.0 / 22.02)
    assert (found.seeds, found.episodes) == (5, 8)


def test_episodes_are_paired_and_do_not_widen_a_difference_that_is_the_same_in_all() -> None:
    gathered = whole_study(EQUAL, SAME)
    sides = [Returns.of(gathered, "shared", penalty, "broad") for penalty in ("recalibrated", "raw")]
    found = returns.difference(sides[0], sides[1])
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))
    assert returns.pooled([(sides[0], sides[1])] * 2).value == pytest.approx(1.0)
    luck = gathered.by_name[PolicyCell(ModelCell("shared", "broad", 0), "raw", 1.0).name]["episodes"]["deterministic"]["return"]
    luck.reverse()  # the same mean, but other episodes are the lucky ones
    other = returns.difference(sides[0], Returns.of(gathered, "shared", "raw", "broad"))
    assert other.value == pytest.approx(1.0)
    assert float(other.high or 0.0) - float(other.low or 0.0) > 0.1


def test_weights_still_on_their_way_do_not_count() -> None:
    gathered = whole_study(EQUAL, SAME)
    del gathered.by_name[PolicyCell(ModelCell("shared", "broad", 2), "recalibrated", 0.5).name]
    found = Returns.of(gathered, "shared", "recalibrated", "broad")
    assert (found.weights, found.seeds, found.complete) == ((1.0, 2.0), SEEDS, False)


# -- hopes --------------------------------------------------------------------------------------------------------------------


def test_hopes_are_judged_once_all_is_there() -> None:
    gathered = whole_study(EQUAL | {"independent": 0.95}, SAME)
    ranking, coverage, foresight, walking, curve = hopes.hopes(gathered)
    assert ranking.met is True
    assert foresight.met is False, "there is no number"
    assert coverage.met is None, "the made-up results have no recalibrated coverage"
    assert walking.met is True
    assert "5 of 5 at weight 1" in walking.found
    assert curve.met is True
    assert "above weight 0 by 2.00 [2.00, 2.00] (5 × 8); above weight 5 by 2.00" in curve.found
    assert answer(gathered).best_weights["independent"]["raw"].weight == 1.0
    for seed in (0, 4):
        del gathered.by_name[ModelCell("independent", "broad", seed).name]
    assert hopes.ranking(gathered).met is None
    assert "not known yet" in hopes.ranking(gathered).line


def test_one_seed_that_falls_is_seen() -> None:
    """The interquartile mean leaves it out; the hope and the table do not."""
    gathered = whole_study(EQUAL, SAME)
    cell = PolicyCell(ModelCell("independent", "broad", 3), "raw", 1.0)
    gathered.by_name[cell.name] = policy_result(cell, 22.0, falls=1.0)
    assert hopes.walking(gathered).met is False
    row = next(line for line in tables.deployed(gathered) if line.startswith("| `independent` | broad | raw | 1 |"))
    assert "| 4 of 5 |" in row
    assert "0.10, 0.10, 0.10, 1.00, 0.10" in row


def test_a_flat_curve_is_no_inverted_u() -> None:
    gathered = whole_study(EQUAL, SAME)
    for cell in plan():
        if isinstance(cell, PolicyCell) and cell.penalty == "raw":
            gathered.by_name[cell.name] = policy_result(cell, 20.0)
    assert hopes.inverted_u(gathered).met is False


# -- numbers ------------------------------------------------------------------------------------------------------------------


def test_a_number_has_the_interval_that_stands_with_it_or_beside_it() -> None:
    cell = {"a": {"value": 0.5, "low": 0.4, "high": 0.7, "trajectories": 30}}
    found = number_at(cell, ("a",))
    assert found is not None
    assert (found.value, found.ends, found.episodes) == (0.5, (0.4, 0.7), 30)
    errors = {"dynamics": {"normalized_error": {"8": 0.3}, "standard_error": {"8": 0.1}, "episodes": 85}}
    found = number_at(errors, ("dynamics", "normalized_error", "8"))
    assert found is not None
    assert found.ends == pytest.approx((0.3 - 0.196, 0.3 + 0.196))
    assert found.episodes == 85
    assert number_at(errors, ("dynamics", "nothing")) is None


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
    assert "- policies inside `shared` models of broad data: all" in readme
    assert readme.endswith("The end.\n")
    assert not (folder / "figures").exists()
    assert json.loads((folder / "answer.json").read_text())["shared"] == "undecided"


def test_every_interval_of_the_answer_says_what_it_rests_on() -> None:
    """Seeds × episodes stand behind it in a sentence, and in a column of their own in a table."""
    gathered = with_noise(whole_study(EQUAL, SAME), 0.5)
    found = answer(gathered)
    for line in [*page.answer_lines(found, hopes.hopes(gathered), gathered), *page.short_lines(found, gathered)]:
        intervals = re.findall(r"\[-?[\d.]+, -?[\d.]+\](?! \(\d+ × \d+(, \d+ falls)?\))", line)
        assert not intervals or (line.startswith("|") and re.search(r"\| \d+ × \d+(, \d+ falls)? \|", line)), line


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
    tables_page = (folder / "table.md").read_text()
    assert "| `shared` | broad | broad | 3 | 30 | 0.80 [0.70, 0.90]" in tables_page
    assert "no test episode ends in a fall" in tables_page, "the reason stands where a number would"
    assert "| `shared` | broad | raw | 1 | 1 of 1 | 22.00 [21.02, 22.98] | 22.0 |" in tables_page
    assert "| the clones | broad |" in tables_page
    assert "| raw | 1 | 2.00 (1 seed: 2.00) | 0.10 (1 seed: 0.10) |" in once
    assert "- models: `shared` of broad data (seeds 3, 4); `independent` of broad data; " in once
    assert "- policies inside `shared` models of broad data: raw 1 (seeds 1, 2, 3, 4); raw 0; " in once
    assert "`model-priors-broad-seed0` is damaged" in once
    drawn = {path.stem for path in (folder / "figures").glob("*.png")}
    assert drawn == {"ranking", "coverage", "diversity", "falls", "policies"}
    summarise.main(["--folder", str(folder)])
    assert (folder / "README.md").read_text() == once
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    ours = [row for row in rows if row["cell"] == policy.name and row["quantity"] == "deployment.return"]
    assert [(row["penalty"], row["weight"], row["value"]) for row in ours] == [("raw", "1.0", "22.0")]
    assert {row["tested_on"] for row in rows if row["quantity"] == "ranking.8.rank"} == {"broad", "narrow"}


def test_times_are_compared_on_one_machine_only() -> None:
    gathered = whole_study(EQUAL, SAME)
    assert all(line.endswith("its time not yet taken on one machine") for line in cost(gathered))
    for data, slow in (("broad", {"processor": "slow"}), ("narrow", {"processor": "fast"})):
        for model, machine, seconds in (("shared", {"processor": "fast"}, 60.0), ("priors", slow, 150.0)):
            for seed in SEEDS:
                result = gathered.by_name[ModelCell(model, data, seed).name]
                result["machine"], result["seconds"]["dynamics"] = machine, seconds
    found = {line.split(":")[0]: line for line in cost(gathered)}
    assert found["`priors`"].endswith("2.5 times its seconds of training (narrow; medians of 5 and 5, beside other work)")
    assert found["`independent`"].endswith("its time not yet taken on one machine")


def test_what_is_missing_is_said_in_a_few_lines() -> None:
    lines = tables.missing(Gathered({}))
    assert len(lines) == 1 + 2 * 3
    assert lines[0].count("` of ") == 2 * len(MODELS)
    assert all(line.endswith(": all") for line in lines[1:])
    assert tables.missing(whole_study(EQUAL, SAME)) == ["- nothing"]


def test_adopted_cells_are_marked_and_their_seconds_are_those_of_their_making() -> None:
    gathered = whole_study(EQUAL, SAME)
    result = gathered.by_name[ModelCell("shared", "broad", 0).name]
    result["adopted"] = {"seconds": {"dynamics": 1234.0}}
    assert seconds_of(result, "dynamics") == 1234.0
    assert tables.error_and_cost(gathered)[2].startswith("| `shared`* | broad |")
    assert "1234, 60, 60" in tables.error_and_cost(gathered)[2]
    assert tables.ranking(gathered)[3].startswith("| `independent` |")
