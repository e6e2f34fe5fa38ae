"""Work on one cell in this process, from where it stands to its result: ``python -m experiments.shared_vs_independent.work NAME``.

The runner (:mod:`experiments.shared_vs_independent.run`) starts one such process a cell. Exit status: 0 with a result, 130 where
interrupted; anything else is a failure. A fitted model whose measurement failed is not fitted again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rwmu.pipeline import Run

from experiments.shared_vs_independent import measuring
from experiments.shared_vs_independent.capacity import complete
from experiments.shared_vs_independent.cells import (
    DATA,
    FORMAT,
    RESULTS,
    Cell,
    ModelCell,
    PolicyCell,
    model_cell,
    named,
    plan,
    result_path,
)
from experiments.shared_vs_independent.folders import ANOTHER_FIT, absent, differences, fitted_model, latest, locked, read_json
from rwmu.dynamics.world_model import WorldModel, parameter_count
from rwmu.errors import CheckpointError, ConfigError
from rwmu.files import copy_file, write_json, write_text
from rwmu.measure import deploy as deployment
from rwmu.measure.cache import DeploymentCache, deployment_key
from rwmu.measure.deploy import Candidate, deploy_each
from rwmu.measure.windows import Selection
from rwmu.numerics import set_up
from rwmu.policy.rsl_rl import load_actor
from rwmu.runs.card import commit, difference
from rwmu.runs.command_line import STATUS_INTERRUPTED, STATUS_USER_ERROR, explain
from rwmu.runs.configuration import check_config, compose_config, config_directory, groups
from rwmu.runs.folder import RunFolder, StageClock
from rwmu.train import open_run

NUM_DREAM_ENVS = 64
STAGES = {"model": ["data", "dynamics"], "policy": ["policy"]}
MODEL_HASH = "model_hash.txt"  # in a policy's folder, of the world model that it is optimised in
_ERRORS = ("windows", "episodes", "normalized_error", "standard_error", "hold_last_error", "num_members")


def configuration(cell: Cell, runs: Path, extra: list[str]) -> DictConfig:
    """Return the whole configuration of a cell, checked.

    Args:
        extra: the user's own settings, which come before the cell's.
    """
    own = [f"runs_dir={runs / cell.name}", f"stages=[{','.join(STAGES[cell.kind])}]", "trainer.progress=false"]
    own += ["evaluation.video_s=null", *([] if any("num_threads" in item for item in extra) else ["trainer.num_threads=1"])]
    if isinstance(cell, PolicyCell):
        own.append(f"dynamics.checkpoint={fitted_model(cell, runs)}")
    settings = [*complete(model_cell(cell), cell.overrides, extra), *own]
    config = compose_config("train", settings)
    chosen = dict(item.split("=", 1) for item in settings)
    check_config(config, "train", {group: chosen[group] for group in groups(config_directory()) if group in chosen})
    return config


def open_cell(cell: Cell, runs: Path, extra: list[str]) -> tuple[DictConfig, RunFolder]:
    """Open the folder of a cell, new or begun, and refuse one that was begun with other settings."""
    wanted = configuration(cell, runs, extra)
    path = latest(cell, runs)
    if not (path / "config.yaml").is_file():
        return open_run(wanted)
    folder = RunFolder.resume(path)
    if not (path / "adopted.json").is_file():  # those were compared when they were adopted
        refuse_differences(differences(folder.config(), wanted, cell), str(path))
    return wanted, folder


def refuse_differences(found: dict[str, tuple[Any, Any]], where: str) -> None:
    """Raise a ConfigError that names the first of the settings that differ."""
    for key, (old, new) in found.items():
        old, new = ("not set" if absent(value) else repr(value) for value in (old, new))
        raise ConfigError(f"{where} was made with {key} {old}, but the study has {new} now; move that folder away to begin anew.")


def get_data(run: Run, runs: Path) -> None:
    """Read the dataset, or let one process collect it while the others wait."""
    with locked(runs / f"data-{run.config.data.recipe}.lock"):
        _ = run.parts.episodes


def finish_model(cell: ModelCell, run: Run, runs: Path, extra: list[str]) -> dict[str, Any]:
    """Fit and measure a world model; returns what is particular to its result."""
    if "dynamics" not in run.folder.finished():
        run.stages(STAGES["model"])
    world_model = WorldModel.load(run.folder.checkpoints / "dynamics.pt").freeze()
    tested: dict[str, Any] = {}
    for name in DATA:
        other = run if name == cell.data else Run(configuration(ModelCell(cell.model, name, cell.seed), runs, extra), run.folder)
        get_data(other, runs)
        with StageClock(run.folder, f"calibration-{name}"):
            found = measuring.measure(world_model, other.parts.data, run.parts.data)
            rows = measuring.dense_rows(world_model, other.parts.data)
        write_json(run.folder.path / "measured" / f"calibration-{name}.json", found)
        tested[name] = measuring.kept(found, rows)
    measured = {name: _measured(run.folder, name) for name in ("data", "dynamics")}
    return {
        "model_hash": world_model.content_hash(),
        "parameters": parameter_count(WorldModel.load(run.folder.checkpoints / "dynamics.pt").dynamics),
        "hidden_size": run.config.dynamics.hidden_size,
        "dataset": {name: value for name, value in measured["data"]["dataset"].items() if name != "levels"},
        "dynamics": {name: measured["dynamics"]["dynamics"][name] for name in _ERRORS},
        "tested_on": tested,
    }


def finish_policy(cell: PolicyCell, run: Run, runs: Path) -> dict[str, Any]:
    """Optimise and deploy a policy; returns what is particular to its result."""
    if "episodes" not in _measured(run.folder, "deployment"):  # not deployed, or by an earlier form of this study
        clone, shared = (
            run.folder.checkpoints / "policy" / "clone.pt",
            runs / "clones" / f"{cell.model.data}-seed{cell.model.seed}.pt",
        )
        # A clone depends on data and seed alone: it is made once.
        if shared.is_file() and not clone.is_file():
            copy_file(shared, clone)
        same_model(cell, run)
        run.stages(STAGES["policy"])
        if clone.is_file() and not shared.is_file():
            copy_file(clone, shared)
        with StageClock(run.folder, "deployment"):
            write_json(run.folder.path / "measured" / "deployment.json", deploy(run, clone))
    kept = ("deployment", "imagination", "episodes")
    made = {name: value for name, value in _measured(run.folder, "deployment").items() if name in kept}
    return {"model_hash": same_model(cell, run), **made}


def same_model(cell: PolicyCell, run: Run) -> str:
    """Return the hash of the model that a policy is optimised in, kept in its folder; refuse to go on in another one."""
    file, found = run.folder.path / MODEL_HASH, run.world_model().content_hash()
    if not file.is_file():
        write_text(file, found + "\n")
    begun = file.read_text().strip()
    if begun != found:
        raise CheckpointError(
            f"{cell.name} was begun in another fit of {cell.model.name} (hash {begun[:12]}) than there is now ({found[:12]}); move "
            f"{run.folder.path} away to begin anew."
        )
    return begun


def refuse_another_fit(cell: ModelCell, folder: RunFolder, particular: dict[str, Any], results: Path) -> None:
    """Refuse a model that was fitted again, for policies to be optimised in, and is not the one that its result measured."""
    before = read_json(result_path(cell, results))
    if before is None or before.get("format") != FORMAT:
        return
    errors = [found["dynamics"]["normalized_error"] for found in (before, particular)]
    hashes = [found.get("model_hash") for found in (before, particular)]
    if errors[0] != errors[1] or (hashes[0] and hashes[0] != hashes[1]):
        sentence = (
            f"{cell.name} was fitted again and is another model than the one in {result_path(cell, results)} (its errors are "
            f"{errors[1]}, there {errors[0]}): other processors round differently. Policies optimised in it cannot be compared "
            "with those of that one; move its result, and those of its policies, away to make them all anew."
        )
        write_text(folder.path / ANOTHER_FIT, sentence + "\n")
        raise CheckpointError(sentence)


def deploy(run: Run, clone: Path) -> dict[str, Any]:
    """Deploy the policy and the clone that it started from (once a clone), and roll the policy inside its model."""
    evaluation, task, checkpoint = run.config.evaluation, run.parts.task, run.folder.checkpoints / "policy.pt"
    settings = deployment.DeploymentSettings(
        num_envs=evaluation.num_envs,
        seed=evaluation.seed,
        cache=None if evaluation.cache is None else Path(evaluation.cache),
        environment=run.parts.simulator(num_envs=evaluation.num_envs, seed=evaluation.seed).identity(),
        num_dream_envs=min(evaluation.num_dream_envs, NUM_DREAM_ENVS),
        dream_steps=evaluation.dream_steps,
        dream_rules=run.parts.step_rules,
        progress=False,
    )
    weights = hashlib.sha256(clone.read_bytes()).hexdigest()
    key = deployment_key(weights, settings.environment)
    policies = [
        Candidate("deterministic", load_actor(checkpoint, task.robot)),
        Candidate("clone", load_actor(clone, task.robot), key),
    ]

    def simulate() -> Any:
        return run.parts.simulator(num_envs=settings.num_envs, seed=settings.seed, num_threads=run.config.trainer.num_threads)

    held_out = Selection(run.parts.data.episodes, run.parts.data.splits["test"])
    deployments = deploy_each(simulate, policies, DeploymentCache(settings.cache), settings.seed, settings.progress)
    judged = deployment.beside_dreams(deployments, policies, run.world_model(), held_out, task, settings)
    return judged | {"episodes": {name: measuring.episodes(found) for name, found in deployments.items()}}


def result(cell: Cell, run: Run, particular: dict[str, Any]) -> dict[str, Any]:
    """Return the whole result of a cell."""
    card = json.loads((run.folder.path / "run_card.json").read_text())
    file = run.folder.path / "adopted.json"
    adopted: dict[str, Any] | None = json.loads(file.read_text()) if file.is_file() else None
    made = adopted or card
    model = model_cell(cell)
    common: dict[str, Any] = {
        "format": FORMAT,
        "kind": cell.kind,
        "name": cell.name,
        "model": model.model,
        "data": model.data,
        "seed": model.seed,
    }
    if isinstance(cell, PolicyCell):
        common |= {"penalty": cell.penalty, "weight": cell.weight}
    return common | {
        "commit": made["commit"],
        "changed_since_commit": made.get("changed_since_commit"),
        "measured_with_commit": commit(),
        "measured_with_changes": bool(difference()),
        "data_hash": card.get("data_hash"),
        "machine": made.get("machine"),
        "scale": {"transitions": run.config.data.num_transitions, "steps": run.config.trainer.max_steps},
        "adopted": adopted,
        "seconds": run.folder.seconds(),
        **particular,
    }


def _measured(folder: RunFolder, name: str) -> dict[str, Any]:
    path = folder.path / "measured" / f"{name}.json"
    measured: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return measured


def work(cell: Cell, runs: Path, results: Path, extra: list[str]) -> int:
    """Bring a cell to its result and write it, whole; returns the exit status."""
    config, folder = open_cell(cell, runs, extra)
    set_up(config.trainer.num_threads, config.trainer.matmul_precision)
    run = Run(config, folder)
    get_data(run, runs)
    if isinstance(cell, PolicyCell):
        particular = finish_policy(cell, run, runs)
    else:
        particular = finish_model(cell, run, runs, extra)
        refuse_another_fit(cell, folder, particular, results)
    write_json(result_path(cell, results), result(cell, run, particular) | {"overrides": extra}, indent=None)
    for checkpoint in (folder.checkpoints / "policy").glob("model_*.pt"):  # a gigabyte over the study; the last is policy.pt
        checkpoint.unlink()
    return 0


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and work on one cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the cell")
    parser.add_argument("--runs", type=Path, default=Path("runs/shared_vs_independent"), help="where the folders go")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the results go")
    parser.add_argument("--override", nargs="*", default=[], help="settings on top of the cell's own")
    given = parser.parse_args(arguments)
    seed = int(given.name.split("-seed")[1].split("-")[0])
    signal.signal(signal.SIGINT, _interrupt)  # also where the shell that started us ignores it
    try:
        return work(named(given.name, plan([seed])), given.runs, given.results, given.override)
    except KeyboardInterrupt:
        print(f"{given.name}: interrupted; the runner goes on with it next time.", flush=True)
        return STATUS_INTERRUPTED
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        print(sentence, file=sys.stderr)
        return STATUS_USER_ERROR


if __name__ == "__main__":
    raise SystemExit(main())
