"""Begin a run or go on with one: its folder, its card, its data."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from rwmu.data.audit import brief, require_sound
from rwmu.data.datamodule import OfflineDataModule
from rwmu.errors import ConfigError, DataError
from rwmu.files import read_json, write_text
from rwmu.measure.dataset import dataset_statistics
from rwmu.runs.card import run_card, write_run_card
from rwmu.runs.checks import check_data, check_experiment, check_loggers
from rwmu.runs.experiment import Experiment, build
from rwmu.runs.folder import RunFolder, followed
from rwmu.runs.trust import modules

_log = logging.getLogger(__name__)


def settle(config: DictConfig) -> None:
    """Let a configuration be, in place, that of the run that it resumes; else name all that it uses by absolute paths.

    The run may be gone on with from another folder, and ``runs/latest`` soon points at the new run.

    Raises:
        ConfigError: a resumed run is given other settings than its own.
    """
    if config.resume is None:
        for group, name in (("trainer", "checkpoint"), ("trainer", "start_from"), ("policy", "checkpoint")):
            given = config[group].get(name)
            if given is not None and followed(Path(str(given))).exists():
                config[group][name] = str(followed(Path(str(given))).resolve())
        if config.evaluation.cache is not None:
            config.evaluation.cache = str(Path(str(config.evaluation.cache)).absolute())
        return
    others = [o for o in HydraConfig.get().overrides.task if not o.startswith(("resume=", "trust="))]
    if others:
        raise ConfigError(f"A resumed run keeps its own configuration: leave out {' '.join(others)}, or start a new run.")
    folder = Path(str(config.resume))
    saved = RunFolder.resume(folder).config(modules(config.trust))
    OmegaConf.set_struct(config, False)
    config.clear()
    config.update(saved)
    config.resume = str(folder)


def open_folder(experiment: Experiment, text: str) -> RunFolder:
    """Make the folder of a new run with its configuration as ``text``, or open that of the run to be resumed."""
    check_loggers(experiment)
    if experiment.resume is not None:
        folder = RunFolder.resume(Path(experiment.resume))
    else:
        check_experiment(experiment)
        folder = RunFolder.create(Path(experiment.runs_dir), experiment.name, experiment.seed)
        write_text(folder.path / "config.yaml", text)
        write_run_card(folder.path, run_card(experiment.seed, experiment=experiment.name))
        folder.lead()
    folder.serve(experiment.stages, experiment.logger or {}, experiment.machine.progress)
    return folder


def open_finished(config: DictConfig) -> tuple[Experiment, RunFolder]:
    """Open the folder of an earlier run, ``config.run``, and build its objects; ``runs/latest`` will do.

    Its data are those that there are: none are collected. A ``simulator`` of ``config`` takes the place of the run's own.
    """
    folder = RunFolder.resume(Path(str(config.run)))
    folder.require_whole()
    saved = folder.config(modules(config.trust))
    if config.get("simulator") is not None:
        saved.simulator = config.simulator
    experiment = build(saved)
    check_loggers(experiment)
    experiment = replace(experiment, data=replace(experiment.data, path=experiment.data_path, recipe=None))
    folder.serve(experiment.stages, experiment.logger or {}, experiment.machine.progress)
    return experiment, folder


def prepare_data(experiment: Experiment, folder: RunFolder) -> OfflineDataModule:
    """Get the data of a run, note what they are, and stop on what a model cannot be trained on: the stage ``data``."""
    torch.manual_seed(experiment.seed)
    todo = {stage for stage in experiment.stages if folder.begins(stage)}
    with folder.step("data") if "data" in todo else contextlib.nullcontext():
        note_data(experiment, folder)
        if todo & {"data", "dynamics", "policy"}:  # not after hours of training the world model
            check_data(experiment)
            _audit(experiment, folder)
        if "data" in todo:
            folder.write_measured("data", {"dataset": dataset_statistics(experiment.episodes)})
    return experiment.data_module


def note_data(experiment: Experiment, folder: RunFolder) -> None:
    """Put the data's hash on the run card, if it is not there; refuse other data than those."""
    file = folder.path / "run_card.json"
    card = read_json(file, "bring it back, or delete it") if file.exists() else {}
    noted, found = card.get("data_hash"), experiment.data_module.data_hash
    if noted is None:
        write_run_card(folder.path, (card or run_card(experiment.seed, experiment=experiment.name)) | {"data_hash": found})
    elif noted != found:
        other = f"{experiment.data_path} holds other data (hash {found[:12]}) than this run began with"
        raise DataError(f"{other} ({str(noted)[:12]}): bring those back, or begin a new run.")


def _audit(experiment: Experiment, folder: RunFolder) -> None:
    """Stop on data that cannot be trained on; say what is doubtful about others, once a run."""
    if folder.measured("audit").is_file():
        return
    findings, source = experiment.findings(), str(experiment.data_path)
    require_sound(findings, source)
    if warning := brief(findings, source):
        _log.warning("%s", warning)
    folder.write_measured("audit", {"audit": [finding.to_dict() for finding in findings]})
