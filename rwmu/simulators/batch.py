"""What the embedded simulator needs of ``mujoco.batch``, which MuJoCo 4 has: many simulations of one model, stepped by threads.

MuJoCo 3, which mjlab pins, has none, so there each simulation is one ``MjData``: the same physics, in Python's own loop.
"""

from __future__ import annotations

import copy
import importlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_GIVEN, _FOUND = ("qpos", "qvel", "ctrl"), ("qpos", "qvel", "sensordata", "actuator_force")


def make_batch(model: Any, num_simulations: int, num_threads: int) -> Any:
    """Return MuJoCo's own batch of simulations, or ours where it has none."""
    try:
        batch = importlib.import_module("mujoco.batch")
    except ModuleNotFoundError:
        return DataBatch(model, num_simulations, num_threads)
    return batch.Batch(model, nsim=num_simulations, nthread=num_threads)


class DataBatch:
    """Simulations of one model; its methods are those of ``mujoco.batch.Batch`` that are used here.

    Args:
        model: ``MjModel``. num_simulations: B. num_threads: that share them; results do not depend on it.

    Attributes:
        warning: ``[B, kinds, 1]``, how often MuJoCo warned of each kind.
    """

    def __init__(self, model: Any, num_simulations: int, num_threads: int) -> None:
        self._mujoco = importlib.import_module("mujoco")
        self._mujoco.set_mju_user_warning(lambda _: None)  # divergence is counted; MuJoCo 3 would write a file about it
        self._data = [self._mujoco.MjData(model) for _ in range(num_simulations)]
        # A thread has a model of its own, since limits are the model's and differ from simulation to simulation.
        self._shares = [(copy.copy(model), rows) for rows in np.array_split(np.arange(num_simulations), num_threads)]
        self._threads = ThreadPoolExecutor(num_threads)
        self._bound = {name: np.stack([getattr(data, name) for data in self._data]) for name in {*_GIVEN, *_FOUND}}
        self._limits: Array | None = None
        self.warning = np.zeros((num_simulations, len(self._data[0].warning.number), 1), dtype=np.int64)

    def bind(self, name: str) -> Array:
        """Return the array ``[B, n]`` of a quantity, which can be written to."""
        return self._bound[name]

    def expand(self, name: str) -> Array:
        """Return a limit of the model as ``[B, n, 2]``, one for each simulation, which can be written to."""
        limits = np.stack([getattr(self._shares[0][0], name)] * len(self._data))
        self._limits = limits
        return limits

    def reset(self, stage: int = 0, ids: Array | None = None) -> None:
        """Put simulations back to where the model starts."""
        for index in range(len(self._data)) if ids is None else ids.tolist():
            self._mujoco.mj_resetData(self._shares[0][0], self._data[index])
            for name, values in self._bound.items():
                values[index] = getattr(self._data[index], name)

    def step(self) -> None:
        """Take one physics step in every simulation."""
        if len(self._shares) == 1:
            self._step_share(self._shares[0])
        else:
            list(self._threads.map(self._step_share, self._shares))

    def _step_share(self, share: tuple[Any, Array]) -> None:
        model, rows = share
        for index in rows.tolist():
            data = self._data[index]
            for name in _GIVEN:
                getattr(data, name)[:] = self._bound[name][index]
            if self._limits is not None:
                model.actuator_forcerange[:] = self._limits[index]
            self._mujoco.mj_step(model, data)
            for name in _FOUND:
                self._bound[name][index] = getattr(data, name)
            self.warning[index, :, 0] = data.warning.number
