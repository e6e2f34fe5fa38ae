"""Audit a dataset: ``python -m rwmu.data.audit PATH`` for HDF5 and for the published CSV form.

Exit status: 0 (clean, or warnings), 1 (errors: nothing sound can be trained on the data), 2 (cannot be read).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rwmu.data.audit.examine import AuditSettings, examine, unfit
from rwmu.data.audit.findings import Finding, count, of_severity, table
from rwmu.data.audit.fitness import UnfitDataError
from rwmu.data.episodes import Episodes
from rwmu.data.formats import csv, hdf5
from rwmu.data.normalizer import Normalizer
from rwmu.data.sources import is_table
from rwmu.errors import CheckpointError, DataError, UserError
from rwmu.robots.anymal_d import anymal_d
from rwmu.robots.robot import Robot
from rwmu.tasks.velocity import VelocityTask

STATUS_ERRORS = 1
STATUS_UNREADABLE = 2


@dataclass(frozen=True)
class Checkpoint:
    """What a world model's file says of its data.

    Attributes:
        normalizer: as saved. robot: its name. data_hash: of its dataset; empty where that is not known.
    """

    normalizer: Normalizer
    robot: str
    data_hash: str


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the parts of a ``dynamics.pt`` that are about data; the model is not built and no code of the file runs."""
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path}; give the path of a dynamics.pt that a run has written.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint ({type(error).__name__}); it may be truncated.") from error
    if not isinstance(content, Mapping) or not {"normalizer", "robot", "data_hash"} <= set(content):
        raise CheckpointError(
            f"{path} holds no normaliser; give a dynamics.pt (python -m rwmu.dynamics.published makes one of a published "
            "checkpoint)."
        )
    return Checkpoint(Normalizer.from_dict(content["normalizer"]), str(content["robot"]), str(content["data_hash"]))


def checkpoint_findings(checkpoint: Checkpoint, episodes: Episodes, robot: Robot) -> list[Finding]:
    """Say whether a checkpoint was trained on another robot or on other data; the fit of its normaliser is a check of its own."""
    if checkpoint.robot != robot.name:
        sentence = (
            f"The checkpoint is of the robot '{checkpoint.robot}', but the data are of '{robot.name}'; give one of the same robot."
        )
        return [Finding("checkpoint_robot", "error", sentence)]
    if not checkpoint.data_hash:
        return [Finding("checkpoint_data", "note", "It is not known what data the checkpoint was trained on.")]
    if checkpoint.data_hash != episodes.content_hash():
        sentence = f"The checkpoint was trained on other data (hash {checkpoint.data_hash[:12]}) than these."
        return [Finding("checkpoint_data", "note", sentence)]
    return []


def import_findings(report: csv.ImportReport) -> list[Finding]:
    """Say what the importer of tables did to a table."""
    findings = []
    if report.seams:
        rows = ", ".join(str(row) for row in report.seams[:10]) + (" ..." if len(report.seams) > 10 else "")
        sentence = (
            f"{len(report.seams)} seams that no column marks were found where joints jump (rows {rows}; row 0 is the first); the "
            f"table is split there, into {report.num_episodes} episodes; another reader's windows would cut across them."
        )
        findings.append(Finding("table_seams", "note", sentence, {"count": len(report.seams), "rows": list(report.seams[:100])}))
    if report.num_dropped_terminations:
        sentence = (
            f"{report.num_dropped_terminations} terminations stand in first rows of episodes, which nothing led to, and are "
            "dropped; mark the last row of an episode instead."
        )
        findings.append(
            Finding(
                "table_terminations",
                "warning",
                sentence,
                {"dropped": report.num_dropped_terminations, "all": report.num_terminations},
            )
        )
    return findings


def audit_file(
    path: Path, robot: Robot, settings: AuditSettings, checkpoint: Checkpoint | None = None
) -> tuple[Episodes | None, list[Finding]]:
    """Read a file and check it; returns its episodes (None where values forbid it) and the findings.

    Raises:
        DataError: the file cannot be read.
    """
    findings: list[Finding] = []
    try:
        if is_table(path):
            episodes, report = csv.import_table(path, robot)
            findings += import_findings(report)
        else:
            episodes = hdf5.load(path, robot)
    except UnfitDataError as error:
        return None, unfit(error)
    findings += examine(episodes, robot, settings, f"The data file {path}")
    if checkpoint is not None:
        findings += checkpoint_findings(checkpoint, episodes, robot)
    return episodes, findings


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the findings and leave with the status that they deserve."""
    options = _parser().parse_args(arguments)
    try:
        if options.json is not None:
            _refuse_to_overwrite(options.json)
        checkpoint = None if options.checkpoint is None else read_checkpoint(options.checkpoint)
        normalizer = None if checkpoint is None else checkpoint.normalizer
        robot, command_range, step_dt = anymal_d(), tuple(options.command_range), options.step_dt
        task = VelocityTask(robot, step_dt=step_dt)
        settings = AuditSettings(options.window, command_range, normalizer=normalizer, step_dt=step_dt, task=task)
        episodes, findings = audit_file(options.path, robot, settings, checkpoint)
        if options.json is not None:
            _write(options.json, options.path, episodes, findings)
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(STATUS_UNREADABLE) from None
    size = "" if episodes is None else f", {episodes.num_rows} rows in {episodes.num_episodes} episodes"
    print(f"{options.path}{size}: {count(findings)}.")
    if findings:
        print(f"\n{table(findings)}")
    raise SystemExit(STATUS_ERRORS if of_severity(findings, "error") else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rwmu.data.audit", description="Look for faults in a dataset of ANYmal D.")
    parser.add_argument("path", type=Path, help="an HDF5 dataset, or a published table (.csv)")
    parser.add_argument("--checkpoint", type=Path, help="a dynamics.pt whose normaliser is to fit the data")
    parser.add_argument("--json", type=Path, help="write the findings to this file; of those there, only findings are replaced")
    parser.add_argument("--window", type=_rows, default=40, help="rows of a training window, history + forecast (40)")
    parser.add_argument(
        "--command-range",
        type=float,
        nargs=3,
        default=(1.0, 1.0, 1.0),
        metavar=("X", "Y", "YAW"),
        help="half-widths, m/s, m/s, rad/s (1)",
    )
    parser.add_argument("--step-dt", type=_seconds, default=0.02, help="step of the task, s (0.02)")
    return parser


def _seconds(text: str) -> float:
    number = float(text)
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} s is no step; give seconds, above 0")
    return number


def _rows(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} rows are no window; give at least 1")
    return number


def _refuse_to_overwrite(target: Path) -> None:
    """Refuse a file that is there and holds no findings: it may be the dataset itself."""
    if not target.is_file():
        return
    try:
        found = json.loads(target.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or not {"path", "findings"} <= set(found):
        raise DataError(f"{target} is there already and holds no findings of an audit; give --json another path.")


def _write(target: Path, path: Path, episodes: Episodes | None, findings: Sequence[Finding]) -> None:
    content: dict[str, Any] = {"path": str(path), "findings": [finding.to_dict() for finding in findings]}
    if episodes is not None:
        content |= {"rows": episodes.num_rows, "episodes": episodes.num_episodes, "hash": episodes.content_hash()}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"The findings cannot be written to {target} ({error.strerror or error}).") from error


if __name__ == "__main__":
    main()
