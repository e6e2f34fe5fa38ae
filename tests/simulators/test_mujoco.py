"""The embedded simulator, beyond the contract of ``test_contract.py``: the same bits whatever the threads, starts, pushes."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.robots.anymal_d import STATE_LAYOUT, anymal_d
from rwmu.robots.go1 import go1
from rwmu.robots.mjcf import ModelSettings
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.simulators.simulated import Push, StartState
from rwmu.tasks.velocity import VelocityTask


def make(num_envs: int = 4, noise: float = 1.0, episode_s: float = 20.0, **arguments: Any) -> MujocoEnv:
    return MujocoEnv(VelocityTask(anymal_d(), observation_noise=noise, episode_length_s=episode_s), num_envs, **arguments)


def actions(num_envs: int, steps: int, scale: float = 1.0) -> Tensor:
    """Return the same noise for environment i whatever the number of environments: ``[S, B, A]``."""
    rows = [torch.randn(steps, 12, generator=torch.Generator().manual_seed(env)) for env in range(num_envs)]
    return scale * torch.stack(rows, 1)


def run(env: MujocoEnv, steps: int = 60) -> dict[str, Tensor]:
    """Return everything that comes out of ``steps`` steps with short episodes, pushes and noise."""
    records: dict[str, list[Tensor]] = {}
    for action in actions(env.num_envs, steps):
        observation, reward, done, _ = env.step(action)
        row = {"observation": observation["policy"], "reward": reward, "done": done, "state": env.state, "final": env.final_state}
        row |= {"contact": env.contact, "command": env.memory.command.clone()}
        for name, value in row.items():
            records.setdefault(name, []).append(value)
    return {name: torch.stack(values) for name, values in records.items()}


def test_threads_and_number_of_environments_change_no_bit() -> None:
    settings: dict[str, Any] = {"seed": 5, "episode_s": 0.5, "push": Push(1.0, 0.1)}
    reference = run(make(16, **settings))
    assert reference["done"].any()
    for other in (make(16, num_threads=2, **settings), make(5, **settings), make(1, **settings), make(37, **settings)):
        records, shared = run(other), min(16, other.num_envs)
        for name, value in records.items():
            assert torch.equal(value[:, :shared], reference[name][:, :shared]), name


def test_without_mujocos_own_batch_simulations_are_the_same_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo 3 has none; ours is tried on the MuJoCo that is here."""
    pytest.importorskip("mujoco.batch")
    settings: dict[str, Any] = {"seed": 5, "episode_s": 0.5, "push": Push(1.0, 0.1)}
    own = run(make(5, **settings))
    monkeypatch.setitem(sys.modules, "mujoco.batch", None)
    for threads in (1, 2):
        records = run(make(5, num_threads=threads, **settings))
        for name, value in records.items():
            assert torch.equal(value, own[name]), name


def test_actions_are_clipped() -> None:
    env = make(2)
    env.step(torch.full((2, 12), 200.0))
    assert float(env.memory.last_action.min()) == 100.0


def test_a_diverging_environment_is_reset_counted_and_leaves_the_others_alone() -> None:
    env, calm = make(3, noise=0.0), make(3, noise=0.0)
    last = env.state[1].clone()
    env.physics.qvel[1, 6:] = 1e12
    _, reward, done, extras = env.step(torch.zeros(3, 12))
    calm.step(torch.zeros(3, 12))
    assert done.tolist() == env.terminated.tolist() == env.diverged.tolist() == [False, True, False]
    assert not extras["time_outs"].any()
    assert env.num_diverged == 1
    assert torch.isfinite(reward).all()
    assert torch.equal(env.final_state[1], last)
    assert torch.equal(env.state[[0, 2]], calm.state[[0, 2]])
    env.step(torch.zeros(3, 12))
    assert env.num_diverged == 1
    assert torch.isfinite(env.state).all()


def test_random_start_staggers_the_first_episodes() -> None:
    ages = make(64, random_start=True).episode_length_buf
    assert ages.min() < 200
    assert ages.max() > 800
    assert not make(8).episode_length_buf.any()


def test_pushes_change_the_planar_velocity_only() -> None:
    still, pushed = make(8, noise=0.0), make(8, noise=0.0, push=Push(speed=1.0, interval_s=0.02))
    still.step(torch.zeros(8, 12))
    pushed.step(torch.zeros(8, 12))
    assert torch.equal(still.final_state, pushed.final_state)
    changed = (still.state != pushed.state).any(0)
    velocity = STATE_LAYOUT["base_lin_vel"]
    assert changed[velocity].any()
    assert not changed[velocity.stop :].any()


def test_start_states_are_configured() -> None:
    rest = make(16, start=StartState(base_speed=0.0, joint_scale=(1.0, 1.0)))
    gravity = STATE_LAYOUT["projected_gravity"]
    assert torch.allclose(rest.state[:, gravity], torch.tensor([0.0, 0.0, -1.0]).expand(16, 3), atol=1e-6)
    rest.state[:, gravity] = 0.0
    assert rest.state.abs().max() < 1e-6
    assert make(16).state[:, STATE_LAYOUT["base_lin_vel"]].abs().max() > 0.3


def test_a_step_that_is_no_whole_number_of_physics_steps_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"0\.003"):
        make(1, model=ModelSettings(timestep=0.003))


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ({"device": "cuda"}, "cuda"),
        ({"envelope": None}, "simulator.envelope"),
        ({"envelope": "motor"}, "motors"),
        ({"num_threads": 0}, "thread"),
        ({"task": "walk"}, "simulator.task"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], culprit: str) -> None:
    with pytest.raises(ConfigError, match=culprit):
        MujocoEnv(**({"task": VelocityTask(anymal_d()), "num_envs": 1} | arguments))


def test_any_robot_is_simulated_with_its_own_start_contacts_and_scale() -> None:
    env = MujocoEnv(VelocityTask(go1(), observation_noise=0.0), 3, start=StartState(0.0, (1.0, 1.0)))
    assert env.poses().shape == (3, 19)
    assert env.poses()[:, 2].tolist() == [0.4] * 3
    assert env.poses()[0, 7:] == pytest.approx(go1().default_joint_pos.tolist())
    assert (env.state.shape, env.contact.shape) == ((3, 45), (3, 12))
    env.step(torch.ones(3, 12))
    assert env.physics._control[0] == pytest.approx((go1().default_joint_pos + 0.25).tolist())
    env.physics.qpos[1, 2:7] = (0.1, 0.0, 1.0, 0.0, 0.0)  # on its back
    done = [env.step(torch.zeros(3, 12))[2] for _ in range(10)]
    assert torch.stack(done).any(0).tolist() == [False, True, False]


def test_the_tasks_tilt_ends_episodes() -> None:
    env = MujocoEnv(VelocityTask(anymal_d(), max_tilt=-1.0), 2)  # upright is never exact
    assert env.step(torch.zeros(2, 12))[2].all()
    assert env.terminated.all()


def test_an_identity_holds_all_that_decides_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    base: dict[str, Any] = {"num_envs": 2, "noise": 1.0, "episode_s": 20.0}
    changes: tuple[dict[str, Any], ...] = (
        {"episode_s": 10.0},
        {"model": ModelSettings(stiffness=81.0)},
        {"model": ModelSettings(velocity_limit=7.0)},
        {"envelope": "none"},
        {"start": StartState(base_height=0.7)},
        {"push": Push(speed=0.1)},
    )
    identities = [json.dumps(make(**(base | change)).identity(), sort_keys=True) for change in ({}, *changes)]
    assert len(set(identities)) == 1 + len(changes)
    walked = make(**base, num_threads=2)
    walked.step(torch.zeros(2, 12))
    assert json.dumps(walked.identity(), sort_keys=True) == identities[0]
    monkeypatch.setattr("rwmu.simulators.mujoco.metadata.version", lambda name: "99")
    assert json.dumps(walked.identity(), sort_keys=True) != identities[0]
