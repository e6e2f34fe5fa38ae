"""Compare: ``python -m rwmu.compare runs/a runs/b`` sets finished runs side by side, those that differ by their seed alone as one.

Folders of runs will do too: ``python -m rwmu.compare multirun``.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwmu.errors import ConfigError
from rwmu.runs.command_line import mistakes_in_one_sentence

if TYPE_CHECKING:
    from rwmu.report.comparison import Run


def run_folders(paths: Sequence[Path]) -> list[Path]:
    """Return the run folders among ``paths`` and within them, each once.

    Raises:
        ConfigError: a path holds none.
    """
    found: dict[Path, None] = {}
    for path in paths:
        within = [file.parent.resolve() for file in sorted(path.glob("**/config.yaml"))] if path.is_dir() else []
        if not within:
            raise ConfigError(
                f"{path} is no run folder, and holds none; give runs/<date>-<experiment>-seed<k>, or a folder of such."
            )
        found |= dict.fromkeys(within)
    return list(found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; write it, and the learning curves, into a folder."""
    parser = argparse.ArgumentParser(prog="python -m rwmu.compare", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="run folders, or folders that hold such")
    parser.add_argument("--out", type=Path, default=Path("comparison"), help="gets table.csv and curves.png (%(default)s)")
    given = parser.parse_args(arguments)
    with mistakes_in_one_sentence():
        folders = run_folders(given.runs)
        # What computes is imported once the paths have been checked: torch and matplotlib take seconds.
        from rwmu.files import write_bytes, write_text
        from rwmu.report import comparison, style

        runs = [read(folder) for folder in folders]
        measured = [run for run in runs if run is not None]
        if not measured:
            raise ConfigError(
                "None of these runs has deployed a policy; train with the stage 'deployment', or python -m rwmu.evaluate."
            )
        groups = comparison.grouped(measured)
        rows = comparison.table(groups)
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if left := len(runs) - len(measured):
            print(f"Left out: {left} that deployed no policy.")
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        given.out.mkdir(parents=True, exist_ok=True)
        write_text(given.out / "table.csv", text.getvalue())
        write_bytes(given.out / "curves.png", style.png(comparison.draw(groups)))
        print(f"Table and curves: {given.out}")


def read(folder: Path) -> Run | None:
    """Return what is compared of a run, None where it has deployed no policy."""
    from rwmu.files import read_json
    from rwmu.report.comparison import Run
    from rwmu.report.run.curves import read_curves
    from rwmu.runs.folder import RunFolder
    from rwmu.runs.trust import read_plain

    run = RunFolder.resume(folder)
    measured = run.measured("deployment")
    deployment = read_json(measured, "evaluate the run again").get("deployment") if measured.exists() else None
    if deployment is None:
        return None
    return Run(dict(flat(read_plain(run.path / "config.yaml"))), deployment, read_curves(run.logs))


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of every leaf of nested mappings."""
    if not isinstance(value, dict) or not value:
        yield name, value
        return
    for key, inner in value.items():
        yield from flat(inner, f"{name}.{key}" if name else str(key))


if __name__ == "__main__":
    main()
