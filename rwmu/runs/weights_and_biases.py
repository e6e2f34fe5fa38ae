"""Weights & Biases: one run of theirs for one run of ours, with all of its stages, and the same one when it is resumed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger
from omegaconf import OmegaConf

from rwmu.errors import ConfigError, UserError
from rwmu.files import read_json, write_text
from rwmu.loggers import deployed
from rwmu.report.run.report import STABLE_DEPLOYMENT

MODES = ("online", "offline", "disabled")


class WandbRun(WandbLogger):
    """Lightning's logger, for one stage of a run.

    Metrics are called ``<stage>/<name>`` and have the stage's own steps, ``<stage>/step``. The run has the configuration, the
    experiment as its group, the robot and the seed among its tags, and the name of the run's folder.

    Args:
        save_dir: ``RUN/logs/<name of the logger>``; holds the run's ``id``.
        name: of the stage.
        project, entity, more: of ``wandb.init``.
    """

    def __init__(self, save_dir: str, name: str, project: str = "rwmu", entity: str | None = None, **more: Any) -> None:
        place, folder = Path(save_dir), Path(save_dir).parents[1]
        place.mkdir(parents=True, exist_ok=True)
        config: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
        tags = [str(config["name"]), str(config["task"]["robot"]["_target_"]).rpartition(".")[2], f"seed {config['seed']}"]
        described = {"config": config, "tags": tags, "group": str(config["name"]), "name": folder.name}
        super().__init__(save_dir=save_dir, id=_identity(place / "id"), project=project, entity=entity, **(described | more))
        self.stage = name

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Return the run; it is begun, or gone on with, where it is first asked for.

        Raises:
            UserError: Weights & Biases refuse, or cannot be reached.
        """
        if self._experiment is None:
            import wandb

            try:
                self._experiment = wandb.run or wandb.init(**self._wandb_init)
            except wandb.Error as error:
                reason = " ".join(str(error).split())
                raise UserError(f"Weights & Biases cannot begin a run ({reason}); leave out WANDB_MODE to log offline.") from error
            self._experiment.define_metric(f"{self.stage}/*", step_metric=f"{self.stage}/step")
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record the metrics of one step of the stage."""
        named = {f"{self.stage}/{name}": value for name, value in metrics.items()}
        self.experiment.log(named if step is None else named | {f"{self.stage}/step": step})

    def finalize(self, status: str) -> None:
        """Leave the run to the next stage; a process that trains for another ends before that, and its run with it."""
        super().finalize(status)
        if parent_process() is not None:
            self.experiment.finish()

    def log_report(self, folder: Path) -> None:
        """Add the page, its figures, videos and answers, and what the deployed policy did, as they lie in the run's ``folder``."""
        import wandb

        report = read_json(folder / "report.json", "make the report again")
        shown: dict[str, Any] = {f"report/{path.stem}": wandb.Image(str(path)) for path in sorted(folder.glob("figures/*.png"))}
        if (folder / "video.mp4").is_file():
            shown["report/video"] = wandb.Video(str(folder / "video.mp4"), format="mp4")
        shown["report/page"] = wandb.Html(str(folder / "report.html"), inject=False)  # with every table
        answers = [[answer["question"], answer["answer"], answer["tone"]] for answer in report["verdicts"]]
        shown["report/answers"] = wandb.Table(["question", "answer", "tone"], answers)
        shown["report/policies"] = wandb.Table(["policy", *STABLE_DEPLOYMENT], _policies(report))
        self.experiment.log(shown)
        self.experiment.summary.update(deployed(folder))

    @staticmethod
    def check_surroundings() -> None:
        """Refuse what would stop Weights & Biases after the first stage; offline is their mode here unless the user says otherwise.

        Raises:
            ConfigError: an unknown mode. UserError: online, and nobody is logged in.
        """
        mode = os.environ.setdefault("WANDB_MODE", "offline")  # no login, no upload
        if mode not in MODES:
            raise ConfigError(f"WANDB_MODE is {mode!r}, but must be one of {', '.join(MODES)}; leave it out to log offline.")
        if mode == "online":
            import wandb

            if not wandb.login(prompt=False, verify=False):
                raise UserError("WANDB_MODE is online, but nobody is logged in: run `wandb login`, or leave it out to log offline.")


def _policies(report: Mapping[str, Any]) -> list[list[Any]]:
    """Return a row of figures for each policy that was deployed, and for ours in its dream."""
    deployment = report["deployment"]
    every = {**deployment, **deployment.get("behaviour", {}), "deterministic, in the dream": report["imagination"]}
    figures = {name: [found.get(column) for column in STABLE_DEPLOYMENT] for name, found in every.items()}
    return [[name, *row] for name, row in figures.items() if None not in row]


def _identity(file: Path) -> str:
    """Return the id of a run, drawn once and kept in a file."""
    if not file.is_file():
        write_text(file, secrets.token_hex(8))
    return file.read_text().strip()
