from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rwmu.robots.anymal_d import CONTACT_LAYOUT, JOINTS, OBSERVATION_LAYOUT, STATE_LAYOUT, anymal_d
from rwmu.robots.symmetry import SignedPermutation
from rwmu.tasks.velocity import VelocityTask

ROBOT = anymal_d()
MIRRORS = list(ROBOT.mirrors)
PARTS = {"state": 45, "action": 12, "contact": 8, "observation": 48, "command": 3}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_group_is_identity_two_reflections_and_their_product() -> None:
    assert MIRRORS == ["identity", "left_right", "front_back", "both"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", MIRRORS)
def test_mirrors_are_involutions(name: str, part: str) -> None:
    mirror = getattr(ROBOT.mirrors[name], part)
    vector = draw(7, PARTS[part])
    assert torch.equal(mirror(mirror(vector)), vector)
    assert torch.equal(mirror(vector), vector) == (name == "identity")


@pytest.mark.parametrize("part", PARTS)
def test_both_is_one_reflection_after_the_other_in_either_order(part: str) -> None:
    left_right, front_back, both = (getattr(ROBOT.mirrors[name], part) for name in ("left_right", "front_back", "both"))
    vector = draw(7, PARTS[part])
    assert torch.equal(both(vector), front_back(left_right(vector)))
    assert torch.equal(both(vector), left_right(front_back(vector)))


def test_left_right_swaps_the_legs_and_turns_the_hips() -> None:
    """Worked by hand: a joint's mirror is the same joint of the other side; abduction changes its sign, flexion does not."""
    mirrored = dict(zip(JOINTS, ROBOT.mirrors["left_right"].action(torch.arange(1.0, 13.0)).tolist(), strict=True))
    assert mirrored["LF_HAA"] == -3.0  # of RF_HAA
    assert mirrored["RH_HAA"] == -2.0  # of LH_HAA
    assert mirrored["LF_HFE"] == 7.0  # of RF_HFE
    assert mirrored["RF_KFE"] == 9.0  # of LF_KFE


def test_front_back_swaps_front_and_hind_and_turns_the_flexion() -> None:
    mirrored = dict(zip(JOINTS, ROBOT.mirrors["front_back"].action(torch.arange(1.0, 13.0)).tolist(), strict=True))
    assert mirrored["LF_HAA"] == 2.0  # of LH_HAA
    assert mirrored["LF_HFE"] == -6.0  # of LH_HFE
    assert mirrored["RH_KFE"] == -11.0  # of RF_KFE


def test_velocities_reflect_as_vectors_and_rates_as_pseudovectors() -> None:
    state = torch.zeros(45)
    state[STATE_LAYOUT["base_lin_vel"]] = torch.tensor([1.0, 2.0, 3.0])
    state[STATE_LAYOUT["base_ang_vel"]] = torch.tensor([1.0, 2.0, 3.0])
    mirrored = ROBOT.mirrors["left_right"].state(state)
    assert STATE_LAYOUT.part(mirrored, "base_lin_vel").tolist() == [1.0, -2.0, 3.0]
    assert STATE_LAYOUT.part(mirrored, "base_ang_vel").tolist() == [-1.0, 2.0, -3.0]
    assert ROBOT.mirrors["left_right"].command(torch.tensor([1.0, 2.0, 3.0])).tolist() == [1.0, -2.0, -3.0]
    assert ROBOT.mirrors["front_back"].command(torch.tensor([1.0, 2.0, 3.0])).tolist() == [-1.0, 2.0, -3.0]


@pytest.mark.parametrize("name", MIRRORS)
def test_the_default_posture_is_symmetric(name: str) -> None:
    posture = ROBOT.default_joint_pos
    assert torch.equal(ROBOT.mirrors[name].action(posture), posture)


@pytest.mark.parametrize("name", MIRRORS)
def test_contacts_move_with_their_legs(name: str) -> None:
    """A contact's mirror stays in its group, and thigh and foot of a leg move together."""
    mirror = ROBOT.mirrors[name]
    contact = draw(5, 4).repeat(1, 2)
    mirrored = mirror.contact(contact)
    assert torch.equal(CONTACT_LAYOUT.part(mirrored, "thigh"), CONTACT_LAYOUT.part(mirrored, "foot"))
    assert torch.equal(mirror.contact(contact > 0.0), mirrored > 0.0)


@pytest.mark.parametrize("name", MIRRORS)
def test_mirroring_and_observing_commute(name: str) -> None:
    task, mirror = VelocityTask(ROBOT), ROBOT.mirrors[name]
    state, command, action = draw(9, 45), draw(9, 3, seed=1), draw(9, 12, seed=2)
    observed = task.observe(mirror.state(state), mirror.command(command), mirror.action(action))
    assert torch.equal(observed, mirror.observation(task.observe(state, command, action)))
    assert observed.shape[-1] == OBSERVATION_LAYOUT.size


@pytest.mark.parametrize("name", MIRRORS)
def test_rewards_are_invariant_under_mirrors(name: str) -> None:
    """Over a sequence, so that air times, joint velocities and last actions take part as well."""
    task, mirror = VelocityTask(ROBOT), ROBOT.mirrors[name]
    plain, reflected = task.start(16, dtype=torch.float64), task.start(16, dtype=torch.float64)
    plain.command = draw(16, 3, seed=9) * (torch.arange(16) > 3).unsqueeze(-1)  # some stand still
    reflected.command = mirror.command(plain.command)
    seen: dict[str, float] = {}
    for t in range(30):
        state, action, contact = draw(16, 45, seed=10 + t), draw(16, 12, seed=100 + t), draw(16, 8, seed=200 + t) > 0.0
        one = task.reward(plain, state, action, contact)
        other = task.reward(reflected, mirror.state(state), mirror.action(action), mirror.contact(contact))
        torch.testing.assert_close(other.total, one.total, rtol=1e-12, atol=1e-12)
        for term in one.terms:
            torch.testing.assert_close(other.terms[term], one.terms[term], rtol=1e-12, atol=1e-12)
            seen[term] = seen.get(term, 0.0) + float(one.terms[term].abs().sum())
    assert {term for term, total in seen.items() if total == 0.0} == {"dof_pos_limits"}


def test_signed_permutations_compose_as_functions() -> None:
    one = SignedPermutation(torch.tensor([2, 0, 1]), torch.tensor([1.0, -1.0, 1.0]))
    other = SignedPermutation(torch.tensor([1, 0, 2]), torch.tensor([-1.0, 1.0, 1.0]))
    vector = torch.tensor([1.0, 2.0, 3.0])
    assert one(vector).tolist() == [3.0, -1.0, 2.0]
    assert torch.equal(one.after(other)(vector), one(other(vector)))
    assert torch.equal(other.after(one)(vector), other(one(vector)))
    joined = SignedPermutation.concatenate([one, other])
    assert torch.equal(joined(torch.cat([vector, vector])), torch.cat([one(vector), other(vector)]))
