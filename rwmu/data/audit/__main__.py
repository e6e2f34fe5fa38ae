"""Audit a dataset: ``python -m rwmu.data.audit PATH`` for every format of :mod:`rwmu.data.formats`.

Exit status: 0 (clean, or warnings), 1 (errors: nothing sound can be trained on the data), 2 (cannot be read).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from rwmu.data import formats
from rwmu.data.audit.checks import examine, unfit
from rwmu.data.audit.context import AuditSettings
from rwmu.data.audit.findings import Finding, count, of_severity, table
from rwmu.data.episodes import Episodes
from rwmu.data.fitness import UnfitDataError
from rwmu.data.normalizer import Normalizer
from rwmu.errors import CheckpointError, ConfigError, DataError, UserError
from rwmu.files import write_json
from rwmu.robots import robot_at, robot_named
from rwmu.robots.robot import Robot
from rwmu.tasks.velocity import VelocityTask

STATUS_ERRORS = 1
STATUS_UNREADABLE = 2


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Read a ``dynamics.pt`` for what it says of its data; the model is not built and no code of the file runs.

    Returns:
        At least ``normalizer``, ``robot`` (its name) and ``data_hash`` (empty where the data are not known).
    """
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path}; give the path of a dynamics.pt that a run has written.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint ({type(error).__name__}); it may be truncated.") from error
    if not isinstance(content, Mapping) or not {"normalizer", "robot", "data_hash"} <= set(content):
        raise CheckpointError(f"{path} holds no normaliser; give a dynamics.pt (rwmu.dynamics.published makes one of others).")
    return content


def checkpoint_findings(checkpoint: Mapping[str, Any], episodes: Episodes, robot: Robot) -> list[Finding]:
    """Say whether a checkpoint was trained on another robot or on other data; the fit of its normaliser is a check of its own."""
    if checkpoint["robot"] != robot.name:
        sentence = (
            f"The checkpoint is of the robot '{checkpoint['robot']}', but the data are of '{robot.name}'; give one of the same."
        )
        return [Finding("checkpoint_robot", "error", sentence)]
    if checkpoint["data_hash"] == episodes.content_hash():
        return []
    sentence = f"The checkpoint was trained on other data (hash {checkpoint['data_hash'][:12]}) than these."
    if not checkpoint["data_hash"]:
        sentence = "It is not known what data the checkpoint was trained on."
    return [Finding("checkpoint_data", "note", sentence)]


def find_robot(wanted: str | None, episodes: Episodes) -> Robot:
    """Return the robot that is asked for (a name, a dotted name, or a task's YAML), else the one that the data name."""
    if wanted is None:
        named = episodes.attributes.get("robot")
        if named is None:
            raise DataError("The data do not name their robot; give --robot.")
        return robot_named(str(named))
    if not wanted.endswith((".yaml", ".yml")):
        return robot_at(wanted) if "." in wanted else robot_named(wanted)
    try:
        return robot_at(str(OmegaConf.load(wanted).robot._target_))
    except (OSError, AttributeError, ValueError) as error:
        raise ConfigError(f"{wanted} names no robot (robot._target_): {error}.") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the findings and leave with the status that they deserve."""
    options = _parser().parse_args(arguments)
    episodes = None
    try:
        if options.json is not None:
            _refuse_to_overwrite(options.json)
        checkpoint = None if options.checkpoint is None else read_checkpoint(options.checkpoint)
        try:
            episodes = formats.load(options.path)
            findings = _examine(episodes, options, checkpoint)
        except UnfitDataError as error:
            findings = unfit(error)
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


def _examine(episodes: Episodes, options: argparse.Namespace, checkpoint: Mapping[str, Any] | None) -> list[Finding]:
    robot = find_robot(options.robot, episodes)
    settings = AuditSettings(
        window=options.window,
        command_range=tuple(options.command_range),
        normalizer=None if checkpoint is None else Normalizer.from_dict(checkpoint["normalizer"]),
        step_dt=options.step_dt,
        task=VelocityTask(robot, step_dt=options.step_dt),
    )
    findings = examine(episodes, robot, settings, f"The data file {options.path}")
    return findings if checkpoint is None else findings + checkpoint_findings(checkpoint, episodes, robot)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rwmu.data.audit", description="Look for faults in a dataset.")
    parser.add_argument("path", type=Path, help="a dataset (.h5), or a published table (.csv)")
    parser.add_argument("--robot", help="whose they are: a name, a dotted name, or a task's YAML (default: what the data name)")
    parser.add_argument("--checkpoint", type=Path, help="a dynamics.pt whose normaliser is to fit the data")
    parser.add_argument("--json", type=Path, help="write the findings to this file; of those there, only findings are replaced")
    parser.add_argument("--window", type=int, default=40, help="rows of a training window, history + forecast (40)")
    parser.add_argument("--command-range", type=float, nargs=3, default=(1.0, 1.0, 1.0), help="half-widths, m/s, m/s, rad/s (1)")
    parser.add_argument("--step-dt", type=float, default=0.02, help="step of the task, s (0.02)")
    return parser


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
    content: dict[str, Any] = {"path": path, "findings": [finding.to_dict() for finding in findings]}
    if episodes is not None:
        content |= {"rows": episodes.num_rows, "episodes": episodes.num_episodes, "hash": episodes.content_hash()}
    try:
        write_json(target, content)
    except OSError as error:
        raise DataError(f"The findings cannot be written to {target} ({error.strerror or error}).") from error


if __name__ == "__main__":
    main()
