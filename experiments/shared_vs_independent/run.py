"""Run the study's cells, side by side and over as many sittings as it takes.

    python -m experiments.shared_vs_independent.run --jobs 2 --until 23:30
    python -m experiments.shared_vs_independent.run --list

A cell with a result is skipped; one that was interrupted goes on where it stood; one that fails is logged, and the others go on. A
result is written whole or not at all. Cells come in the order of the protocol; a policy waits for the model that it needs. Several
runners may work at the same time, also on the same folders: a cell is locked while somebody works on it.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

from experiments.shared_vs_independent.cells import (
    DATA,
    FORMAT,
    MODELS,
    PENALTIES,
    RESULTS,
    SEEDS,
    Cell,
    ModelCell,
    PolicyCell,
    model_cell,
    plan,
    result_path,
)
from experiments.shared_vs_independent.folders import is_fitted, latest, read_json
from rwmu.runs.folder import try_lock

POLL_S = 0.5
GRACE_S = 120.0  # for an interrupted cell to write what it has

Command = Sequence[str]


def read_result(cell: Cell, results: Path) -> dict[str, Any] | None:
    """Return the result of a cell; None where there is none, or one that is damaged or another's."""
    path = result_path(cell, results)
    if not path.is_file():
        return None
    found = read_json(path)
    if found is None or found.get("name") != cell.name or found.get("format") != FORMAT:
        print(f"{path} is damaged, of another cell or of an earlier format; it is made anew.", flush=True)
        return None
    return found


def deadline(until: str | None, minutes: float | None, now: datetime) -> datetime | None:
    """Return the time after which no cell is begun: the next HH:MM, or so many minutes from now; None for no end."""
    ends = []
    if until is not None:
        end = now.replace(hour=int(until[:2]), minute=int(until[3:]), second=0, microsecond=0)
        ends.append(end if end > now else end + timedelta(days=1))
    if minutes is not None:
        ends.append(now + timedelta(minutes=minutes))
    return min(ends, default=None)


@dataclass
class Running:
    """A cell that a process is working on, the lock that it holds, and since when."""

    cell: Cell
    process: subprocess.Popen[bytes]
    lock: IO[str]
    start: float = field(default_factory=time.monotonic)


@dataclass
class Runner:
    """Works through cells, so many at a time.

    Attributes:
        runs: where the folders go. results: where the results go.
        jobs: processes side by side.
        overrides: settings on top of every cell's own.
        end: after which no cell is begun.
        worker: the command that works on a cell, to which its name and the options are added.
        again: models that have a result, but whose weights are needed and not in ``runs``.
    """

    runs: Path
    results: Path
    jobs: int = 2
    overrides: Sequence[str] = ()
    end: datetime | None = None
    worker: Command = (sys.executable, "-m", "experiments.shared_vs_independent.work")
    running: list[Running] = field(default_factory=list)
    again: list[ModelCell] = field(default_factory=list)

    def run(self, cells: Iterable[Cell]) -> dict[str, str]:
        """Work on the cells that have no result, in their order; returns the name and fate of each one begun."""
        pending = [cell for cell in cells if read_result(cell, self.results) is None]
        self.again = models_to_fit_again(pending, self.runs, self.results)
        fates: dict[str, str] = {}
        more = f", and {len(self.again)} models to fit again for them: their weights are not here" if self.again else ""
        print(f"{len(pending)} cells to do{more}.", flush=True)
        pending = [*self.again, *pending]
        try:
            while pending or self.running:
                fates |= self._reap()
                begun = self._begin(pending)
                if not begun and not self.running:
                    break
                if not begun:
                    time.sleep(POLL_S)
        except KeyboardInterrupt:
            print("Stopping; what is begun goes on next time.", flush=True)
            self.stop()
        for cell in pending:
            if isinstance(cell, PolicyCell) and self._in_time() and not is_fitted(cell, self.runs):
                print(f"{cell.name}: waits for {model_cell(cell).name}, which is not fitted", flush=True)
        return fates

    def stop(self) -> None:
        """Interrupt what is running and wait for it to write what it has."""
        for item in self.running:
            item.process.send_signal(signal.SIGINT)
        for item in self.running:
            try:
                item.process.wait(GRACE_S)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                item.process.kill()
                item.process.wait()
        self._reap()

    def _in_time(self) -> bool:
        return self.end is None or datetime.now() < self.end

    def _begin(self, pending: list[Cell]) -> bool:
        """Begin the first cell that can be, if there is room and time; takes it out of ``pending``."""
        if len(self.running) >= self.jobs or not self._in_time():
            return False
        for cell in pending:
            if isinstance(cell, PolicyCell) and not is_fitted(cell, self.runs):
                continue
            lock = try_lock(self.runs / cell.name / "lock")
            if lock is None:  # another runner's
                continue
            pending.remove(cell)
            if cell not in self.again and read_result(cell, self.results) is not None:  # another runner was faster
                lock.close()
                continue
            self.running.append(Running(cell, self._start(cell, lock), lock))
            return True
        return False

    def _start(self, cell: Cell, lock: IO[str]) -> subprocess.Popen[bytes]:
        command = [*self.worker, cell.name, "--runs", str(self.runs), "--results", str(self.results)]
        command += ["--override", *self.overrides] if self.overrides else []
        print(f"{datetime.now():%H:%M:%S} {cell.name}: begun", flush=True)
        with (self.runs / cell.name / "log.txt").open("a") as log:
            # A session of its own, so that Ctrl-C reaches it through us alone; the lock is its own too, should we be killed.
            return subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, pass_fds=(lock.fileno(),)
            )

    def _reap(self) -> dict[str, str]:
        fates: dict[str, str] = {}
        for item in [item for item in self.running if item.process.poll() is not None]:
            self.running.remove(item)
            item.lock.close()
            fates[item.cell.name] = fate = self._fate(item)
            print(f"{datetime.now():%H:%M:%S} {item.cell.name}: {fate}", flush=True)
        return fates

    def _fate(self, item: Running) -> str:
        seconds = f"after {time.monotonic() - item.start:.0f} s"
        code = item.process.returncode
        if code == 0 and result_path(item.cell, self.results).is_file():
            return f"done {seconds}"
        if code == 130:
            return f"interrupted {seconds}"
        return f"failed with status {code} {seconds}, see {self.runs / item.cell.name / 'log.txt'}"


def models_to_fit_again(pending: Sequence[Cell], runs: Path, results: Path) -> list[ModelCell]:
    """Return the models that pending policies need and that have a result, but no weights here: weights are not kept."""
    needed = dict.fromkeys(cell.model for cell in pending if isinstance(cell, PolicyCell) and not is_fitted(cell, runs))
    return [model for model in needed if model not in pending and result_path(model, results).is_file()]


def overview(cells: Sequence[Cell], runs: Path, results: Path, jobs: int) -> list[str]:
    """Return lines on what is done and what is missing, block by block, with the time that the rest may take."""
    found = {cell: read_result(cell, results) for cell in cells}
    taken = {cell: sum(result["seconds"].values()) for cell, result in found.items() if result and not result.get("adopted")}

    def estimate(cell: Cell) -> float | None:
        alike = [s for other, s in taken.items() if _block(other) == _block(cell)]
        similar = [s for other, s in taken.items() if (other.kind, model_cell(other).model) == (cell.kind, model_cell(cell).model)]
        same_kind = [s for other, s in taken.items() if other.kind == cell.kind]
        sample = alike or similar or same_kind
        return statistics.fmean(sample) if sample else None

    lines, left, unknown = [], 0.0, 0
    for block in dict.fromkeys(map(_block, cells)):
        of_block = [cell for cell in cells if _block(cell) == block]
        signs = []
        for cell in of_block:
            seed = model_cell(cell).seed
            if found[cell] is not None:
                signs.append(f"{seed} done")
                continue
            seconds = estimate(cell)
            left, unknown = left + (seconds or 0.0), unknown + (seconds is None)
            state = "fitted" if cell.kind == "model" and is_fitted(cell, runs) else "begun" if latest(cell, runs).is_dir() else "-"
            signs.append(f"{seed} {state}")
        lines.append(f"{block:<42} {'  '.join(signs)}")
    done = sum(result is not None for result in found.values())
    rest = f"about {left / jobs / 3600:.1f} hours with {jobs} jobs" if taken else "no cell is finished yet to judge the time by"
    rest += f", and {unknown} cells of a kind not measured yet" if taken and unknown else ""
    return [*lines, f"{done} of {len(cells)} cells done; left: {rest}."]


def _block(cell: Cell) -> str:
    """Return what the cells of all seeds have in common."""
    model = model_cell(cell)
    of_policy = f" {cell.penalty} {cell.weight:g}" if isinstance(cell, PolicyCell) else ""
    return f"{cell.kind} {model.model} {model.data}{of_policy}"


def _clock(text: str) -> str:
    datetime.strptime(text, "%H:%M")
    return f"{text:0>5}"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--kinds", nargs="+", default=["model", "policy"], choices=["model", "policy"])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=list(DATA))
    parser.add_argument("--penalties", nargs="+", default=list(PENALTIES), choices=list(PENALTIES))
    parser.add_argument("--weights", type=float, nargs="+", help="of the penalty; all by default")
    parser.add_argument("--jobs", type=int, default=2, help="cells side by side, on one thread each")
    parser.add_argument("--until", type=_clock, metavar="HH:MM", help="begin no cell after this time")
    parser.add_argument("--minutes", type=float, help="begin no cell after so many minutes")
    parser.add_argument("--list", action="store_true", help="say what is done and what is missing, and stop")
    parser.add_argument("--runs", type=Path, default=Path("runs/shared_vs_independent"), help="where the folders go")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the results go")
    parser.add_argument(
        "--override", nargs="+", default=[], metavar="KEY=VALUE", help="settings for every cell, such as scale=smoke"
    )
    parser.add_argument("--adopt-model", nargs=4, action="append", default=[], metavar=("NAME", "DATA", "SEED", "RUN_DIR"))
    parser.add_argument(
        "--adopt-policy", nargs=6, action="append", default=[], metavar=("NAME", "DATA", "SEED", "PENALTY", "WEIGHT", "RUN_DIR")
    )
    return parser.parse_args(arguments)


def chosen(given: argparse.Namespace) -> list[Cell]:
    """Return the cells that the command line asks for."""

    def wanted(cell: Cell) -> bool:
        model = model_cell(cell)
        fits = cell.kind in given.kinds and model.model in given.models and model.data in given.data
        if isinstance(cell, PolicyCell):
            fits = fits and cell.penalty in given.penalties and (given.weights is None or cell.weight in given.weights)
        return fits

    return [cell for cell in plan(given.seeds) if wanted(cell)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, or say what is."""
    given = parse(arguments)
    if given.adopt_model or given.adopt_policy:
        from experiments.shared_vs_independent import adopt  # needs torch, which the runner does not

        return adopt.main(given)
    cells = chosen(given)
    if given.list:
        print("\n".join(overview(cells, given.runs, given.results, given.jobs)))
        return 0
    end = deadline(given.until, given.minutes, datetime.now())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    fates = Runner(given.runs, given.results, given.jobs, given.override, end).run(cells)
    print("\n".join(overview(cells, given.runs, given.results, given.jobs)[-1:]))
    return 1 if any(fate.startswith("failed") for fate in fates.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
