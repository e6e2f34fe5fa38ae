"""Take over policies from rsl-rl's older checkpoints, which the published RWM code writes, and give them back.

Until its version 4, rsl-rl kept actor and critic in one module: ``model_state_dict`` holds ``std`` (or ``log_std``),
``actor.N.weight``, ``actor.N.bias``, ``critic.N.weight`` and ``critic.N.bias``, N being the place in a sequence of linear layers
and activations. Version 5, which this project uses, has two modules: ``actor_state_dict`` with ``mlp.N.weight``, ``mlp.N.bias`` and
``distribution.std_param``, and ``critic_state_dict`` with ``mlp.N.weight`` and ``mlp.N.bias``.

The published policy observes what this project's does, in the same order (:func:`rwmu.tasks.velocity.observation_layout`). The file
does not name the activation: ELU is the published one.

``python -m rwmu.policy.older SOURCE.pt TARGET.pt`` converts whichever of the two forms it is given into the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rwmu.errors import CheckpointError, convert_command
from rwmu.files import tell_left_aside, write_torch
from rwmu.policy.networks import STD_PARAM, Weights, check_tensor, fold_normalizer, layers
from rwmu.policy.rsl_rl import PpoSettings, read_checkpoint, read_policy_file

_STD, _LOG_STD = "std", "log_std"
# network -> what the keys of its normaliser begin with within model_state_dict (rsl-rl 3), and where it lies beside it (rsl-rl 2).
_NORMALISERS = {
    "actor": ("actor_obs_normalizer", ("obs_norm_state_dict",)),
    "critic": ("critic_obs_normalizer", ("critic_obs_norm_state_dict", "privileged_obs_norm_state_dict")),
}
_STD_RANGE = (1e-6, 1e6)  # rsl-rl's own: the older form does not clamp


# -- names ----------------------------------------------------------------------------------------------------------------


def from_actor_critic(weights: Mapping[str, Any], source: str = "The policy") -> tuple[Weights, Weights]:
    """Return the state dicts of rsl-rl 5's actor and critic for the older ``model_state_dict``; the tensors are the same.

    But a ``log_std`` becomes the standard deviation that it means, and normalisers become part of the first layers.

    Raises:
        CheckpointError: names the key that is unknown, missing or of a shape that does not fit, and ``source``.
    """
    for network, (normalizer, _) in _NORMALISERS.items():
        weights = fold_normalizer(weights, network, normalizer, source)
    deviations = [name for name in (_STD, _LOG_STD) if name in weights]
    if len(deviations) != 1:
        found = "both" if deviations else "neither"
        raise CheckpointError(f"{source} has {found} of the keys 'std' and 'log_std', but one of them was expected.")
    actor, critic = layers(weights, "actor"), layers(weights, "critic", outputs=1)
    expected = actor | critic | {deviations[0]: list(actor.values())[-1]}
    unknown = sorted(set(weights) - set(expected))
    if unknown:
        raise CheckpointError(
            f"{source} has the key '{unknown[0]}', but actor.N.weight, actor.N.bias, critic.N.weight, critic.N.bias (N even) and "
            "std or log_std were expected; recurrent policies cannot be taken over."
        )
    for key, shape in expected.items():
        check_tensor(key, weights, shape, source)
    std = weights[_STD] if _STD in weights else weights[_LOG_STD].exp()
    return {STD_PARAM: std, **_renamed(weights, "actor.", "mlp.")}, _renamed(weights, "critic.", "mlp.")


def to_actor_critic(actor: Mapping[str, Any], critic: Mapping[str, Any], source: str = "The policy") -> Weights:
    """Return the older ``model_state_dict`` for rsl-rl 5's state dicts, as :func:`from_actor_critic` takes it.

    Raises:
        CheckpointError: one sentence with the key, for networks that the older form cannot hold.
    """
    for name, network in (("actor", actor), ("critic", critic)):
        for key in network:
            if not key.startswith("mlp.") and (name, key) != ("actor", STD_PARAM):
                raise CheckpointError(f"{source} has the key '{key}' in its {name}, but the older form holds plain networks alone.")
    if STD_PARAM not in actor:
        raise CheckpointError(f"{source} lacks the key '{STD_PARAM}' in its actor.")
    weights = {_STD: actor[STD_PARAM], **_renamed(actor, "mlp.", "actor."), **_renamed(critic, "mlp.", "critic.")}
    from_actor_critic(weights, source)  # refuses what does not fit together
    return weights


def _renamed(weights: Mapping[str, Tensor], old: str, new: str) -> Weights:
    return {new + key.removeprefix(old): tensor for key, tensor in weights.items() if key.startswith(old)}


# -- files ----------------------------------------------------------------------------------------------------------------


def import_checkpoint(source: str | Path, target: str | Path) -> None:
    """Write the policy of an older checkpoint as one that rsl-rl 5's runner and :func:`rwmu.policy.rsl_rl.load_actor` load.

    The optimiser's state is taken over where it fits, else it starts anew. A normaliser of observations becomes part of the first
    layer. A world model in the same file is left alone, and said to be.
    """
    source = Path(source)
    content = read_policy_file(source, "of the older form")
    weights = content.get("model_state_dict")
    if not isinstance(weights, Mapping):
        raise CheckpointError(f"{source} is not a checkpoint of rsl-rl before version 4: it has no 'model_state_dict'.")
    weights = {**weights, **_normalisers_beside(content, source)}
    actor, critic = from_actor_critic(weights, f"The policy in {source}")
    infos: dict[str, Any] = {"activation": "elu", "std_range": list(_STD_RANGE)}
    if _LOG_STD in weights:  # kept, for the logarithm of an exponential is not always the same number
        infos[_LOG_STD] = weights[_LOG_STD]
    optimizer = _optimizer(content.get("optimizer_state_dict"), [*actor.values(), *critic.values()], weights)
    networks = {"actor_state_dict": actor, "critic_state_dict": critic, "optimizer_state_dict": optimizer}
    iteration = content.get("iter", 0)
    if not isinstance(iteration, int):
        raise CheckpointError(f"{source} has a {type(iteration).__name__} under the key 'iter', but a whole number was expected.")
    beside = [key for _, keys in _NORMALISERS.values() for key in keys]
    tell_left_aside(source, content, ("model_state_dict", "optimizer_state_dict", "iter", "infos", *beside))
    write_torch(Path(target), networks | {"iter": iteration, "infos": infos})


def _normalisers_beside(content: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """Return normalisers that lie beside ``model_state_dict`` under the names that they have within it."""
    tensors: dict[str, Any] = {}
    for normalizer, keys in _NORMALISERS.values():
        for key in keys:
            own = content.get(key, {})
            if not isinstance(own, Mapping):
                raise CheckpointError(
                    f"{source} has a {type(own).__name__} under the key '{key}', but named tensors were expected."
                )
            tensors |= {f"{normalizer}.{name}": tensor for name, tensor in own.items()}
    return tensors


def export_checkpoint(source: str | Path, target: str | Path) -> None:
    """Write a policy of rsl-rl 5 in the older form; an imported one comes back bit for bit."""
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


def _optimizer(saved: Any, parameters: list[Tensor], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return Adam's state for the imported parameters.

    Both forms list the same parameters in the same order: the deviation, the actor's layers, the critic's. But moments of a
    logarithm are not those of the deviation itself, nor those of a layer those of one that a normaliser has been folded into.
    """
    fresh: dict[str, Any] = torch.optim.Adam([p.detach().clone() for p in parameters], lr=PpoSettings.learning_rate).state_dict()
    folded = any(key.startswith(f"{normalizer}.") for key in weights for normalizer, _ in _NORMALISERS.values())
    if _LOG_STD in weights or folded or not isinstance(saved, Mapping):
        return fresh
    optimizer = torch.optim.Adam([p.detach().clone() for p in parameters])
    try:
        optimizer.load_state_dict(dict(saved))
        moments = saved["state"]
        fits = sorted(moments) == list(range(len(parameters))) and all(
            moments[i]["exp_avg"].shape == p.shape and bool(moments[i]["exp_avg"].isfinite().all())
            for i, p in enumerate(parameters)
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return fresh
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
    convert_command(convert, "Convert a policy of rsl-rl 5 to the form before version 4, or back.")


if __name__ == "__main__":
    main()
