"""Compare this installation with numbers recorded from the published code: ``python -m experiments.parity FILE.npz``.

A file is of one of two forms, both described in tests/reference/README.md: a dynamics ensemble (weights, inputs, losses, gradients,
rollouts) or an imagined reward (states, actions, contacts, reward terms). All sizes are read from the file. Everything is computed
in float64 by the package's own code. Exits with 1 if an item differs by more than the tolerance, with 2 if the file cannot be used.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rwmu.dynamics.losses import LossSettings
from rwmu.dynamics.published import from_published, to_published
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.dynamics.unroll import Feedback, unroll
from rwmu.errors import DataError, UserError
from rwmu.records import Batch, Noise, Rollout, Window
from rwmu.robots.anymal_d import anymal_d
from rwmu.tasks.rewards import ISAAC_LAB
from rwmu.tasks.terms import varied
from rwmu.tasks.velocity import VelocityTask
from rwmu.uncertainty.estimates import aleatoric, epistemic

# Published name of the objective -> ours.
MODES = {"mse": "sampled_squared_error", "gaussian_nll": "gaussian_nll"}
TERMS = ("state", "bound", "contact", "termination")


@dataclass(frozen=True)
class Item:
    """One compared quantity.

    Attributes:
        name: the array of the file.
        absolute, relative: the largest difference, and the largest one divided by the recorded value.
        deviation: the largest over elements of the smaller of the two, which is what the tolerance bounds.
        recorded_to: relative precision that the file itself has for this item (float32 sums), else 0.
    """

    name: str
    absolute: float
    relative: float
    deviation: float
    recorded_to: float = 0.0

    def passes(self, tolerance: float) -> bool:
        """Return whether the item agrees."""
        return self.deviation <= max(tolerance, self.recorded_to)


def difference(name: str, ours: Tensor, recorded: Tensor, recorded_to: float = 0.0) -> Item:
    """Compare element by element; a shape that differs, or a value that is not finite, is infinitely wrong."""
    if ours.shape != recorded.shape or not bool(ours.isfinite().all()):
        return Item(name, math.inf, math.inf, math.inf, recorded_to)
    if ours.numel() == 0:
        return Item(name, 0.0, 0.0, 0.0, recorded_to)
    absolute = (ours.detach().double() - recorded.double()).abs()
    relative = torch.where(absolute > 0.0, absolute / recorded.double().abs(), 0.0)
    return Item(name, float(absolute.max()), float(relative.max()), float(torch.minimum(absolute, relative).max()), recorded_to)


def read(path: Path) -> dict[str, Any]:
    """Return the arrays of a reference file: numbers as tensors, names as lists of strings."""
    if not path.is_file():
        raise DataError(f"There is no reference file at {path}.")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:
        raise DataError(f"{path} cannot be read as a NumPy archive ({type(error).__name__}); it may be truncated.") from error
    return {
        name: torch.from_numpy(array) if array.dtype.kind in "biuf" else [str(value) for value in array.reshape(-1)]
        for name, array in arrays.items()
    }


def compare(path: Path) -> list[Item]:
    """Compare everything that the file at ``path`` records.

    Raises:
        DataError: the file is missing, broken or of neither form.
    """
    reference = read(path)
    try:
        if any(name.startswith("weights/") for name in reference):
            return list(dynamics(reference))
        if "weight_names" in reference:
            return list(reward(reference))
    except KeyError as error:
        raise DataError(f"The reference file has no array {error}, which files of its form have.") from error
    except (DataError, RuntimeError, IndexError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"The arrays of {path} do not fit together ({reason}).") from error
    raise DataError(
        f"{path} is of neither form: it has neither 'weights/...' of a dynamics ensemble nor the 'weight_names' of a reward."
    )


# -- dynamics -----------------------------------------------------------------------------------------------------------------


def dynamics(reference: Mapping[str, Any]) -> Iterator[Item]:
    """Compare losses, gradients and rollouts of a recorded ensemble."""
    weights = {name.removeprefix("weights/"): tensor for name, tensor in reference.items() if name.startswith("weights/")}
    model = from_published({name: tensor.double() for name, tensor in weights.items()})
    window = Window(*(reference[name].double().unsqueeze(0) for name in ("state", "action", "contact", "termination")))
    for mode in MODES:
        if f"{mode}/member_losses" in reference:
            yield from _losses(reference, model, window, mode)
    yield from _rollout(reference, model, window, "rollout", "ensemble_mean")
    if "rollout_member/mean" in reference:
        yield from _rollout(reference, model, window, "rollout_member", "member")


def _losses(reference: Mapping[str, Any], model: SharedEnsemble, window: Window, mode: str) -> Iterator[Item]:
    history = int(reference["history_horizon"])
    weights = {"state": 1.0, "history": 0.0, "bound": 1.0, "contact": 1.0, "termination": 1.0}
    settings = LossSettings(history, weights, state_loss=MODES[mode], feedback="sample", history_burn_in=0)
    # Recorded in the order drawn: member by member, step by step, the loss's sample (if any) before the one fed back.
    draws = reference[f"{mode}/noise"].double()
    draws = draws.unflatten(0, (model.num_members, window.length - history, -1)).movedim(0, 1)  # [K, E, 1 or 2, B, D]
    noise = Noise(feedback=draws[:, :, -1], loss=draws[:, :, 0] if settings.needs_sample else None)
    losses = model.losses(Batch(window, rows=reference["bootstrap_ids"]), settings, noise)
    if mode == "gaussian_nll":
        # torch.nn.GaussianNLLLoss is a mean over dimensions without the constant, where ours is their sum with it.
        dimensions = model.state_dim
        losses["state"] = losses["state"] / dimensions - 0.5 * math.log(2.0 * math.pi)
    table = torch.stack([losses[term] for term in TERMS], dim=1)  # [E, 4]
    for column, term in enumerate(TERMS):
        yield difference(f"{mode}/member_losses[{term}]", table[:, column], reference[f"{mode}/member_losses"][:, column])
    model.zero_grad()
    table.mean(0).sum().backward()  # type: ignore[no-untyped-call]
    values = to_published(model)
    for parameter in model.parameters():
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    for name, gradient in to_published(model).items():
        yield difference(f"{mode}/grad/{name}", gradient, reference[f"{mode}/grad/{name}"])
    model.load_state_dict(from_published(values).state_dict())


def _rollout(reference: Mapping[str, Any], model: SharedEnsemble, window: Window, name: str, feedback: Feedback) -> Iterator[Item]:
    history, future = int(reference["history_horizon"]), reference["rollout/future_action"].double().unsqueeze(0)
    with torch.no_grad():
        member = reference["rollout_member/member_ids"] if feedback == "member" else None
        action = torch.cat([window.action[:, :, : history + 1], future[:, :, :-1]], dim=2)
        blank = action.new_zeros(*action.shape[:-1], 1)
        state = functional.pad(window.state[:, :, :history], (0, 0, 0, action.shape[2] - history))
        rollout = unroll(model, Window(state, action, blank, blank), history, feedback, member=member)
    quantities: dict[str, Callable[[Rollout], Tensor]] = {
        "mean": lambda r: r.feedback[:, 0],
        "epistemic": lambda r: torch.stack([epistemic(r.at(k)) for k in range(len(r.mean))]),
        "aleatoric": lambda r: torch.stack([aleatoric(r.at(k)) for k in range(len(r.mean))]),
        "contact_logits": lambda r: _followed(r.contact, member),
        "termination_logits": lambda r: _followed(r.termination, member),
    }
    for quantity, value in quantities.items():
        if f"{name}/{quantity}" in reference:
            yield difference(f"{name}/{quantity}", value(rollout).transpose(0, 1), reference[f"{name}/{quantity}"])


def _followed(logits: Tensor, member: Tensor | None) -> Tensor:
    """Return ``[K, B, X]`` of ``[K, E, B, X]``: the mean over members, or the member that each row follows."""
    if member is None:
        return logits.mean(1)
    return logits[:, member, torch.arange(len(member))]


# -- imagined reward ----------------------------------------------------------------------------------------------------------


def reward(reference: Mapping[str, Any]) -> Iterator[Item]:
    """Compare observations, reward terms and totals of recorded imagined steps of the ANYmal D velocity task."""
    names, dt = reference["weight_names"], float(reference["step_dt"])
    weights = dict(zip(names, reference["weights"].tolist(), strict=True))
    task = VelocityTask(anymal_d(), varied(ISAAC_LAB, {name: {"weight": weight} for name, weight in weights.items()}), step_dt=dt)
    state, action = reference["state"].double(), reference["action"].double()
    for name, tensor, columns in (("state", state, task.robot.state_layout.size), ("action", action, task.num_actions)):
        if tensor.shape[-1] != columns:
            raise ValueError(f"'{name}' has {tensor.shape[-1]} columns, but {task.robot.name} has {columns}")
    contact = reference["contact_logits"] > 0.0
    memory = task.start(state.shape[1], dtype=torch.float64)
    memory.command = reference["command"].double()
    observations, rewards = [], []
    for t in range(len(state)):
        if t:
            observations.append(task.observe(state[t - 1], memory.command, memory.last_action))
        rewards.append(task.reward(memory, state[t], action[t], contact[t]))
    if observations:
        yield difference("observation", torch.stack(observations), reference["observation"][1:])
    terms = {name: torch.stack([step.terms[name] for step in rewards]) for name in names}
    recorded = {name: reference.get(f"term_corrected/{name}", reference[f"term/{name}"]) for name in names}
    for name in names:
        yield difference(f"term/{name}", terms[name], recorded[name])
    penalty = dt * float(reference["uncertainty_penalty_weight"]) * reference["epistemic"].double()
    total = torch.stack([step.total for step in rewards]) + penalty
    parts = [dt * weights[name] * recorded[name] for name in names]
    yield difference("reward (sum of the recorded terms)", total, torch.stack(parts).sum(0) + penalty)
    # The published code adds up in float32, so the recorded total is known no better than that.
    largest = float(torch.stack(parts).abs().sum(0).max())
    precision = torch.finfo(torch.float32).eps * largest if reference["reward"].dtype == torch.float32 else 0.0
    yield difference("reward_corrected (recorded in float32)", total, reference["reward_corrected"], precision)


# -- command ------------------------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.parity", description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path, help="a reference file (.npz)")
    parser.add_argument("--tolerance", type=float, default=1e-9, help="largest difference, absolute or relative (default 1e-9)")
    options = parser.parse_args(arguments)
    try:
        items = compare(options.file)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    width = max(len(item.name) for item in items)
    print(f"{'item':{width}}  {'absolute':>9}  {'relative':>9}")
    for item in items:
        remark = "" if item.passes(options.tolerance) else "  DIFFERS"
        print(f"{item.name:{width}}  {item.absolute:9.1e}  {item.relative:9.1e}{remark}")
    wrong = [item for item in items if not item.passes(options.tolerance)]
    worst = max(item.deviation for item in items)
    print(f"{len(items) - len(wrong)} of {len(items)} items agree to {options.tolerance:g} (largest deviation {worst:.1e})")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
