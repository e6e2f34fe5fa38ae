"""Every reward term, observation and total against numbers recorded from the published imagined environment."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rwmu.records import Reward
from rwmu.robots.anymal_d import anymal_d
from rwmu.tasks.velocity import VelocityTask
from tests.reference import load, load_names

NAME = "anymal_d_imagined_reward"
REFERENCE = load(NAME)
TERMS = load_names(NAME, "weight_names")


def play() -> tuple[list[Reward], Tensor]:
    """Run the recorded states, actions and contacts through the task; return rewards and the observations before each step."""
    task = VelocityTask(anymal_d())
    state, action, command = REFERENCE["state"], REFERENCE["action"], REFERENCE["command"]
    contact = REFERENCE["contact_logits"] > 0.0
    memory = task.start(state.shape[1], dtype=torch.float64)
    memory.command = command
    rewards, observations = [], []
    for t in range(len(state)):
        if t > 0:
            observations.append(task.observe(state[t - 1], command, memory.last_action))
        rewards.append(task.reward(memory, state[t], action[t], contact[t]))
    return rewards, torch.stack(observations)


def total_of_recorded_terms(replaced: dict[str, str]) -> Tensor:
    """Return step_dt * sum of weight * recorded term, ``[80, 16]``; ``replaced`` names other arrays for some terms."""
    total = torch.zeros_like(REFERENCE["epistemic"])
    for term, weight in zip(TERMS, REFERENCE["weights"].tolist(), strict=True):
        total += weight * REFERENCE[replaced.get(term, f"term/{term}")]
    return float(REFERENCE["step_dt"]) * total


def penalty() -> Tensor:
    return float(REFERENCE["step_dt"]) * float(REFERENCE["uncertainty_penalty_weight"]) * REFERENCE["epistemic"]


@pytest.fixture(scope="module")
def played() -> tuple[list[Reward], Tensor]:
    return play()


@pytest.mark.parametrize("term", TERMS)
def test_term_equals_the_reference(term: str, played: tuple[list[Reward], Tensor]) -> None:
    corrected = f"term_corrected/{term}"
    expected = REFERENCE[corrected if corrected in REFERENCE else f"term/{term}"]
    ours = torch.stack([reward.terms[term] for reward in played[0]])
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


def test_reference_exercises_every_term_that_counts() -> None:
    """A term that is zero throughout would show nothing; only the joint limits, which weigh nothing, are not reached."""
    assert {term for term in TERMS if not REFERENCE[f"term/{term}"].any()} == {"dof_pos_limits"}


def test_acceleration_is_of_velocities_and_not_the_published_defect(played: tuple[list[Reward], Tensor]) -> None:
    ours = torch.stack([reward.terms["dof_acc_l2"] for reward in played[0]])
    assert not torch.allclose(ours, REFERENCE["term/dof_acc_l2"], rtol=1e-2)


def test_weights_are_the_published_ones() -> None:
    assert dict(zip(TERMS, REFERENCE["weights"].tolist(), strict=True)) == VelocityTask(anymal_d()).weights


def test_total_equals_the_weighted_sum_of_the_recorded_terms(played: tuple[list[Reward], Tensor]) -> None:
    ours = torch.stack([reward.total for reward in played[0]])
    torch.testing.assert_close(ours, total_of_recorded_terms({"dof_acc_l2": "term_corrected/dof_acc_l2"}), rtol=1e-10, atol=1e-10)


def test_recorded_total_is_that_sum_in_float32() -> None:
    """The recorded total was added up in float32, so it can show agreement to about 1e-8 and no more (measured: 7.7e-9)."""
    assert REFERENCE["reward"].dtype == torch.float32
    total = total_of_recorded_terms({}) + penalty()
    difference = (REFERENCE["reward"].double() - total).abs().max()
    assert 1e-10 < difference < 1e-8


def test_total_equals_the_corrected_total_up_to_that_rounding(played: tuple[list[Reward], Tensor]) -> None:
    ours = torch.stack([reward.total for reward in played[0]]) + penalty()
    torch.testing.assert_close(ours, REFERENCE["reward_corrected"], rtol=0.0, atol=1e-8)


def test_observation_equals_the_reference(played: tuple[list[Reward], Tensor]) -> None:
    torch.testing.assert_close(played[1], REFERENCE["observation"][1:], rtol=1e-10, atol=1e-10)
