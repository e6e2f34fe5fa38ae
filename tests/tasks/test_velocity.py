from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from rwmu.errors import ConfigError
from rwmu.robots.anymal_d import STATE_LAYOUT, anymal_d
from rwmu.robots.layout import StateLayout
from rwmu.tasks import rewards
from rwmu.tasks.velocity import VelocityTask, observation_layout

ROBOT = anymal_d()
OBSERVATION_LAYOUT = observation_layout(ROBOT)
STANDING, LIFTED = [True] * 4, [False] * 4


def contacts(foot: list[bool], thigh: list[bool] | None = None) -> torch.Tensor:
    return torch.tensor([(thigh or LIFTED) + foot])


def test_perfect_tracking_at_rest_posture_earns_the_full_tracking_reward() -> None:
    task = VelocityTask(ROBOT)
    memory = task.start(1)
    memory.command = torch.tensor([[0.6, -0.2, 0.4]])
    state = torch.zeros(1, 45)
    state[:, STATE_LAYOUT["base_lin_vel"]] = torch.tensor([0.6, -0.2, 0.0])
    state[:, STATE_LAYOUT["base_ang_vel"]] = torch.tensor([0.0, 0.0, 0.4])
    reward = task.reward(memory, state, torch.zeros(1, 12), contacts(STANDING))
    assert reward.total.item() == pytest.approx(0.02 * (1.0 + 0.5))
    assert reward.terms["stand_still"].item() == 0.0


def test_tracking_falls_off_with_the_squared_error_over_a_quarter() -> None:
    error = rewards.track_lin_vel_xy_exp(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.5, 0.0, 9.0]]))
    assert error.item() == pytest.approx(0.36787944)  # exp(-0.25 / 0.25)
    rate = rewards.track_ang_vel_z_exp(torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[9.0, 9.0, 0.0]]))
    assert rate.item() == pytest.approx(0.01831564)  # exp(-1 / 0.25)


def test_stand_still_counts_only_without_a_command() -> None:
    position = torch.tensor([[0.1, -0.2]]).expand(2, 2)
    command = torch.tensor([[0.0, 0.03, 0.03], [0.0, 0.04, 0.04]])  # norms 0.042 and 0.057
    assert rewards.stand_still(position, command).tolist() == pytest.approx([0.3, 0.0])


def test_joint_limits_count_the_overshoot_on_either_side() -> None:
    position = torch.tensor([[-1.5, 0.0, 1.2]])
    assert rewards.dof_pos_limits(position, torch.full((3,), -1.0), torch.ones(3)).item() == pytest.approx(0.7)


def test_a_step_of_a_foot_is_rewarded_once_one_step_after_touch_down() -> None:
    """Foot 0 is in the air for 30 steps (0.6 s), lands, and is rewarded (0.6 + 0.02 - 0.5 s) at the next step only."""
    task = VelocityTask(ROBOT)
    memory = task.start(1, dtype=torch.float64)
    memory.command = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    state, action = torch.zeros(1, 45, dtype=torch.float64), torch.zeros(1, 12, dtype=torch.float64)
    for foot in ([True] * 4, [True] * 4, *[[False, True, True, True]] * 30):
        task.reward(memory, state, action, contacts(foot))
    air_times = [task.reward(memory, state, action, contacts(STANDING)).terms["feet_air_time"].item() for _ in range(3)]
    assert air_times == pytest.approx([0.0, 0.12, 0.0])


def test_air_time_is_not_rewarded_without_a_planar_command() -> None:
    last, contact = torch.tensor([[0.9] * 4]), torch.tensor([[0.02] * 4])
    assert rewards.feet_air_time(last, contact, torch.tensor([[0.0, 0.0, 1.0]]), 0.5, 0.02).item() == 0.0
    assert rewards.feet_air_time(last, contact, torch.tensor([[0.2, 0.0, 0.0]]), 0.5, 0.02).item() == pytest.approx(1.6)


def test_acceleration_is_the_difference_to_the_last_step_and_memory_moves_on() -> None:
    task = VelocityTask(ROBOT)
    memory = task.start(1)
    state = torch.zeros(1, 45)
    state[:, STATE_LAYOUT["joint_vel"]] = 0.1
    first = task.reward(memory, state, torch.ones(1, 12), contacts(STANDING))
    second = task.reward(memory, state, torch.ones(1, 12), contacts(STANDING))
    assert first.terms["dof_acc_l2"].item() == pytest.approx(12 * 25.0)  # (0.1 / 0.02)^2
    assert first.terms["action_rate_l2"].item() == pytest.approx(12.0)
    assert second.terms["dof_acc_l2"].item() == 0.0
    assert second.terms["action_rate_l2"].item() == 0.0


def test_memory_keeps_its_own_copy_of_the_action() -> None:
    """rsl-rl's storage and callers may reuse the tensor that they passed in."""
    task = VelocityTask(ROBOT)
    memory, action = task.start(1), torch.ones(1, 12)
    task.reward(memory, torch.zeros(1, 45), action, contacts(STANDING))
    action.zero_()
    assert memory.last_action.eq(1.0).all()


def test_clearing_touches_the_given_rows_only_and_leaves_the_command() -> None:
    memory = VelocityTask(ROBOT).start(3)
    for tensor in vars(memory).values():
        tensor.fill_(1.0)
    memory.clear(torch.tensor([True, False, True]))
    assert memory.command.eq(1.0).all()
    for name in ("last_action", "previous_joint_vel", "air_time_s", "contact_time_s", "last_air_time_s"):
        tensor = getattr(memory, name)
        assert torch.equal(tensor, torch.tensor([[0.0], [1.0], [0.0]]).expand_as(tensor)), name


def test_memory_is_taken_put_and_mapped_row_by_row() -> None:
    memory = VelocityTask(ROBOT).start(4)
    for index, tensor in enumerate(vars(memory).values()):
        tensor += torch.arange(4.0).unsqueeze(1) + 10 * index
    taken = memory.take(torch.tensor([3, 1])).map(lambda tensor: -tensor)
    assert taken.last_action[:, 0].tolist() == [-13.0, -11.0]
    memory.put(torch.tensor([0, 2]), taken)
    assert memory.command[:, 0].tolist() == [-3.0, 1.0, -1.0, 3.0]
    assert memory.last_air_time_s[:, 0].tolist() == [-53.0, 51.0, -51.0, 53.0]


@pytest.mark.parametrize("option", ["step_dt", "episode_length_s", "command_resample_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_impossible_durations_are_refused(option: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"task.{option}"):
        VelocityTask(ROBOT, **{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("standing_fraction", 1.5),
        ("observation_noise", -1.0),
        ("command_range", [1.0, 1.0]),
        ("command_range", [-1.0, 1.0, 1.0]),
        ("max_tilt", "much"),
        ("robot", "anymal_d"),
    ],
)
def test_other_impossible_settings_are_refused(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"task.{option}"):
        VelocityTask(**({"robot": ROBOT} | {option: value}))  # type: ignore[dict-item]


def test_a_robot_without_what_a_policy_observes_is_refused() -> None:
    blind = StateLayout([field for field in STATE_LAYOUT.fields if field.name != "joint_vel"])
    with pytest.raises(ConfigError, match="joint_vel"):
        VelocityTask(replace(ROBOT, state_layout=blind))


def test_an_episode_ends_by_contact_and_by_tilt_where_one_is_set() -> None:
    state = torch.zeros(4, 45)
    state[:, STATE_LAYOUT["projected_gravity"].stop - 1] = torch.tensor([-1.0, -1.0, -0.4, -0.5])
    contact = torch.tensor([False, True, False, False])
    assert VelocityTask(ROBOT).terminate(state, contact).tolist() == [False, True, False, False]
    assert VelocityTask(ROBOT, max_tilt=-0.5).terminate(state, contact).tolist() == [False, True, True, False]


def test_a_description_holds_every_setting_as_plain_values() -> None:
    described = [VelocityTask(ROBOT, **changes).describe() for changes in ({}, {}, {"max_tilt": -0.2}, {"step_dt": 0.04})]
    plain = [json.dumps(one, sort_keys=True) for one in described]
    assert plain[0] == plain[1]
    assert len(set(plain)) == 3
    assert described[0]["rewards"]["feet_air_time"]["arguments"] == {"threshold_s": 0.5}


def test_durations_become_steps() -> None:
    task = VelocityTask(ROBOT)
    assert (task.max_episode_steps, task.command_resample_steps) == (1000, 500)


def test_commands_fill_their_range_and_some_stand_still() -> None:
    task = VelocityTask(ROBOT, command_range=(1.0, 0.5, 2.0), standing_fraction=0.25)
    command = task.command(torch.tensor([[0.0, 0.5, 1.0, 0.25], [1.0, 1.0, 1.0, 0.24]]))
    assert command.tolist() == [[-1.0, 0.0, 2.0], [0.0, 0.0, 0.0]]


def test_observation_holds_state_command_and_last_action_by_name() -> None:
    task = VelocityTask(ROBOT)
    state, command, action = torch.randn(5, 45), torch.randn(5, 3), torch.randn(5, 12)
    observation = task.observe(state, command, action)
    for name in ("base_lin_vel", "base_ang_vel", "projected_gravity", "joint_pos", "joint_vel"):
        assert torch.equal(OBSERVATION_LAYOUT.part(observation, name), STATE_LAYOUT.part(state, name))
    assert torch.equal(OBSERVATION_LAYOUT.part(observation, "command"), command)
    assert torch.equal(OBSERVATION_LAYOUT.part(observation, "last_action"), action)


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 1.5), (0.5, 0.75), (0.0, 0.0)])
def test_noise_has_the_half_width_of_its_field_times_the_scale(scale: float, expected: float) -> None:
    task = VelocityTask(ROBOT, observation_noise=scale)
    state, command, action = torch.zeros(2, 45), torch.zeros(2, 3), torch.zeros(2, 12)
    extremes = torch.stack([torch.zeros(48), torch.ones(48)])
    observation = task.observe(state, command, action, extremes)
    joint_vel = OBSERVATION_LAYOUT.part(observation, "joint_vel")
    assert joint_vel[0].tolist() == pytest.approx([-expected] * 12)
    assert joint_vel[1].tolist() == pytest.approx([expected] * 12)
    for noiseless in ("command", "last_action"):
        assert not OBSERVATION_LAYOUT.part(observation, noiseless).any()
