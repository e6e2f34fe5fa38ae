"""What every test shares: one thread, and the commands of the package called as a user calls them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit status, and what it printed."""

    status: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs ``python -m rwmu.NAME ARGUMENTS`` within this process."""

    def run(name: str, *arguments: str) -> Outcome:
        module = importlib.import_module(f"rwmu.{name}")
        monkeypatch.setattr("sys.argv", [f"rwmu/{name}.py", *arguments])
        capsys.readouterr()
        status = 0
        try:
            module.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def shared_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the smoke dataset, once collected, serves every test."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the empty folder in which a user stands."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    threads = torch.get_num_threads()
    yield place
    torch.set_num_threads(threads)


@pytest.fixture
def smoke(shared_data: Path) -> list[str]:
    """Return overrides that shrink a run, on data that all tests share."""
    return ["scale=smoke", f"data.path={shared_data}/smoke.h5", f"evaluation.cache={shared_data}", "machine.progress=false"]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pages' figures out, which take most of a page's time."""
    for page in ("run", "calibration", "exploit"):
        monkeypatch.setattr(f"rwmu.report.{page}.figures.draw", lambda *_: {})
