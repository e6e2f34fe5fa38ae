"""A run: the stages in their order, what each takes from those before it, and what it leaves in the run's folder."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from rwmu.checks import check_data
from rwmu.data.audit import brief, require_sound
from rwmu.data.windows import window_starts
from rwmu.dynamics import fit as dynamics
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import CheckpointError, ConfigError, DataError
from rwmu.files import copy_file, write_json
from rwmu.measure import deploy as deployment
from rwmu.measure.dataset import dataset_statistics
from rwmu.measure.measure import measure_dynamics, merge
from rwmu.measure.windows import Selection
from rwmu.parts import Parts
from rwmu.policy.rsl_rl import load_actor
from rwmu.report.run.report import build_report
from rwmu.runs.card import run_card, write_run_card
from rwmu.runs.folder import RunFolder, StageClock
from rwmu.simulators.actors import policy_levels
from rwmu.simulators.render import film, save_video
from rwmu.stages import policy

_log = logging.getLogger(__name__)

ODDS_RATIO = "termination_odds_ratio"  # that a world model's termination head has been corrected by, in its file
STAGES = ("data", "dynamics", "policy", "deployment", "report")


def _lower_termination_odds(model: nn.Module, ratio: float) -> None:
    correct = getattr(model, "correct_termination_odds", None)
    if callable(correct):  # not every model has a head of its own for them
        correct(ratio)


def _own_or_given(own: Path, given: str | None) -> Path | None:
    if own.is_file():
        return own
    return None if given is None else Path(given)


class Run:
    """One run of a configuration in its folder.

    Args:
        config: of ``train``.
        folder: new, or that of an interrupted run.
    """

    def __init__(self, config: DictConfig, folder: RunFolder) -> None:
        self.config, self.folder = config, folder
        self.parts = Parts(config)
        self.seed, self.progress = config.seed, config.trainer.progress
        self._own_world_model, self._own_policy = folder.checkpoints / "dynamics.pt", folder.checkpoints / "policy.pt"

    def stages(self, names: Sequence[str], again: Sequence[str] = ()) -> None:
        """Run the stages ``names`` in their order, those that are finished only if they are to run ``again``."""
        for name in STAGES:
            if name in names and (name not in self.folder.finished() or name in again):
                torch.manual_seed(self.seed)  # for what draws from torch's own stream, so that each stage starts the same
                # What only measures again neither finishes a stage of the run nor adds to its time.
                with contextlib.nullcontext() if name in again else StageClock(self.folder, name):
                    if name != "report":
                        self._note_data()
                    if name in ("data", "dynamics", "policy"):  # not after hours of training the world model
                        check_data(self.parts)
                        self._audit_data()
                    if name in ("policy", "deployment"):
                        self._keep_given_model()
                    getattr(self, name)()

    # -- the stages -------------------------------------------------------------------------------------------------------

    def data(self) -> None:
        """Get the dataset and say what it is."""
        self._write("data", {"dataset": dataset_statistics(self.parts.episodes)})

    def dynamics(self) -> None:
        """Fit a world model, or take the one that the configuration names, and measure it on test episodes."""
        given = self.config.dynamics.checkpoint
        world_model = self._fit_world_model() if given is None else self._load_world_model(Path(given))
        world_model.save(self._own_world_model)
        self.measure_dynamics()

    def measure_dynamics(self) -> None:
        """Measure this run's world model on test episodes."""
        data, evaluation = self.parts.data, self.config.evaluation
        arguments = (data.episodes, data.splits["test"], tuple(evaluation.horizons), evaluation.num_windows)
        self._write("dynamics", measure_dynamics(self.world_model(), *arguments))

    def policy(self) -> None:
        """Optimise a policy in imagination, or take the one that the configuration names."""
        given = self.config.policy.checkpoint
        if given is not None:
            load_actor(Path(given), self.parts.robot)  # refuses what does not fit
            copy_file(Path(given), self._own_policy)
            return
        data, world_model = self.parts.data, self.world_model()
        starts = window_starts(data.episodes.lengths, data.splits["train"], world_model.history)
        penalty = self.parts.penalty(world_model, self.folder.checkpoints / "penalty.json")
        checkpoint = policy.optimise(
            self.parts.imagined(world_model, starts, self.seed, penalty=penalty),
            data,
            self.parts.policy_settings,
            self.folder.checkpoints / "policy",
            self.parts.loggers(self.folder.logs, "policy"),
            self.seed,
            self.progress,
        )
        copy_file(checkpoint, self._own_policy)

    def deployment(self) -> None:
        """Deploy the policy in the simulator, beside the behaviour policies and its own dream, and film it."""
        evaluation, task, checkpoint = self.config.evaluation, self.parts.task, self.policy_path
        assert checkpoint is not None, "check_stages has seen to it"
        simulator = OmegaConf.to_container(self.config.simulator, resolve=True)
        settings = deployment.DeploymentSettings(
            num_envs=evaluation.num_envs,
            seed=evaluation.seed,
            cache=None if evaluation.cache is None else Path(evaluation.cache),
            simulator=simulator,  # type: ignore[arg-type]
            num_dream_envs=evaluation.num_dream_envs,
            dream_steps=evaluation.dream_steps,
            dream_rules=self.parts.step_rules,
            progress=self.progress,
        )
        clone = self.folder.checkpoints / "policy" / "clone.pt"
        policies = deployment.candidates(checkpoint, clone if clone.is_file() else None, policy_levels(), task, settings)
        threads = self.config.trainer.num_threads

        def simulate() -> Any:
            return self.parts.simulator(num_envs=settings.num_envs, seed=settings.seed, num_threads=threads)

        world_model = None if self.world_model_path is None else self.world_model()
        results = deployment.measure(simulate, policies, world_model, self._held_out(), task, settings)
        self._write("deployment", results | self.film(checkpoint, self.folder.path / "video.gif", evaluation.video_s))

    def _held_out(self) -> Selection:
        return Selection(self.parts.data.episodes, self.parts.data.splits["test"])

    def report(self) -> None:
        """Write ``report.json`` and ``report.html`` from what the other stages measured."""
        measured = [json.loads(path.read_text()) for path in sorted((self.folder.path / "measured").glob("*.json"))]
        seconds = self.folder.seconds()
        card = self.folder.path / "run_card.json"
        build_report(
            {
                "experiment": self.config.name,
                "seed": self.seed,
                "wall_clock_s": sum(seconds.values()),
                "stages": seconds,
                "provenance": json.loads(card.read_text()) if card.is_file() else None,
                **merge(*measured),
            },
            self.folder.path,
        )

    def film(self, checkpoint: Path, path: Path, duration_s: float | None) -> dict[str, Any]:
        """Film the policy of a checkpoint on a tour of commands; returns the part ``video``, or why it is missing."""
        if duration_s is None:
            return {"missing": {"video": "the run was told to render none."}}
        env = self.parts.simulator(num_envs=1, seed=self.config.evaluation.seed, num_threads=1, auto_reset=False)
        poses = film(env, load_actor(checkpoint, self.parts.robot), duration_s)
        if save_video(poses, path, self.parts.task.step_dt) is None:
            return {"missing": {"video": "this machine can draw with neither EGL nor OSMesa."}}
        return {"video": path.name}

    # -- what they share --------------------------------------------------------------------------------------------------

    @property
    def world_model_path(self) -> Path | None:
        """Return this run's world model, or the one that the configuration names, or None."""
        return _own_or_given(self._own_world_model, self.config.dynamics.checkpoint)

    @property
    def policy_path(self) -> Path | None:
        """Return this run's policy, or the one that the configuration names, or None."""
        return _own_or_given(self._own_policy, self.config.policy.checkpoint)

    def world_model(self) -> WorldModel:
        """Return the world model at ``world_model_path``, frozen."""
        assert self.world_model_path is not None, "check_stages has seen to it"
        return self._load_world_model(self.world_model_path)

    def _keep_given_model(self) -> None:
        """Copy the world model that the configuration names: the run stays that of this model, whatever becomes of the file."""
        given = self.config.dynamics.checkpoint
        if given is not None and not self._own_world_model.is_file():
            self._load_world_model(Path(given))  # refuses what does not fit
            copy_file(Path(given), self._own_world_model)

    def _note_data(self) -> None:
        """Put the data's hash on the run card, if it is not there; refuse other data than those."""
        card = self.folder.path / "run_card.json"
        noted = json.loads(card.read_text()).get("data_hash") if card.is_file() else None
        if noted is None:
            self.write_card(data_hash=self.parts.data_hash)
        elif noted != self.parts.data_hash:
            found = f"{self.parts.data_path} holds other data (hash {self.parts.data_hash[:12]}) than this run began with"
            raise DataError(f"{found} ({noted[:12]}): bring those back, or begin a new run.")

    def _audit_data(self) -> None:
        """Stop on data that cannot be trained on; say what is doubtful about others, once a run."""
        if (self.folder.path / "measured" / "audit.json").is_file():
            return
        findings, source = self.parts.findings, str(self.parts.data_path)
        require_sound(findings, source)
        if warning := brief(findings, source):
            _log.warning("%s", warning)
        self._write("audit", {"audit": [finding.to_dict() for finding in findings]})

    def write_card(self, **details: Any) -> None:
        """Write the run card."""
        write_run_card(self.folder.path, run_card(self.seed, experiment=self.config.name, **details))

    def _fit_world_model(self) -> WorldModel:
        model, architecture = self.parts.new_dynamics()
        odds_before = self._take_over(model)
        data, settings = self.parts.data, self.config.dynamics
        taught = self.parts.loss.weights["termination"] > 0.0 and not settings.freeze_auxiliary
        if settings.freeze_auxiliary:
            freeze = getattr(model, "freeze_auxiliary", None)
            if not callable(freeze):
                raise ConfigError(f"A {type(model).__name__} cannot train a part of itself; give dynamics.freeze_auxiliary=false.")
            freeze()
        if taught:  # a model trained before knows terminations as rare as they are, but is shown them as often as ever
            _lower_termination_odds(model, 1.0 / odds_before)
        module, settings = self.parts.trained(model), self.parts.trainer_settings
        loggers = self.parts.loggers(self.folder.logs, "dynamics")
        fitted: Any = dynamics.fit(module, data, settings, self.folder.checkpoints / "dynamics", loggers)
        ratio = odds_before
        if taught:
            ratio = data.train_windows.termination_odds_ratio(self.parts.loss.scored_rows(data.forecast)) or 1.0
            _lower_termination_odds(fitted, ratio)
        robot = self.parts.robot
        return WorldModel(
            fitted,
            data.normalizer.cpu(),
            data.history,
            robot.name,
            robot.state_layout.describe(),
            self.parts.data_hash,
            architecture,
            {ODDS_RATIO: ratio},
            extension_normalizer=data.extension_normalizer,
        )

    def _take_over(self, model: nn.Module) -> float:
        """Give a model the weights that training is to start from, if any; returns what its termination odds were lowered by."""
        path = self.config.dynamics.start_from
        if path is None:
            return 1.0
        start = self._load_world_model(Path(path))
        predicted, known = getattr(start.dynamics, "extension_dim", 0), self.parts.episodes.extension_dim
        if predicted != known:
            raise CheckpointError(
                f"The world model in {path} predicts an extension of {predicted} columns, but the data have {known}; train a model "
                "from the start (dynamics.start_from=null)."
            )
        model.load_state_dict(start.dynamics.state_dict())
        return float(start.training.get(ODDS_RATIO, 1.0))

    def _load_world_model(self, path: Path) -> WorldModel:
        """Load a world model and refuse one that does not fit this run, naming the first item that differs."""
        world_model = WorldModel.load(path)
        world_model.check_fits(self.parts.robot, self.parts.data_hash)
        _, wanted = self.parts.new_dynamics()
        # Files of old lack arguments that there were none of; the model has their defaults.
        arguments = getattr(world_model.dynamics, "arguments", {})
        found = {**arguments, **world_model.architecture, "history": world_model.history}
        for sizes in (found, wanted):
            sizes["side_head_hidden_size"] = sizes.get("side_head_hidden_size") or sizes.get("head_hidden_size")
        for name, value in ({"history": self.config.data.history} | wanted).items():
            if name != "seed" and found.get(name) != value:
                raise CheckpointError(
                    f"The world model in {path} has {name} {found.get(name)!r}, but this run is configured for {value!r}."
                )
        if world_model.knows_its_data:
            world_model.normalizer.assert_matches(self.parts.data.normalizer)
            if world_model.extension_normalizer is not None and self.parts.data.extension_normalizer is not None:
                world_model.extension_normalizer.assert_matches(self.parts.data.extension_normalizer)
        return world_model.freeze()

    def _write(self, stage: str, results: dict[str, Any]) -> None:
        write_json(self.folder.path / "measured" / f"{stage}.json", results)
