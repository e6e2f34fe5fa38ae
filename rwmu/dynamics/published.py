"""The published world model's weights, read and written: ``SystemDynamicsEnsemble`` of rsl_rl_rwm.

Published checkpoints hold them under ``system_dynamics_state_dict``: two GRU bases (``state_base``, ``auxiliary_base``, PyTorch's
gate order) and E heads on each. They are a :class:`~rwmu.dynamics.shared.SharedEnsemble` with a separate auxiliary base, no skip
and learnt bounds; all sizes are read off the weights.

They say nothing of the normaliser, the history and the data. The published configuration fixes the first two
(:func:`published_normalizer`, 32 rows; actions are taken as they are); the third is marked as unknown.

``python -m rwmu.dynamics.published SOURCE.pt TARGET.pt`` makes a ``dynamics.pt`` of a published checkpoint, or the reverse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rwmu.data.normalizer import Normalizer
from rwmu.dynamics.checks import check_state_dict
from rwmu.dynamics.recurrent import RecurrentEnsemble
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.dynamics.world_model import FORMAT, WorldModel
from rwmu.errors import CheckpointError, convert_command
from rwmu.files import read_torch, tell_left_aside, write_torch
from rwmu.robots import PUBLISHED, robot_named
from rwmu.robots.robot import Robot

KEY = "system_dynamics_state_dict"
HISTORY = 32  # M, rows of history of the published configuration
_GRU_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
# Our perceptrons -> theirs; a perceptron's layers 0 and 2 (1 is the ReLU).
_PERCEPTRONS = {
    "state_head.mean": ("state_heads", "state_mean_layers"),
    "state_head.log_std": ("state_heads", "state_logstd_layers"),
    "contact_head": ("auxiliary_heads", "contact_layers"),
    "termination_head": ("auxiliary_heads", "termination_layers"),
    "extension_head": ("auxiliary_heads", "extension_layers"),
}
_BOUNDS = {"state_head.min_log_std": "state_min_logstd", "state_head.log_delta_log_std": "state_log_delta_logstd"}
_LAYERS = {"weight_hidden": "0.weight", "bias_hidden": "0.bias", "weight_output": "2.weight", "bias_output": "2.bias"}


def from_published(weights: Mapping[str, Tensor]) -> SharedEnsemble:
    """Build the ensemble that a published state dict describes, with its weights (and their dtype).

    Raises:
        CheckpointError: a tensor is missing, unknown, of another shape than the others imply, or no number; names it, with both
            shapes.
    """
    _require_floats(weights)
    model = SharedEnsemble(**_architecture(weights))
    check_state_dict(to_published(model), weights, "The published world model")
    model.to(weights["state_base.memory.rnn.weight_ih_l0"].dtype)
    with torch.no_grad():
        for name, keys in _published_keys(model).items():
            model.get_parameter(name).copy_(torch.stack([weights[key] for key in keys]))
    return model


def to_published(model: RecurrentEnsemble) -> dict[str, Tensor]:
    """Return the published state dict of a shared ensemble of the published form; :func:`from_published` is its inverse.

    Raises:
        CheckpointError: the model has a part that the published form has no place for.
    """
    wanted = {"num_bases": 1, "skip": False, "auxiliary_base": "separate", "backbone": "gru", "prior_scale": 0.0}
    for name, value in wanted.items():
        if model.arguments[name] != value:
            raise CheckpointError(f"The published form needs {name} = {value}, but the model has {model.arguments[name]}.")
    return {
        key: model.get_parameter(name).detach()[member].clone()
        for name, keys in _published_keys(model).items()
        for member, key in enumerate(keys)
    }


def load_published(path: Path) -> SharedEnsemble:
    """Read the world model of a published checkpoint file; code in the file is never run (``weights_only``)."""
    content = _read(path)
    if not isinstance(content.get(KEY), Mapping):
        raise CheckpointError(f"{path} is not a published checkpoint: it has no named tensors as '{KEY}'.")
    tell_left_aside(path, content, (KEY,))
    return from_published(content[KEY])


def _read(path: Path) -> Mapping[str, Any]:
    return read_torch(path, "checkpoint", "a model_*.pt or of a dynamics.pt")


def _require_floats(weights: Mapping[str, Any]) -> None:
    dtype = None
    for key, tensor in weights.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            found = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise CheckpointError(f"'{key}' of the published world model is of {found}, but floating-point numbers were expected.")
        dtype = dtype or tensor.dtype
        if tensor.dtype != dtype:
            raise CheckpointError(f"'{key}' of the published world model is of {tensor.dtype}, but others are of {dtype}.")


def _architecture(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    def shape(key: str) -> torch.Size:
        if key not in weights:
            raise CheckpointError(f"The published world model lacks the tensor '{key}'.")
        if weights[key].ndim != 2 or 0 in weights[key].shape:
            found = tuple(weights[key].shape)
            raise CheckpointError(f"'{key}' of the published world model has shape {found}, but should be a matrix.")
        return weights[key].shape

    def count(pattern: str) -> int:
        return len({found[1] for key in weights if (found := re.match(pattern, key))})

    hidden_size = shape("state_base.memory.rnn.weight_hh_l0")[1]
    state_dim = shape("state_heads.0.state_min_logstd")[-1]
    inputs = shape("state_base.memory.rnn.weight_ih_l0")[1]
    if inputs <= state_dim:
        raise CheckpointError(f"The published world model reads {inputs} columns, but has a state of {state_dim}, so no action.")
    extension = "auxiliary_heads.0.extension_layers.2.weight"
    return {
        "state_dim": state_dim,
        "action_dim": inputs - state_dim,
        "contact_dim": shape("auxiliary_heads.0.contact_layers.2.weight")[0],
        "extension_dim": shape(extension)[0] if extension in weights else 0,
        "num_members": count(r"state_heads\.(\d+)\."),
        "num_layers": count(r"state_base\.memory\.rnn\.weight_hh_l(\d+)$"),
        "hidden_size": hidden_size,
        "head_hidden_size": shape("state_heads.0.state_mean_layers.0.weight")[0],
        "side_head_hidden_size": shape("state_heads.0.state_logstd_layers.0.weight")[0],
        "auxiliary_base": "separate",
        "skip": False,
        "learn_bounds": True,
    }


def _published_keys(model: RecurrentEnsemble) -> dict[str, list[str]]:
    """Return, for each of our parameters ``[G, ...]``, the names of the tensors that it is stacked from."""
    keys: dict[str, list[str]] = {}
    for base in ("state_base", "auxiliary_base"):
        for layer in range(model.state_base.num_layers):
            for weight in _GRU_WEIGHTS:
                keys[f"{base}.{weight}.{layer}"] = [f"{base}.memory.rnn.{weight}_l{layer}"]
    members = range(model.num_members)
    for own, bound in _BOUNDS.items():
        keys[own] = [f"state_heads.{member}.{bound}" for member in members]
    for own, (heads, layers) in _PERCEPTRONS.items():
        if own == "extension_head" and model.extension_head is None:
            continue
        for parameter, place in _LAYERS.items():
            keys[f"{own}.{parameter}"] = [f"{heads}.{member}.{layers}.{place}" for member in members]
    return keys


# -- files ----------------------------------------------------------------------------------------------------------------


def published_normalizer(robot: Robot) -> Normalizer:
    """Return the normaliser of the published configuration."""
    if robot.published_scale is None:
        raise CheckpointError(f"No published world model of the robot '{robot.name}' is known.")
    return Normalizer(*robot.published_scale, robot.state_layout.names())


def import_checkpoint(source: str | Path, target: str | Path, history: int = HISTORY) -> WorldModel:
    """Write the world model of a published checkpoint as one that :meth:`WorldModel.load` reads, in float32.

    Args:
        source, target: paths.
        history: M, the rows that it was trained with.

    Raises:
        CheckpointError: one sentence.
    """
    source, robot = Path(source), robot_named(PUBLISHED)
    if history < 1:
        raise CheckpointError(f"The history is {history} rows, but must be at least 1.")
    dynamics = load_published(source).float()
    found = (dynamics.state_dim, dynamics.action_dim, dynamics.contact_dim)
    wanted = (robot.state_layout.size, robot.num_joints, robot.contact_layout.size)
    if found != wanted:
        raise CheckpointError(
            f"The world model in {source} has {found[0]} state, {found[1]} action and {found[2]} contact columns, but {robot.name} "
            f"has {wanted[0]}, {wanted[1]} and {wanted[2]}."
        )
    dynamics.arguments["window"] = history
    world_model = WorldModel(
        dynamics=dynamics,
        normalizer=published_normalizer(robot),
        history=history,
        robot=robot.name,
        layout=robot.state_layout.describe(),
        data_hash="",
        architecture={"kind": "shared"} | {name: value for name, value in dynamics.arguments.items() if name != "num_bases"},
        training={"imported": source.name},
    )
    world_model.save(Path(target))
    return world_model


def export_checkpoint(source: str | Path, target: str | Path) -> WorldModel:
    """Write a world model of the published form as a published checkpoint of it alone; an imported one comes back bit for bit.

    Raises:
        CheckpointError: one sentence.
    """
    world_model = WorldModel.load(Path(source))
    write_torch(Path(target), {KEY: to_published(world_model.dynamics)})
    return world_model


# -- command --------------------------------------------------------------------------------------------------------------


def convert(source: str | Path, target: str | Path, history: int = HISTORY) -> str:
    """Convert a checkpoint of either form into the other; returns what was done."""
    if _read(Path(source)).get("format") != FORMAT:
        model = import_checkpoint(source, target, history)
        architecture = model.architecture
        flags = {name: architecture[name] for name in ("num_members", "hidden_size", "num_layers", "head_hidden_size")}
        flags |= {"side_head_hidden_size": architecture["side_head_hidden_size"]}
        flags |= {"auxiliary_base": "separate", "skip": "false", "learn_bounds": "true"}
        settings = " ".join(f"dynamics.{name}={value}" for name, value in flags.items())
        return (
            f"{target}: the world model of {source}, with the published normaliser.\nTo use it: dynamics.checkpoint={target} "
            f"dynamics=shared {settings} data.history={history}"
        )
    model = export_checkpoint(source, target)
    try:
        model.normalizer.assert_matches(published_normalizer(robot_named(PUBLISHED)))
    except CheckpointError:
        return (
            f"{target}: the world model of {source} in the published form, which has no place for its normaliser: set "
            f"mean {model.normalizer.mean.tolist()} and deviation {model.normalizer.std.tolist()}."
        )
    return f"{target}: the world model of {source} in the published form."


def main() -> None:
    """Convert the two paths on the command line."""
    convert_command(convert, "Convert a published world model to a dynamics.pt, or back.", history=HISTORY)


if __name__ == "__main__":
    main()
