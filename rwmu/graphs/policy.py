"""A policy as ONNX, with mjlab's metadata, and as TorchScript, as Isaac Lab's exporter writes it."""

from __future__ import annotations

import io
import json
import math
import warnings

import torch
from torch import Tensor

from rwmu.graphs.onnx_file import Session, Traced, deviation, listed, require_alike
from rwmu.policy.rsl_rl import PolicyActor
from rwmu.robots.robot import Motors
from rwmu.tasks.velocity import VelocityTask

ALLOWED = 1e-5  # by which an action may be off
COMMAND = "twist"  # what mjlab's velocity task calls it
_MJLAB_NAMES = {"last_action": "actions"}


def policy_onnx(actor: PolicyActor, task: VelocityTask, motors: Motors, run: str, observation: Tensor) -> tuple[bytes, float]:
    """Return the file's content, and by how much its actions are off on ``observation [B, O]``.

    Its input is ``obs [rows, O]`` as :meth:`VelocityTask.observe` makes it, its output ``actions [rows, A]``.

    Args:
        motors: that execute the actions. run: what the policy comes from, a name.

    Raises:
        CheckpointError: it does not compute what torch does.
    """
    module = actor.model.as_onnx(verbose=False)
    example = torch.zeros(2, task.num_observations)
    traced = Traced(module, {"obs": example}, ("actions",), {"obs": 0, "actions": 0}, "policy.onnx")
    content = traced.to_onnx(metadata(task, motors, run))
    off = deviation(Session(content)(obs=observation)["actions"], actor(observation))
    require_alike("policy.onnx", off, ALLOWED)
    return content, off


def metadata(task: VelocityTask, motors: Motors, run: str) -> dict[str, str]:
    """Return what mjlab 1.6 writes beside a policy, by its names; and ``rwmu``, JSON of what that leaves out or rounds."""
    robot, layout = task.robot, task.observation_layout
    terms = len(layout.fields)

    mjlab = {
        "run_path": run,
        "joint_names": listed(robot.joint_names),
        "joint_stiffness": listed(robot.per_joint(motors.stiffness)),
        "joint_damping": listed(robot.per_joint(motors.damping)),
        "default_joint_pos": listed(robot.default_joint_pos.tolist()),
        "command_names": COMMAND,
        "observation_names": listed([_MJLAB_NAMES.get(field.name, field.name) for field in layout.fields]),
        "observation_terms_scale": listed([1.0] * terms),
        "observation_terms_flatten_history_dim": listed([True] * terms),
        "observation_terms_history_length": listed([0] * terms),
        "observation_terms_clip": listed([[-math.inf, math.inf]] * terms),
        "action_scale": listed(robot.action_scale.tolist()),
    }
    ours = {
        "robot": robot.name,
        "step_dt": task.step_dt,
        "command_range": task.command_range,
        "observation": layout.describe(),
        "default_joint_pos": robot.default_joint_pos.tolist(),
        "action_scale": robot.action_scale.tolist(),
        "motors": vars(motors),
    }
    return {**mjlab, "rwmu": json.dumps(ours)}


def policy_script(actor: PolicyActor, observation: Tensor) -> bytes:
    """Return the content of a TorchScript file that maps observations ``[B, O]`` to actions and has ``reset()``.

    Raises:
        CheckpointError: it does not compute what torch does.
    """
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, but it is what Isaac Lab's deployments load
        scripted = torch.jit.script(actor.model.as_jit().eval())
        torch.jit.save(scripted, written)
        written.seek(0)
        read = torch.jit.load(written)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        require_alike("policy.pt", deviation(read(observation), actor(observation)), ALLOWED)
    return written.getvalue()
