"""Isaac Lab: what is its own beside the contract of all simulators (test_contract.py), and what is said where it is missing."""

from __future__ import annotations

import importlib
from importlib import util
from typing import Any

import pytest
import torch
from torch import Tensor

from rwmu.errors import ConfigError, MissingExtraError
from rwmu.robots.anymal_d import anymal_d
from rwmu.simulators.lab import usable
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.simulators.simulated import StartState
from rwmu.tasks.velocity import VelocityTask
from tests.conftest import Command

INSTALLED = util.find_spec("isaaclab") is not None
NUM_ENVS = 4


@pytest.mark.skipif(INSTALLED, reason="Isaac Lab is here")
def test_where_it_is_missing_the_line_that_installs_it_is_said(command: Command) -> None:
    with pytest.raises(MissingExtraError, match="constraints-isaaclab"):
        importlib.import_module("rwmu.simulators.isaaclab")
    outcome = command("collect", "data=random", "simulator=isaaclab")
    assert outcome.status == 2
    assert "[isaaclab]" in outcome.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="cuda:0"):
        usable("cuda:0")


def make(task: VelocityTask | None = None, **arguments: Any) -> Any:
    pytest.importorskip("isaaclab")
    task = task or VelocityTask(anymal_d(), observation_noise=0.0)
    return importlib.import_module("rwmu.simulators.isaaclab").IsaacLabEnv(task, NUM_ENVS, **arguments)


def actions(steps: int = 25) -> Tensor:
    return 0.5 * torch.randn(steps, NUM_ENVS, 12, generator=torch.Generator().manual_seed(0))


def test_starts_and_commands_are_those_of_the_embedded_simulator() -> None:
    task, start = VelocityTask(anymal_d(), observation_noise=0.0), StartState(base_height=0.9)
    env, embedded = make(task, seed=7, start=start), MujocoEnv(task, NUM_ENVS, seed=7, start=start)
    assert torch.allclose(env.state, embedded.state, atol=1e-5)
    assert torch.equal(env.memory.command, embedded.memory.command)
    assert env.poses() == pytest.approx(embedded.poses(), abs=1e-5)
    for _ in range(3):  # in the air, where no solver of contacts matters
        env.step(torch.zeros(NUM_ENVS, 12))
        embedded.step(torch.zeros(NUM_ENVS, 12))
    assert not (env.contact | embedded.contact).any()
    error = (env.state - embedded.state).abs()
    assert error[:, env.task.robot.state_layout["joint_pos"]].max() < 0.02
    assert error[:, env.task.robot.state_layout["base_lin_vel"]].max() < 0.05


def test_later_environments_end_earlier_ones() -> None:
    first = make(seed=1)
    second = make(seed=2)
    with pytest.raises(RuntimeError, match="another"):
        first.step(torch.zeros(NUM_ENVS, 12))
    second.step(torch.zeros(NUM_ENVS, 12))


def test_it_draws_from_no_generator_of_ours() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    env = make(seed=1, conditions="simulator")
    env.step(torch.zeros(NUM_ENVS, 12))
    assert torch.equal(torch.rand(1), expected)


def test_under_its_own_conditions_commands_are_isaac_labs() -> None:
    env = make(seed=1, conditions="simulator")
    for action in actions():
        before = env.memory.command.clone()
        env.step(action)
        assert torch.equal(env.memory.command.float(), env.lab.command_manager.get_command("base_velocity"))
    assert (env.memory.command != before)[:, 2].any()  # follows a heading
    masses = env.lab.scene["robot"].data.body_mass.torch.sum(1)
    assert masses.std() > 0.1


def test_mistakes_are_told_before_anything_is_made() -> None:
    module: Any = importlib.import_module("rwmu.simulators.isaaclab") if INSTALLED else pytest.importorskip("isaaclab")
    with pytest.raises(ConfigError, match=r"LF_KFE.*hip, knee"):
        module.places("joints", ("hip", "LF_KFE"), ("hip", "knee"))
    assert module.places("contacts", ("LF_foot",), ("base", "LF_FOOT")) == [1]
    with pytest.raises(ConfigError, match="lab_task"):
        make(lab_task="Isaac-Velocity-Flat-Nobody")
    with pytest.raises(ConfigError, match=r"0\.012"):
        make(VelocityTask(anymal_d(), step_dt=0.012))
