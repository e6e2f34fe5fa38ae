"""A folder that another person can use: what a run has trained, as graphs and as checkpoints, with a card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
import yaml
from torch import nn

import rwmu
from rwmu.data import formats
from rwmu.data.windows import padded
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import CheckpointError, ConfigError, UserError
from rwmu.files import copy_file, json_ready, read_json, write_bytes, write_json, write_text, writing_folder
from rwmu.graphs.leapp import leapp_graph
from rwmu.graphs.policy import policy_onnx, policy_script
from rwmu.graphs.world_model import contact_names, world_model_onnx
from rwmu.policy.rsl_rl import PolicyActor, load_actor
from rwmu.records import Window
from rwmu.report import card as report_card
from rwmu.report.run.report import answers, with_stable_keys
from rwmu.report.verdicts import JUDGED
from rwmu.robots.mjcf import ModelSettings
from rwmu.robots.robot import Motors
from rwmu.runs.configuration import config_directory
from rwmu.runs.evaluation import policy_path, results, world_model_path
from rwmu.runs.experiment import Experiment
from rwmu.runs.folder import RunFolder, followed

CARD = "card.json"
WORLD_MODEL, POLICY = "checkpoints/dynamics.pt", "checkpoints/policy.pt"  # as in a run's folder
ROWS, STEPS = 16, 100  # histories that graphs are compared with torch after, and steps that are dreamt after each


@dataclass(frozen=True)
class Release:
    """What a folder of :func:`export_run` holds, or a run's folder.

    Attributes:
        world_model: frozen. policy: deterministic, observations ``[B, O]`` to actions ``[B, A]``. Either may be None.
        card: what is known of them, plain values; empty for a run's folder.
    """

    world_model: WorldModel | None
    policy: PolicyActor | None
    card: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, model_class: type[nn.Module] | None = None) -> Self:
        """Read tensors and plain values; no code that lies in the folder is run.

        Args:
            model_class: of a world model that does not ship with the package.

        Raises:
            CheckpointError: there is neither world model nor policy, or one is damaged.
        """
        folder = followed(folder)
        model, policy, card = folder / WORLD_MODEL, folder / POLICY, folder / CARD
        if not (model.is_file() or policy.is_file()):
            raise CheckpointError(
                f"{folder} holds neither {WORLD_MODEL} nor {POLICY}; give a folder that python -m rwmu.export wrote, or a run's."
            )
        return cls(
            WorldModel.load(model, model_class).freeze() if model.is_file() else None,
            load_actor(policy) if policy.is_file() else None,
            read_json(card, "export the run again") if card.is_file() else {},
        )


def export_run(experiment: Experiment, run: RunFolder, target: Path) -> list[str]:
    """Write the folder ``target``, whole or not at all; returns what it holds, line by line.

    Raises:
        UserError: there is nothing to be exported, a graph would not compute what torch does, or the folder cannot be written.
    """
    model_path, actor_path = world_model_path(experiment, run), policy_path(experiment, run)
    if model_path is None and actor_path is None:
        raise ConfigError(f"The run in {run.path} has neither world model nor policy yet; let it finish (resume=) first.")
    robot = experiment.task.robot
    world_model = None if model_path is None else WorldModel.load(model_path, experiment.fitter.model_class).freeze()
    actor = None if actor_path is None else load_actor(actor_path, robot)
    if world_model is not None:
        world_model.check_fits(robot)
    sources = {name: path for name, path in ((WORLD_MODEL, model_path), (POLICY, actor_path)) if path is not None}
    with writing_folder(target) as folder:  # first: a place that cannot be written to is told at once
        window, compared_on = _rows(experiment, world_model)
        card: dict[str, Any] = _facts(experiment, run) | {"compared_on": compared_on, "policy": None, "world_model": None}
        if world_model is not None:
            card |= _write_world_model(folder, world_model, experiment, run, window)
        if actor is not None:
            card |= _write_policy(folder, actor, experiment, run, window)
        for name, path in sources.items():
            copy_file(path, folder / name)
        card["files"] = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        found = answers(with_stable_keys(json_ready(results(experiment, run))), run.path)
        write_json(folder / CARD, {**card, "answers": [asdict(answer) for answer in found]})
        write_text(folder / "README.md", report_card.text(card, found))
    return _told(target, card)


def _told(target: Path, card: Mapping[str, Any]) -> list[str]:
    model, policy, lines = card["world_model"], card["policy"], []
    if policy is not None:
        lines.append(f"Policy: {target / 'policy.onnx'} and policy.pt; actions within {policy['deviation']:.1g} of torch's.")
    else:
        lines.append("The run has no policy: its world model is exported alone.")
    if model is not None:
        within = f"within {model['deviation']:.1g} standard deviations of torch's over {STEPS} steps"
        lines.append(f"World model: {target / 'world_model.onnx'}; predictions {within}.")
    else:
        lines.append("The run has no world model: its policy is exported alone.")
    return [*lines, f"Compared on {card['compared_on']}.", f"Card: {target / 'README.md'}"]


# -- the parts ----------------------------------------------------------------------------------------------------------------


def _write_world_model(
    folder: Path, world_model: WorldModel, experiment: Experiment, run: RunFolder, window: Window
) -> dict[str, Any]:
    """Write the graph; returns what the card says of it."""
    history, ahead = window.split(world_model.history)
    calibration = fitted_on_calibration(run, world_model.content_hash())
    about = {"step_dt": experiment.task.step_dt, "calibration": calibration}
    content, deviation = world_model_onnx(world_model, experiment.task.robot, history, ahead.action, about)
    write_bytes(folder / "world_model.onnx", content)
    facts = {
        "kind": world_model.architecture["kind"],
        "members": world_model.num_members,
        "history": world_model.history,
        "layout": world_model.layout,
        "actions": experiment.task.num_actions,
        "contacts": list(contact_names(experiment.task.robot)),
        "hash": world_model.content_hash(),
        "deviation": deviation,
    }
    return {"world_model": facts, "calibration": calibration, "data_hash": world_model.data_hash}


def _write_policy(folder: Path, actor: PolicyActor, experiment: Experiment, run: RunFolder, window: Window) -> dict[str, Any]:
    """Write the graphs; returns what the card says of them."""
    task = experiment.task
    state, last_action = window.state.flatten(0, 1), window.action.flatten(0, 1)
    command = task.command(torch.rand(len(state), 4, generator=torch.Generator().manual_seed(0)))
    observation = task.observe(state, command, last_action)
    content, deviation = policy_onnx(actor, task, _motors(experiment), run.path.name, observation)
    write_bytes(folder / "policy.onnx", content)
    write_bytes(folder / "policy.pt", policy_script(actor, observation))
    for name, content in leapp_graph(actor, task, observation).items():
        write_bytes(folder / "leapp" / name, content)
    return {"policy": {"observations": task.num_observations, "actions": task.num_actions, "deviation": deviation}}


def _rows(experiment: Experiment, world_model: WorldModel | None) -> tuple[Window, str]:
    """Return ``[B, H + K, .]`` rows to compare graphs with torch on, and whose they are: of the run's data, if these are there."""
    length, generator = (1 if world_model is None else world_model.history) + STEPS, torch.Generator().manual_seed(0)
    path, robot = experiment.data_path, experiment.task.robot
    if not path.exists():
        sizes = {
            "state": robot.state_layout.size,
            "action": robot.num_joints,
            "contact": robot.contact_layout.size,
            "termination": 1,
        }
        drawn = {name: torch.randn(ROWS, length, size, generator=generator) for name, size in sizes.items()}
        if world_model is not None:
            drawn["state"] = world_model.normalizer.denormalize(drawn["state"])
        return Window(**drawn), "random rows, for the data are not here"
    episodes = formats.load(path, robot)
    episode = torch.randint(episodes.num_episodes, (ROWS,), generator=generator)
    first = torch.rand(ROWS, generator=generator) * (episodes.lengths[episode] + 1 - length + STEPS).clamp(min=1)
    window, _ = padded(episodes, episodes.offsets[episode] + first.long(), length)  # an episode's last row is repeated
    return window.map(lambda rows: rows[0]), f"rows of {path.name}"


def _motors(experiment: Experiment) -> Motors:
    """Return the motors that the run's simulator had."""
    simulator: Any = experiment.simulator
    model, robot = simulator.keywords.get("model"), experiment.task.robot
    return model.motors(robot) if isinstance(model, ModelSettings) else robot.motors


def fitted_on_calibration(run: RunFolder, model_hash: str) -> dict[str, Any]:
    """Return what was fitted to this model's errors on the calibration split, as far as there is any.

    Returns:
        ``penalty``: what the run's penalty was fitted to. ``forecasts``: for some steps each, factors on the spread of sampled
        trajectories (``python -m experiments.calibration``).
    """
    penalty, analysis = run.checkpoints / "penalty.json", run.path / "calibration" / "recalibrations.json"
    found: dict[str, Any] = {}
    for name, path in (("penalty", penalty), ("forecasts", analysis)):
        content = read_json(path, "make it again, or delete it") if path.exists() else {}
        if content.pop("model_hash", None) != model_hash:
            continue
        try:
            found[name] = content if name == "penalty" else [_factors(part) for part in content["recalibrations"][JUDGED]]
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}); make it again, or delete it.") from None
    return found


def _factors(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"steps": part["steps"], "recalibration": part["fitted"].get("per_horizon", {}).get("recalibration")}


# -- the card -----------------------------------------------------------------------------------------------------------------


def _facts(experiment: Experiment, run: RunFolder) -> dict[str, Any]:
    """Return what the card says whatever is exported."""
    path, task = run.path / "run_card.json", experiment.task
    noted = read_json(path, "bring it back, or delete it") if path.exists() else {}
    return {
        "format": "rwmu-release-1",
        "name": experiment.name,
        "seed": experiment.seed,
        "run": run.path.name,
        "smoke": is_smoke(experiment),
        "robot": task.robot.name,
        "task": task.describe(),
        "motors": json_ready(vars(_motors(experiment))),
        "data_hash": noted.get("data_hash"),
        "calibration": {},
        "date": noted.get("date"),
        "commit": noted.get("commit"),
        "changed_since_commit": bool(noted.get("changed_since_commit")),
        "versions": noted.get("versions") or {"rwmu": rwmu.__version__},
    }


def is_smoke(experiment: Experiment) -> bool:
    """Return whether model or policy were trained no longer than ``scale=smoke`` trains them."""
    smoke = yaml.safe_load((config_directory() / "scale" / "smoke.yaml").read_text(encoding="utf-8"))
    trainer, policy = experiment.trainer, experiment.policy
    model_is = trainer.checkpoint is None and trainer.max_steps <= smoke["trainer"]["max_steps"]
    return model_is or (policy.checkpoint is None and policy.iterations <= smoke["policy"]["iterations"])
