"""One run, one folder: made new under its date, never overwritten, and pointed at by ``latest``."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rwmu.errors import ConfigError, UserError
from rwmu.files import read_json, remove_leftovers, try_lock, write_json, write_text
from rwmu.runs.terminal import setting
from rwmu.runs.trust import check_links, foreign, read_config, read_plain

# What each stage makes; without it, it is not done.
_MADE = {
    "data": ("measured/data.json",),
    "dynamics": ("checkpoints/dynamics.pt",),
    "policy": ("checkpoints/policy.pt",),
    "deployment": ("measured/deployment.json",),
    "report": ("report.html", "report.json"),
}


class RunFolder:
    """The folder of a run and what of the run is finished.

    Args:
        path: an existing folder; :meth:`create` and :meth:`resume` make one.
        before: the run that ``latest`` pointed at before this new one.

    Attributes:
        checkpoints, logs: folders. world_model, policy: where these lie, or will. progress: whether bars are shown.
    """

    def __init__(self, path: Path, before: str | None = None) -> None:
        self.path, self.progress, self._before = path, True, before
        self.checkpoints, self.logs = path / "checkpoints", path / "logs"
        self.world_model, self.policy = self.checkpoints / "dynamics.pt", self.checkpoints / "policy.pt"
        self._stages: tuple[str, ...] = ()
        self._makers: dict[str, Callable[..., Any]] = {}

    @classmethod
    def create(cls, runs_dir: Path, experiment: str, seed: int) -> RunFolder:
        """Make ``runs_dir/<date>-<experiment>-seed<k>``."""
        if not re.fullmatch(r"[^/\\]+", experiment):
            raise ConfigError(f"name is '{experiment}', but names the run's folder: one or more characters, no slash.")
        stem = f"{datetime.now():%Y%m%d-%H%M%S}-{experiment}-seed{seed}"
        try:
            runs_dir.mkdir(parents=True, exist_ok=True)
            before = _latest(runs_dir)
            path = _make_new(runs_dir, stem)
            for name in ("checkpoints", "logs", "figures"):
                (path / name).mkdir()
        except OSError as error:
            reason = error.strerror or error
            message = f"The output folder {runs_dir} cannot be written ({reason}); choose another with runs_dir=PATH."
            raise UserError(message) from error
        return cls(path, before)

    def lead(self) -> None:
        """Let ``latest`` point at this run."""
        _point_latest_at(self.path)

    def withdraw(self) -> None:
        """Leave nothing of a new run that failed before it had begun; ``latest`` points at the run before, if it pointed here."""
        shutil.rmtree(self.path, ignore_errors=True)
        if _latest(self.path.parent) == self.path.name:
            if self._before is None:
                (self.path.parent / "latest").unlink()
            else:
                _point_latest_at(self.path.with_name(self._before))

    @classmethod
    def resume(cls, path: Path) -> RunFolder:
        """Open the folder of an earlier run, perhaps somebody else's; ``runs/latest`` will do."""
        path = followed(path)
        if not (path / "config.yaml").is_file():
            raise ConfigError(f"{path} is no run folder: it has no config.yaml; give runs/<date>-<experiment>-seed<k>.")
        check_links(path)
        return cls(path.resolve())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes off this run while it is worked on; they would write over each other's checkpoints.

        Raises:
            UserError: another process works on it.
        """
        lock = try_lock(self.path / ".lock")
        if lock is None:
            raise UserError(f"Another process is working on {self.path}; wait until it has ended, or stop it.")
        with lock:
            remove_leftovers(self.path)
            try:
                yield
            except OSError as error:  # of a library that does not say which of its files it cannot write
                error.filename = error.filename or str(self.path)
                raise

    # -- the workplace of an algorithm ----------------------------------------------------------------------------------------

    def serve(self, stages: Sequence[str], loggers: Mapping[str, Callable[..., Any]], progress: bool) -> None:
        """Say what is to be done here, and where metrics go (name -> maker of a logger of Lightning's)."""
        self._stages, self._makers, self.progress = tuple(stages), dict(loggers), progress

    def loggers(self, stage: str) -> list[Any]:
        """Return the stage's own loggers, each in a folder of its own."""
        return [make(save_dir=str(self.logs.resolve() / name), name=stage) for name, make in self._makers.items()]

    def begins(self, step: str, round: int = 0) -> bool:
        """Return whether a step is asked for and not yet done, or has lost what it made."""
        done = _key(step, round) in self.finished() and (round > 0 or not self._lost(step))
        return step in self._stages and not done

    @contextmanager
    def step(self, step: str, round: int = 0) -> Iterator[None]:
        """Time a step over all sessions of the run, and note that it is done if it finishes."""
        start, done = time.perf_counter(), False
        try:
            yield
            done = True
        finally:
            stage, progress = _key(step, round), self._progress()
            seconds = progress["seconds"].get(stage, 0.0) + time.perf_counter() - start
            progress["seconds"][stage] = float(f"{seconds:.3f}")
            if done and stage not in progress["finished"]:
                progress["finished"].append(stage)
            write_json(self.path / "stages.json", progress)

    # -- what there is --------------------------------------------------------------------------------------------------------

    def measured(self, part: str) -> Path:
        """Return where a part of what was measured lies, or will."""
        return self.path / "measured" / f"{part}.json"

    def write_measured(self, part: str, results: Mapping[str, Any]) -> None:
        """Keep a part of what was measured."""
        write_json(self.measured(part), results)

    def config(self, trusted: Sequence[str] = ()) -> DictConfig:
        """Return the run's own configuration, which may be built; see :func:`~rwmu.runs.trust.read_config`."""
        return read_config(self.path / "config.yaml", trusted)

    @property
    def how_to_resume(self) -> str:
        """Return the command that goes on with the run."""
        modules = foreign(read_plain(self.path / "config.yaml"))
        trust = f" 'trust=[{','.join(modules)}]'" if modules else ""
        return f"python -m rwmu.train {setting('resume', self.path)}{trust}"

    def seconds(self) -> dict[str, float]:
        """Return how long each step has taken, s, over all rounds and sessions of the run."""
        seconds: dict[str, float] = {}
        for key, spent in self._progress()["seconds"].items():
            step = key.rpartition(": ")[2]
            seconds[step] = seconds.get(step, 0.0) + spent
        return seconds

    def finished(self) -> list[str]:
        """Return the stages that are finished."""
        return list(self._progress()["finished"])

    def require_whole(self) -> None:
        """Refuse a run that has lost what it had made: less of it would be measured, and nobody would notice.

        Raises:
            UserError: names the file.
        """
        for step in ("data", "dynamics", "policy"):
            if step in self.finished() and (lost := self._lost(step)):
                raise UserError(
                    f"{lost[0]} is gone or damaged, which the stage {step} had made; {self.how_to_resume} makes it again."
                )

    def _lost(self, step: str) -> list[Path]:
        return [path for name in _MADE.get(step, ()) if not _is_whole(path := self.path / name)]

    def _progress(self) -> dict[str, Any]:
        file = self.path / "stages.json"
        if not file.exists():
            return {"finished": [], "seconds": {}}
        mend = "delete it, and every stage is taken up again from the checkpoints that there are"
        progress = read_json(file, mend)
        finished, seconds = progress.get("finished"), progress.get("seconds")
        names = isinstance(finished, list) and all(isinstance(name, str) for name in finished)
        if not (names and isinstance(seconds, dict) and all(isinstance(spent, float | int) for spent in seconds.values())):
            raise UserError(f"{file} is damaged; {mend}.")
        return progress


def _is_whole(path: Path) -> bool:
    """Return whether a file is there, and one of JSON can be read: whatever reads another kind says what is wrong with it."""
    try:
        return path.is_file() and (path.suffix != ".json" or bool(read_json(path, "")))
    except UserError:
        return False


def _key(step: str, round: int) -> str:
    return step if round == 0 else f"round {round}: {step}"


def _make_new(runs_dir: Path, stem: str) -> Path:
    for attempt in range(1, 1000):
        path = runs_dir / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise UserError(f"{runs_dir} already has a thousand runs called {stem}.")


def _point_latest_at(path: Path) -> None:
    latest, new = path.parent / "latest", path.parent / f".latest-{path.name}"
    new.unlink(missing_ok=True)
    try:
        new.symlink_to(path.name, target_is_directory=True)
    except (OSError, NotImplementedError):  # a file system without symbolic links: a text, see followed
        write_text(latest, path.name)
    else:
        os.replace(new, latest)


def _latest(runs_dir: Path) -> str | None:
    """Return the name of the folder that ``latest`` points at, None where there is no ``latest``."""
    latest = runs_dir / "latest"
    if latest.is_symlink():
        return latest.readlink().name
    if not latest.exists():
        return None
    name = latest.read_text(errors="replace") if latest.is_file() else ""
    if not name or Path(name).name != name or not (runs_dir / name).is_dir():
        raise UserError(f"{latest} is not a link of ours; move it away or choose another folder with runs_dir=PATH.")
    return name


def followed(path: Path) -> Path:
    """Return a path through ``latest``, where that is a text instead of a symbolic link, as one through the folder it names."""
    for part in (path, *path.parents):
        if part.name == "latest" and part.is_file():
            return part.parent / str(_latest(part.parent)) / path.relative_to(part)
    return path
