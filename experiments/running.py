"""Run one cell of a study: ``rwmu.train`` in a folder of its own, begun or gone on with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def train(folder: Path, arguments: Sequence[str]) -> Path | None:
    """Train with ``arguments``, or resume the run that was begun in ``folder``; what it prints goes to ``log.txt`` there.

    Returns:
        The run's folder; None where the run failed, which is said.
    """
    latest = folder / "latest"
    begun = (latest / "config.yaml").is_file()
    given = [f"resume={latest}"] if begun else [*arguments, f"runs_dir={folder}", "machine.progress=false"]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a") as log:
        code = subprocess.run([sys.executable, "-m", "rwmu.train", *given], stdout=log, stderr=log, check=False).returncode
    if code == 0:
        return latest
    print(f"{folder.name}: failed with status {code}, see {folder / 'log.txt'}", flush=True)
    return None
