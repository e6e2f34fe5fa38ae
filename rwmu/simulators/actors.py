"""The behaviour policies: small networks on a grid of numbers, whose output is the same on every processor.

Weights lie on a grid of 2^-12 (stored as int16), activations are rounded to 2^-14. Products and sums of such numbers are exact in
float64, so no order of summation, number of threads or instruction set changes the result; ELU uses multiplications only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rwmu.errors import CheckpointError, ConfigError
from rwmu.robots.robot_model import asset

Floats = NDArray[np.float64]

WEIGHT_BITS, ACTIVATION_BITS = 12, 14
OBSERVATION_CLIP, ACTIVATION_CLIP = 100.0, 256.0
_SQUARINGS = 10  # e^x = (1 + x/1024)^1024


def _to_grid(values: Floats) -> Floats:
    return np.asarray(np.rint(values * 2.0**ACTIVATION_BITS) * 2.0**-ACTIVATION_BITS)


def _elu(values: Floats) -> Floats:
    """Return ELU on the activation grid; its exponential is off by less than 2e-4."""
    power = 1.0 + np.maximum(values, -32.0) / 2.0**_SQUARINGS
    for _ in range(_SQUARINGS):
        power = power * power
    return _to_grid(np.where(values > 0.0, np.minimum(values, ACTIVATION_CLIP), power - 1.0))


@dataclass(frozen=True)
class ExactActor:
    """A multilayer perceptron with ELU and a state-independent Gaussian, evaluated exactly.

    Attributes:
        layers: weight ``[in, out]`` and bias ``[out]`` of each layer, float64 on the weight grid.
        std: ``[A]``, standard deviation of the action in training, on the weight grid.
    """

    layers: tuple[tuple[Floats, Floats], ...]
    std: Floats

    def mean(self, observation: NDArray[Any]) -> Floats:
        """Return the deterministic actions ``[B, A]`` of observations ``[B, O]``."""
        values = _to_grid(np.clip(observation.astype(np.float64), -OBSERVATION_CLIP, OBSERVATION_CLIP))
        for weight, bias in self.layers[:-1]:
            values = _elu(values @ weight + bias)
        weight, bias = self.layers[-1]
        return _to_grid(values @ weight + bias)

    def __call__(self, observation: Tensor) -> Tensor:
        """Return the deterministic actions ``[B, A]`` float32, as any actor does."""
        return torch.from_numpy(self.mean(observation.numpy()).astype(np.float32))

    def save(self, path: Path) -> None:
        """Write the weights as int16."""
        arrays = {"std": self.std}
        for index, (weight, bias) in enumerate(self.layers):
            arrays |= {f"weight_{index}": weight, f"bias_{index}": bias}
        grid = {name: np.rint(array * 2.0**WEIGHT_BITS).astype(np.int16) for name, array in arrays.items()}
        np.savez_compressed(path, **grid)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> ExactActor:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name].astype(np.float64) * 2.0**-WEIGHT_BITS for name in stored.files}
        count = sum(name.startswith("weight_") for name in arrays)
        layers = tuple((arrays[f"weight_{index}"], arrays[f"bias_{index}"]) for index in range(count))
        return cls(layers, arrays["std"])

    @classmethod
    def round(cls, layers: list[tuple[NDArray[Any], NDArray[Any]]], std: NDArray[Any]) -> ExactActor:
        """Round float weights (``[in, out]``) to the grid.

        Raises:
            CheckpointError: a weight does not fit (8 or more in magnitude).
        """

        def grid(values: NDArray[Any]) -> Floats:
            if np.abs(values).max() >= 2.0 ** (15 - WEIGHT_BITS):
                raise CheckpointError(f"A weight of {np.abs(values).max():.2f} does not fit the grid of the behaviour policies.")
            return np.asarray(np.rint(values.astype(np.float64) * 2.0**WEIGHT_BITS) * 2.0**-WEIGHT_BITS)

        return cls(tuple((grid(weight), grid(bias)) for weight, bias in layers), grid(std))

    @classmethod
    def from_rsl_rl(cls, actor_state_dict: Mapping[str, Tensor]) -> ExactActor:
        """Round the actor of an rsl-rl checkpoint (an MLP with ELU, no normaliser)."""
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in actor_state_dict.items()}
        weights = sorted((name for name in arrays if name.endswith(".weight")), key=lambda name: int(name.split(".")[1]))
        layers = [(arrays[name].T, arrays[name.removesuffix("weight") + "bias"]) for name in weights]
        return cls.round(layers, np.exp(arrays["distribution.log_std_param"]))


@dataclass(frozen=True)
class PolicyLevels:
    """The behaviour policies of rising quality, and what each reached in the simulator.

    Attributes:
        folder: of the files.
        table: one entry a level, worst first: ``name`` and measured figures.
    """

    folder: Path
    table: tuple[dict[str, Any], ...]

    @property
    def names(self) -> list[str]:
        """Return the names, worst first."""
        return [entry["name"] for entry in self.table]

    def actor(self, name: str) -> ExactActor:
        """Load one level."""
        if name not in self.names:
            raise ConfigError(f"There is no behaviour policy '{name}'; there are {', '.join(self.names)}.")
        return ExactActor.load(self.folder / f"{name}.npz")


def policy_levels(folder: Path | None = None) -> PolicyLevels:
    """Return the shipped behaviour policies, or those of another folder."""
    folder = folder or asset("policies")
    return PolicyLevels(folder, tuple(json.loads((folder / "levels.json").read_text())))
