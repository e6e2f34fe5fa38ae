"""The policy that is deployed has the mean weights of the last checkpoints of its phase."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rwmu.policy.optimise import averaged


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """Return a folder of checkpoints whose only weight is their iteration; the phase changes after the second."""
    for iteration, phase in ((25, "easy"), (50, "easy"), (75, "exact"), (100, "exact"), (110, "exact")):
        content = {
            "actor_state_dict": {"mlp.0.weight": torch.full((2, 3), float(iteration))},
            "critic_state_dict": {"mlp.0.weight": torch.full((1, 3), float(iteration))},
            "iter": iteration,
            "infos": {"robot": "anymal_d", "phases": {"name": phase}},
        }
        torch.save(content, tmp_path / f"model_{iteration}.pt")
    return tmp_path


@pytest.mark.parametrize(
    ("last", "number", "of"),
    [(110, 2, [100, 110]), (110, 5, [75, 100, 110]), (100, 3, [75, 100]), (50, 5, [25, 50]), (110, 1, [110])],
)
def test_the_last_of_a_phase_are_averaged(checkpoints: Path, last: int, number: int, of: list[int]) -> None:
    made = torch.load(averaged(checkpoints, last, number), weights_only=True)
    assert made["actor_state_dict"]["mlp.0.weight"].tolist() == [[pytest.approx(sum(of) / len(of))] * 3] * 2
    assert made["critic_state_dict"]["mlp.0.weight"].unique().item() == last
    assert (made["iter"], made["infos"]["averaged_iterations"], made["infos"]["robot"]) == (last, of, "anymal_d")
