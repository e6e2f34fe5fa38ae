"""What every test shares: one thread, the commands called as a user calls them, and data and runs that are made once."""

from __future__ import annotations

import copy
import fcntl
import gc
import hashlib
import importlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository

torch.set_num_threads(1)
CONFIGS = str(Path(__file__).resolve().parents[1] / "configs")


def pytest_collection_finish() -> None:
    """Count what the imports have made as there for good: to go through half a million objects is a quarter of a command's time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def as_found() -> Iterator[None]:
    """Give back what a test may leave behind in its process: variables, threads, precision and handlers of the log."""
    variables, handlers = dict(os.environ), logging.root.handlers[:]
    threads, precision, dtype = torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.get_default_dtype()
    yield
    for name in os.environ.keys() - variables.keys() - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update({name: value for name, value in variables.items() if name != "PYTEST_CURRENT_TEST"})
    logging.root.handlers[:] = handlers
    torch.set_default_dtype(dtype)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if torch.get_float32_matmul_precision() != precision:
        torch.set_float32_matmul_precision(precision)


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """Do not wait until files are on the disk, 10 ms each: what a loss of power leaves is nothing that a test can see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rwmu.files.os.fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def laid_once() -> Iterator[None]:
    """Read the shipped configurations, and lay them over one another, once a process for each choice of options.

    Hydra parses thirty files for every command, which takes longer than most mistakes take to be told. What a command line says is
    laid over a copy; where a user's own folder is read, nothing is kept.
    """
    read: dict[Any, Any] = {}
    laid: dict[Any, Any] = {}
    load, lay = ConfigRepository.load_config, ConfigLoaderImpl._compose_config_from_defaults_list

    def shipped(repository: Any) -> bool:
        own = {source.path for source in repository.get_sources() if source.provider not in ("hydra", "schema")}
        return own == {CONFIGS}

    def load_once(repository: ConfigRepository, config_path: str) -> Any:
        if not shipped(repository):
            return load(repository, config_path)
        if config_path not in read:
            read[config_path] = load(repository, config_path)
        return read[config_path]

    def lay_once(loader: ConfigLoaderImpl, defaults: Any, repo: Any) -> Any:
        if not shipped(repo):
            return lay(loader, defaults, repo)
        key = str(defaults)
        if key not in laid:
            repo.cache = copy.deepcopy(repo.cache)  # laying moves what was read
            laid[key] = lay(loader, defaults, repo)
        return copy.deepcopy(laid[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigRepository, "load_config", load_once)
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", lay_once)
        yield


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit status, and what it printed."""

    status: int
    out: str
    err: str


Command = Callable[..., Outcome]
Trained = Callable[..., Path]


def no_mode(*_: object, **__: object) -> None:
    """Leave sweeps to the flag -m: Hydra composes each configuration once more to see whether ``hydra.mode`` asks for one."""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs ``python -m rwmu.NAME ARGUMENTS`` within this process."""

    def run(name: str, *arguments: str) -> Outcome:
        module = importlib.import_module(f"rwmu.{name}")
        monkeypatch.setattr("hydra._internal.hydra.Hydra.get_mode", no_mode)
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
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all processes of this session have in common."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep the other processes waiting that want to make the same."""
    with path.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def shared_data(shared: Path) -> Path:
    """Return the folder of the smoke dataset: collected once, and only read by every test."""
    collected(shared / "smoke.h5", ["scale=smoke"])
    return shared


def collected(path: Path, settings: Sequence[str]) -> None:
    """Collect a dataset that tests share, the first time that one asks for it."""
    with held(path):
        if not path.is_file():
            experiment, _ = built([*settings, "machine.progress=false"])
            experiment.collect(path)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty folder in which a user stands."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def smoke(shared_data: Path, quick: None) -> list[str]:
    """Return overrides that shrink a run, on data that all tests share, without a video, which takes seconds to draw."""
    return [
        *("scale=smoke", "machine.progress=false", "evaluation.video_s=null", "trainer.max_steps=4", "trainer.validate_every=2"),
        *("evaluation.num_envs=4", "evaluation.dream_steps=5", "evaluation.learning_points=0", "evaluation.horizons=[1,8]"),
        *(f"data.path={shared_data}/smoke.h5", f"evaluation.cache={shared_data}"),
    ]


AUDITS: dict[str, Any] = {}


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the intervals of what is measured of a model a few resamples, and its forecasts of one step a few windows."""
    from rwmu.measure.calibration.settings import CalibrationSettings

    monkeypatch.setattr("rwmu.measure.model.CalibrationSettings", partial(CalibrationSettings, resamples=20, one_step_windows=50))


@pytest.fixture
def quick(few_resamples: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Audit the same data for the same task once a process, and take few resamples."""
    from rwmu.runs import experiment

    examine = experiment.examine

    def remembered(episodes: Any, robot: Any, settings: Any, source: str) -> Any:
        rewards, others = settings.task.rewards.describe(), replace(settings, task=None)
        key = f"{episodes.content_hash()} {robot.name} {rewards} {others} {source}"
        if key not in AUDITS or settings.normalizer is not None:
            AUDITS[key] = examine(episodes, robot, settings, source)
        return list(AUDITS[key])

    monkeypatch.setattr(experiment, "examine", remembered)


def built(overrides: Sequence[str]) -> tuple[Any, str]:
    """Return the objects that the command train makes of overrides, and their configuration's text, without its checks."""
    from omegaconf import OmegaConf

    from rwmu.runs.configuration import compose_config  # not for every test of a single room: Lightning takes seconds
    from rwmu.runs.experiment import build

    config = compose_config("train", overrides)
    return build(config), OmegaConf.to_yaml(config, resolve=True)


@pytest.fixture
def trained(shared: Path, workplace: Path, smoke: list[str]) -> Trained:
    """Return a function that gives the folder of a finished run of some settings: trained once, and a copy for every test.

    The copy is ``runs/latest`` of the workplace.
    """
    from rwmu.runs.training import train

    def copy(*settings: str) -> Path:
        kept = shared / hashlib.sha256(" ".join(settings).encode()).hexdigest()[:12]
        runs, name = workplace / "runs", kept / "name"
        with held(kept):
            if not name.is_file():
                train(*built([*smoke, *settings]))
                run = (runs / "latest").resolve()
                shutil.copytree(run, kept / run.name)
                name.write_text(run.name)  # last: what is there is whole
                return run
        run = runs / name.read_text()
        shutil.copytree(kept / run.name, run)
        (runs / "latest").unlink(missing_ok=True)
        (runs / "latest").symlink_to(run.name)
        return run.resolve()

    return copy


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pages' figures out, which take most of a page's time."""
    for page in ("run", "calibration", "exploit"):
        monkeypatch.setattr(f"rwmu.report.{page}.figures.draw", lambda *_: {})


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deploy policies for little more than the second after which speeds count, apart from the deployments that are kept."""
    from rwmu.measure import deploy

    whole, key = deploy.deploy, deploy.deployment_key

    def shortened(env: Any, actor: Any, num_steps: int | None = None, *arguments: Any, **settings: Any) -> Any:
        return whole(env, actor, min(num_steps or 55, 55), *arguments, **settings)

    monkeypatch.setattr(deploy, "deploy", shortened)
    monkeypatch.setattr(deploy, "deployment_key", lambda *arguments: {**key(*arguments), "brief": True})
