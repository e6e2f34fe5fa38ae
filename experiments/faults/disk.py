"""Fill the disk at random moments of runs, make room, go on: ``python -m experiments.faults.disk ROWS FILE.csv``.

The disk is a file system in memory (``mount -t tmpfs``, which needs root). On it lies one run of ``scale=smoke`` with its data,
offline or online. After a random amount of CPU time it is filled up to a random rest of less than 64 KiB, and the run is let be
until it ends. It must end with one sentence that names one of its files, and leave nothing half written. With room again, it must
end as a run that nobody touched. A run that needed no more than the rest does not count. Adds a row for each filling, until the
file has ``ROWS``.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from omegaconf import DictConfig

from experiments.faults.trial import RUNS, add_row, composed, differing, finished, left, log_of, set_up, sitting, stray
from experiments.generated import read_rows

SIZE = 256 * 2**20
MOST_REST = 2**16  # bytes


def fill(disk: Path, rest: int) -> None:
    """Fill a disk but for a rest."""
    with (disk / "filling").open("wb", buffering=0) as filling:
        try:
            while True:
                filling.write(bytes(2**16))
        except OSError:
            filling.truncate(max(filling.tell() - rest, 0))


def trial(disk: Path, settings: DictConfig, after_s: float, rest: int) -> dict[str, object]:
    """Run, fill the disk meanwhile, make room again, go on; returns what came of it."""
    status, _ = sitting(disk, settings, after_s, lambda child: fill(disk, rest))
    (*_, said) = log_of(disk).read_text().splitlines()
    paths = [disk / word.strip("';,:.") for word in said.split() if "/" in word]
    named = [re.sub("^runs/[^/]*/", "", str(path.relative_to(disk))) for path in paths if disk in path.parents]
    row = {
        "after": finished(disk),
        "rest": rest,
        "status": status,
        "names": " ".join(named),
        "stray": " ".join(stray(disk)),
    }
    (disk / "filling").unlink(missing_ok=True)
    return row if status == 0 else row | {"resumed": sitting(disk, settings)[0]}


def main() -> None:
    """Fill disks until there are as many rows as asked for."""
    asked, table = int(sys.argv[1]), Path(sys.argv[2])
    set_up()
    random.seed(len(read_rows(table)))  # a second call draws other moments
    disk, whole = Path(tempfile.mkdtemp()) / "disk", {}
    disk.mkdir()
    while len(read_rows(table)) < asked:
        for name in RUNS:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "rwmu-trial", disk], check=True)
            try:
                if name not in whole:
                    whole[name] = (sitting(disk, composed(name))[1], left(disk))
                    continue
                after_s = random.uniform(0.0, whole[name][0])
                row = trial(disk, composed(name), after_s, random.randrange(MOST_REST))
                if row["status"]:
                    differs = differing(disk, whole[name][1]) if row["resumed"] == 0 else ""
                    add_row(table, {"experiment": name, "after_s": round(after_s, 2), **row, "differs": differs})
            finally:
                subprocess.run(["umount", disk], check=True)


if __name__ == "__main__":
    main()
