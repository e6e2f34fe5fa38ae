"""What the calibration analysis is told: which episodes, which horizons, how much of everything."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.errors import ConfigError
from rwmu.uncertainty.calibration_sample import GROUPED
from rwmu.uncertainty.estimates import Estimate, epistemic
from rwmu.uncertainty.recalibration import METHODS

HORIZONS = (1, 8, 24, 100, 368)


@dataclass(frozen=True)
class Selection:
    """Some episodes of a dataset: a test split, or a calibration split.

    Attributes:
        episodes: the dataset. ids: int64, which of its episodes.
    """

    episodes: Episodes
    ids: Tensor


@dataclass(frozen=True)
class CalibrationSettings:
    """How much is measured.

    Attributes:
        horizons: steps after the history, ascending.
        stretches: at most so many stretches of episodes for the horizons up to ``short``.
        long_stretches: the same for longer horizons, whose stretches are longer too.
        short: horizons up to this one share the same stretches.
        samples: trajectories a member that make the sampled spread.
        methods: recalibrations to be tried, names of :data:`rwmu.uncertainty.recalibration.METHODS`.
        recalibrated_by: what of the state is recalibrated together, see :func:`rwmu.uncertainty.calibration_sample.groups_of`.
        resamples: of whole episodes, for every interval. level: probability of the intervals.
        one_step_windows: at most so many windows of 16 rows for what is measured one step ahead (heads, falls, diversity), evenly
            over the test episodes; the default is more than a million transitions' test split has.
        estimate: of the disagreement. estimate_name: as configurations and pages call it.
        seed: of the noise of sampled trajectories and of the resamples.
    """

    horizons: tuple[int, ...] = HORIZONS
    stretches: int = 200
    long_stretches: int = 60
    short: int = 100
    samples: int = 4
    methods: tuple[str, ...] = tuple(METHODS)
    recalibrated_by: str = "field"
    resamples: int = 300
    level: float = 0.95
    one_step_windows: int = 10_000
    estimate: Estimate = epistemic
    estimate_name: str = "std"
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.horizons or min(self.horizons) < 1 or list(self.horizons) != sorted(set(self.horizons)):
            raise ConfigError(f"horizons is {list(self.horizons)}, but must be ascending numbers of steps, each at least 1.")
        for name in ("stretches", "long_stretches", "short", "samples", "resamples", "one_step_windows"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must be at least 1.")
        unknown = [name for name in self.methods if name not in METHODS]
        if unknown:
            raise ConfigError(f"methods has {unknown[0]!r}, but must be of {', '.join(METHODS)}.")
        if self.recalibrated_by not in GROUPED:
            raise ConfigError(f"recalibrated_by is {self.recalibrated_by!r}, but must be one of {', '.join(GROUPED)}.")
        if not 0.0 < self.level < 1.0:
            raise ConfigError(f"level is {self.level}, but must be within 0 and 1.")
