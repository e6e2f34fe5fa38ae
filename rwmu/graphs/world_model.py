"""A world model as ONNX: one step of all members, in physical units on both sides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rwmu.dynamics.traceable import traceable
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import CheckpointError
from rwmu.graphs.onnx_file import Session, Traced, deviation, listed, require_alike
from rwmu.records import Carry, Window
from rwmu.robots.robot import Robot

# By which a prediction may be off in one step, and after all: rounding grows as a dream goes on, most where the robot falls.
ALLOWED, ALLOWED_AFTER = 1e-4, 1e-2
BEFORE, AFTER = "carry_", "next_carry_"  # what the names of a carry's parts begin with, among inputs and among outputs
_PREDICTED = ("mean", "log_std", "contact", "termination")


class Step(nn.Module):
    """One step of every member, that can be traced.

    Inputs are ``state [E, B, D]``, each member's own in physical units, ``action [B, A]``, and the parts of the carry. Outputs are
    ``mean`` and ``log_std [E, B, D]`` of the next state (physical units, and the logarithm of such), the probabilities
    ``contact [E, B, C]`` and ``termination [E, B, 1]``, any ``extension [E, B, X]``, and the parts of the next carry. Before any
    row, all of a carry is zero.

    Attributes:
        parts: names of the carry's parts.
    """

    def __init__(self, world_model: WorldModel) -> None:
        super().__init__()
        self._of = world_model
        self._dynamics: Any = traceable(world_model.dynamics)
        self._blank = self.start(1)
        self.parts = [name for name, value in vars(self._blank).items() if value is not None]
        begins = [getattr(self._blank, name) for name in self.parts]
        if not all(isinstance(part, Tensor) and not part.count_nonzero() for part in begins):
            raise CheckpointError(f"{_named(world_model)} cannot be exported: its carry does not begin as tensors of zeros.")

    def start(self, rows: int) -> Carry:
        """Return the carry before any row."""
        blank: Carry = self._of.dynamics.initial_carry(self._of.num_members, rows)
        return blank

    def named(self, carry: Carry) -> dict[str, Tensor]:
        """Return the parts of a carry by the names of the inputs."""
        return {f"{BEFORE}{name}": getattr(carry, name) for name in self.parts}

    def forward(self, state: Tensor, action: Tensor, *carry: Tensor) -> tuple[Tensor, ...]:
        """Step."""
        own, extension = self._of.normalizer, self._of.extension_normalizer
        before = replace(self._blank, **dict(zip(self.parts, carry, strict=True)))
        action = action.unsqueeze(0).expand(self._of.num_members, -1, -1)
        after, found = self._dynamics.step(before, own.normalize(state), action)
        predicted = own.denormalize(found.mean), found.log_std + own.std.log(), found.contact.sigmoid(), found.termination.sigmoid()
        beside = [] if extension is None else [extension.denormalize(found.extension)]
        return (*predicted, *beside, *(getattr(after, name) for name in self.parts))

    def traced(self) -> Traced:
        """Return what is to be traced."""
        rows, sizes = 2, self._of.dynamics
        state, action = torch.zeros(self._of.num_members, rows, sizes.state_dim), torch.zeros(rows, sizes.action_dim)
        inputs = {"state": state, "action": action, **self.named(self.start(rows))}
        beside = [] if self._of.extension_normalizer is None else ["extension"]
        outputs = (*_PREDICTED, *beside, *(f"{AFTER}{name}" for name in self.parts))
        axes = {name: self._blank.rows_axis if name.startswith((BEFORE, AFTER)) else 1 for name in (*inputs, *outputs)}
        return Traced(self, inputs, outputs, axes | {"action": 0}, _named(self._of))


def world_model_onnx(
    world_model: WorldModel, robot: Robot, history: Window, action: Tensor, about: Mapping[str, Any]
) -> tuple[bytes, float]:
    """Return the file's content, and by how much its predictions are off at most in a rollout from each of some histories.

    Args:
        history: ``[B, H, .]``, physical units. action: ``[B, K, A]``, what is done after it.
        about: further metadata, name -> plain values, written as JSON.

    Raises:
        CheckpointError: the model has operations that ONNX lacks, or the file would not compute what torch does.
    """
    step = Step(world_model)
    content = step.traced().to_onnx(metadata(world_model, robot) | {name: json.dumps(value) for name, value in about.items()})
    off = deviations(content, step, world_model, history, action)
    require_alike("world_model.onnx", off[0], ALLOWED)
    require_alike("world_model.onnx", max(off), ALLOWED_AFTER)
    return content, max(off)


def metadata(world_model: WorldModel, robot: Robot) -> dict[str, str]:
    """Return what is in which column, and what the model is of; lists with commas between."""
    return {
        "robot": robot.name,
        "num_members": str(world_model.num_members),
        "history": str(world_model.history),
        "state_names": listed(world_model.normalizer.names),
        "state_layout": json.dumps(world_model.layout),
        "action_names": listed(robot.joint_names),
        "contact_names": listed(contact_names(robot)),
        "data_hash": world_model.data_hash,
        "model_hash": world_model.content_hash(),
    }


def contact_names(robot: Robot) -> tuple[str, ...]:
    """Return whose contact stands in which column."""
    return tuple(name for names in robot.contacts.observed.values() for name in names)


@torch.no_grad()
def deviations(content: bytes, step: Step, world_model: WorldModel, history: Window, action: Tensor) -> list[float]:
    """Return by how much each step of a file's rollouts is off torch's at most; each member goes on from its own means.

    States and their spread count in deviations of the training data, contacts and terminations in probability.
    """
    wanted, mean, scale = world_model.rollout(history, action), world_model.normalizer.mean, world_model.normalizer.std
    found = rolled_out(Session(content), step.named(step.start(len(action))), history, action, world_model.num_members)
    pairs = [
        ((found["mean"] - mean) / scale, (wanted.mean - mean) / scale),
        (found["log_std"].exp() / scale, wanted.std / scale),
        (found["contact"], wanted.contact),
        (found["termination"][..., 0], wanted.termination),
    ]
    return [max(deviation(mine[:, :, k], theirs[:, :, k]) for mine, theirs in pairs) for k in range(action.shape[1])]


def rolled_out(session: Session, carry: dict[str, Tensor], history: Window, action: Tensor, members: int) -> dict[str, Tensor]:
    """Return what the steps after a history predict, ``[E, B, K, .]`` by name: true rows first, then each member's means."""
    rows = history.state.expand(members, *history.state.shape)  # [E, B, H, D]
    following = torch.cat([history.action[:, 1:], action], dim=1)  # of every row
    predicted: list[dict[str, Tensor]] = []
    for t in range(following.shape[1]):
        state = rows[:, :, t] if t < history.length else predicted[-1]["mean"]
        found = session(state=state, action=following[:, t], **carry)
        carry = {BEFORE + name.removeprefix(AFTER): part for name, part in found.items() if name.startswith(AFTER)}
        predicted.append(found)
    return {name: torch.stack([step[name] for step in predicted[history.length - 1 :]], dim=2) for name in _PREDICTED}


def _named(world_model: WorldModel) -> str:
    return f"A world model of kind '{world_model.architecture.get('kind', type(world_model.dynamics).__name__)}'"
