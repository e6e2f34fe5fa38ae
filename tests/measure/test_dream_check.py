from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from rwmu.measure.deployment import StandingStill, deploy
from rwmu.measure.dream_check import dream_of, dream_reality, level_starts
from tests.fakes import known_world_model, quiet_task, random_episodes
from tests.measure.fakes import deployment


def test_starts_come_from_the_level_where_it_has_episodes() -> None:
    episodes = replace(random_episodes([10, 12, 3, 20]), levels=["poor", "good", "good", "poor"])
    ids = torch.arange(4)
    assert level_starts(episodes, ids, "good", history=4).tolist() == list(range(10, 10 + 9))
    # Episode 2 alone is too short for a history of 4, so every level serves.
    assert len(level_starts(episodes, torch.tensor([0, 2]), "good", history=4)) == 7
    assert len(level_starts(episodes, ids, None, history=4)) == 7 + 9 + 17


def test_a_robot_that_topples_is_no_start() -> None:
    episodes = random_episodes([80, 30], terminated=(0, 1))
    # The last history of episode 0 that may serve ends at row 29, 50 rows before its fall; episode 1 falls too soon for any.
    assert level_starts(episodes, torch.arange(2), None, history=4).tolist() == list(range(27))
    assert len(level_starts(episodes, torch.tensor([1]), None, history=4)) == 27


def test_a_dream_is_deployed_like_a_simulator() -> None:
    task, episodes = quiet_task(), random_episodes([30, 30])
    model = known_world_model(2, history=4, drift=1e-4)
    starts = level_starts(episodes, torch.arange(2), None, model.history)
    result = deploy(dream_of(model, task, episodes, starts, 6, 70), StandingStill(12), 70)
    assert result.lived_steps.tolist() == [70] * 6
    assert not result.fell.any()
    again = deploy(dream_of(model, task, episodes, starts, 6, 70), StandingStill(12), 70)
    assert again.to_plain() == result.to_plain()


def test_certain_terminations_end_a_dream_at_its_first_step() -> None:
    task, episodes = quiet_task(), random_episodes([30, 30])
    model = known_world_model(2, history=4, termination_logit=50.0)
    starts = level_starts(episodes, torch.arange(2), None, model.history)
    result = deploy(dream_of(model, task, episodes, starts, 6, 20), StandingStill(12), 20)
    assert result.fell.all()
    assert result.lived_steps.tolist() == [1] * 6


def test_gaps_are_rates_of_the_settled_time() -> None:
    dreamt, real = deployment(tracking=0.9), deployment(tracking=0.6)
    table = dream_reality({"good": dreamt, "only_in_the_dream": dreamt}, {"good": real})
    assert list(table["levels"]) == ["good"]
    row = table["levels"]["good"]["terms"]
    scale = float((real.settled_term_sums["track_lin_vel_xy_exp"] / 0.6).sum() / real.settled_steps.sum())
    assert row["track_lin_vel_xy_exp"]["gap"] == pytest.approx(0.3 * scale, rel=1e-6)
    assert row["total"]["gap"] == pytest.approx(row["track_lin_vel_xy_exp"]["gap"])
    assert table["mean_absolute_gap"] == pytest.approx(row["total"]["gap"])


def test_a_policy_that_always_falls_at_once_has_no_rate() -> None:
    table = dream_reality(
        {"fallen": deployment()}, {"fallen": replace(deployment(), settled_steps=torch.zeros(16, dtype=torch.int64))}
    )
    assert math.isnan(table["levels"]["fallen"]["terms"]["total"]["gap"])
    assert math.isnan(table["mean_absolute_gap"])
