"""A recording as the checks see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from rwmu.data.episodes import EXTENSION, Episodes
from rwmu.data.normalizer import Normalizer
from rwmu.data.splits import DEFAULT_FRACTIONS
from rwmu.robots.robot import Robot
from rwmu.settings import Count, Fraction, NotNegative, Positive, settings
from rwmu.tasks.velocity import VelocityTask

HalfWidths = Annotated[tuple[NotNegative, ...], Field(strict=False, min_length=3, max_length=3)]


@settings("audit")
class AuditSettings:
    """What the data are to be used for.

    Attributes:
        window: H + K, rows of a training window.
        command_range: half-widths of the commanded velocities, m/s, m/s, rad/s.
        fractions: shares of the splits.
        normalizer: that the data will be scaled with; None where one will be fitted on them.
        step_dt: of the task, s, which the data must have; None for any.
        task: whose rewards the data should hold; None where that is not to be looked at.
    """

    window: Count = 40
    command_range: HalfWidths = (1.0, 1.0, 1.0)
    fractions: Mapping[str, Fraction] = field(default_factory=lambda: DEFAULT_FRACTIONS)
    normalizer: Normalizer | None = None
    step_dt: Positive | None = None
    task: VelocityTask | None = None


@dataclass(frozen=True)
class View:
    """Episodes, whose they are, and what for."""

    episodes: Episodes
    robot: Robot
    settings: AuditSettings = field(default_factory=AuditSettings)

    @cached_property
    def fields(self) -> set[str]:
        """Return the names of the fields of state and contacts that the data hold."""
        layouts = (self.robot.state_layout, self.robot.contact_layout)
        return {field.name for layout in layouts for field in layout.fields} - self.episodes.unknown

    def missing_columns(self) -> set[int]:
        """Return the columns of the state that stand as zeros because nobody knows them."""
        layout = self.robot.state_layout
        missing = [field.name for field in layout.fields if field.name in self.episodes.unknown]
        return {column for name in missing for column in range(layout[name].start, layout[name].stop)}

    @property
    def step_dt(self) -> float | None:
        """Return the seconds between rows that the data state, None where they state none."""
        step_dt = self.episodes.attributes.get("step_dt")
        return None if step_dt is None else float(step_dt)

    @cached_property
    def feet(self) -> Tensor:
        """Return which contacts are those of feet, ``[C]`` bool."""
        feet = torch.zeros(self.robot.contact_layout.size, dtype=torch.bool)
        feet[self.robot.contact_layout["foot"]] = True
        return feet

    def part(self, name: str) -> Tensor:
        """Return a field of the state, ``[R, X]``."""
        return self.robot.state_layout.part(self.episodes.state, name)

    def arrays(self) -> dict[str, Tensor]:
        """Return what sensors and the policy gave, ``[R, X]`` each."""
        found = {"state": self.episodes.state, "action": self.episodes.action}
        return found if self.episodes.extension is None else found | {EXTENSION: self.episodes.extension}

    def column(self, array: str, index: int) -> str:
        """Return the name of a column of :meth:`arrays`."""
        return self.robot.state_layout.names()[index] if array == "state" else f"{array}[{index}]"

    def rows_within(self, before: int = 1, behind: int = 0) -> Tensor:
        """Return the rows that have so many rows of their episode before and behind them, ``[S]`` int64."""
        episodes = self.episodes
        row = torch.arange(episodes.num_rows) - episodes.offsets[episodes.episode_of_row]
        return ((row >= before) & (row + behind < episodes.lengths[episodes.episode_of_row])).nonzero().squeeze(-1)

    def numbered(self, row: int) -> tuple[int, int]:
        """Return the episode of a row of all rows, and its number there."""
        episode = int(self.episodes.episode_of_row[row])
        return episode, row - int(self.episodes.offsets[episode])

    def place(self, row: int) -> str:
        """Return in words where a row of all rows stands."""
        episode, number = self.numbered(row)
        return f"row {number} of episode {episode}"


def some(values: Tensor, most: int) -> Tensor:
    """Return every n-th of the rows ``[R, ...]``, somewhat more than ``most`` of them at the most."""
    return values[:: max(1, len(values) // most)]
