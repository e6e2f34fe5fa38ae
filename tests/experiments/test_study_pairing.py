"""The study's paired differences between models, and between the scores of one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from experiments.shared_vs_independent import paired, robust, tables
from experiments.shared_vs_independent.answer import answer
from experiments.shared_vs_independent.cells import MODELS, ModelCell, plan
from experiments.shared_vs_independent.gather import models
from rwmu.uncertainty.functional.falls import fall_foresight
from rwmu.uncertainty.functional.ranking import correlation
from tests.experiments.made_up_study import EQUAL, SAME, measured, whole_study, with_noise


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
