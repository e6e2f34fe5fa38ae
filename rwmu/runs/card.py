"""The run card: which code, versions, seeds, data and machine a run came from."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import rwmu
from rwmu.files import write_json, write_text

RESULTS = ("experiments/*/results/*", "experiments/*/results.*")
PACKAGES = ("torch", "numpy", "lightning", "torchmetrics", "hydra-core", "rsl-rl-lib", "tensordict", "mujoco", "h5py", "wandb")


def run_card(seed: int, **details: Any) -> dict[str, Any]:
    """Return what identifies a run; ``details`` (the experiment, the data hash) join it."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": commit(),
        "changed_since_commit": bool(difference()),
        "seed": seed,
        "versions": versions(),
        "machine": machine(),
        **details,
    }


def write_run_card(folder: Path, card: dict[str, Any]) -> None:
    """Write ``run_card.json`` and, where the code differs from its commit, ``code.diff``."""
    write_json(folder / "run_card.json", card)
    if card.get("changed_since_commit"):
        write_text(folder / "code.diff", difference())


def commit() -> str | None:
    """Return the commit of the package's own repository, or None for an installed wheel."""
    return _git("rev-parse", "HEAD") or None


def difference() -> str:
    """Return how the files differ from the commit; empty where they do not, or where there is no repository.

    Results that experiments write are no code: a study that has replaced one is not changed by that.
    """
    without = [f":(top,exclude){results}" for results in RESULTS]
    return "\n".join(part for part in (_git("diff", "HEAD", "--", ":/", *without), new_files()) if part)


def new_files() -> str:
    """Return the files of code and configuration that no commit has yet, as differences; empty where there are none."""
    names = _git("ls-files", "--others", "--exclude-standard", "--full-name", "--", ":/rwmu", ":/configs").splitlines()
    if not names:
        return ""
    root = Path(_git("rev-parse", "--show-toplevel"))
    texts = {name: (root / name).read_text(encoding="utf-8", errors="replace") for name in names}
    return "\n".join(f"new file: {name}\n" + "".join(f"+{line}\n" for line in text.splitlines()) for name, text in texts.items())


def versions() -> dict[str, str | None]:
    """Return the versions of Python, of this package and of what it stands on; None for what is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), "rwmu": _version("rwmu")}
    return found | {name: _version(name) for name in PACKAGES}


def machine() -> dict[str, Any]:
    """Return the kind of machine: system, processor, cores, memory, threads and accelerator; no names of hosts or users."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "torch_threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    """Run git in the package's repository; empty where git, the repository or the package's place in it is missing."""
    package = Path(rwmu.__file__).resolve().parent
    return _output(package, *arguments) if _is_tracked(package) else ""


@cache
def _is_tracked(package: Path) -> bool:
    """Tell whether a repository holds the package: a wheel may be installed inside the clone of something else."""
    return bool(_output(package, "ls-files", "__init__.py"))


def _output(folder: Path, *arguments: str) -> str:
    try:
        found = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
        return found.stdout.decode(errors="replace").strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
