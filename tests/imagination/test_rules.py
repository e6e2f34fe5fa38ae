"""How imagined episodes go on and end: terminations, time-outs, bonuses, noise, commands, pushes."""

import math

import pytest
import torch

from rwmu.errors import ConfigError
from tests.imagination.dreams import BATCH, actions, build


def test_time_outs_are_no_terminations():
    env = build(horizon_steps=5, random_start=False)
    for _ in range(4):
        assert not env.step(actions(1)[0])[2].any()
    _, _, done, extras = env.step(actions(1)[0])
    assert done.all()
    assert extras["time_outs"].all()
    assert not env.terminated.any()
    assert float(extras["log"]["imagined/episode_length_s"]) == pytest.approx(0.1)
    assert torch.equal(env.episode_length_buf, torch.zeros(BATCH, dtype=torch.int64))


def test_episodes_are_as_long_as_they_were_imagined_wherever_their_clock_began():
    """Clocks start at random, so that not all environments time out together."""
    env = build(horizon_steps=50, random_start=True)
    for _ in range(5):
        _, _, _, extras = env.step(actions(1)[0])
    length = float(extras["log"]["imagined/episode_length_s"])
    assert not length > 5 * 0.02 + 1e-6


def test_a_fall_on_the_last_step_is_a_fall_and_no_time_out():
    """Whose return PPO would go on to estimate, as if the robot still stood."""
    env = build(known={"termination_logit": 9.0}, termination=0.5, horizon_steps=1, random_start=False)
    _, _, done, extras = env.step(actions(1)[0])
    assert done.all()
    assert env.terminated.all()
    assert not extras["time_outs"].any()


@pytest.mark.parametrize(
    ("logit", "rule", "expected"), [(1.0, 0.5, True), (-1.0, 0.5, False), (50.0, "sample", True), (50.0, None, False)]
)
def test_the_termination_head_ends_episodes_as_the_rule_says(logit, rule, expected):
    env = build(known={"termination_logit": logit}, termination=rule, horizon_steps=9, random_start=False)
    _, _, done, extras = env.step(actions(1)[0])
    assert bool(env.terminated.all()) == bool(done.all()) == expected
    assert not extras["time_outs"].any()


def test_sampled_terminations_have_the_predicted_frequency():
    env = build(known={"termination_logit": -1.0986}, termination="sample", num_envs=4000)
    env.step(torch.zeros(4000, 12))
    assert float(env.terminated.float().mean()) == pytest.approx(0.25, abs=0.03)


def test_a_tipped_robot_terminates_and_reports_where_it_was():
    env = build(max_tilt=-0.5, known={"drift": 0.2}, horizon_steps=200, random_start=False)
    for _ in range(40):
        before = env.state.clone()
        _, _, done, extras = env.step(torch.zeros(BATCH, 12))
        if done.any():
            break
    gravity_z = env.final_state[:, 8]
    assert torch.equal(done, gravity_z > -0.5)
    assert (before[done][:, 8] <= -0.5).all()
    assert (env.state[done][:, 8] < -0.9).all()  # upright again
    assert not extras["time_outs"][done].any()


def test_bonuses_change_the_objective_only():
    plain, paid = (
        build(weight=0.0, termination=0.5, known={"termination_logit": 9.0}, **r)
        for r in ({}, {"alive_bonus": 2.0, "termination_penalty": 3.0})
    )
    difference = paid.step(actions(1)[0])[1] - plain.step(actions(1)[0])[1]
    torch.testing.assert_close(difference, torch.full((BATCH,), 0.04 - 3.0))
    assert torch.equal(paid.last_reward.total, plain.last_reward.total)


def test_a_time_out_costs_no_fall():
    plain, charged = (build(weight=0.0, horizon_steps=1, **rules) for rules in ({}, {"termination_penalty": 3.0}))
    action = actions(1)[0]
    assert torch.equal(charged.step(action)[1], plain.step(action)[1])


def test_the_state_fed_back_is_clamped():
    env = build(known={"drift": 5.0}, clip=2.0, horizon_steps=9, random_start=False)
    env.step(actions(1)[0])
    assert float(env.world_model.normalizer.normalize(env.state).abs().max()) == pytest.approx(2.0, abs=1e-4)


def test_aleatoric_noise_has_the_predicted_scale():
    still, noisy = (build(num_envs=2000, horizon_steps=9, random_start=False, sample_aleatoric=s) for s in (0.0, 2.0))
    for env in (still, noisy):
        env.step(torch.zeros(2000, 12))
    difference = still.world_model.normalizer.normalize(noisy.state) - still.world_model.normalizer.normalize(still.state)
    assert float(difference.std()) == pytest.approx(2.0 * 0.0498, rel=0.02)  # log_std is -3


def test_aleatoric_noise_is_that_of_the_member_that_is_followed():
    known = {"spread_slope": 0.5}
    still, noisy = (build(num_envs=3000, known=known, horizon_steps=9, random_start=False, sample_aleatoric=s) for s in (0.0, 1.0))
    for env in (still, noisy):
        env.step(torch.zeros(3000, 12))
    difference = still.world_model.normalizer.normalize(noisy.state) - still.world_model.normalizer.normalize(still.state)
    for member in range(3):
        expected = math.exp(-3.0 + 0.5 * member)
        assert float(difference[noisy.member == member].std()) == pytest.approx(expected, rel=0.03)


def test_commands_are_drawn_anew_at_starts_and_when_due():
    env = build(horizon_steps=100, random_start=False, command_resample_steps=3)
    first = env.memory.command.clone()
    for _ in range(2):
        env.step(actions(1)[0])
        assert torch.equal(env.memory.command, first)
    env.step(actions(1)[0])
    assert not (env.memory.command == first).all(dim=1).any()
    assert float(env.memory.command.abs().max()) <= 1.0


def test_pushes_change_the_planar_velocity_only():
    still, pushed = (build(horizon_steps=9, random_start=False, **r) for r in ({}, {"push_interval_s": 0.02, "push_velocity": 0.3}))
    for env in (still, pushed):
        env.step(actions(1)[0])
    change = (pushed.state - still.state).abs()
    assert (change[:, :2] > 0.0).all()
    assert float(change[:, :2].max()) <= 0.3 + 1e-6
    assert torch.equal(change[:, 2:], torch.zeros(BATCH, 43))
    assert torch.equal(pushed.final_state, still.final_state)


def test_pushes_come_as_often_as_their_interval_says():
    still, pushed = (build(num_envs=4000, horizon_steps=9, random_start=False, push_interval_s=s) for s in (None, 0.2))
    for env in (still, pushed):
        env.step(torch.zeros(4000, 12))
    assert float((pushed.state != still.state).any(dim=1).float().mean()) == pytest.approx(0.02 / 0.2, abs=0.02)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("horizon_steps", 0),
        ("termination", "sometimes"),
        ("termination", 1.5),
        ("clip", -1.0),
        ("alive_bonus", -1.0),
        ("pool_size", 0),
    ],
)
def test_impossible_rules_are_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=rf"imagination\.{name}"):
        build(**{name: value})
