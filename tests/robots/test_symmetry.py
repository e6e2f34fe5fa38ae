from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.robots.anymal_d import JOINTS, STATE_LAYOUT, anymal_d
from rwmu.robots.layout import Field, StateLayout
from rwmu.robots.robot import legged_state
from rwmu.robots.symmetry import SignedPermutation, mirrors_of
from rwmu.tasks.velocity import VelocityTask, observation_layout

ROBOT = anymal_d()
CONTACT_LAYOUT, OBSERVATION_LAYOUT = ROBOT.contact_layout, observation_layout(ROBOT)
MIRRORS = list(ROBOT.mirrors)
PARTS = {"state": 45, "action": 12, "contact": 8, "observation": 48, "command": 3}


def part_of(name: str, part: str) -> SignedPermutation:
    mirror = ROBOT.mirrors[name]
    return mirror.of(OBSERVATION_LAYOUT) if part == "observation" else getattr(mirror, part)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_group_is_identity_two_reflections_and_their_product() -> None:
    assert MIRRORS == ["identity", "left_right", "front_back", "both"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", MIRRORS)
def test_mirrors_are_involutions(name: str, part: str) -> None:
    mirror = part_of(name, part)
    vector = draw(7, PARTS[part])
    assert torch.equal(mirror(mirror(vector)), vector)
    assert torch.equal(mirror(vector), vector) == (name == "identity")


@pytest.mark.parametrize("part", PARTS)
def test_both_is_one_reflection_after_the_other_in_either_order(part: str) -> None:
    left_right, front_back, both = (part_of(name, part) for name in ("left_right", "front_back", "both"))
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
    assert torch.equal(CONTACT_LAYOUT.part(mirrored, "undesired"), CONTACT_LAYOUT.part(mirrored, "foot"))
    assert torch.equal(mirror.contact(contact > 0.0), mirrored > 0.0)


@pytest.mark.parametrize("name", MIRRORS)
def test_mirroring_and_observing_commute(name: str) -> None:
    task, mirror = VelocityTask(ROBOT), ROBOT.mirrors[name]
    state, command, action = draw(9, 45), draw(9, 3, seed=1), draw(9, 12, seed=2)
    observed = task.observe(mirror.state(state), mirror.command(command), mirror.action(action))
    assert torch.equal(observed, mirror.of(OBSERVATION_LAYOUT)(task.observe(state, command, action)))
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


# -- a biped: joints on the plane of symmetry, and no front-back mirror ---------------------------------------------------------

BIPED = {  # joint -> axis
    "waist_yaw": "yaw",
    "waist_roll": "roll",
    "waist_pitch": "pitch",
    "left_hip_pitch": "pitch",
    "right_hip_pitch": "pitch",
    "left_hip_roll": "roll",
    "right_hip_roll": "roll",
    "left_ankle_yaw": "yaw",
    "right_ankle_yaw": "yaw",
}


def biped_mirrors(**changes: object) -> dict:
    contacts = {"undesired": ("pelvis", "right_knee", "left_knee"), "foot": ("left_toe", "left_heel", "right_toe", "right_heel")}
    arguments = {
        "reflections": {"left_right": {"left": "right"}},
        "joints": tuple(BIPED),
        "axes": tuple(BIPED.values()),
        "contacts": contacts,
        "state_layout": legged_state(len(BIPED)),
    }
    return mirrors_of(**(arguments | changes))  # type: ignore[arg-type]


def test_a_biped_mirrors_left_and_right_only() -> None:
    """Worked by hand: yaw and roll turn round, pitch does not; what lies in the middle stays, and turns round by its axis."""
    mirrors = biped_mirrors()
    assert list(mirrors) == ["identity", "left_right"]
    mirror = mirrors["left_right"]
    mirrored = dict(zip(BIPED, mirror.action(torch.arange(1.0, 10.0)).tolist(), strict=True))
    assert mirrored == {
        "waist_yaw": -1.0,
        "waist_roll": -2.0,
        "waist_pitch": 3.0,
        "left_hip_pitch": 5.0,
        "right_hip_pitch": 4.0,
        "left_hip_roll": -7.0,
        "right_hip_roll": -6.0,
        "left_ankle_yaw": -9.0,
        "right_ankle_yaw": -8.0,
    }
    assert mirror.contact(torch.arange(7.0)).tolist() == [0.0, 2.0, 1.0, 5.0, 6.0, 3.0, 4.0]


def test_a_mirror_maps_any_layout_by_its_names() -> None:
    mirror = biped_mirrors()["left_right"]
    layout = StateLayout(
        [Field("command", 3, ""), Field("foot", 4, ""), Field("base_ang_vel", 3, ""), Field("joint_current", 9, "")]
    )
    mirrored = mirror.of(layout)(torch.arange(1.0, 20.0))
    assert layout.part(mirrored, "command").tolist() == [1.0, -2.0, -3.0]
    assert layout.part(mirrored, "foot").tolist() == [6.0, 7.0, 4.0, 5.0]
    assert layout.part(mirrored, "base_ang_vel").tolist() == [-8.0, 9.0, -10.0]
    assert layout.part(mirrored, "joint_current")[:4].tolist() == [-11.0, -12.0, 13.0, 15.0]
    with pytest.raises(ConfigError, match="height"):
        mirror.of(StateLayout([Field("height", 1, "m")]))


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"reflections": {"left_right": {"left": "rihgt"}}}, "waist|rihgt"),
        ({"reflections": {"left_rihgt": {"left": "right"}}}, "left_right"),
    ],
)
def test_a_mirror_that_cannot_be_is_refused(changes: dict[str, object], culprit: str) -> None:
    with pytest.raises(ConfigError, match=culprit):
        biped_mirrors(**changes)


def test_signed_permutations_compose_as_functions() -> None:
    one = SignedPermutation(torch.tensor([2, 0, 1]), torch.tensor([1.0, -1.0, 1.0]))
    other = SignedPermutation(torch.tensor([1, 0, 2]), torch.tensor([-1.0, 1.0, 1.0]))
    vector = torch.tensor([1.0, 2.0, 3.0])
    assert one(vector).tolist() == [3.0, -1.0, 2.0]
    assert torch.equal(one.after(other)(vector), one(other(vector)))
    assert torch.equal(other.after(one)(vector), other(one(vector)))
    joined = SignedPermutation.concatenate([one, other])
    assert torch.equal(joined(torch.cat([vector, vector])), torch.cat([one(vector), other(vector)]))
