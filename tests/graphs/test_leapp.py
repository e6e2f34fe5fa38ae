"""A LEAPP graph acts as the policy does that it is made of; leapp itself says so where it is installed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from rwmu.errors import CheckpointError
from rwmu.graphs.leapp import leapp_graph
from rwmu.graphs.onnx_file import Session
from rwmu.policy.rsl_rl import PolicyActor, PpoSettings, new_actor
from rwmu.robots.go1 import go1
from rwmu.tasks.velocity import VelocityTask

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
TASK = VelocityTask(go1())  # whose joint targets have a scale and a posture of their own for each joint
Play = Callable[[dict[str, Tensor]], Tensor]


@pytest.fixture
def actor() -> PolicyActor:
    return new_actor(PpoSettings(hidden_dims=(16, 8)), TASK, seed=0)


@pytest.fixture
def folder(actor: PolicyActor, tmp_path: Path) -> Path:
    for name, content in leapp_graph(actor, TASK, torch.randn(16, TASK.num_observations)).items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def by_hand(folder: Path) -> Play:
    """Return what goes through a graph as its YAML says."""
    said = yaml.safe_load((folder / "policy.yaml").read_text())
    (node,), pipeline = said["models"].items(), said["pipeline"]
    name, model = node
    content = (folder / model["parameters"]["model_path"]).read_bytes()
    assert model["parameters"]["sha256sum"] == hashlib.sha256(content).hexdigest()
    ((source, (target,)),) = pipeline["feedback_flow"].items()
    (written,) = pipeline["outputs"][name]
    kept = {target.split("/")[1]: torch.zeros(1, 12)}

    def play(sensed: dict[str, Tensor]) -> Tensor:
        assert set(sensed) == set(pipeline["inputs"][name])
        found = Session(content)(**sensed, **kept)
        kept[target.split("/")[1]] = found[source.split("/")[1]]
        return found[written]

    return play


def by_leapp(folder: Path) -> Play:
    manager = pytest.importorskip("leapp").InferenceManager(str(folder / "policy.yaml"))
    return lambda sensed: manager.run_policy({f"policy/{name}": value for name, value in sensed.items()})[
        "policy/joint_position_target"
    ]


@pytest.mark.parametrize("player", [by_hand, by_leapp])
def test_joints_are_told_what_the_policy_chooses(actor: PolicyActor, folder: Path, player: Callable[[Path], Play]) -> None:
    robot, play, action = TASK.robot, player(folder), torch.zeros(1, 12)
    layout, default = robot.state_layout, robot.default_joint_pos
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        state, command = torch.randn(1, layout.size, generator=generator), torch.randn(1, 3, generator=generator)
        names = {"robot_root_lin_vel_b": "base_lin_vel", "robot_root_ang_vel_b": "base_ang_vel", "robot_joint_vel": "joint_vel"}
        sensed = {name: layout.part(state, field) for name, field in names.items()}
        sensed |= {"robot_projected_gravity_b": layout.part(state, "projected_gravity"), "base_velocity": command}
        sensed |= {"robot_joint_pos": default + layout.part(state, "joint_pos")}
        action = actor(TASK.observe(state, command, action))
        torch.testing.assert_close(play(sensed), default + robot.action_scale * action, rtol=0.0, atol=1e-5)


def test_isaac_labs_scene_is_named(folder: Path) -> None:
    (model,) = yaml.safe_load((folder / "policy.yaml").read_text())["models"].values()
    inputs: dict[str, Any] = {each["name"]: each for each in model["inputs"]}
    assert inputs["robot_joint_pos"]["isaaclab_connection"] == "state:robot:joint_pos"
    assert inputs["robot_joint_pos"]["element_names"] == [list(TASK.robot.joint_names)]
    assert inputs["base_velocity"]["isaaclab_connection"] == "command:base_velocity"
    assert "isaaclab_connection" not in inputs["last_action"]
    assert model["outputs"][0]["isaaclab_connection"].startswith("write:robot:")


def test_a_graph_that_computes_something_else_is_refused(actor: PolicyActor) -> None:
    actor.model.as_onnx = new_actor(PpoSettings(hidden_dims=(16, 8)), TASK, seed=1).model.as_onnx
    with pytest.raises(CheckpointError, match="leapp"):
        leapp_graph(actor, TASK, torch.randn(16, TASK.num_observations))
