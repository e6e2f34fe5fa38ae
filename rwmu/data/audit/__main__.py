"""Audit a dataset: ``python -m rwmu.data.audit PATH`` for every format of :mod:`rwmu.data.formats`.

Exit status: 0 (clean, or warnings), 1 (errors: nothing sound can be trained on the data), 2 (cannot be read).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rwmu.data import formats
from rwmu.data.audit.checks import examine, unfit
from rwmu.data.audit.findings import Finding, count, finding, of_severity, table
from rwmu.data.audit.view import AuditSettings
from rwmu.data.episodes import Episodes
from rwmu.data.fitness import UnfitDataError
from rwmu.data.formats.recordings import whose
from rwmu.data.normalizer import Normalizer
from rwmu.errors import CheckpointError, ConfigError, DataError, told_in_one_sentence
from rwmu.files import read_torch, write_json
from rwmu.robots import robot_at, robot_called
from rwmu.robots.robot import Robot
from rwmu.tasks.velocity import VelocityTask


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Read a ``dynamics.pt`` for what it says of its data: ``normalizer``, ``robot`` and ``data_hash`` (empty if not known)."""
    content = read_torch(path, "checkpoint", "a dynamics.pt that a run has written")
    if not {"normalizer", "robot", "data_hash"} <= set(content):
        raise CheckpointError(f"{path} holds no normaliser; give a dynamics.pt (rwmu.dynamics.published makes one of others).")
    return content


def checkpoint_findings(checkpoint: Mapping[str, Any], episodes: Episodes, robot: Robot) -> list[Finding]:
    """Say whether a checkpoint was trained on another robot or on other data; the fit of its normaliser is a check of its own."""
    if checkpoint["robot"] != robot.name:
        return [finding("checkpoint_robot", words={"theirs": checkpoint["robot"], "ours": robot.name}, severity="error")]
    if checkpoint["data_hash"] == episodes.content_hash():
        return []
    key = "checkpoint_data" if checkpoint["data_hash"] else "checkpoint_data.unknown"
    return [finding(key, words={"hash": checkpoint["data_hash"][:12]}, severity="note")]


def find_robot(wanted: str) -> Robot:
    """Return the robot that is asked for: by a name, a dotted name, or a task's YAML."""
    if not wanted.endswith((".yaml", ".yml")):
        return robot_called(wanted)
    try:
        return robot_at(str(OmegaConf.load(wanted).robot._target_))
    except (OSError, AttributeError, ValueError) as error:
        raise ConfigError(f"{wanted} names no robot (robot._target_): {error}.") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the findings and leave with the status that they deserve."""
    options, episodes = _parser().parse_args(arguments), None
    with told_in_one_sentence():
        if options.json is not None:
            _refuse_to_overwrite(options.json)
        checkpoint = None if options.checkpoint is None else read_checkpoint(options.checkpoint)
        try:
            episodes = formats.load(options.path, None if options.robot is None else find_robot(options.robot))
            findings = _examine(episodes, options, checkpoint)
        except UnfitDataError as error:
            findings = unfit(error)
        if options.json is not None:
            _write(options.json, options.path, episodes, findings)
    size = "" if episodes is None else f", {episodes.num_rows} rows in {episodes.num_episodes} episodes"
    print(f"{options.path}{size}: {count(findings)}.")
    if findings:
        print(f"\n{table(findings)}")
    raise SystemExit(1 if of_severity(findings, "error") else 0)


def _examine(episodes: Episodes, options: argparse.Namespace, checkpoint: Mapping[str, Any] | None) -> list[Finding]:
    given = None if options.robot is None else find_robot(options.robot)
    robot = whose(given, episodes.attributes.get("robot"), f"The data file {options.path}")
    settings = AuditSettings(
        options.window,
        tuple(options.command_range),
        normalizer=None if checkpoint is None else Normalizer.from_dict(checkpoint["normalizer"]),
        step_dt=options.step_dt,
        task=VelocityTask(robot, step_dt=options.step_dt),
    )
    findings = examine(episodes, robot, settings, f"The data file {options.path}")
    return findings if checkpoint is None else findings + checkpoint_findings(checkpoint, episodes, robot)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rwmu.data.audit", description="Look for faults in a dataset.")
    parser.add_argument("path", type=Path, help="a dataset: a file or folder of any known format, or a YAML that describes one")
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
