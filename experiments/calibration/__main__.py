"""Say whether the uncertainty of a run's world model can be trusted: ``python -m experiments.calibration run=RUN_DIR``.

Writes calibration.json, recalibrations.json (what was fitted, to be used again), tables as CSV, figures and one self-contained
calibration.html into ``RUN_DIR/calibration``, or ``output``.
A rerun replaces what an earlier one wrote there, and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from tqdm import tqdm

from experiments.calibration import figures, report
from experiments.calibration.options import Options, parse
from experiments.calibration.subject import Subject
from rwmu.errors import ConfigError, UserError
from rwmu.files import json_ready, write_json, write_text
from rwmu.measure.calibration.measure import measure_calibration
from rwmu.measure.calibration.noise import NoiseTest
from rwmu.measure.calibration.saved import save_recalibrations
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.calibration.simulated import record_noisy_episodes
from rwmu.runs.command_line import mistakes_in_one_sentence

RESULT = "calibration.json"
RECALIBRATIONS = "recalibrations.json"


def analyse(options: Options) -> dict[str, Any]:
    """Measure what the options ask for."""
    subject = Subject.read(Path(options.run), None if options.data is None else Path(options.data))
    settings = options.settings(*subject.estimate())
    parts = 1 + len(options.noise.scales) * (2 if options.noise.simulator else 1)
    with tqdm(total=parts, desc="calibration", unit="part", disable=not options.progress) as bar:
        bar.set_postfix_str("test episodes")
        measured = measure_calibration(subject.world_model, subject.test, subject.calibration, settings)
        bar.update()
        measured["subject"] = {
            "name": subject.name,
            "tested_on": subject.tested_on,
            "step_dt": float(subject.test.episodes.attributes["step_dt"]),
            "robot": subject.world_model.robot,
            "model_hash": subject.world_model.content_hash(),
        }
        if options.noise.scales:
            measured["noise"] = _noise(options, subject, settings, bar)
            measured["verdict"]["sentences"]["noise"] = noise_sentence(measured["noise"])
    return measured


def _noise(options: Options, subject: Subject, settings: CalibrationSettings, bar: Any) -> dict[str, Any]:
    """Measure under both kinds of noise; where the simulator is not installed, the second says so."""
    noise = options.noise_settings()
    test = NoiseTest(subject.world_model, subject.calibration, noise, settings)
    bar.set_postfix_str("noise on what the model is given")
    found: dict[str, Any] = {
        "given": {
            "about": "Noise of so many standard deviations on every state and action that the model is given (RWM, "
            "arXiv:2501.10100, "
            "Fig. 3b), against the recorded trajectory; at most "
            f"{noise.trajectories} rollouts of {noise.steps} steps, as many as the test episodes allow.",
            "scales": test.given(subject.test, bar.update),
        }
    }
    if not options.noise.simulator:
        return found
    bar.set_postfix_str("noise in the simulator")
    try:
        found["simulated"] = _simulated(options, subject, test, bar)
    except (UserError, ImportError) as error:
        found["simulated"] = {"missing": str(error)}
    return found


def _simulated(options: Options, subject: Subject, test: NoiseTest, bar: Any) -> dict[str, Any]:
    noise, words_actor = options.noise_settings(), subject.actor(options.noise.policy)
    words, actor = words_actor
    make = subject.simulator(noise.trajectories, options.seed, options.num_threads)
    scales = {}
    for scale in noise.scales:
        steps = subject.world_model.history + noise.steps - 1
        episodes = record_noisy_episodes(make(), actor, scale, steps, options.seed)
        scales[f"{scale:g}"] = test.row(episodes)
        bar.update()
    return {
        "about": f"Noise of so much (in the unit of actions) on the actions of {words}, in the simulator; the model is given "
        "what really "
        f"happened: {noise.trajectories} rollouts of at most {noise.steps} steps, each of its own episode.",
        "scales": scales,
    }


_NOISE_WORDS = {
    "error": "error",
    "disagreement": "disagreement",
    "recalibrated_683": "coverage of recalibrated 68 % intervals",
}


def noise_sentence(noise: dict[str, Any]) -> str:
    """Say how error, disagreement and coverage change from no noise to the most, or what they are where one scale was asked for."""
    parts = []
    for name, words in (("given", "noise on what the model is given"), ("simulated", "noise on the actions in the simulator")):
        scales = list((noise.get(name, {}).get("scales") or {}).items())
        if not scales:
            continue
        (low, first), (high, last) = scales[0], scales[-1]
        known = [k for k in first if first[k]["error"]["value"] is not None and last[k]["error"]["value"] is not None]
        if not known:
            continue
        k = max((k for k in known if int(k) <= 24), key=int, default=known[0])
        figures = []
        for cell, what in _NOISE_WORDS.items():
            before, after = first[k][cell]["value"], last[k][cell]["value"]
            if before is not None and after is not None:
                figures.append(f"{what} {before:.2g}" + (f" to {after:.2g}" if len(scales) > 1 else ""))
        scale = f"scale {low} to {high}" if len(scales) > 1 else f"scale {low} alone"
        parts.append(f"{words}, {scale}, {k} step{'' if k == '1' else 's'} ahead: {', '.join(figures)}")
    missing = noise.get("simulated", {}).get("missing")
    sentence = f"Noise: {'; '.join(parts) or 'not measured'}."
    return sentence + (f" Noise in the simulator: not measured: {missing}" if missing else "")


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
    if (folder / RESULT).is_file():
        print(f"Replacing the earlier analysis in {folder}.")
    elif any(folder.iterdir()):
        raise ConfigError(f"{folder} holds other files than a calibration analysis; choose another folder with output=PATH.")


def write(measured: dict[str, Any], options: Options, folder: Path) -> None:
    """Write the results, the page last."""
    plain = json_ready(measured | {"options": OmegaConf.to_container(OmegaConf.structured(options))})
    save_recalibrations(folder / RECALIBRATIONS, plain.pop("recalibrations"), plain["subject"]["model_hash"])
    write_json(folder / RESULT, plain, indent=1)
    for name, table in report.csv_tables(plain).items():
        write_text(folder / f"{name}.csv", table)
    images = figures.draw(plain)
    (folder / "figures").mkdir(exist_ok=True)
    for name in figures.FIGURES:  # a figure of an earlier analysis that there are no data for now must not stay
        (folder / "figures" / f"{name}.png").unlink(missing_ok=True)
    for name, png in images.items():
        (folder / "figures" / f"{name}.png").write_bytes(png)
    write_text(folder / "calibration.html", report.html(plain, images))


def run(arguments: Sequence[str]) -> None:
    """Do what the command line asks for."""
    if any(argument in ("-h", "--help") for argument in arguments):
        print(f"{__doc__}\nOptions and their defaults:\n\n{OmegaConf.to_yaml(OmegaConf.structured(Options))}")
        return
    options = parse(arguments)
    torch.set_num_threads(options.num_threads)
    if not Path(options.run).is_dir():
        raise ConfigError(f"There is no run folder {options.run}; give run=runs/<date>-<experiment>-seed<k>.")
    claim(options.folder)
    measured = analyse(options)
    write(measured, options, options.folder)
    for sentence in measured["verdict"]["sentences"].values():
        print(sentence)
    print(f"Calibration: {options.folder / 'calibration.html'}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; a user's mistake ends in one sentence and status 2."""
    with mistakes_in_one_sentence():
        run(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    main()
