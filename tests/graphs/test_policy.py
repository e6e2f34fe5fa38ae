"""A policy that has left Python does what it did, and says about itself what mjlab's says."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

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
