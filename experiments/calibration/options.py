"""The command's options: ``key=value``, as those of the other commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rwmu.errors import ConfigError
from rwmu.measure.calibration.noise import NoiseSettings
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.runs.configuration import close_match, leaves
from rwmu.uncertainty.estimates import Estimate, epistemic


@dataclass
class NoiseOptions:
    """Rollouts under noise; ``scales=[]`` leaves them out, ``simulator=false`` those that need the simulator.

    Fields as :class:`~rwmu.measure.calibration.noise.NoiseSettings`; ``policy``: null for the run's clone or policy, else the
    level of a behaviour policy.
    """

    scales: list[float] = field(default_factory=lambda: list(NoiseSettings().scales))
    trajectories: int = NoiseSettings().trajectories
    steps: int = NoiseSettings().steps
    simulator: bool = True
    policy: str | None = None


@dataclass
class Options:
    """What may be given.

    Attributes:
        run: the run's folder. output: where the results go; null for ``calibration`` in the run's folder.
        data: another dataset of the same robot to test on (its test split); null for the run's own.
        horizons, stretches, long_stretches, samples, recalibrated_by, resamples, seed: see
            :class:`~rwmu.measure.calibration.settings.CalibrationSettings`.
        num_threads: of torch and the simulator. progress: show progress bars.
    """

    run: str = MISSING
    output: str | None = None
    data: str | None = None
    horizons: list[int] = field(default_factory=lambda: list(CalibrationSettings().horizons))
    stretches: int = CalibrationSettings().stretches
    long_stretches: int = CalibrationSettings().long_stretches
    samples: int = CalibrationSettings().samples
    recalibrated_by: str = CalibrationSettings().recalibrated_by
    resamples: int = CalibrationSettings().resamples
    seed: int = 0
    num_threads: int = 1
    progress: bool = True
    noise: NoiseOptions = field(default_factory=NoiseOptions)

    def settings(self, estimate_name: str = "std", estimate: Estimate = epistemic) -> CalibrationSettings:
        """Return how much is measured, and of which disagreement."""
        names = ("stretches", "long_stretches", "samples", "recalibrated_by", "resamples", "seed")
        given = {name: getattr(self, name) for name in names}
        return CalibrationSettings(horizons=tuple(self.horizons), estimate=estimate, estimate_name=estimate_name, **given)

    def noise_settings(self) -> NoiseSettings:
        """Return the noise, and on how many rollouts."""
        return NoiseSettings(tuple(self.noise.scales), self.noise.trajectories, self.noise.steps)

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
    known = set(leaves(OmegaConf.to_container(schema))) | {field.name for field in fields(Options)}
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        if not equals:
            raise ConfigError(f"'{argument}' is no setting; write it as key=value, for example run=runs/latest.")
        if key not in known:
            raise ConfigError(f"The calibration analysis has no option '{key}'{close_match(key, known) or '.'}")
    try:
        merged = OmegaConf.merge(schema, OmegaConf.from_dotlist(list(arguments)))
        options: Any = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        if OmegaConf.is_missing(OmegaConf.merge(schema), "run") and not any(a.startswith("run=") for a in arguments):
            raise ConfigError("Which run? Give run=RUN_DIR, for example run=runs/latest.") from error
        raise ConfigError(f"{getattr(error, 'full_key', '') or 'An option'}: {str(error).splitlines()[0]}.") from error
    assert isinstance(options, Options)
    if options.num_threads < 1:
        raise ConfigError(f"num_threads is {options.num_threads}, but must be at least 1.")
    options.settings(), options.noise_settings()  # refuse values that make no sense before anything is loaded
    return options
