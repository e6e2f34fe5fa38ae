"""The behaviour policies: small networks on a grid of numbers, whose output is the same on every processor.

Weights lie on a grid of 2^-12 (stored as int16), activations are rounded to 2^-14. Products and sums of such numbers are exact in
float64, so no order of summation, number of threads or instruction set changes the result; ELU uses multiplications only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rwmu.errors import CheckpointError, ConfigError
from rwmu.tasks.velocity import VelocityTask

Floats = NDArray[np.float64]

WEIGHT_BITS, ACTIVATION_BITS = 12, 14
OBSERVATION_CLIP, ACTIVATION_CLIP = 100.0, 256.0
_NOISE = {"random": 0.6, "stand": 0.05}  # of the levels that any robot has; the first is that of an untrained policy
_SQUARINGS = 10  # e^x = (1 + x/1024)^1024


@dataclass(frozen=True)
class NetworkActor:
    """Any policy as a behaviour policy; its output is the same on one machine, not on every.

    Attributes:
        policy: returns the actions ``[B, A]`` of observations ``[B, O]``.
        std: ``[A]``, standard deviation of the action in training.
    """

    policy: Callable[[Tensor], Tensor]
    std: Floats

    def mean(self, observation: NDArray[Any]) -> Floats:
        """Return the deterministic actions ``[B, A]`` of observations ``[B, O]``."""
        with torch.no_grad():
            return np.asarray(self.policy(torch.from_numpy(observation.astype(np.float32))).double().numpy())


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
    def about_zero(cls, num_observations: int, num_actions: int, std: float) -> ExactActor:
        """Return the actor that asks for the default posture whatever it observes, with noise of standard deviation ``std``."""
        return cls.round([(np.zeros((num_observations, num_actions)), np.zeros(num_actions))], np.full(num_actions, std))

    def content_hash(self) -> str:
        """Return the SHA-256 of the weights."""
        digest = hashlib.sha256()
        for array in (*(array for layer in self.layers for array in layer), self.std):
            digest.update(f"{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

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


BehaviourPolicy = ExactActor | NetworkActor


@dataclass(frozen=True)
class PolicyLevels:
    """A robot's behaviour policies of rising quality: what each reached (``name`` and figures, worst first), and what loads it."""

    robot: str
    table: tuple[dict[str, Any], ...]
    actors: Mapping[str, Callable[[], ExactActor]]

    @property
    def names(self) -> list[str]:
        """Return the names, worst first."""
        return [entry["name"] for entry in self.table]

    def actor(self, name: str) -> ExactActor:
        """Return one level's policy."""
        if name not in self.actors:
            raise ConfigError(f"There is no behaviour policy '{name}' of {self.robot}; there are {', '.join(self.names)}.")
        return self.actors[name]()


def policy_levels(task: VelocityTask, folder: Path | None = None) -> PolicyLevels:
    """Return the behaviour policies of a task's robot.

    They are those of ``folder``, else those shipped with the robot. A robot without any has ``random`` (noise about the default
    posture) and ``stand`` (hardly any noise).
    """
    folder = folder or task.robot.policies
    name = task.robot.name
    if folder.is_dir():
        table = tuple(json.loads((folder / "levels.json").read_text()))
        return PolicyLevels(name, table, {row["name"]: partial(ExactActor.load, folder / f"{row['name']}.npz") for row in table})
    actors = {level: partial(ExactActor.about_zero, task.num_observations, task.num_actions, std) for level, std in _NOISE.items()}
    return PolicyLevels(name, tuple({"name": level} for level in actors), actors)
