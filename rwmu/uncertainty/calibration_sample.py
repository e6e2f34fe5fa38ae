"""What a recalibration is fitted to, and what it remembers of it: independent trajectories of the calibration split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from rwmu.errors import DataError
from rwmu.robots.layout import StateLayout
from rwmu.settings import choose

Groups = tuple[tuple[str, int], ...]


GroupedBy = Literal["field", "dimension", "state"]


def groups_of(layout: StateLayout, by: GroupedBy = "field") -> Groups:
    """Return what of a state is recalibrated together, ``(name, dimensions)``.

    Args:
        by: ``field`` of the layout, ``dimension``, or the whole ``state``. Dimensions of one field may be off by different factors
            (how far a robot has tilted, and where to); each by itself has fewer numbers to be fitted to.

    Raises:
        ConfigError: ``by`` is none of these.
    """
    choose("What recalibrations are grouped by", by, get_args(GroupedBy))
    if by == "state":
        return (("state", layout.size),)
    return tuple((name, 1) for name in layout.names()) if by == "dimension" else tuple((f.name, f.size) for f in layout.fields)


@dataclass(frozen=True)
class FittedOn:
    """What a recalibration was fitted on.

    Attributes:
        data_hash: of the dataset that the episodes are of; empty where it is not known.
        episodes: distinct ids, ascending. windows: how many were forecast.
    """

    data_hash: str
    episodes: tuple[int, ...]
    windows: int

    @property
    def trajectories(self) -> int:
        """Return how many independent trajectories that was."""
        return len(self.episodes)

    def __str__(self) -> str:
        plural = "y" if self.trajectories == 1 else "ies"
        return f"{self.trajectories} independent trajector{plural} ({self.windows} windows)"


@dataclass(frozen=True)
class Sample:
    """What a recalibration is fitted to.

    Attributes:
        uncertainty: ``[K, B, D]``, above 0. error: ``[K, B, D]``; its sign does not matter.
        episode: ``[B]`` integers, the independent trajectory that each window comes from.
        data_hash: of the dataset that the episodes are of.
        groups: ``(name, dimensions)`` of each group of consecutive dimensions; empty for one group of all.
        valid: ``[K, B]`` bool, the steps that the trajectory lived to see; None for all.
    """

    uncertainty: Tensor
    error: Tensor
    episode: Tensor
    data_hash: str = ""
    groups: Groups = ()
    valid: Tensor | None = None

    def __post_init__(self) -> None:
        shape = self.uncertainty.shape
        if len(shape) != 3 or self.error.shape != shape or self.episode.shape != shape[1:2]:
            shapes = [tuple(tensor.shape) for tensor in (self.uncertainty, self.error, self.episode)]
            raise ValueError(f"uncertainty, error and episode have shapes {shapes}, not [K, B, D], [K, B, D] and [B]")
        if self.valid is not None and self.valid.shape != shape[:2]:
            raise ValueError(f"valid has shape {tuple(self.valid.shape)}, not {tuple(shape[:2])}")
        if sum(self.sizes) != shape[2]:
            raise ValueError(f"the groups {self.groups} do not add up to {shape[2]} dimensions")
        self._refuse_useless()

    @property
    def named_groups(self) -> Groups:
        """Return the groups, one of all dimensions where none are given."""
        return self.groups or (("all", self.uncertainty.shape[2]),)

    @property
    def sizes(self) -> list[int]:
        """Return the dimensions of each group."""
        return [size for _, size in self.named_groups]

    @property
    def rows(self) -> Tensor:
        """Return which steps count, ``[K, B]`` bool."""
        return torch.ones(self.uncertainty.shape[:2], dtype=torch.bool) if self.valid is None else self.valid.bool()

    def _refuse_useless(self) -> None:
        if not bool(self.rows.any()):
            raise DataError("There is nothing to recalibrate on: the calibration episodes give no window to forecast.")
        number = int(self.rows.sum())
        for name in ("uncertainty", "error"):
            broken = ~getattr(self, name).isfinite().all(dim=-1) & self.rows
            if bool(broken.any()):
                step = int(broken.any(dim=1).nonzero()[0]) + 1
                raise DataError(
                    f"The {name} on the calibration episodes is not finite in {int(broken.sum())} of {number} rows, first at step "
                    f"{step}: the world model explodes there, and nothing can be fitted to it. Forecast fewer steps (for a "
                    "penalty, imagination.horizon_steps), or train the world model with a longer data.forecast."
                )
        zero = ~(self.uncertainty > 0.0).all(dim=-1) & self.rows
        if bool(zero.any()):
            why = "one member has no disagreement: give dynamics.num_members=2 or more"
            if not bool((zero == self.rows).all()):
                why = f"it is 0 in {int(zero.sum())} of {number} rows: look for columns of the state that never change"
            raise DataError(f"An uncertainty of 0 cannot be brought to any scale; {why}.")

    def trajectories(self) -> Tensor:
        """Return how many independent trajectories live to see each step, ``[K]``."""
        return torch.tensor([len(torch.unique(self.episode[row])) for row in self.rows])

    def fitted_on(self) -> FittedOn:
        """Return what to remember."""
        used = self.episode[self.rows.any(dim=0)]
        return FittedOn(self.data_hash, tuple(torch.unique(used).tolist()), len(used))

    def cells(self, steps: Sequence[slice]) -> list[list[tuple[Tensor, Tensor, Tensor]]]:
        """Return for each stretch of ``steps`` and each group the pooled ``(uncertainty, |error|, episode)``, ``[N]`` float64."""
        table = []
        for step in steps:
            rows = self.rows[step]
            uncertainty, error = (tensor[step][rows].double() for tensor in (self.uncertainty, self.error))
            episode = self.episode.expand(rows.shape)[rows]
            parts = zip(torch.split(uncertainty, self.sizes, dim=-1), torch.split(error.abs(), self.sizes, dim=-1), strict=True)
            table.append([(u.flatten(), e.flatten(), episode.repeat_interleave(u.shape[1])) for u, e in parts])
        return table
