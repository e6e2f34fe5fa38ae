"""The built wheel, installed in an empty folder, does what a clone does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def run(*arguments: str, cwd: Path, **environment: str) -> str:
    """Run this Python with arguments, from ``cwd``, and return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=REPOSITORY)
    (built,) = folder.glob("rwmu-*.whl")
    return built


def test_the_wheel_holds_configurations_assets_and_notices(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "rwmu/configs/train.yaml",
        "rwmu/configs/experiment/rwm_base.yaml",
        "rwmu/robots/assets/anymal_d/policies/expert.npz",
        "rwmu/robots/assets/anymal_d/bodies.xml",
        "rwmu/robots/assets/model.xml",
        "rwmu/data/audit/sentences.yaml",
    } | {path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("rwmu/**/*.py")} <= names
    assert {name.rsplit("/", 1)[-1] for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}
    assert not [name for name in names if name.split("/")[0] not in ("rwmu",) and ".dist-info" not in name]
    assert sum(file.file_size for file in zipfile.ZipFile(wheel).infolist()) < 3_000_000
    assert wheel.stat().st_size < 2_000_000


def test_an_installed_wheel_trains_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """Without the page, which needs no file but its modules, and takes half of the time."""
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as content:
        content.extractall(installed)  # all that installing it is, but for the console script
    (told,) = installed.glob("rwmu-*.dist-info/entry_points.txt")
    assert "rwmu = rwmu.__main__:main" in told.read_text()
    settings = ("scale=smoke", "machine.progress=false", "stages=[data,dynamics,policy]", "evaluation.horizons=[1]")
    smaller = ("task.episode_length_s=1.5", "data.num_transitions=1500", "trainer.max_steps=2", "trainer.validate_every=1")
    run("-m", "rwmu", "train", "+experiment=rwm_base", *settings, *smaller, cwd=empty, PYTHONPATH=str(installed))
    assert (empty / "runs/latest/checkpoints/policy.pt").is_file()
    assert json.loads((empty / "runs/latest/run_card.json").read_text())["commit"] is None, "the clone's code would name its own"
    assert {path.name for path in empty.iterdir()} == {"runs", "data"}
