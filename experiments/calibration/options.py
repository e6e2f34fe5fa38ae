"""The command's options: ``key=value``, as those of the other commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BeforeValidator

from rwmu.errors import ConfigError
from rwmu.measure.calibration.noise import NoiseSettings
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.runs.configuration import leaves
from rwmu.settings import Count, close_match, made, settings


@settings("noise")
class NoiseOptions(NoiseSettings):
    """Rollouts under noise; ``scales=[]`` leaves them out, ``simulator=false`` those in the simulator.

    ``policy``: null for the run's clone or policy, else the level of a behaviour policy.
    """

    simulator: bool = True
    policy: str | None = None


@settings("")
class Options(CalibrationSettings):
    """How much is measured, and of what; the run decides which disagreement.

    Attributes:
        run: the run's folder. output: where the results go; null for ``calibration`` in the run's folder.
        data: another dataset of the same robot to test on; null for the run's own. every: test on all of its episodes that the run
            was not trained or calibrated on, not on its test split alone.
        trust: modules, not of rwmu, whose code the run's configuration may name.
    """

    run: str = ""
    output: str | None = None
    data: str | None = None
    every: bool = False
    trust: Any = ()
    num_threads: Count = 1
    progress: bool = True
    noise: Annotated[NoiseOptions, BeforeValidator(made(NoiseOptions))] = NoiseOptions()

    @property
    def folder(self) -> Path:
        """Return where the results go."""
        return Path(self.run) / "calibration" if self.output is None else Path(self.output)

    def plain(self) -> dict[str, Any]:
        """Return what may be given, as it is."""
        return {name: value for name, value in asdict(self).items() if name not in ("estimate", "estimate_name")}


def parse(arguments: Sequence[str]) -> Options:
    """Return the options of a command line.

    Raises:
        ConfigError: an unknown key, a value of the wrong type, or no run.
    """
    known = {*leaves(Options().plain()), "noise"}
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        if not equals:
            raise ConfigError(f"'{argument}' is no setting; write it as key=value, for example run=runs/latest.")
        if key not in known:
            raise ConfigError(f"The calibration analysis has no option '{key}'{close_match(key, known) or '.'}")
    try:
        given: Any = OmegaConf.to_container(OmegaConf.from_dotlist(list(arguments)), resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{getattr(error, 'full_key', '') or 'An option'}: {str(error).splitlines()[0]}.") from error
    if not given.get("run"):
        raise ConfigError("Which run? Give run=RUN_DIR, for example run=runs/latest.")
    return Options(**given)
