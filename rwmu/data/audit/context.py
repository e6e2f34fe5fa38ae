"""What checks know beside the episodes, and how they look at rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.data.normalizer import Normalizer
from rwmu.data.splits import DEFAULT_FRACTIONS
from rwmu.robots.layout import StateLayout
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
class Context:
    """Whose the data are, and what for."""

    robot: Robot
    settings: AuditSettings = field(default_factory=AuditSettings)

    @property
    def layout(self) -> StateLayout:
        """Return the columns of the state."""
        return self.robot.state_layout

    @property
    def fields(self) -> set[str]:
        """Return the names of the fields of the state."""
        return {field.name for field in self.layout.fields}

    @property
    def limbs(self) -> set[str]:
        """Return the names of the groups of contacts."""
        return {field.name for field in self.robot.contact_layout.fields}

    def part(self, episodes: Episodes, name: str) -> Tensor:
        """Return a field of the state, ``[R, X]``."""
        return self.layout.part(episodes.state, name)

    def feet_and_others(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """Return the contacts of the feet, and those of what should not touch the ground, ``[R, X]`` each."""
        feet = torch.zeros(self.robot.contact_layout.size, dtype=torch.bool)
        feet[self.robot.contact_layout["foot"]] = True
        return episodes.contact[:, feet], episodes.contact[:, ~feet]


def step_of(episodes: Episodes) -> float | None:
    """Return the seconds between rows that the data state, None where they state none."""
    step_dt = episodes.attributes.get("step_dt")
    return None if step_dt is None else float(step_dt)


def last_rows(episodes: Episodes) -> Tensor:
    """Return the last row of every episode, ``[N]`` int64."""
    return episodes.offsets + episodes.lengths - 1


def rows_within(episodes: Episodes, before: int = 1, behind: int = 0) -> Tensor:
    """Return the rows that have so many rows of their episode before and behind them, ``[S]`` int64."""
    row = torch.arange(episodes.num_rows) - episodes.offsets[episodes.episode_of_row]
    return ((row >= before) & (row + behind < episodes.lengths[episodes.episode_of_row])).nonzero().squeeze(-1)


def spread(values: Tensor, most: int) -> Tensor:
    """Return every n-th of the rows ``[R, ...]``, somewhat more than ``most`` of them at the most."""
    return values[:: max(1, len(values) // most)]


def numbered(episodes: Episodes, row: int) -> tuple[int, int]:
    """Return the episode of a row of all rows, and its number there."""
    episode = int(episodes.episode_of_row[row])
    return episode, row - int(episodes.offsets[episode])


def place(episodes: Episodes, row: int) -> str:
    """Return in words where a row of all rows stands."""
    episode, number = numbered(episodes, row)
    return f"row {number} of episode {episode}"
