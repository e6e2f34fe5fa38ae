"""A policy that has left Python does what it did, and says about itself what mjlab's says."""

from __future__ import annotations

import io
import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rsl_rl.models import MLPModel
from tensordict import TensorDict

from rwmu.errors import CheckpointError
from rwmu.graphs.policy import metadata, policy_onnx, policy_script
from rwmu.policy.rsl_rl import GROUPS, PolicyActor, PpoSettings, load_actor, new_actor
from rwmu.robots.anymal_d import anymal_d
from rwmu.robots.go1 import go1
from rwmu.robots.mjcf import ModelSettings
from rwmu.tasks.velocity import VelocityTask

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
TASK = VelocityTask(anymal_d())
PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "deploy.md"


@pytest.fixture
def actor() -> PolicyActor:
    return new_actor(PpoSettings(hidden_dims=(16, 8)), TASK, seed=0)


@pytest.fixture
def observation() -> torch.Tensor:
    return torch.randn(32, TASK.num_observations, generator=torch.Generator().manual_seed(0))


def test_onnxruntime_computes_what_torch_does_for_any_number_of_rows(actor: PolicyActor, observation: torch.Tensor) -> None:
    content, deviation = policy_onnx(actor, TASK, TASK.robot.motors, "run", observation)
    assert deviation < 1e-6
    session = runtime.InferenceSession(content)
    assert [(put.name, put.shape) for put in session.get_inputs()] == [("obs", ["rows", 48])]
    assert [(put.name, put.shape) for put in session.get_outputs()] == [("actions", ["rows", 12])]
    for rows in (1, 5):
        (found,) = session.run(["actions"], {"obs": observation[:rows].numpy()})
        torch.testing.assert_close(torch.from_numpy(found), actor(observation[:rows]), rtol=1e-5, atol=1e-5)
    assert [entry.version for entry in onnx.load_from_string(content).opset_import if not entry.domain] == [18]


def test_torchscript_computes_it_too_and_resets(actor: PolicyActor, observation: torch.Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        script = torch.jit.load(io.BytesIO(policy_script(actor, observation)))
    script.reset()
    torch.testing.assert_close(script(observation), actor(observation))


def test_a_normaliser_is_inside(tmp_path: Path, observation: torch.Tensor) -> None:
    torch.manual_seed(0)
    example = TensorDict({"policy": observation}, batch_size=[len(observation)])
    noise = {"class_name": "GaussianDistribution", "init_std": 1.0}
    trained = MLPModel(example, GROUPS, "actor", 12, [16], obs_normalization=True, distribution_cfg=noise)
    trained.update_normalization(TensorDict({"policy": 3.0 * observation + 2.0}, batch_size=[len(observation)]))
    torch.save({"actor_state_dict": trained.state_dict(), "iter": 0, "infos": None}, tmp_path / "theirs.pt")
    content, _ = policy_onnx(load_actor(tmp_path / "theirs.pt"), TASK, TASK.robot.motors, "run", observation)
    (found,) = runtime.InferenceSession(content).run(["actions"], {"obs": observation.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), trained.eval()(example).detach(), rtol=1e-5, atol=1e-5)


def test_a_graph_that_computes_something_else_is_refused(actor: PolicyActor, observation: torch.Tensor) -> None:
    other = new_actor(PpoSettings(hidden_dims=(16, 8)), TASK, seed=1)
    for name in ("as_onnx", "as_jit"):
        setattr(actor.model, name, getattr(other.model, name))
    with pytest.raises(CheckpointError, match=r"policy\.onnx"):
        policy_onnx(actor, TASK, TASK.robot.motors, "run", observation)
    with pytest.raises(CheckpointError, match=r"policy\.pt"):
        policy_script(actor, observation)


class Standing:
    """A robot that has stood for so many steps, and notes what its joints are told."""

    def __init__(self, steps: int) -> None:
        self.left, self.targets, self.lasted = steps, list[Any](), list[float]()

    def waits(self, step_dt: float) -> bool:
        self.left, self.lasted = self.left - 1, [*self.lasted, step_dt]
        return self.left >= 0

    def read(self) -> dict[str, Any]:
        sensed = {name: np.zeros(3) for name in ("base_lin_vel", "base_ang_vel")} | {
            "projected_gravity": np.array([0.0, 0.0, -1.0])
        }
        return sensed | {"joint_pos": TASK.robot.default_joint_pos.numpy() + 0.1, "joint_vel": np.zeros(12)}

    def command(self) -> Any:
        return np.array([0.5, 0.0, 0.2])

    def move_joints_to(self, targets: Any) -> None:
        self.targets.append(torch.from_numpy(targets))


def test_the_loop_of_the_page_moves_a_robot_as_the_policy_would(
    actor: PolicyActor, observation: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policy.onnx").write_bytes(policy_onnx(actor, TASK, TASK.robot.motors, "run", observation)[0])
    monkeypatch.chdir(tmp_path)
    (loop,) = re.findall(r"```python\n(import json\n.*?)```", PAGE.read_text(), re.DOTALL)
    robot = Standing(steps=3)
    exec(compile(loop, PAGE.name, "exec"), {"robot": robot})
    state = torch.zeros(1, TASK.robot.state_layout.size)
    TASK.robot.state_layout.part(state, "projected_gravity")[:, 2] = -1.0
    TASK.robot.state_layout.part(state, "joint_pos")[:] = 0.1
    action = torch.zeros(1, 12)
    for targets in robot.targets:
        action = actor(TASK.observe(state, torch.tensor([[0.5, 0.0, 0.2]]), action))
        torch.testing.assert_close(
            targets, (TASK.robot.default_joint_pos + TASK.robot.action_scale * action[0]), rtol=0.0, atol=1e-5
        )
    assert len(robot.targets) == 3
    assert robot.lasted[0] == TASK.step_dt


def test_metadata_are_mjlabs() -> None:
    """Keys, their order and the form of their values are those of ``mjlab.rl.exporter_utils`` of mjlab 1.6."""
    robot = go1()
    found = metadata(VelocityTask(robot), ModelSettings(damping=0.5).motors(robot), "walk")
    assert json.loads(found.pop("rwmu"))["observation"][3] == ["command", 3, "m/s, m/s, rad/s"]
    assert list(found.items()) == [
        ("run_path", "walk"),
        ("joint_names", ",".join(f"{leg}_{part}_joint" for part in ("hip", "thigh", "calf") for leg in ("FL", "RL", "FR", "RR"))),
        ("joint_stiffness", ",".join(["35.000"] * 12)),
        ("joint_damping", ",".join(["0.500"] * 12)),
        ("default_joint_pos", "0.100,0.100,-0.100,-0.100,0.800,1.000,0.800,1.000,-1.500,-1.500,-1.500,-1.500"),
        ("command_names", "twist"),
        ("observation_names", "base_lin_vel,base_ang_vel,projected_gravity,command,joint_pos,joint_vel,actions"),
        ("observation_terms_scale", ",".join(["1.000"] * 7)),
        ("observation_terms_flatten_history_dim", ",".join(["1.000"] * 7)),
        ("observation_terms_history_length", ",".join(["0.000"] * 7)),
        ("observation_terms_clip", ",".join(["-inf;inf"] * 7)),
        ("action_scale", ",".join(["0.250"] * 12)),
    ]
