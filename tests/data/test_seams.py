"""Seams are found where joints jump, and only there."""

from __future__ import annotations

import torch

from rwmu.data.seams import find_seams, joints_follow
from rwmu.robots.anymal_d import STATE_LAYOUT, anymal_d
from rwmu.robots.layout import Field, StateLayout
from rwmu.simulators.behaviour import RECIPES
from rwmu.simulators.collect import collect_dataset
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.tasks.velocity import VelocityTask
from tests.data.walking import STEP_DT, walking_episode, walking_episodes

TWO_JOINTS = StateLayout([Field("joint_pos", 2, "rad"), Field("joint_vel", 2, "rad/s")])


def test_planted_seams_are_found_and_nothing_else() -> None:
    episodes = walking_episodes([200, 120, 333, 57, 400], falling=[1, 3])
    assert find_seams(episodes.state, STATE_LAYOUT, STEP_DT).tolist() == [200, 320, 653, 710]


def test_a_long_episode_with_pushes_and_a_fall_has_no_seam() -> None:
    for seed in range(20):
        assert len(find_seams(walking_episode(1000, seed, falls=True).state, STATE_LAYOUT, STEP_DT)) == 0


def test_a_splice_within_one_walk_is_found() -> None:
    """Seven rows are missing: more than a quarter of a swing."""
    state = walking_episode(500, seed=3).state
    assert find_seams(torch.cat([state[:250], state[257:]]), STATE_LAYOUT, STEP_DT).tolist() == [250]


def test_simulated_episodes_are_told_apart() -> None:
    """The robot of the simulator, with falls and changes of policy: all boundaries, and none within an episode."""
    task = VelocityTask(anymal_d(), episode_length_s=1.0)
    episodes = collect_dataset(MujocoEnv, task, RECIPES["mixed"], 3000, seed=1)
    assert episodes.num_episodes > 50
    assert torch.equal(find_seams(episodes.state, STATE_LAYOUT, task.step_dt), episodes.offsets[1:])


def test_what_makes_a_seam_by_hand() -> None:
    """Two joints stand still, so that the unit is 0.005 rad: one of them beyond 4 units, 0.02 rad, is a seam."""
    state = torch.zeros(6, 4)
    state[3:, 0] = 0.0201
    assert find_seams(state, TWO_JOINTS, 0.02).tolist() == [3]
    state[3:, 0] = 0.0199
    assert find_seams(state, TWO_JOINTS, 0.02).tolist() == []
    # At 1 rad/s before the step, a joint may move by 0.02 rad, and the unit grows to sqrt(0.005^2 + (0.1 * 0.02)^2) = 0.005385.
    state[2, 2] = 1.0
    state[3:, 0] = 0.02 + 0.0215
    assert find_seams(state, TWO_JOINTS, 0.02).tolist() == []
    state[3:, 0] = 0.02 + 0.0216
    assert find_seams(state, TWO_JOINTS, 0.02).tolist() == [3]


def test_one_joint_of_twelve_is_no_seam_and_four_are() -> None:
    state = walking_episode(100, seed=0).state
    first = STATE_LAYOUT["joint_pos"].start
    state[50:, first : first + 3] += 2.0
    assert find_seams(state, STATE_LAYOUT, STEP_DT).tolist() == []
    state[50:, first + 3] += 2.0
    assert find_seams(state, STATE_LAYOUT, STEP_DT).tolist() == [50]


def test_a_few_rows_have_no_seam() -> None:
    for rows in (0, 1):
        assert find_seams(torch.zeros(rows, STATE_LAYOUT.size), STATE_LAYOUT, STEP_DT).tolist() == []
        assert joints_follow(torch.zeros(rows, STATE_LAYOUT.size), STATE_LAYOUT, STEP_DT)


def test_rows_out_of_order_are_noticed() -> None:
    state = walking_episode(1000, seed=0).state
    assert joints_follow(state, STATE_LAYOUT, STEP_DT)
    shuffled = state[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
    assert not joints_follow(shuffled, STATE_LAYOUT, STEP_DT)
