"""Take over policies from rsl-rl's older checkpoints, which the published RWM code writes, and give them back.

Until its version 4, rsl-rl kept actor and critic in one module: ``model_state_dict`` holds ``std`` (or ``log_std``),
``actor.N.weight``, ``actor.N.bias``, ``critic.N.weight`` and ``critic.N.bias``, N being the place in a sequence of linear layers
and activations. Version 5, which this project uses, has two modules: ``actor_state_dict`` with ``mlp.N.weight``, ``mlp.N.bias`` and
``distribution.std_param``, and ``critic_state_dict`` with ``mlp.N.weight`` and ``mlp.N.bias``.

The published policy observes what this project's does, in the same order (:func:`rwmu.tasks.velocity.observation_layout`). The file
does not name the activation: ELU is the published one.

``python -m rwmu.policy.export SOURCE.pt TARGET.pt`` converts whichever of the two forms it is given into the other.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rwmu.errors import CheckpointError, UserError
from rwmu.files import write_torch
from rwmu.policy.rsl_rl import PpoSettings, read_checkpoint, read_policy_file, require_sizes_of
from rwmu.robots.robot import Robot

Weights = dict[str, Tensor]
_STD, _LOG_STD, _STD_PARAM = "std", "log_std", "distribution.std_param"
_STD_RANGE = (1e-6, 1e6)  # rsl-rl's own: the older form does not clamp


# -- names ----------------------------------------------------------------------------------------------------------------


def from_actor_critic(weights: Mapping[str, Any], source: str = "The policy") -> tuple[Weights, Weights]:
    """Return the state dicts of rsl-rl 5's actor and critic for the older ``model_state_dict``; the tensors are the same.

    A ``log_std`` becomes the standard deviation that it means.

    Args:
        weights: see above.
        source: how errors name it.

    Raises:
        CheckpointError: one sentence with the key, for one that is unknown, missing or of a shape that does not fit.
    """
    known = [key for key in weights if re.fullmatch(r"(actor|critic)\.\d{1,3}\.(weight|bias)|std|log_std", key)]
    unknown = sorted(set(weights) - set(known))
    if unknown:
        raise CheckpointError(
            f"{source} has the key '{unknown[0]}', but actor.N.weight, actor.N.bias, critic.N.weight, critic.N.bias and std or "
            "log_std were expected; recurrent policies and normalised observations cannot be taken over."
        )
    if (_STD in weights) == (_LOG_STD in weights):
        found = "both" if _STD in weights else "neither"
        raise CheckpointError(f"{source} has {found} of the keys 'std' and 'log_std', but one of them was expected.")
    for key in known:
        _check_tensor(key, weights[key], source)
    num_actions = _check_network(weights, "actor", source)
    num_values = _check_network(weights, "critic", source)
    if num_values != 1:
        raise CheckpointError(f"{source} has a critic with {num_values} outputs, but 1 was expected.")
    name = _STD if _STD in weights else _LOG_STD
    if tuple(weights[name].shape) != (num_actions,):
        raise CheckpointError(_misshapen(source, name, (num_actions,), weights[name]))
    std = weights[name] if name == _STD else weights[name].exp()
    actor = {_STD_PARAM: std, **_renamed(weights, "actor.", "mlp.")}
    return actor, _renamed(weights, "critic.", "mlp.")


def to_actor_critic(actor: Mapping[str, Any], critic: Mapping[str, Any], source: str = "The policy") -> Weights:
    """Return the older ``model_state_dict`` for rsl-rl 5's state dicts, as :func:`from_actor_critic` takes it.

    Raises:
        CheckpointError: one sentence with the key, for networks that the older form cannot hold.
    """
    for name, network, own in (("actor", actor, {_STD_PARAM}), ("critic", critic, set())):
        unknown = sorted(key for key in network if not key.startswith("mlp.") and key not in own)
        if unknown:
            raise CheckpointError(
                f"{source} has the key '{unknown[0]}' in its {name}, but the older form holds plain networks alone."
            )
    if _STD_PARAM not in actor:
        raise CheckpointError(f"{source} lacks the key '{_STD_PARAM}' in its actor.")
    weights = {_STD: actor[_STD_PARAM], **_renamed(actor, "mlp.", "actor."), **_renamed(critic, "mlp.", "critic.")}
    from_actor_critic(weights, source)  # refuses what does not fit together
    return weights


def _renamed(weights: Mapping[str, Tensor], old: str, new: str) -> Weights:
    return {new + key.removeprefix(old): tensor for key, tensor in weights.items() if key.startswith(old)}


def _check_tensor(key: str, tensor: Any, source: str) -> None:
    if not isinstance(tensor, Tensor) or tensor.dtype != torch.float32:
        found = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise CheckpointError(f"{source} has {found} under the key '{key}', but a tensor of torch.float32 was expected.")
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"{source} has values under the key '{key}' that are no finite numbers; its training has failed.")


def _check_network(weights: Mapping[str, Tensor], name: str, source: str) -> int:
    """Refuse layers of which one does not take what the one before it gives; returns the number of outputs."""
    places = {int(key.split(".")[1]) for key in weights if key.startswith(f"{name}.")}
    # Activations stand between the layers; at least one layer is hidden, for rsl-rl builds no network without.
    expected = range(0, max([2, *places]) + 1, 2)
    keys = [f"{name}.{place}.{part}" for place in expected for part in ("weight", "bias")]
    missing = [key for key in keys if key not in weights]
    if missing:
        raise CheckpointError(f"{source} lacks the key '{missing[0]}'.")
    odd = sorted(places - set(expected))
    if odd:
        raise CheckpointError(f"{source} has a layer '{name}.{odd[0]}', but layers at even places were expected.")
    width: int | None = None
    for weight_key, bias_key in zip(keys[::2], keys[1::2], strict=True):
        weight, bias = weights[weight_key], weights[bias_key]
        if weight.ndim != 2 or (width is not None and weight.shape[1] != width):
            raise CheckpointError(_misshapen(source, weight_key, ("outputs", "inputs" if width is None else width), weight))
        width = weight.shape[0]
        if tuple(bias.shape) != (width,):
            raise CheckpointError(_misshapen(source, bias_key, (width,), bias))
    assert width is not None, "there are at least two layers"
    return width


def _misshapen(source: str, key: str, expected: tuple[int | str, ...], found: Tensor) -> str:
    wanted = ", ".join(str(size) for size in expected)
    return f"{source} has the shape {list(found.shape)} under the key '{key}', but [{wanted}] was expected."


# -- files ----------------------------------------------------------------------------------------------------------------


def import_checkpoint(source: str | Path, target: str | Path, robot: Robot | None = None, activation: str = "elu") -> None:
    """Write the policy of an older checkpoint as one that rsl-rl 5's runner and :func:`rwmu.policy.rsl_rl.load_actor` load.

    The optimiser's state is taken over where it fits, else it starts anew. A world model in the same file is left alone.

    Args:
        source, target: paths.
        robot: refuse policies of other sizes, and note its name.
        activation: of the hidden layers, by rsl-rl's names.

    Raises:
        CheckpointError: one sentence.
    """
    source = Path(source)
    content = _read(source)
    weights = content["model_state_dict"]
    actor, critic = from_actor_critic(weights, f"The policy in {source}")
    if robot is not None:
        require_sizes_of(robot, actor, f"The policy in {source}")
    infos = {"activation": activation, "std_range": list(_STD_RANGE)}
    infos |= {} if robot is None else {"robot": robot.name}
    # Kept, for the logarithm of an exponential is not always the same number.
    infos |= {_LOG_STD: weights[_LOG_STD]} if _LOG_STD in weights else {}
    write_torch(
        Path(target),
        {
            "actor_state_dict": actor,
            "critic_state_dict": critic,
            "optimizer_state_dict": _optimizer(content.get("optimizer_state_dict"), [*actor.values(), *critic.values()], weights),
            "iter": int(content.get("iter", 0)),
            "infos": infos,
        },
    )


def export_checkpoint(source: str | Path, target: str | Path) -> None:
    """Write a policy of rsl-rl 5 in the older form; an imported one comes back bit for bit.

    Raises:
        CheckpointError: one sentence.
    """
    source = Path(source)
    content = read_checkpoint(source)
    if not isinstance(content.get("critic_state_dict"), Mapping):
        raise CheckpointError(f"{source} lacks the key 'critic_state_dict'; the older form needs a critic.")
    weights = to_actor_critic(content["actor_state_dict"], content["critic_state_dict"], f"The policy in {source}")
    log_std = (content.get("infos") or {}).get(_LOG_STD)
    if log_std is not None and torch.equal(log_std.exp(), weights[_STD]):
        weights = {_LOG_STD: log_std, **{key: tensor for key, tensor in weights.items() if key != _STD}}
    kept: dict[str, Any] = {key: content[key] for key in ("optimizer_state_dict", "iter") if key in content}
    write_torch(Path(target), {"model_state_dict": weights, **kept, "infos": None})


def _read(path: Path) -> dict[str, Any]:
    content = read_policy_file(path, "of the older form")
    if not isinstance(content.get("model_state_dict"), Mapping):
        raise CheckpointError(f"{path} is not a checkpoint of rsl-rl before version 4: it has no 'model_state_dict'.")
    return content


def _optimizer(saved: Any, parameters: list[Tensor], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return Adam's state for the imported parameters.

    Both forms list the same parameters in the same order: the deviation, the actor's layers, the critic's. But moments of a
    logarithm are not those of the deviation itself.
    """
    fresh: dict[str, Any] = torch.optim.Adam([p.detach().clone() for p in parameters], lr=PpoSettings.learning_rate).state_dict()
    if _LOG_STD in weights or not isinstance(saved, Mapping):
        return fresh
    groups, moments = saved.get("param_groups", []), saved.get("state", {})
    fits = (
        [list(group.get("params", [])) for group in groups] == [list(range(len(parameters)))]
        and sorted(moments) == list(range(len(parameters)))
        and all(getattr(moments[i].get("exp_avg"), "shape", None) == p.shape for i, p in enumerate(parameters))
    )
    return dict(saved) if fits else fresh


# -- command --------------------------------------------------------------------------------------------------------------


def convert(source: str | Path, target: str | Path) -> str:
    """Convert a checkpoint of either form into the other; returns what was done."""
    path = Path(source)
    if "actor_state_dict" in read_policy_file(path, "of either form"):
        export_checkpoint(path, target)
        return f"{target}: the policy of {path} in the form of rsl-rl before version 4."
    import_checkpoint(path, target)
    return f"{target}: the policy of {path} in the form of rsl-rl 5, with ELU activations."


def main() -> None:
    """Convert the two paths on the command line."""
    try:
        if len(sys.argv) != 3:
            raise CheckpointError("Give two paths: python -m rwmu.policy.export SOURCE.pt TARGET.pt.")
        print(convert(*sys.argv[1:]))
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
