"""Measure what a run has made, and tell it: the model's error, the deployed policy, the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rwmu.data.datamodule import OfflineDataModule
from rwmu.errors import ConfigError
from rwmu.files import read_json, write_json
from rwmu.imagination.fitting import fitted_estimate
from rwmu.loggers import TensorBoard
from rwmu.measure import deploy, deployment
from rwmu.measure.model import measure_dynamics, merge
from rwmu.measure.windows import Selection
from rwmu.policy.optimise import kept
from rwmu.policy.rsl_rl import load_actor
from rwmu.report.run.report import build_report
from rwmu.report.verdicts import said
from rwmu.runs.experiment import Experiment
from rwmu.runs.folder import RunFolder
from rwmu.runs.weights_and_biases import WandbRun
from rwmu.simulators.actors import policy_levels
from rwmu.simulators.render import film, save_video


def evaluate(experiment: Experiment, folder: RunFolder) -> None:
    """Measure and report what is asked for and not yet done."""
    torch.manual_seed(experiment.seed)
    if "dynamics" in experiment.stages and not folder.measured("dynamics").is_file():
        measure_model(experiment, folder)
    if folder.begins("deployment"):
        with folder.step("deployment"):
            measure_deployment(experiment, experiment.data_in(folder), folder)
    if folder.begins("report"):
        with folder.step("report"):
            write_report(experiment, folder)


def measure_model(experiment: Experiment, folder: RunFolder) -> None:
    """Measure the run's world model on test episodes."""
    data, evaluation = experiment.data_in(folder), experiment.evaluation
    world_model = experiment.method.world_model(data, folder)
    _, estimate = fitted_estimate(experiment.penalty, folder.checkpoints)
    arguments = (evaluation.horizons, evaluation.num_windows, experiment.task.robot.joint_names, estimate)
    held_out, trained_on = (Selection(data.episodes, data.splits[name]) for name in ("test", "train"))
    folder.write_measured("dynamics", measure_dynamics(world_model, held_out, *arguments, trained_on))


def measure_deployment(experiment: Experiment, data: OfflineDataModule, folder: RunFolder) -> None:
    """Deploy the policy in the simulator, beside the behaviour policies and its own dream, and film it."""
    evaluation, task = experiment.evaluation, experiment.task
    checkpoint = policy_path(experiment, folder)
    assert checkpoint is not None, "check_experiment has seen to it"
    environment = experiment.make_env(evaluation.num_envs, evaluation.seed).identity()
    clone = folder.checkpoints / "policy" / "clone.pt"
    policies = deploy.candidates(checkpoint, clone if clone.is_file() else None, policy_levels(task), task, environment)
    has_model = world_model_path(experiment, folder) is not None
    world_model = experiment.method.world_model(data, folder) if has_model else None
    worlds = deploy.Worlds(
        make_env=lambda num_envs: experiment.make_env(num_envs, evaluation.seed),
        task=task,
        settings=evaluation,
        world_model=world_model,
        held_out=Selection(data.episodes, data.splits["test"]),
        dream_rules=experiment.imagination.of_a_step(),
        progress=experiment.machine.progress,
    )
    results = deploy.measure(worlds, policies)
    if world_model is not None and evaluation.learning_points:
        results |= deploy.learning(worlds, kept(folder.checkpoints / "policy"))
    folder.write_measured("deployment", results | _film(experiment, checkpoint, folder.path / "video.mp4"))


def measure_elsewhere(experiment: Experiment, folder: RunFolder, name: str) -> Path:
    """Deploy the policy in the simulator ``name``, with the starts and commands of the run's own; its report stays as it is."""
    evaluation, checkpoint = experiment.evaluation, policy_path(experiment, folder)
    if checkpoint is None:
        raise ConfigError(f"The run in {folder.path} has no policy yet; let it finish (resume=) first.")
    env = experiment.make_env(evaluation.num_envs, evaluation.seed)
    environment, actor = env.identity(), load_actor(checkpoint, experiment.task.robot)
    found = deployment.deploy(env, actor, seed=evaluation.seed, label=name, progress=experiment.machine.progress)
    print(f"{name}: {found}")
    path = folder.path / f"deployment-{name}.json"
    write_json(path, {"deterministic": found.summary(), "environment": environment})
    return path


def _film(experiment: Experiment, checkpoint: Path, path: Path) -> dict[str, Any]:
    """Film the policy on a tour of commands; returns the part ``video``, or why it is missing."""
    duration_s = experiment.evaluation.video_s
    if duration_s is None:
        return {"missing": {"video": "the run was told to render none."}}
    env = experiment.make_env(1, experiment.evaluation.seed, auto_reset=False)
    recorded = film(env, load_actor(checkpoint, experiment.task.robot), duration_s)
    if save_video(recorded, path, experiment.task.robot, experiment.task.step_dt) is None:
        return {"missing": {"video": "this machine can draw with neither EGL nor OSMesa."}}
    return {"video": path.name}


def results(experiment: Experiment, folder: RunFolder) -> dict[str, Any]:
    """Return what has been measured of a run, as its report tells it."""
    again = f"delete it, and {folder.how_to_resume} measures it again"
    measured = [read_json(path, again) for path in sorted((folder.path / "measured").glob("*.json"))]
    seconds, card = folder.seconds(), folder.path / "run_card.json"
    return {
        "experiment": experiment.name,
        "seed": experiment.seed,
        "wall_clock_s": sum(seconds.values()),
        "stages": seconds,
        "provenance": read_json(card, "bring it back, or delete it") if card.exists() else None,
        **merge(*measured),
    }


def write_report(experiment: Experiment, folder: RunFolder) -> None:
    """Write ``report.json`` and ``report.html`` from what has been measured."""
    print("\n".join(said(build_report(results(experiment, folder), folder.path))))
    for logger in folder.loggers("report"):
        if isinstance(logger, WandbRun | TensorBoard):
            logger.log_report(folder.path)


def world_model_path(experiment: Experiment, folder: RunFolder) -> Path | None:
    """Return the run's world model, or the one that the configuration names, or None."""
    given = experiment.trainer.checkpoint
    return folder.world_model if folder.world_model.is_file() else None if given is None else Path(given)


def policy_path(experiment: Experiment, folder: RunFolder) -> Path | None:
    """Return the run's policy, or the one that the configuration names, or None."""
    given = experiment.policy.checkpoint
    return folder.policy if folder.policy.is_file() else None if given is None else Path(given)
