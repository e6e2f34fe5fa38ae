"""What memory data take that are larger than it: other tools' files of many rows are written, converted and trained from.

    python -m experiments.benchmarks.memory 5000000 lerobot    # memory.json; rows and formats; takes some 10 GB of disk meanwhile

Each step has a process of its own, of which the private memory is looked at all the time: pages of mapped files are the system's,
which keeps them while there is room.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from rwmu.data import formats
from rwmu.data.convert import convert
from rwmu.data.datamodule import OfflineDataModule
from rwmu.data.episodes import Episodes, concatenate
from rwmu.data.settings import DataSettings
from rwmu.files import write_json
from rwmu.robots.anymal_d import anymal_d

RESULT = Path(__file__).parent / "memory.json"
MEMBERS, BATCHES, EPISODE_ROWS = 5, 100, 1000


def drawn(seed: int) -> Episodes:
    """Return a hundred episodes of numbers that no file can hold in fewer bytes."""
    robot, generator = anymal_d(), torch.Generator().manual_seed(seed)
    rows = 100 * EPISODE_ROWS
    led = torch.arange(rows) % EPISODE_ROWS > 0
    contact = torch.rand(rows, robot.contact_layout.size, generator=generator) < torch.tensor([0.1] * 4 + [0.5] * 4)
    return Episodes(
        state=torch.randn(rows, robot.state_layout.size, generator=generator),
        action=torch.randn(rows, robot.num_joints, generator=generator) * led.unsqueeze(-1),
        contact=contact,
        termination=torch.zeros(rows, dtype=torch.bool),
        command=torch.rand(rows, 3, generator=generator),
        reward=torch.rand(rows, generator=generator) * led,
        lengths=torch.full((100,), EPISODE_ROWS),
        levels=["walk"] * 100,
        seeds=torch.arange(100),
        attributes={"robot": robot.name, "layout": robot.state_layout.describe(), "step_dt": 0.02},
    )


def written(path: Path, name: str, rows: int) -> None:
    """Write the source."""
    parts = (drawn(seed) for seed in range(rows // (100 * EPISODE_ROWS)))
    formats.save(concatenate(parts, path.parent), path, name)


def converted(path: Path, name: str, rows: int) -> None:
    """Convert it to the package's own format, and audit it."""
    convert(path, path.with_name("converted.h5"), name)


def trained_from(path: Path, name: str, rows: int) -> None:
    """Draw the batches of an ensemble, and validate."""
    episodes = formats.load(path, anymal_d(), name)
    assert episodes.num_rows == rows
    data = OfflineDataModule(episodes, anymal_d(), DataSettings(path=path), num_members=MEMBERS)
    stream = iter(data.train_dataloader())
    for _ in range(BATCHES):
        next(stream)
    next(iter(data.val_dataloader()))


def measured(step: Callable[[Path, str, int], None], path: Path, name: str, rows: int) -> dict[str, float]:
    """Return the private memory that a step took at most, and how long it took."""
    process, most, begin = multiprocessing.get_context("spawn").Process(target=step, args=(path, name, rows)), 0, time.monotonic()
    process.start()
    while process.is_alive():
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        most = max([most, *(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))])
        process.join(0.05)
    if process.exitcode:
        raise SystemExit(f"{name}, {step.__name__}: failed with status {process.exitcode}")
    return {"private_gib": round(most / 2**20, 2), "seconds": round(time.monotonic() - begin)}


def main() -> None:
    """Measure all steps of the formats; the files are deleted."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks.memory")
    parser.add_argument("rows", type=int, help="a multiple of 100,000")
    parser.add_argument("formats", nargs="+", help="of the source; other formats' results stay")
    parser.add_argument("--folder", type=Path, help="where files lie meanwhile (default: among temporary files)")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    found = json.loads(options.output.read_text()) if options.output.exists() else {}
    for name in options.formats:
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        try:
            steps = {
                step.__name__: measured(step, folder / "source", name, options.rows) for step in (written, converted, trained_from)
            }
            files = (folder / "source").rglob("*") if (folder / "source").is_dir() else [folder / "source"]
            found[name] = {"rows": options.rows, "source_gb": round(sum(path.stat().st_size for path in files) / 1e9, 1), **steps}
        finally:
            shutil.rmtree(folder)
        print(name, found[name], flush=True)
        write_json(options.output, found)


if __name__ == "__main__":
    main()
