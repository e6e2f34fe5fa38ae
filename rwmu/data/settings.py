"""What is configured of a dataset: where it comes from, how it is split, and the windows that are drawn from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Literal

from rwmu.data.splits import DEFAULT_FRACTIONS
from rwmu.errors import ConfigError
from rwmu.settings import Count, Fraction, Names, Seed, settings

Bootstrap = Literal["episodes", "windows", "weights", "in_batch", "none"]


@settings("data")
class DataSettings:
    """A dataset and what is made of it; the keys of ``configs/data``.

    Attributes:
        recipe: of the mixture that is collected where there is no file; None for somebody's own data.
        num_transitions: to be collected.
        policies: name -> checkpoint (``policy.pt``, or one of mjlab's training) of the policies that the recipe ``policies`` mixes.
        path: of the file; None for that of the robot, the simulator and the recipe, where they are collected if there are none.
        seed: of the collection, of the splits and of the windows cut for measuring, so that runs of different seeds share them.
        fractions: share of the episodes of the splits train, validation, test and calibration.
        history: H, rows of ground truth. forecast: K, rows predicted in training.
        batch_size: B, windows a member.
        mirrors: names of ``robot.mirrors`` used as augmentation of the dynamics data.
        bootstrap: how the members' data differ, see :class:`~rwmu.data.bootstrap.BootstrapWindows`.
        beginnings, endings: fraction of each batch that starts at an episode's first row, or ends in a termination.
        validation_horizon: K', rows predicted in validation. validation_windows: at most so many.
    """

    recipe: str | None = None
    num_transitions: Count = 400_000
    seed: Seed = 0
    policies: Mapping[str, str] = field(default_factory=dict)
    path: str | Path | None = None
    fractions: Mapping[str, Fraction] = field(default_factory=lambda: dict(DEFAULT_FRACTIONS))
    history: Count = 32
    forecast: Count = 8
    batch_size: Count = 256
    mirrors: Names = ("left_right",)
    bootstrap: Bootstrap = "episodes"
    beginnings: Fraction = 0.0
    endings: Fraction = 0.0
    validation_horizon: Count = 24
    validation_windows: Count = 512

    def __post_init__(self) -> None:
        for name in ("train", "validation"):
            if not self.fractions.get(name, 0.0) > 0.0:
                raise ConfigError(f"data.fractions.{name} must be above 0, for the split is needed; give it a share.")
        if self.policies and self.recipe != "policies":
            raise ConfigError(f"data.policies are given, but data.recipe={self.recipe} does not use them; choose data=policies.")
        if self.beginnings + self.endings > 1.0:
            raise ConfigError(f"data.beginnings + data.endings is {self.beginnings + self.endings:g}, but must be at most 1.")

    def default_path(self, robot: str, simulator: str) -> Path:
        """Return where the data of a recipe lie if nobody says where."""
        return Path("data") / f"{robot}-{simulator}-{self.recipe}-{self.num_transitions}-seed{self.seed}.h5"

    @property
    def train_rows(self) -> int:
        """Return H + K, the rows of a training window."""
        return self.history + self.forecast

    @property
    def validation_rows(self) -> int:
        """Return H + K', the rows of a validation window."""
        return self.history + self.validation_horizon
