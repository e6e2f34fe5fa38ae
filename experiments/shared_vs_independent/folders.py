"""The folders of cells: opened, gone on with, locked while somebody works in them; and the settings that they must have."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.shared_vs_independent.cells import Cell, ModelCell, model_cell
from rwmu.runs.configuration import leaves

# Keys that decide where a run writes, what it shows, how it is measured or how fast it is, but not what is fitted.
_WITHOUT_EFFECT: tuple[str, ...] = (
    "stages",
    "runs_dir",
    "resume",
    "name",
    "logger",
    "trainer.num_threads",
    "trainer.progress",
    "policy.save_every",
)
_WITHOUT_EFFECT += tuple(
    f"evaluation.{name}" for name in ("cache", "video_s", "horizons", "num_windows", "num_dream_envs", "dream_steps")
)
_OF_THE_POLICY = ("policy", "penalty", "imagination", "evaluation")
# What was done before there was such a setting.
_BEFORE = {"imagination.device": "cpu"}
_ABSENT = object()
ANOTHER_FIT = "another_fit.txt"  # in the folder of a model that is not the one that its result measured: no policy may use it


def latest(cell: Cell, runs: Path) -> Path:
    """Return the run folder of a cell, or where it would be."""
    return runs / cell.name / "latest"


def fitted_model(cell: Cell, runs: Path) -> Path:
    """Return the checkpoint of the world model that a cell needs, or where it would be."""
    return latest(model_cell(cell), runs) / "checkpoints" / "dynamics.pt"


def is_fitted(cell: Cell, runs: Path) -> bool:
    """Return whether the world model that a cell needs is finished, and the one that its result measured."""
    path = fitted_model(cell, runs)
    progress = path.parent.parent / "stages.json"
    if (path.parent.parent / ANOTHER_FIT).is_file():
        return False
    return path.is_file() and progress.is_file() and "dynamics" in json.loads(progress.read_text())["finished"]


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a file holds; None where there is none, or no mapping."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of ``path``, waiting for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def merged(overrides: Sequence[str], extra: Sequence[str]) -> list[str]:
    """Return ``overrides`` less those that ``extra`` sets too, then ``extra``."""
    keys = {item.split("=", 1)[0] for item in extra}
    return [*(item for item in overrides if item.split("=", 1)[0] not in keys), *extra]


def differences(found: DictConfig, wanted: DictConfig, cell: Cell) -> dict[str, tuple[Any, Any]]:
    """Return key -> (found, wanted) of what differs of the settings that decide what a cell makes; see also :func:`absent`."""
    ignored = (
        *_WITHOUT_EFFECT,
        "dynamics.checkpoint",
        "policy.checkpoint",
        *(_OF_THE_POLICY if isinstance(cell, ModelCell) else ()),
    )
    one, other = (_BEFORE | leaves(_plain(config)) for config in (found, wanted))

    def counts(key: str) -> bool:
        return not any(key == item or key.startswith(f"{item}.") for item in ignored)

    keys = [key for key in dict.fromkeys([*one, *other]) if counts(key)]
    pairs = {key: (one.get(key, _ABSENT), other.get(key, _ABSENT)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] is _ABSENT or pair[1] is _ABSENT or pair[0] != pair[1]}


def absent(value: Any) -> bool:
    """Return whether a setting was not there."""
    return value is _ABSENT


def _plain(config: DictConfig) -> dict[str, Any]:
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    return plain
