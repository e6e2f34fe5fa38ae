"""Where imagined episodes begin: dataset histories, with the model warmed up on all of their rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.data.replay import contact_times, recall
from rwmu.data.windows import gather
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import ConfigError
from rwmu.interfaces import Device
from rwmu.records import Carry
from rwmu.tasks.velocity import TaskMemory, VelocityTask

# Histories warmed up in one call; bounds the memory that a large pool takes.
_CHUNK = 1024


@dataclass(frozen=True)
class Starts:
    """P beginnings of imagined episodes.

    Attributes:
        carry: of all members, after rows 0..H-2 of each history.
        state: ``[P, D]``, the last row of each history, physical units.
        contact: ``[P, C]`` bool, its contacts.
        memory: of P rows, as the task would remember it there; the commands are the data's.
    """

    carry: Carry
    state: Tensor
    contact: Tensor
    memory: TaskMemory


class StartPool:
    """Keep a pool of warmed-up histories, drawn anew from time to time.

    Every history of the pool is warmed up in full; a pool only shares that work between the environments that start from it.

    Args:
        world_model, task: of the imagined environment.
        episodes: the dataset.
        start_rows: ``[S]`` int64, first rows of windows of ``world_model.history`` rows within training episodes. Those that end
            fallen (terminated, or tilted beyond ``max_tilt``) are left out: nothing can be imagined from there.
        size: P.
        max_tilt: largest z of the projected gravity, None for any.
        generator: draws the histories, on the CPU.
        device: of the world model, and of what is ready to start from; the dataset and ``rows`` stay on the CPU.
    """

    def __init__(
        self,
        world_model: WorldModel,
        task: VelocityTask,
        episodes: Episodes,
        start_rows: Tensor,
        size: int,
        max_tilt: float | None,
        generator: torch.Generator,
        device: Device = "cpu",
    ) -> None:
        self._world_model, self._task, self._episodes = world_model, task, episodes
        self._history = world_model.history
        self._generator, self._device = generator, device
        self.size = size
        self._candidates = self._usable(start_rows, max_tilt)
        self._times = contact_times(episodes, task)
        self.rows = self._candidates[:0]
        self.starts: Starts
        self.refresh()

    def _usable(self, start_rows: Tensor, max_tilt: float | None) -> Tensor:
        episodes, last = self._episodes, start_rows + self._history - 1
        if len(start_rows) == 0:
            raise ConfigError(f"There is no history of {self._history} rows to start imagined episodes from.")
        if int(last.max()) >= episodes.num_rows or not torch.equal(
            episodes.episode_of_row[start_rows], episodes.episode_of_row[last]
        ):
            raise ValueError(f"start_rows holds histories of {self._history} rows that leave their episode")
        upright = ~episodes.termination[last]
        if max_tilt is not None:
            upright &= self._task.robot.state_layout.part(episodes.state[last], "projected_gravity")[:, 2] <= max_tilt
        usable = start_rows[upright]
        if len(usable) == 0:
            raise ConfigError(f"All {len(start_rows)} histories end with a fallen robot; no imagined episode can start from them.")
        return usable

    def draw(self, number: int) -> Tensor:
        """Return ``number`` indices into the pool, on the CPU."""
        return torch.randint(self.size, (number,), generator=self._generator)

    def refresh(self) -> None:
        """Draw new histories and warm up on them."""
        picks = torch.randint(len(self._candidates), (self.size,), generator=self._generator)
        self.load(self._candidates[picks])

    def load(self, rows: Tensor) -> None:
        """Warm up on the histories that begin at ``rows [P]``."""
        self.rows = rows
        parts: tuple[Tensor, ...] = torch.split(rows, _CHUNK)
        histories = (gather(self._episodes, part, self._history).to(self._device) for part in parts)
        carries = [self._world_model.warm_up(history) for history in histories]
        last = rows + self._history - 1
        memory = recall(self._episodes, self._task, self._times, last)
        self.starts = Starts(
            _joined(carries, len(rows), self._device),
            self._episodes.state[last].to(self._device),
            self._episodes.contact[last].bool().to(self._device),
            memory.map(lambda tensor: tensor.to(self._device)),
        )


def _joined(carries: list[Carry], size: int, device: Device) -> Carry:
    """Put the carries of a pool's chunks into one of ``size`` rows."""
    if len(carries) == 1:
        return carries[0]
    joined = carries[0].take(torch.zeros(size, dtype=torch.int64, device=device))
    for carry, rows in zip(carries, torch.split(torch.arange(size, device=device), _CHUNK), strict=True):
        joined.put(rows, carry)
    return joined
