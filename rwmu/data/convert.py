"""Convert episodes from one format to another: ``python -m rwmu.data.convert SOURCE TARGET``.

The formats are those of :mod:`rwmu.data.formats`. What is written goes through the audit (:mod:`rwmu.data.audit`), which also says
what the source lacks. Exit status as the audit's: 0, or 1 where it finds errors; 2 where nothing could be converted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rwmu.data import formats
from rwmu.data.audit.checks import examine
from rwmu.data.audit.findings import Finding, count, of_severity, table
from rwmu.data.audit.view import AuditSettings
from rwmu.data.formats.recordings import whose
from rwmu.data.rates import resampled
from rwmu.data.replay import paid_where_unknown
from rwmu.errors import DataError, refuse_overwriting, told_in_one_sentence
from rwmu.robots import robot_called
from rwmu.robots.robot import Robot
from rwmu.tasks.velocity import VelocityTask


def convert(
    source: Path,
    target: Path,
    read_as: str | None = None,
    write_as: str | None = None,
    robot: Robot | None = None,
    rate: float | None = None,
) -> tuple[str, list[Finding]]:
    """Convert a source; unknown rewards are computed by the velocity task, where all is known that it asks for.

    Args:
        read_as, write_as: names of the formats; None for what content and ending tell.
        rate: rows a second; None for those that there are.

    Returns:
        what was written, in words, and what the audit says of it.

    Raises:
        DataError, ConfigError: one sentence; nothing is written then.
    """
    wanted = formats.format_of(target, write_as)
    if wanted.write is None:
        raise DataError(f"{wanted.name} is only read, so {target} cannot be written; give another ending, or --to.")
    episodes = formats.load(source, robot, read_as)
    own = whose(robot, episodes.attributes.get("robot"), str(source))
    episodes = episodes if rate is None else resampled(episodes, rate, str(source), target.parent)
    unpaid, step_dt = "reward" in episodes.unknown, episodes.attributes.get("step_dt")
    task = None if step_dt is None else VelocityTask(own, step_dt=step_dt)
    if task is not None:
        episodes = paid_where_unknown(episodes, task)
    wanted.write(episodes, target)
    said = f"{target}: {episodes.num_rows} rows of {episodes.num_episodes} episodes are written as {wanted.name}."
    if wanted.lost:
        said += f"\nThe format cannot hold {wanted.lost}."
    if unpaid and "reward" not in episodes.unknown:
        said += "\nRewards were unknown; they are now what the velocity task pays."
    return said, examine(episodes, own, AuditSettings(task=task), f"The data of {source}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert what the command line names, and leave with the audit's status."""
    options = _parser().parse_args(arguments)
    with told_in_one_sentence():
        refuse_overwriting(options.target, options.overwrite, "--overwrite", options.source)
        robot = None if options.robot is None else robot_called(options.robot)
        said, findings = convert(options.source, options.target, options.read_as, options.write_as, robot, options.rate)
    print(f"{said}\nAudit: {count(findings)}.")
    if findings:
        print(f"\n{table(findings)}")
    raise SystemExit(1 if of_severity(findings, "error") else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rwmu.data.convert", description="Convert episodes to another format.")
    parser.add_argument("source", type=Path, help="a file or folder of a known format, or a YAML that describes one")
    parser.add_argument("target", type=Path, help="what is to be written")
    parser.add_argument("--from", dest="read_as", metavar="FORMAT", help="the source's format (default: what it looks like)")
    parser.add_argument("--to", dest="write_as", metavar="FORMAT", help="the target's format (default: that of its ending)")
    parser.add_argument("--robot", help="whose they are: a name, or a dotted name (default: what the data name)")
    parser.add_argument("--rate", type=float, metavar="HZ", help="take so many rows a second (default: those that there are)")
    parser.add_argument("--overwrite", action="store_true", help="replace a target that is there already, unless it is a folder")
    return parser


if __name__ == "__main__":
    main()
