"""The command's options: ``key=value``, as those of the other commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rwmu.errors import ConfigError
from rwmu.measure.calibration.noise import NoiseSettings
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.runs.configuration import leaves
from rwmu.settings import close_match
from rwmu.uncertainty.estimates import Estimate, epistemic

_AMOUNT, _NOISE = CalibrationSettings(), NoiseSettings()


@dataclass
class NoiseOptions:
    """Rollouts under noise, as ``NoiseSettings``; ``scales=[]`` leaves them out, ``simulator=false`` those in the simulator.

    ``policy``: null for the run's clone or policy, else the level of a behaviour policy.
    """

    scales: list[float] = field(default_factory=lambda: list(_NOISE.scales))
    trajectories: int = _NOISE.trajectories
    steps: int = _NOISE.steps
    simulator: bool = True
    policy: str | None = None


@dataclass
class Options:
    """What may be given; what is not explained here is as in ``CalibrationSettings``.

    Attributes:
        run: the run's folder. output: where the results go; null for ``calibration`` in the run's folder.
        data: another dataset of the same robot to test on; null for the run's own. every: test on all of its episodes that the run
            was not trained or calibrated on, not on its test split alone.
        trust: modules, not of rwmu, whose code the run's configuration may name.
    """

    run: str = MISSING
    output: str | None = None
    data: str | None = None
    every: bool = False
    trust: Any = field(default_factory=list)
    horizons: list[int] = field(default_factory=lambda: list(_AMOUNT.horizons))
    stretches: int = _AMOUNT.stretches
    long_stretches: int = _AMOUNT.long_stretches
    samples: int = _AMOUNT.samples
    recalibrated_by: str = _AMOUNT.recalibrated_by
    resamples: int = _AMOUNT.resamples
    seed: int = _AMOUNT.seed
    num_threads: int = 1
    progress: bool = True
    noise: NoiseOptions = field(default_factory=NoiseOptions)

    def settings(self, estimate_name: str = "std", estimate: Estimate = epistemic) -> CalibrationSettings:
        """Return how much is measured, and of which disagreement."""
        names = ("horizons", "stretches", "long_stretches", "samples", "recalibrated_by", "resamples", "seed")
        given: dict[str, Any] = {name: getattr(self, name) for name in names}
        return CalibrationSettings(estimate=estimate, estimate_name=estimate_name, **given)

    def noise_settings(self) -> NoiseSettings:
        """Return how much noise."""
        return NoiseSettings(scales=tuple(self.noise.scales), trajectories=self.noise.trajectories, steps=self.noise.steps)

    @property
    def folder(self) -> Path:
        """Return where the results go."""
        return Path(self.run) / "calibration" if self.output is None else Path(self.output)


def parse(arguments: Sequence[str]) -> Options:
    """Return the options of a command line.

    Raises:
        ConfigError: an unknown key, a value of the wrong type, or no run.
    """
    schema = OmegaConf.structured(Options)
    known = {*leaves(OmegaConf.to_container(schema)), "noise"}
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        if not equals:
            raise ConfigError(f"'{argument}' is no setting; write it as key=value, for example run=runs/latest.")
        if key not in known:
            raise ConfigError(f"The calibration analysis has no option '{key}'{close_match(key, known) or '.'}")
    if not any(argument.startswith("run=") for argument in arguments):
        raise ConfigError("Which run? Give run=RUN_DIR, for example run=runs/latest.")
    try:
        options: Any = OmegaConf.to_object(OmegaConf.merge(schema, OmegaConf.from_dotlist(list(arguments))))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{getattr(error, 'full_key', '') or 'An option'}: {str(error).splitlines()[0]}.") from error
    if options.num_threads < 1:
        raise ConfigError(f"num_threads is {options.num_threads}, but must be at least 1.")
    options.settings(), options.noise_settings()  # refuse values that make no sense before anything is loaded
    return options  # type: ignore[no-any-return]
