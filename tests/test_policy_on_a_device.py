"""Stage policy on a pretended device: clone, anchor, mirrors, PPO and resumption, equal to the CPU's run to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from rwmu.data.datamodule import OfflineDataModule
from rwmu.data.settings import DataSettings
from rwmu.data.windows import window_starts
from rwmu.dynamics.world_model import WorldModel
from rwmu.imagination.env import ImaginedEnv
from rwmu.imagination.penalty import MopoPenalty
from rwmu.imagination.rules import DreamRules
from rwmu.policy.clone import CloneSettings
from rwmu.policy.learn import PolicySettings, learn_policy
from rwmu.policy.optimise import RESUME_FILE
from rwmu.policy.rsl_rl import PpoSettings, load_actor
from rwmu.tasks.velocity import VelocityTask
from tests.devices import small_world_model, step_as_on_a_device
from tests.fakes import anymal_d, random_episodes
from tests.pretended_device import on_device, pretended_device

HISTORY, ITERATIONS = 4, 3
PPO = PpoSettings(hidden_dims=(16, 16), num_steps_per_env=6, num_learning_epochs=2, num_mini_batches=2, mirrors_per_batch=2)
CLONE = CloneSettings(fraction=0.5, minimum_steps=10, epochs=3, batch_size=64)


class Run(NamedTuple):
    """A run on the CPU: what it logged and where its files lie."""

    rows: list[dict[str, str]]
    folder: Path


RUNS: dict[str, Run] = {}


@pytest.fixture
def on_the_cpu(data: OfflineDataModule, tmp_path_factory: pytest.TempPathFactory, written: list[Any]) -> Callable[[str], Run]:
    """Return a function that gives the run of a kind of ensemble on the CPU, made once."""

    def made(kind: str) -> Run:
        if kind not in RUNS:
            folder = tmp_path_factory.mktemp(kind)
            RUNS[kind] = Run(run("cpu", data, model_of(kind, data), folder), folder)
        return RUNS[kind]

    return made


def model_of(kind: str, data: OfflineDataModule) -> WorldModel:
    return small_world_model(data.episodes, kind, history=HISTORY, auxiliary_base="separate")


@pytest.fixture
def data() -> OfflineDataModule:
    fractions = {"train": 0.6, "validation": 0.2, "test": 0.1, "calibration": 0.1}
    settings = DataSettings(fractions=fractions, history=HISTORY, forecast=2, validation_horizon=3)
    return OfflineDataModule(random_episodes([30] * 10), anymal_d(), settings)


@pytest.fixture(autouse=True)
def written(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect what is written to files, all of which must come from the CPU."""
    contents: list[Any] = []
    save = torch.save

    def spy(content: Any, path: Any) -> None:
        assert not any(on_device(tensor) for tensor in tensors(content).values())
        contents.append(content)
        save(content, path)

    monkeypatch.setattr(torch, "save", spy)
    step_as_on_a_device(monkeypatch)
    return contents


def tensors(content: Any, prefix: str = "") -> dict[str, Tensor]:
    """Return every tensor of nested containers by its path."""
    if isinstance(content, Tensor):
        return {prefix: content}
    if isinstance(content, Mapping):
        items: Any = content.items()
    else:
        items = enumerate(content) if isinstance(content, list | tuple) else ()
    found: dict[str, Tensor] = {}
    for name, item in items:
        found |= tensors(item, f"{prefix}/{name}")
    return found


class Rows:
    """A logger that keeps its metrics."""

    experiment = None

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.rows.append({name: repr(value) for name, value in metrics.items() if not name.startswith("time/")})

    def save(self) -> None:
        pass

    def finalize(self, status: str) -> None:
        pass


def run(
    device: str, data: OfflineDataModule, world_model: WorldModel, folder: Path, iterations: int = ITERATIONS, seed: int = 0
) -> list[dict[str, str]]:
    starts = window_starts(data.episodes.lengths, data.splits["train"], HISTORY)
    task, logger = VelocityTask(anymal_d()), Rows()
    rules = DreamRules(num_envs=8, device=device, horizon_steps=5, pool_refresh_steps=4)
    env = ImaginedEnv(world_model, task, data.episodes, starts, MopoPenalty(1.0, task.step_dt), rules)
    settings = PolicySettings(PPO, CLONE, iterations=iterations, critic_warmup_iterations=1, save_every=1)
    torch.manual_seed(seed)
    learn_policy(env, data, settings, folder, [logger], seed=0, progress=False)
    return logger.rows


def contents(path: Path) -> dict[str, Tensor]:
    found = tensors(torch.load(path, map_location="cpu", weights_only=True))
    return {name: tensor for name, tensor in found.items() if name != "/device_rng"}


def assert_same(one: Path, other: Path) -> None:
    found, expected = contents(one), contents(other)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0.0, atol=0.0, equal_nan=True, msg=name)


@pytest.mark.parametrize("kind", ["shared", "independent"])
def test_a_run_is_that_of_the_cpu(kind: str, data: OfflineDataModule, on_the_cpu: Callable[[str], Run], tmp_path: Path) -> None:
    expected = on_the_cpu(kind)
    with pretended_device():
        found = run("cuda", data, model_of(kind, data), tmp_path)
    assert found == expected.rows
    for name in ("clone.pt", "model_1.pt", "model_3.pt", RESUME_FILE):
        assert_same(tmp_path / name, expected.folder / name)
    observation = torch.randn(3, 48)
    one, other = (load_actor(folder / "model_3.pt", anymal_d())(observation) for folder in (expected.folder, tmp_path))
    assert torch.equal(one, other)


@pytest.mark.parametrize(("before", "after"), [("cuda", "cuda"), ("cpu", "cuda"), ("cuda", "cpu")])
def test_an_interrupted_run_goes_on_anywhere(
    before: str, after: str, data: OfflineDataModule, on_the_cpu: Callable[[str], Run], tmp_path: Path
) -> None:
    expected, world_model = on_the_cpu("shared"), model_of("shared", data)
    with pretended_device():
        run(before, data, world_model, tmp_path, iterations=2)
        saved = torch.load(tmp_path / RESUME_FILE, map_location="cpu", weights_only=True)
        assert ("device_rng" in saved) == (before != "cpu")
        found = run(after, data, world_model, tmp_path, seed=9)
    assert found == expected.rows[2:]
    assert_same(tmp_path / "model_3.pt", expected.folder / "model_3.pt")
