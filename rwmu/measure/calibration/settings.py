"""What the calibration analysis is told: which horizons, how much of everything."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rwmu.errors import ConfigError
from rwmu.settings import Count, Counts, Names, choose, settings
from rwmu.uncertainty.calibration_sample import GroupedBy
from rwmu.uncertainty.estimates import Estimate, epistemic
from rwmu.uncertainty.recalibration import METHODS

HORIZONS = (1, 8, 24, 100, 368)
Share = Annotated[float, Field(gt=0.0, lt=1.0)]


@settings("")
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

    horizons: Counts = HORIZONS
    stretches: Count = 200
    long_stretches: Count = 60
    short: Count = 100
    samples: Count = 4
    methods: Names = tuple(METHODS)
    recalibrated_by: GroupedBy = "field"
    resamples: Count = 300
    level: Share = 0.95
    one_step_windows: Count = 10_000
    estimate: Estimate = epistemic
    estimate_name: str = "std"
    seed: int = 0

    def __post_init__(self) -> None:
        if list(self.horizons) != sorted(set(self.horizons)):
            raise ConfigError(f"horizons is {list(self.horizons)}, but must be ascending numbers of steps, each once.")
        for name in self.methods:
            choose("methods", name, METHODS)

    def reaches(self) -> list[tuple[tuple[int, ...], int]]:
        """Return the horizons that share stretches, and at most how many stretches: short ones, then long ones."""
        short = tuple(k for k in self.horizons if k <= self.short)
        long = tuple(k for k in self.horizons if k > self.short)
        return [(horizons, number) for horizons, number in ((short, self.stretches), (long, self.long_stretches)) if horizons]
