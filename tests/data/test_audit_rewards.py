"""Rewards are replayed: faults of rewards, commands and contacts are found by them, noise of the sensors is none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rwmu.data.audit import AuditSettings, Finding
from rwmu.data.audit.rewards import agreement, agrees, excerpt, rewards, shares
from rwmu.data.episodes import Episodes
from rwmu.data.replay import replay
from rwmu.tasks.rewards import ISAAC_LAB
from rwmu.tasks.terms import varied
from rwmu.tasks.velocity import VelocityTask
from tests.data.planted import Plant, found, noisy, said, sound_episodes
from tests.data.walking import ROBOT

TASK = VelocityTask(ROBOT)


def moved(array: str, rows: int) -> Plant:
    def plant(episodes: Episodes) -> Episodes:
        values = torch.roll(getattr(episodes, array), rows, dims=0)
        if array == "reward":
            values[episodes.offsets] = 0.0
        return replace(episodes, **{array: values})

    return plant


def multiplied(array: str, factor: float) -> Plant:
    return lambda episodes: replace(episodes, **{array: factor * getattr(episodes, array)})


def inverted(episodes: Episodes) -> Episodes:
    return replace(episodes, contact=~episodes.contact)


def swapped(episodes: Episodes) -> Episodes:
    return replace(episodes, contact=episodes.contact.roll(4, dims=-1))


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    assert finding.severity == "warning"
    return finding


def test_rewards_of_the_simulator_are_reproduced(simulated: Episodes) -> None:
    row = torch.arange(simulated.num_rows) - simulated.offsets[simulated.episode_of_row]
    rows = (row > 0).nonzero().squeeze(-1)
    paid = replay(simulated, TASK, rows).total
    assert float((paid - simulated.reward[rows]).abs().max()) < 2e-8
    assert float(simulated.reward[rows].std()) > 1e-3
    assert said(rewards, simulated, task=TASK) == []


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (multiplied("reward", -1.0), "-1 times"),
        (multiplied("reward", 50.0), "50 times"),
        (moved("reward", 1), "late"),
        (moved("reward", -1), "early"),
        (multiplied("command", -1.0), "sign"),
        (moved("command", 200), "track_lin_vel_xy_exp"),
        (swapped, "exchanged"),
    ],
)
def test_rewards_that_are_not_the_tasks_are_found(plant: Plant, words: str, simulated: Episodes) -> None:
    finding = only(said(rewards, plant(simulated), task=TASK))
    assert finding.name == "reward_mismatch"
    assert words in finding.sentence


@pytest.mark.parametrize("plant", [inverted, moved("contact", 10)])
def test_contacts_that_rewards_do_not_follow_are_found(plant: Plant, simulated: Episodes) -> None:
    assert "contact" in only(said(rewards, plant(simulated), task=TASK)).sentence


def test_contacts_whose_part_is_small_are_found_too(simulated: Episodes) -> None:
    """Rewards that are mostly of the base: contacts ten rows late leave the correlation where it was."""
    task = VelocityTask(ROBOT, varied(ISAAC_LAB, {"flat_orientation_l2": {"weight": -500.0}}))
    rows = torch.ones(simulated.num_rows, dtype=torch.bool)
    rows[simulated.offsets] = False
    reward = torch.zeros(simulated.num_rows)
    reward[rows] = replay(simulated, task, rows.nonzero().squeeze(-1)).total.float()
    episodes = replace(simulated, reward=reward)
    assert said(rewards, episodes, task=task) == []
    finding = only(said(rewards, moved("contact", 10)(episodes), task=task))
    assert finding.name == "reward_contacts"
    assert finding.numbers["correlation"] > 0.95
    assert abs(finding.numbers["feet_air_time"]) < 0.3


# -- what is no fault ---------------------------------------------------------------------------------------------------------


def test_noise_of_the_sensors_is_no_other_reward(simulated: Episodes) -> None:
    assert said(rewards, noisy(simulated), task=TASK) == []


def test_noise_twice_as_strong_is_seen_through_by_means(simulated: Episodes) -> None:
    episodes = noisy(noisy(simulated))
    rows = torch.ones(simulated.num_rows, dtype=torch.bool)
    rows[simulated.offsets] = False
    paid = replay(episodes, TASK, rows.nonzero().squeeze(-1)).total
    assert agreement(paid, episodes.reward[rows])[0] < 0.97
    assert said(rewards, episodes, task=TASK) == []


@pytest.mark.parametrize("unknown", ["reward", "command"])
def test_unknown_rewards_and_other_steps_are_not_judged(unknown: str, simulated: Episodes) -> None:
    wrong = multiplied("reward", -1.0)(simulated)
    assert said(rewards, replace(wrong, attributes={**wrong.attributes, "unknown": [unknown]}), task=TASK) == []
    assert said(rewards, replace(wrong, attributes={**wrong.attributes, "step_dt": 0.01}), task=TASK) == []
    assert said(rewards, wrong.select(torch.arange(3)), task=TASK) == [], "too few rows"
    assert said(rewards, replace(wrong, reward=torch.zeros(wrong.num_rows)), task=TASK) == [], "said elsewhere"


def test_examine_asks_only_with_a_task_and_where_states_and_actions_are_sound() -> None:
    wrong = multiplied("reward", -1.0)(sound_episodes())
    assert "reward_mismatch" not in found(wrong)
    assert "reward_mismatch" in found(wrong, AuditSettings(task=TASK))
    scaled = replace(wrong, action=0.5 * wrong.action)
    assert set(found(scaled, AuditSettings(task=TASK))) == {"action_scale"}


# -- figures by hand ----------------------------------------------------------------------------------------------------------


def test_agreement_by_hand() -> None:
    """Deviations -1, 0, 1 and -1, -1, 2: products 3, squares 2 and 6."""
    told, recorded = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 4.0, 7.0])
    together, slope = agreement(told, recorded)
    assert (together, slope) == pytest.approx((3.0 / 12.0**0.5, 1.5))
    assert agreement(torch.ones(3), recorded) == (0.0, 0.0)
    assert agrees(told, told + 5.0)
    assert not agrees(told, 1.2 * told)
    assert not agrees(told, 0.8 * told)
    assert not agrees(told, -told)


def test_shares_by_hand() -> None:
    """Twice the first term, none of the second; the third never varies."""
    generator = torch.Generator().manual_seed(0)
    terms = torch.randn(400, 3, generator=generator, dtype=torch.float64)
    terms[:, 2] = 3.0
    noise = 0.1 * torch.randn(400, generator=generator, dtype=torch.float64)
    factor, deviation = shares(terms, 2.0 * terms[:, 0] + 1.0 + noise)
    assert factor.tolist() == pytest.approx([2.0, 0.0, 1.0], abs=0.02)
    assert deviation.tolist() == pytest.approx([0.1 / 20.0, 0.1 / 20.0, 0.0], rel=0.2)


def test_an_excerpt_is_of_the_beginnings_of_episodes_spread_evenly() -> None:
    episodes = sound_episodes(90, 1200)
    some = excerpt(episodes)
    assert some.lengths.tolist() == [1000] * 40
    assert some.seeds[0] == episodes.seeds[0]
    assert some.seeds[-1] == episodes.seeds[-1]
    third = int(some.seeds[2])
    assert torch.equal(some.state[2000:3000], episodes.state[1200 * third : 1200 * third + 1000])
