"""Plain networks as rsl-rl's checkpoints hold them: which keys, of which shapes, and normalisers that are folded into them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rwmu.errors import CheckpointError

Weights = dict[str, Tensor]
Shape = tuple[int | str, ...]  # a word for what may be anything
STD_PARAM = "distribution.std_param"
_NORMALISER_EPSILON = 1e-2  # what rsl-rl's EmpiricalNormalization adds to a standard deviation


def layers(weights: Mapping[str, Any], network: str, outputs: int | None = None) -> dict[str, Shape]:
    """Return the keys that a network has and their shapes: a layer takes what the one before it gives, two places before.

    At least one layer is hidden, for rsl-rl builds no network without.
    """
    places = [int(found[1]) for key in weights if (found := re.fullmatch(rf"{network}\.(\d{{1,3}})\.(?:weight|bias)", key))]
    last = max([2, *places]) // 2 * 2
    shapes: dict[str, Shape] = {}
    inputs: int | str = "inputs"
    for place in range(0, last + 1, 2):
        weight = weights.get(f"{network}.{place}.weight")
        width: int | str = weight.shape[0] if isinstance(weight, Tensor) and weight.ndim else "outputs"
        width = outputs if place == last and outputs is not None else width
        shapes |= {f"{network}.{place}.weight": (width, inputs), f"{network}.{place}.bias": (width,)}
        inputs = width
    return shapes


def check_tensor(key: str, weights: Mapping[str, Any], shape: Shape, source: str) -> None:
    """Refuse what is not a finite float32 tensor of this shape; ``source`` names the file in the error."""
    if key not in weights:
        raise CheckpointError(f"{source} lacks the key '{key}'.")
    tensor = weights[key]
    if not isinstance(tensor, Tensor) or tensor.dtype != torch.float32:
        found = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise CheckpointError(f"{source} has {found} under the key '{key}', but a tensor of torch.float32 was expected.")
    if tensor.ndim != len(shape) or any(
        isinstance(want, int) and want != size for want, size in zip(shape, tensor.shape, strict=True)
    ):
        wanted = ", ".join(str(size) for size in shape)
        raise CheckpointError(f"{source} has the shape {list(tensor.shape)} under the key '{key}', but [{wanted}] was expected.")
    check_finite(tensor, f"{source} has values under the key '{key}'")


def check_finite(value: Any, words: str) -> None:
    """Refuse tensors that hold anything but finite numbers, in nested mappings too."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_finite(item, f"{words} ({key})")
    elif isinstance(value, Tensor) and value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise CheckpointError(f"{words} that are no finite numbers; its training has failed.")


def fold_normalizer(weights: Mapping[str, Any], network: str, normalizer: str, source: str) -> Weights:
    """Return weights without those of a normaliser of the inputs: the first layer of ``network`` does its work.

    (x - mean) / (std + epsilon), as rsl-rl's ``EmpiricalNormalization`` computes it, is linear.

    Args:
        network, normalizer: what their keys begin with.

    Raises:
        CheckpointError: the normaliser has not the size of the layer, or cannot be understood.
    """
    first, bias, prefix = f"{network}.0.weight", f"{network}.0.bias", f"{normalizer}."
    left = {key: tensor for key, tensor in weights.items() if not key.startswith(prefix)}
    if len(left) == len(weights):
        return left
    shapes = layers(weights, network)
    for key in (first, bias):
        check_tensor(key, weights, shapes[key], source)
    for key in ("_mean", "_std"):
        check_tensor(prefix + key, weights, (1, left[first].shape[1]), source)
    mean, std = (weights[prefix + key][0].double() for key in ("_mean", "_std"))
    if bool((std < 0.0).any()):
        raise CheckpointError(f"{source} has values below 0 under the key '{prefix}_std', but they are standard deviations.")
    scaled = left[first].double() / (std + _NORMALISER_EPSILON)
    return left | {first: scaled.float(), bias: (left[bias].double() - scaled @ mean).float()}


def plain_actor(weights: Mapping[str, Any], source: str) -> Weights:
    """Return the weights of rsl-rl 5's actor, any normaliser folded in; ``source`` names it in errors.

    Raises:
        CheckpointError: it is no plain network with Gaussian noise; names the key.
    """
    own = fold_normalizer(weights, "mlp", "obs_normalizer", source)
    shapes = layers(own, "mlp")
    expected = {**shapes, STD_PARAM: list(shapes.values())[-1]}
    if unknown := sorted(set(own) - set(expected)):
        raise CheckpointError(
            f"{source} has the key '{unknown[0]}' in its actor, but only plain networks (mlp.N.weight and mlp.N.bias, N even) with "
            f"Gaussian noise ({STD_PARAM}) can be used; recurrent ones cannot."
        )
    for key, shape in expected.items():
        check_tensor(key, own, shape, source)
    return own
