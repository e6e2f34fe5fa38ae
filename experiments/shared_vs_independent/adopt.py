"""Take a world model or a policy of an earlier run as a cell's, where it is what the cell would make.

    python -m experiments.shared_vs_independent.run --adopt-model shared broad 0 RUN_DIR
    python -m experiments.shared_vs_independent.run --adopt-policy shared broad 0 raw 1 RUN_DIR

The run's configuration must equal the cell's, but for what decides nothing and for settings that did not exist yet and whose
present value is what the code did before. Model and data are checked as any checkpoint is. Error, uncertainty and deployment are
measured with the present code. The commit that the run was made with is kept, with what has changed since.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rwmu.parts import Parts
from rwmu.pipeline import Run

from experiments.shared_vs_independent.cells import Cell, ModelCell, PolicyCell, named, plan
from experiments.shared_vs_independent.folders import absent, differences, fitted_model, is_fitted, latest
from experiments.shared_vs_independent.work import configuration, get_data
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import CheckpointError, ConfigError, UserError
from rwmu.files import copy_file, write_json
from rwmu.numerics import set_up
from rwmu.runs.folder import RunFolder, try_lock
from rwmu.train import open_run

_ANY = object()  # has no effect while the others have these values
# What a setting must be now for the code to do what it did before there was such a setting.
REPRODUCES: dict[str, Any] = {
    "dynamics.backbone": "gru",
    "dynamics.window": _ANY,
    "dynamics.prior_scale": 0.0,
    "dynamics.prior_hidden_size": _ANY,
    "dynamics.start_from": None,
    "dynamics.freeze_auxiliary": False,
    "dynamics.loss.beta": _ANY,
    "dynamics.loss.weights.extension": None,
    "dynamics.optimizer.one_by_one": _ANY,  # the order in which the same sums are done
    "trainer.matmul_precision": "highest",
    "penalty.estimate": "std",
    "penalty.standardised": False,
}
# Values that were called otherwise.
RENAMED: dict[tuple[str, Any], Any] = {("data.bootstrap", True): "episodes"}
_MAKING_OF = {
    "model": ("rwmu/dynamics", "rwmu/data", "rwmu/dynamics/fit.py"),
    "policy": ("rwmu/policy", "rwmu/imagination", "rwmu/algorithms", "rwmu/stages/policy.py", "rwmu/tasks"),
}


def accepted(found: dict[str, tuple[Any, Any]], where: str) -> list[str]:
    """Return a sentence on each difference that changes nothing.

    Raises:
        ConfigError: one changes something.
    """
    sentences = []
    for key, (old, new) in found.items():
        reproduced = absent(old) and key in REPRODUCES and REPRODUCES[key] in (_ANY, new)
        renamed = not absent(old) and isinstance(old, str | int | bool) and RENAMED.get((key, old), _ANY) == new
        if not reproduced and not renamed:
            shown = ["not set" if absent(value) else repr(value) for value in (old, new)]
            raise ConfigError(f"{where} cannot be adopted: it has {key} {shown[0]}, but the cell has {shown[1]}; let it be made.")
        sentences.append(f"{key}: {new!r} is what {'its absence' if absent(old) else repr(old)} meant")
    return sentences


def origin(source: RunFolder, cell: Cell, sentences: list[str]) -> dict[str, Any]:
    """Return where an adopted cell comes from."""
    file = source.path / "run_card.json"
    card: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return {
        "run": source.path.name,
        "commit": card.get("commit"),
        "changed_since_commit": card.get("changed_since_commit"),
        "date": card.get("date"),
        "machine": card.get("machine"),
        "seconds": source.seconds(),
        "differences": sentences,
        "commits_since": _commits_since(card.get("commit"), _MAKING_OF[cell.kind]),
    }


def _commits_since(commit: str | None, paths: tuple[str, ...]) -> list[str] | None:
    """Return the commits since then that touched ``paths``, or None where git does not know."""
    command = ["git", "log", "--format=%h %s", f"{commit}..HEAD", "--", *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent.parent)
    return done.stdout.splitlines() if done.returncode == 0 else None


def adopt(cell: Cell, source: RunFolder, runs: Path, extra: list[str]) -> dict[str, Any]:
    """Make the folder of a cell from an earlier run; returns where it comes from."""
    wanted = configuration(cell, runs, extra)
    sentences = accepted(differences(source.config(), wanted, cell), str(source.path))
    if isinstance(cell, PolicyCell):
        _refuse_another_model(cell, source, runs)
        OmegaConf.update(wanted, "policy.checkpoint", str(source.checkpoints / "policy.pt"))
    else:
        checkpoint = runs / cell.name / "adopted.pt"
        with_all_arguments(WorldModel.load(_model_of(source)), wanted).save(checkpoint)
        OmegaConf.update(wanted, "dynamics.checkpoint", str(checkpoint))
    config, folder = open_run(wanted)
    set_up(config.trainer.num_threads, config.trainer.matmul_precision)
    run = Run(config, folder)
    try:
        get_data(run, runs)
        if isinstance(cell, PolicyCell):
            copy_file(source.checkpoints / "policy" / "clone.pt", folder.checkpoints / "policy" / "clone.pt")
        run.stages(list(config.stages))  # loads what is given and refuses what does not fit
    except BaseException:
        latest(cell, runs).unlink()  # the cell counts as not begun
        raise
    found = origin(source, cell, sentences)
    write_json(folder.path / "adopted.json", found)
    return found


def with_all_arguments(world_model: WorldModel, wanted: DictConfig) -> WorldModel:
    """Return a world model of old whose architecture names the arguments, too, that there were none of when it was saved."""
    _, arguments = Parts(wanted).new_dynamics(extension_dim=0)
    new = {
        name: value
        for name, value in arguments.items()
        if name not in world_model.architecture and f"dynamics.{name}" in REPRODUCES
    }
    return dataclasses.replace(world_model, architecture=world_model.architecture | new)


def _refuse_another_model(cell: PolicyCell, source: RunFolder, runs: Path) -> None:
    """Refuse a policy that was optimised inside another world model than the cell's."""
    if not is_fitted(cell, runs):
        raise CheckpointError(f"{cell.name} needs {cell.model.name}, which is not fitted; adopt or fit that first.")
    own, other = (WorldModel.load(path).dynamics.state_dict() for path in (fitted_model(cell, runs), _model_of(source)))
    if own.keys() != other.keys() or not all(torch.equal(own[name], other[name]) for name in own):
        raise CheckpointError(f"The policy in {source.path} was optimised inside another world model than {cell.model.name}'s.")


def _model_of(source: RunFolder) -> Path:
    return source.checkpoints / "dynamics.pt"


def adopt_if_free(cell: Cell, source: Path, runs: Path, extra: list[str]) -> str:
    """Adopt a run unless the cell has been begun; returns a line on what was done."""
    if (latest(cell, runs) / "config.yaml").is_file():
        return f"{cell.name}: begun or adopted before, left as it is"
    lock = try_lock(runs / cell.name / "lock")
    if lock is None:
        return f"{cell.name}: somebody is working on it, left as it is"
    with lock:
        found = adopt(cell, RunFolder.resume(source), runs, extra)
    since = found["commits_since"]
    changed = "an unknown number of" if since is None else str(len(since))
    lines = [f"{cell.name}: adopted from commit {found['commit']}; {changed} commits have touched how it is made since then"]
    return "\n".join([*lines, *(f"    {sentence}" for sentence in found["differences"])])


def main(given: argparse.Namespace) -> int:
    """Adopt what the command line names; returns the exit status."""
    wanted: list[tuple[Cell, Path]] = []
    for model, data, seed, path in given.adopt_model:
        wanted.append((ModelCell(model, data, int(seed)), Path(path)))
    for model, data, seed, penalty, weight, path in given.adopt_policy:
        wanted.append((PolicyCell(ModelCell(model, data, int(seed)), penalty, float(weight)), Path(path)))
    failed = 0
    for cell, path in wanted:
        try:
            named(cell.name, plan([cell.seed if isinstance(cell, ModelCell) else cell.model.seed]))
            print(adopt_if_free(cell, path, given.runs, given.override), flush=True)
        except KeyError:
            print(f"{cell.name}: there is no such cell in the study", flush=True)
            failed += 1
        except UserError as error:
            print(f"{cell.name}: {error}", flush=True)
            failed += 1
    return 1 if failed else 0
