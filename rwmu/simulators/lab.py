"""Simulators that bring a task with starts, pushes, commands and randomisation of its own: theirs are met, or ours."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.interfaces import Device
from rwmu.settings import checked
from rwmu.simulators.simulated import Indices, SimulatedEnv

Conditions = Literal["rwmu", "simulator"]


class LabEnv(SimulatedEnv):
    """Parallel environments of such a simulator.

    Args:
        own, device, episodes: see :class:`~rwmu.simulators.simulated.SimulatedEnv`.
        conditions: ``rwmu`` for starts, pushes and commands of ours; ``simulator`` for those of the simulator's own task, with what
            it randomises besides. Noise, rewards and ends are our task's in both.
    """

    @checked("simulator")
    def __init__(self, *own: Any, device: Any = "cpu", conditions: Conditions = "rwmu", **episodes: Any) -> None:
        self.conditions = conditions
        super().__init__(*own, device=usable(device), **episodes)
        with torch.random.fork_rng(devices=self._cuda):
            torch.manual_seed(self.cfg["seed"])
            self._draws = self._generators()

    @abstractmethod
    def _lab_start(self, envs: Indices) -> None:
        """Begin an episode of the simulator's own task in ``envs``."""

    @abstractmethod
    def _lab_commands(self) -> Tensor:
        """Return what the simulator's own task commands, ``[B, 3]`` (m/s, m/s, rad/s)."""

    def identity(self) -> dict[str, Any]:
        """Return all that decides what a policy meets here, less what a subclass has besides."""
        return super().identity() | {"conditions": self.conditions, "device": self.device.type}

    def _start_robots(self, envs: Indices) -> None:
        if self.conditions == "rwmu":
            super()._start_robots(envs)
        else:
            with self.own_draws():
                self._lab_start(envs)

    def _draw_commands(self, envs: Indices) -> None:
        if self.conditions == "rwmu":
            super()._draw_commands(envs)
        else:
            rows = self._tensor(envs)
            self.memory.command[rows] = self._lab_commands()[rows].double()

    def _resample_commands(self, done: Tensor) -> None:
        if self.conditions == "rwmu":
            super()._resample_commands(done)
        else:  # some follow a heading, and change at every step
            self.memory.command[~done] = self._lab_commands()[~done].double()

    def _push_bases(self, done: Tensor) -> None:
        if self.conditions == "rwmu":
            super()._push_bases(done)
        else:  # the simulator has pushed within the step, after its rows were taken
            self.state = torch.where(done[:, None], self.state, self._physical_state())

    @property
    def _cuda(self) -> list[torch.device]:
        return [self.device] if self.device.type == "cuda" else []

    def _generators(self) -> list[Tensor]:
        return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in self._cuda)]

    @contextlib.contextmanager
    def own_draws(self) -> Iterator[None]:
        """Let the simulator, which draws from torch's global generators, draw from those of this environment's seed."""
        with torch.random.fork_rng(devices=self._cuda):
            torch.set_rng_state(self._draws[0])
            for device, state in zip(self._cuda, self._draws[1:], strict=True):
                torch.cuda.set_rng_state(state, device)
            yield
            self._draws = self._generators()


def usable(device: Device) -> torch.device:
    """Return a device, which must be there.

    Raises:
        ConfigError: it is a GPU, and there is none.
    """
    asked = torch.device(device)
    if asked.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"simulator.device is {device}, but torch finds no CUDA device here; give simulator.device=cpu.")
    return asked
