"""mjlab: the embedded simulator's starts, its own conditions, its own scripts, and a run from data to deployment."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("mjlab")

from rwmu.errors import ConfigError
from rwmu.robots import robot_named
from rwmu.robots.robot import ContactGroups
from rwmu.simulators.mjlab import MjlabEnv
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.tasks.velocity import VelocityTask
from tests.conftest import Command, collected


def task_of(robot: str = "anymal_d", **settings: Any) -> VelocityTask:
    return VelocityTask(robot_named(robot), **settings)


@pytest.mark.parametrize("robot", ["anymal_d", "go1"])
def test_the_same_seed_gives_the_embedded_simulators_episodes(robot: str) -> None:
    """Both start alike, are commanded alike and, motors and contacts being the same, move alike for a while."""
    ours, mjlabs = (make(task_of(robot), 6, seed=4) for make in (MujocoEnv, MjlabEnv))
    assert torch.allclose(ours.state, mjlabs.state, atol=1e-5)
    assert torch.equal(ours.memory.command, mjlabs.memory.command)
    action = torch.randn(6, 12, generator=torch.Generator().manual_seed(0))
    layout = ours.task.robot.state_layout
    for _ in range(5):
        ours.step(action)
        mjlabs.step(action)
    for name, bound in (("base_lin_vel", 0.02), ("joint_pos", 0.005), ("joint_vel", 0.3), ("joint_torque", 0.5)):
        assert (layout.part(ours.state, name) - layout.part(mjlabs.state, name)).abs().median() < bound, name
    assert (ours.contact == mjlabs.contact).float().mean() > 0.9


def test_its_own_conditions_push_and_command_by_the_seed_and_leave_other_draws_alone() -> None:
    before = torch.get_rng_state()
    envs = [MjlabEnv(task_of(), 8, seed=seed, conditions="simulator") for seed in (1, 1, 2)]
    for _ in range(12):
        for env in envs:
            env.step(torch.zeros(8, 12))
    first, again, other = envs
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.state, again.state)
    assert torch.equal(first.memory.command, again.memory.command)
    assert not torch.equal(first.memory.command, other.memory.command)
    pushed = (first.state != first.final_state).any(1)
    for _ in range(70):  # mjlab pushes every one to three seconds
        first.step(torch.zeros(8, 12))
        pushed |= (first.state != first.final_state).any(1)
    assert pushed.any()


def test_a_robot_whose_model_lacks_what_it_names_is_refused_with_both_lists() -> None:
    robot = robot_named("go1")
    contacts = ContactGroups(feet=("FL_toe",), undesired=(), terminating=("trunk",))
    with pytest.raises(ConfigError, match=r"FL_toe.*FL_foot"):
        MjlabEnv(VelocityTask(dataclasses.replace(robot, contacts=contacts, reflections={})), 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="There is a GPU.")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"simulator\.device"):
        MjlabEnv(task_of(), 1, device="cuda:0")


def test_mjlabs_own_scripts_play_our_checkpoints(tmp_path: Path) -> None:
    """What ``play Rwmu-Velocity-Flat-AnymalD --checkpoint-file policy.pt`` does, up to its viewer."""
    import mjlab.tasks  # noqa: F401
    from mjlab.envs import ManagerBasedRlEnv
    from mjlab.rl import MjlabOnPolicyRunner, RslRlVecEnvWrapper
    from mjlab.tasks.registry import load_env_cfg, load_rl_cfg

    from rwmu.policy.rsl_rl import PpoSettings, build_ppo, load_actor, save_checkpoint
    from rwmu.simulators.mjlab_tasks import task_id

    robot, checkpoint = robot_named("anymal_d"), tmp_path / "policy.pt"
    save_checkpoint(checkpoint, build_ppo(MjlabEnv(task_of(), 2), PpoSettings(), robot), 0)
    cfg = load_env_cfg(task_id("anymal_d"), play=True)
    cfg.scene.num_envs = 3
    env = RslRlVecEnvWrapper(ManagerBasedRlEnv(cfg, "cpu"))
    runner = MjlabOnPolicyRunner(env, dataclasses.asdict(load_rl_cfg(task_id("anymal_d"))), device="cpu")
    runner.load(str(checkpoint), load_cfg={"actor": True}, strict=True, map_location="cpu")
    policy, ours, observations = runner.get_inference_policy("cpu"), load_actor(checkpoint, robot), env.get_observations()
    layout = task_of().observation_layout
    for _ in range(3):
        seen = observations["actor"]
        assert torch.allclose(layout.part(seen, "projected_gravity").norm(dim=1), torch.ones(3), atol=1e-4)
        action = policy(observations)
        assert torch.allclose(action, ours(seen), atol=1e-5)
        observations, *_ = env.step(action)
        assert torch.allclose(layout.part(observations["actor"], "last_action"), action, atol=1e-5)


@pytest.mark.usefixtures("undrawn", "quick", "brief")
def test_a_run_collects_fits_dreams_and_deploys_there(command: Command, workplace: Path, shared_data: Path) -> None:
    settings = [
        *("scale=smoke", "machine.progress=false", "simulator=mjlab", "task=go1_flat", "task.episode_length_s=1.5"),
        *("data=random", "data.num_transitions=3000", "evaluation.dream_steps=20", "evaluation.video_s=null"),
        f"data.path={shared_data}/go1-mjlab.h5",
    ]
    collected(shared_data / "go1-mjlab.h5", settings)
    done = command("train", "+experiment=rwm_base", *settings)
    assert done.status == 0, done.err
    report = json.loads((workplace / "runs" / "latest" / "report.json").read_text())
    assert report["deployment"]["deterministic"]["num_episodes"] == 8
    again = command("evaluate", "run=runs/latest", "simulator=mjlab", "simulator.conditions=simulator", "evaluation.num_envs=4")
    assert again.status == 0, again.err
    elsewhere = json.loads((workplace / "runs" / "latest" / "deployment-mjlab.json").read_text())
    assert elsewhere["environment"]["conditions"] == "simulator"
    assert elsewhere["deterministic"]["num_episodes"] == 4
    assert json.loads((workplace / "runs" / "latest" / "report.json").read_text()) == report
