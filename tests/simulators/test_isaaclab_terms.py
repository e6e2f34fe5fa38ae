"""Isaac Lab's own reward terms on rows, against what its RewardManager computes in the same step; skipped without Isaac Lab."""

from __future__ import annotations

import importlib
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rwmu.robots.anymal_d import anymal_d
from rwmu.simulators.collect import Collector
from rwmu.tasks.lab import LabTask
from rwmu.tasks.lab_terms import LabTerms

pytest.importorskip("isaaclab")
LAB_TASK = "Isaac-Velocity-Flat-AnymalD"
NUM_ENVS, STEPS = 8, 60
EXACT = 1e-5  # of a term's largest value: single precision


def module(name: str) -> Any:
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def terms() -> LabTerms:
    found: LabTerms = module("rwmu.simulators.isaaclab_task").terms_of(LAB_TASK)
    return found


@pytest.fixture(scope="module")
def compared(terms: LabTerms) -> dict[str, tuple[Tensor, Tensor]]:
    """Return every term by name, Isaac Lab's and ours of the same steps, ``[S * B]`` each; robots walk about at random and fall."""
    configuration, play = module("rwmu.simulators.isaaclab_config"), module("rwmu.simulators.isaaclab_play")
    module("rwmu.simulators.isaaclab").end_running()
    cfg = module("isaaclab_tasks.utils").resolve_presets(play.AnymalDFlatEnvCfg(), ["newton_mjwarp"])
    cfg.scene.num_envs, cfg.sim.device, cfg.seed = NUM_ENVS, "cpu", 1
    cfg.events.base_com = None  # the centre of mass is the model's
    cfg.recorders = configuration.RecordersCfg()
    env = module("isaaclab.envs").ManagerBasedRLEnv(cfg)
    robot = anymal_d()
    task = LabTask(robot, terms)
    weights = torch.tensor([env.reward_manager.get_term_cfg(name).weight for name in env.reward_manager.active_terms])
    found: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    memory, data = task.start(NUM_ENVS), env.scene["robot"].data
    assert tuple(env.scene["robot"].joint_names) == robot.joint_names
    sensor = env.scene.sensors["contact_forces"]
    names = [name.rsplit("/", 1)[-1].lower() for name in sensor.sensor_names]
    columns = {group: [names.index(geom.lower()) for geom in geoms] for group, geoms in robot.contacts.observed.items()}

    def read() -> None:
        touching = sensor.data.net_normal_forces_w_history.torch.norm(dim=-1) > 1.0
        contact = torch.cat([touching.any(1)[:, columns["undesired"]], touching[:, 0][:, columns["foot"]]], 1)
        parts = (
            data.root_link_lin_vel_b.torch,
            data.root_link_ang_vel_b.torch,
            data.projected_gravity_b.torch,
            data.joint_pos.torch - robot.default_joint_pos,
            data.joint_vel.torch,
            env.scene["robot"].actuators.applied_effort.torch,
        )
        memory.command = env.command_manager.get_command("base_velocity").clone()
        ours = task.reward(memory, torch.cat(parts, 1), env.action_manager.action, contact).terms
        for index, name in enumerate(env.reward_manager.active_terms):
            if name in ours and weights[index] != 0.0:
                found[name].append((env.reward_manager._step_reward[:, index] / weights[index], ours[name].clone()))

    env.reader = read
    env.reset()
    memory.previous_joint_vel = data.joint_vel.torch.clone()
    generator = torch.Generator().manual_seed(2)
    for _ in range(STEPS):
        dones = env.step(torch.randn(NUM_ENVS, 12, generator=generator))[2:4]
        ended = (dones[0] | dones[1]).nonzero()[:, 0]
        memory.clear(ended)
        memory.previous_joint_vel[ended] = data.joint_vel.torch[ended]
    env.close()
    return {name: (torch.cat([one for one, _ in pairs]), torch.cat([other for _, other in pairs])) for name, pairs in found.items()}


def test_terms_are_those_of_isaac_labs_reward_manager(compared: dict[str, tuple[Tensor, Tensor]]) -> None:
    assert len(compared) == 10
    errors = {name: float((one - other).abs().max() / one.abs().max()) for name, (one, other) in compared.items()}
    if "RWMU_TERMS" in os.environ:
        Path(os.environ["RWMU_TERMS"]).write_text(json.dumps(errors, indent=2))
    for name, (one, _) in compared.items():
        assert float(one.abs().max()) > 0.0, f"{name} has never been other than 0"
    assert {name for name, error in errors.items() if error > EXACT} == set()


def test_what_rows_do_not_tell_is_computed_by_the_simulator_and_recorded(terms: LabTerms) -> None:
    mdp, managers = module("isaaclab.envs.mdp"), module("isaaclab.managers")
    height = managers.RewardTermCfg(func=mdp.base_height_l2, weight=-1.0, params={"target_height": 0.5})
    low = managers.TerminationTermCfg(func=mdp.root_height_below_minimum, params={"minimum_height": 0.55})
    more = LabTerms(LAB_TASK, terms.rewards | {"height": height}, terms.terminations | {"low": low}, terms.commands, terms.cfg)
    task = LabTask(anymal_d(), more, "simulator", observation_noise=0.0)
    env = module("rwmu.simulators.isaaclab").IsaacLabEnv(task, 4, seed=1, auto_reset=False)
    for _ in range(6):
        env.step(torch.zeros(4, 12))
        z = torch.from_numpy(env.poses()[:, 2]).float()
        assert env.extension is not None
        torch.testing.assert_close(env.extension[:, 0], (z - 0.5).square(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(env.last_reward.terms["height"], env.extension[:, 0])
        assert torch.equal(env.terminated, z < 0.55)
    assert bool(env.terminated.any())
    env = module("rwmu.simulators.isaaclab").IsaacLabEnv(task, 4, seed=1)
    episodes = Collector(env).collect(lambda observation: torch.zeros(4, 12), 40)
    assert episodes.extension is not None
    assert episodes.extension.shape == (episodes.num_rows, 1)
    assert float(episodes.extension[1:].max()) > 0.0
