"""Resume every state of a run's folder between two file operations: ``python -m experiments.faults.states ROWS FILE.csv``.

While a run of ``scale=smoke`` goes on, everything in its place is copied before each operation that opens a file for writing, or
that makes, renames or removes one (Python's audit events). ``ROWS`` of these states, evenly spaced, take the run's place in turn,
as a kill at that moment would have left it. Each is gone on with, and must end as the run did. Adds a row for each.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from experiments.faults.trial import add_row, composed, differing, finished, left, log_of, set_up, sitting
from experiments.generated import read_rows

NAME = "mopo_ensemble5"
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate"}


def copying(place: Path, states: Path) -> None:
    """Copy ``place`` into ``states`` before each change that this process makes there, and note what is to be changed."""
    number, busy = 0, False

    def look(event: str, given: tuple[Any, ...]) -> None:
        nonlocal number, busy
        if busy or not (event in CHANGES or (event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR))):
            return
        named = given[:1] if event == "open" else given[:2]  # an open file may be opened again, by its number
        paths = [place / item for item in named if isinstance(item, str | os.PathLike)]
        if not paths or not all(place in path.parents for path in paths):
            return
        busy = True
        shutil.copytree(place, states / str(number), symlinks=True)
        with (states / "changes.txt").open("a") as changes:
            changes.write(f"{event.removeprefix('os.')} {re.sub('runs/[^/]*/', '', str(paths[0].relative_to(place)))}\n")
        number, busy = number + 1, False

    sys.addaudithook(look)


def main() -> None:
    """Copy the states of one run, and go on from as many as asked for."""
    asked, table = int(sys.argv[1]), Path(sys.argv[2])
    set_up()
    base = Path(tempfile.mkdtemp())
    place, states, settings = base / "run", base / "states", composed(NAME)
    place.mkdir()
    states.mkdir()
    if sitting(place, settings, before=lambda: copying(place, states))[0]:
        raise SystemExit(f"The run failed, see {log_of(place)}.")
    expected, changes = left(place), (states / "changes.txt").read_text().splitlines()
    tried = {int(row["state"]) for row in read_rows(table)}
    numbers = sorted({index * len(changes) // asked for index in range(asked)} - tried)
    for number in random.Random(0).sample(numbers, len(numbers)):  # so that whatever ends this leaves a sample of all
        shutil.rmtree(place)
        (states / str(number)).rename(place)
        row = {"state": number, "of": len(changes), "before": changes[number], "after": finished(place)}
        status, _ = sitting(place, settings)
        add_row(table, row | {"status": status, "differs": "" if status else differing(place, expected)})


if __name__ == "__main__":
    main()
