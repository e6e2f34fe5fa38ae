"""A policy as a LEAPP graph, which Isaac Lab and Isaac ROS deploy: what sensors say in, joint targets out.

The layout is that of leapp 0.7 (configuration version 1.3). The names are those of Isaac Lab's scene, its velocity tasks and its
articulations, so that ``LeappDeploymentEnv`` finds everything by itself.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from rwmu.graphs.onnx_file import OPSET, Session, Traced, deviation, require_alike
from rwmu.graphs.policy import ALLOWED
from rwmu.policy.rsl_rl import PolicyActor
from rwmu.tasks.velocity import VelocityTask

_NODE, _GRAPH = "policy", "policy.onnx"
_FED_BACK, _CHOSEN, _TARGET = "last_action", "action", "joint_position_target"
# Part of an observation -> what it is called, its kind, and where Isaac Lab has it.
_SENSED = {
    "base_lin_vel": ("robot_root_lin_vel_b", "state/body/linear_velocity", "state:robot:root_lin_vel_b"),
    "base_ang_vel": ("robot_root_ang_vel_b", "state/body/angular_velocity", "state:robot:root_ang_vel_b"),
    "projected_gravity": ("robot_projected_gravity_b", "state/vector3d", "state:robot:projected_gravity_b"),
    "command": ("base_velocity", "command/body/velocity", "command:base_velocity"),
    "joint_pos": ("robot_joint_pos", "state/joint/position", "state:robot:joint_pos"),
    "joint_vel": ("robot_joint_vel", "state/joint/velocity", "state:robot:joint_vel"),
}
_WRITTEN = ("target/joint/position", "write:robot:set_joint_position_target_index")
_AXES = {"command": ["lin_vel_x", "lin_vel_y", "ang_vel_z"]}


class _Loop(nn.Module):
    """What happens between sensors and joints in a control step."""

    default: Tensor
    scale: Tensor

    def __init__(self, model: nn.Module, task: VelocityTask) -> None:
        super().__init__()
        self.model, self.names = model, [field.name for field in task.observation_layout.fields]
        self.register_buffer("default", task.robot.default_joint_pos)
        self.register_buffer("scale", task.robot.action_scale)

    def forward(self, *sensed: Tensor) -> tuple[Tensor, Tensor]:
        """Return joint targets, rad, and the action, of the parts of an observation; joint positions are absolute."""
        parts = [part - self.default if name == "joint_pos" else part for name, part in zip(self.names, sensed, strict=True)]
        action = self.model(torch.cat(parts, dim=-1))
        return self.default + self.scale * action, action


def leapp_graph(actor: PolicyActor, task: VelocityTask, observation: Tensor) -> dict[str, bytes]:
    """Return name -> content of the files of a graph: ``policy.yaml``, which names ``policy.onnx``.

    Args:
        observation: ``[B, O]``, to compare it with torch on.

    Raises:
        CheckpointError: it does not compute what torch does.
    """
    layout, default = task.observation_layout, task.robot.default_joint_pos
    called = {field.name: _SENSED[field.name][0] if field.name in _SENSED else field.name for field in layout.fields}
    sensed = {called[name]: layout.part(observation, name) + (default if name == "joint_pos" else 0.0) for name in called}
    example = {name: values[:2] for name, values in sensed.items()}
    loop = _Loop(actor.model.as_onnx(verbose=False), task)
    traced = Traced(loop, example, (_TARGET, _CHOSEN), dict.fromkeys((*example, _TARGET, _CHOSEN), 0), "leapp/policy.onnx")
    content = traced.to_onnx({})
    found, action = Session(content)(**sensed), actor(observation)
    for name, wanted in ((_CHOSEN, action), (_TARGET, default + task.robot.action_scale * action)):
        require_alike("leapp/policy.onnx", deviation(found[name], wanted), ALLOWED)
    described = yaml.safe_dump(_description(task, called, content), sort_keys=False, default_flow_style=None, width=120)
    return {_GRAPH: content, "policy.yaml": described.encode()}


def _description(task: VelocityTask, called: dict[str, str], content: bytes) -> dict[str, Any]:
    joints = list(task.robot.joint_names)

    def tensor(name: str, size: int, elements: list[str], kind: str | None = None, connection: str | None = None) -> dict[str, Any]:
        about = {"name": name, "dtype": "float32", "shape": [1, size], "type": "tensor", "element_names": [elements]}
        return about | ({} if kind is None else {"kind": kind, "isaaclab_connection": connection})

    inputs = []
    for field in task.observation_layout.fields:
        elements = _AXES.get(field.name, ["x", "y", "z"]) if field.size == 3 else joints
        inputs.append(tensor(called[field.name], field.size, elements, *_SENSED.get(field.name, ("", None, None))[1:]))
    parameters = {
        "model_path": _GRAPH,
        "md5sum": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "sha256sum": hashlib.sha256(content).hexdigest(),
        "backend": "onnx",
        "opset_version": OPSET,
    }
    outputs = [tensor(_TARGET, len(joints), joints, *_WRITTEN), tensor(_CHOSEN, len(joints), joints)]
    return {
        "models": {_NODE: {"inputs": inputs, "outputs": outputs, "parameters": parameters}},
        "pipeline": {
            "configs": {"frequency": 1.0 / task.step_dt},
            "data_flow": {},
            "feedback_flow": {f"{_NODE}/{_CHOSEN}": [f"{_NODE}/{_FED_BACK}"]},
            "inputs": {_NODE: [name for name in called.values() if name != _FED_BACK]},
            "outputs": {_NODE: [_TARGET]},
        },
        "system information": {"leapp config version": "1.3", "torch version": str(torch.__version__)},
    }
