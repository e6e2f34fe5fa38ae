"""Say whether the uncertainty of a run's world model can be trusted: ``python -m experiments.calibration run=RUN_DIR``.

Writes calibration.json, recalibrations.json (what was fitted, to be used again), tables as CSV, figures and one self-contained
calibration.html into ``RUN_DIR/calibration``, or ``output``.
A rerun replaces what an earlier one wrote there, and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from tqdm import tqdm

from experiments.calibration.options import Options, parse
from experiments.calibration.subject import Subject
from rwmu.errors import ConfigError, UserError
from rwmu.files import json_ready
from rwmu.imagination.fitting import fitted_estimate
from rwmu.measure.calibration.measure import measure_calibration
from rwmu.measure.calibration.noise import NoiseTest
from rwmu.report.calibration import report
from rwmu.report.verdicts import said
from rwmu.runs.command_line import mistakes_in_one_sentence


def analyse(options: Options) -> dict[str, Any]:
    """Measure what the options ask for."""
    subject = Subject.read(Path(options.run), None if options.data is None else Path(options.data), options.every, options.trust)
    name, estimate = fitted_estimate(subject.experiment.penalty, subject.folder / "checkpoints")
    settings = replace(options, estimate=estimate, estimate_name=name)  # the disagreement that the run's penalty sees
    parts = 1 + len(options.noise.scales) * (2 if options.noise.simulator else 1)
    with tqdm(total=parts, desc="calibration", unit="part", disable=not options.progress) as bar:
        measured = measure_calibration(subject.world_model, subject.test, subject.calibration, settings, subject.trained_on)
        bar.update()
        if options.noise.scales:
            test = NoiseTest(subject.world_model, subject.calibration, options.noise, settings)
            measured["noise"] = {"given": test.given(subject.test, bar.update)}
            if options.noise.simulator:
                measured["noise"]["simulated"] = _simulated(options, subject, test, bar)
    return measured | {
        "subject": {
            "name": subject.name,
            "tested_on": subject.tested_on,
            "step_dt": float(subject.test.episodes.attributes["step_dt"]),
            "robot": subject.world_model.robot,
            "model_hash": subject.world_model.content_hash(),
        },
        "options": options.plain(),
    }


def _simulated(options: Options, subject: Subject, test: NoiseTest, bar: Any) -> dict[str, Any]:
    """Measure under noise in the simulator, or say why that cannot be had."""
    try:
        words, actor = subject.actor(options.noise.policy)
        make = partial(subject.experiment.make_env, options.noise.trajectories, options.seed, auto_reset=False)
        return test.simulated(make, actor, words, bar.update)
    except (UserError, ImportError) as error:
        return {"missing": str(error)}


def claim(folder: Path) -> None:
    """Make sure of the output folder: new or empty, or of an earlier analysis, which is announced to be replaced.

    Raises:
        ConfigError: it holds somebody else's files, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The output folder {folder} cannot be written ({error.strerror}); choose another with output=PATH."
        ) from error
    if (folder / report.RESULT).is_file():
        print(f"Replacing the earlier analysis in {folder}.")
    elif any(folder.iterdir()):
        raise ConfigError(f"{folder} holds other files than a calibration analysis; choose another folder with output=PATH.")


def run(arguments: Sequence[str]) -> None:
    """Do what the command line asks for."""
    if any(argument in ("-h", "--help") for argument in arguments):
        print(f"{__doc__}\nOptions and their defaults:\n\n{OmegaConf.to_yaml(json_ready(Options().plain()))}")
        return
    options = parse(arguments)
    torch.set_num_threads(options.num_threads)
    if not Path(options.run).is_dir():
        raise ConfigError(f"There is no run folder {options.run}; give run=runs/<date>-<experiment>-seed<k>.")
    claim(options.folder)
    answers = report.write(analyse(options), options.folder)
    print("\n".join(said(answers)))
    print(f"Calibration: {options.folder / 'calibration.html'}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; a user's mistake ends in one sentence and status 2."""
    with mistakes_in_one_sentence():
        run(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    main()
