from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from rwmu.measure.deployment import Deployment, StandingStill, deploy
from rwmu.tasks.velocity import VelocityTask
from tests.fakes import quiet_task
from tests.measure.fakes import ScriptedEnv, deployment

# 4 s episodes of 200 steps; a new command after 2 s.
COMMANDS = {0: [0.5, 0.0, 0.2], 100: [-0.5, 0.4, 0.0]}


def short_task() -> VelocityTask:
    return quiet_task(episode_length_s=4.0, command_resample_s=2.0)


def scripted(fall_at: list[int | None]) -> ScriptedEnv:
    return ScriptedEnv(short_task(), fall_at, dict(COMMANDS), velocity=[0.5, 0.0, 0.2])


def run(fall_at: list[int | None]) -> Deployment:
    return deploy(scripted(fall_at), StandingStill(12))


def test_a_fallen_robot_tracks_nothing_and_earns_nothing_more() -> None:
    result = run([None, 40])
    assert result.lived_steps.tolist() == [200, 40]
    assert result.fell.tolist() == [False, True]
    # Until step 100 the velocity is exactly the commanded one; afterwards it is off by (1.0, 0.4).
    afterwards = math.exp(-(1.0**2 + 0.4**2) / 0.25)
    assert result.tracking("track_lin_vel_xy_exp").tolist() == pytest.approx([(100 + 100 * afterwards) / 200, 40 / 200])
    assert result.tracking("track_lin_vel_xy_exp", while_up=True)[1] == pytest.approx(1.0)


def test_return_is_the_weighted_sum_of_the_terms_lived() -> None:
    result = run([None, 40, 1])
    by_terms = sum(0.02 * result.weights[name] * value for name, value in result.term_sums.items())
    assert torch.allclose(result.returns, torch.as_tensor(by_terms), atol=1e-4)
    assert result.returns[2] == pytest.approx(0.02 * (1.0 + 0.5), abs=1e-5)


def test_summary_by_hand() -> None:
    summary = run([None, 40]).summary()
    assert summary["fall_fraction"] == 0.5
    assert summary["episode_length_s"] == pytest.approx((4.0 + 0.8) / 2)
    # Of two values a and b the standard error is half their difference.
    assert summary["standard_error"]["episode_length_s"] == pytest.approx((4.0 - 0.8) / 2)
    assert summary["num_episodes"] == 2
    assert sum(summary["terms"].values()) == pytest.approx(summary["return"], rel=1e-5)
    json.dumps(summary)


def test_a_robot_that_goes_the_other_way_is_off_by_twice_its_command() -> None:
    command = torch.tensor([[0.5, -0.2, 0.4], [-0.3, 0.6, 0.2], [0.1, 0.4, -0.3]], dtype=torch.float64)
    summary = replace(deployment(), command=command, velocity=-command).summary()
    assert summary["velocity_error"] == pytest.approx({"x": 0.6, "y": 0.8, "yaw": 0.6})
    assert summary["command_correlation"] == pytest.approx({"x": -1.0, "y": -1.0, "yaw": -1.0})


def test_only_the_end_of_the_first_episode_counts_as_a_fall() -> None:
    env = ScriptedEnv(short_task(), [20, None], dict(COMMANDS), [0.5, 0.0, 0.2], time_out_at={0: 10})
    result = deploy(env, StandingStill(12))
    assert result.lived_steps.tolist() == [10, 200]
    assert result.fell.tolist() == [False, False]


def test_velocity_of_each_command_leaves_out_the_settling() -> None:
    result = run([None, 130, 90])
    # Robot 0 gives both commands; robot 1 falls 30 steps into its second, robot 2 40 settled steps into its first: too short.
    assert result.command.tolist() == [pytest.approx(COMMANDS[0])] * 2 + [pytest.approx(COMMANDS[100])]
    assert torch.allclose(result.velocity, torch.tensor([[0.5, 0.0, 0.2]]).double().expand(3, 3))


def test_velocity_leaves_out_what_follows_a_fall() -> None:
    env = ScriptedEnv(short_task(), [120, None], {0: [0.5, 0.0, 0.2]}, velocity=[0.4, -0.1, 0.3])
    result = deploy(env, StandingStill(12))
    assert torch.allclose(result.velocity, torch.tensor([[0.4, -0.1, 0.3]]).double().expand(2, 3))


def test_settled_rates_leave_out_the_first_second() -> None:
    result = run([None, 40])
    assert result.settled_steps.tolist() == [150, 0]
    assert result.reward_rates()["track_ang_vel_z_exp"] == pytest.approx(
        0.5 * (140 + 100 * math.exp(-(0.2**2) / 0.25)) / 240, abs=1e-5
    )
    assert result.falls_per_minute() == pytest.approx(60.0 / (240 * 0.02))


def test_stops_when_everyone_has_fallen() -> None:
    env = scripted([3, 7])
    result = deploy(env, StandingStill(12))
    assert len(env.actions) == 7
    assert result.command.shape == result.velocity.shape == (0, 3)
    assert math.isnan(result.summary()["command_correlation"]["x"])


def test_global_draws_follow_the_seed_and_leave_the_caller_alone() -> None:
    def noisy(observation: torch.Tensor) -> torch.Tensor:
        return torch.randn(len(observation), 12)

    drawn = []
    for seed in (0, 0, 1):
        env = scripted([None])
        before = torch.get_rng_state()
        deploy(env, noisy, num_steps=5, seed=seed)
        assert torch.equal(before, torch.get_rng_state())
        drawn.append(torch.stack(env.actions))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_refuses_an_environment_under_way() -> None:
    env = scripted([None])
    env.step(torch.zeros(1, 12))
    with pytest.raises(ValueError, match="has not been stepped"):
        deploy(env, StandingStill(12))


def test_plain_form_is_complete() -> None:
    result = run([None, 40])
    again = Deployment.from_plain(json.loads(json.dumps(result.to_plain())))
    assert again.summary() == result.summary()
    with pytest.raises(KeyError):
        Deployment.from_plain({"step_dt": 0.02})


def test_in_the_simulator_the_same_seed_gives_the_same_episodes() -> None:
    pytest.importorskip("mujoco")
    from rwmu.simulators.mujoco import MujocoEnv

    task = short_task()
    one, other = (deploy(MujocoEnv(task, 4, seed=5), StandingStill(12), num_steps=60) for _ in range(2))
    assert one.to_plain() == other.to_plain()
    assert bool((one.returns != 0.0).all())
