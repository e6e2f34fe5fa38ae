"""Stage policy on a pretended device: clone, anchor, mirrors, PPO and resumption, equal to the CPU's run to the last bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
def test_a_run_is_that_of_the_cpu(kind: str, data: OfflineDataModule, tmp_path: Path) -> None:
    world_model = small_world_model(data.episodes, kind, history=HISTORY, auxiliary_base="separate")
    expected = run("cpu", data, world_model, tmp_path / "cpu")
    with pretended_device():
        found = run("cuda", data, world_model, tmp_path / "device")
    assert found == expected
    for name in ("clone.pt", "model_1.pt", "model_3.pt", RESUME_FILE):
        assert_same(tmp_path / "device" / name, tmp_path / "cpu" / name)
    observation = torch.randn(3, 48)
    one, other = (load_actor(tmp_path / place / "model_3.pt", anymal_d())(observation) for place in ("cpu", "device"))
    assert torch.equal(one, other)


@pytest.mark.parametrize(("before", "after"), [("cuda", "cuda"), ("cpu", "cuda"), ("cuda", "cpu")])
def test_an_interrupted_run_goes_on_anywhere(before: str, after: str, data: OfflineDataModule, tmp_path: Path) -> None:
    world_model = small_world_model(data.episodes, "shared", history=HISTORY, auxiliary_base="separate")
    expected = run("cpu", data, world_model, tmp_path / "cpu")
    with pretended_device():
        run(before, data, world_model, tmp_path / "other", iterations=2)
        saved = torch.load(tmp_path / "other" / RESUME_FILE, map_location="cpu", weights_only=True)
        assert ("device_rng" in saved) == (before != "cpu")
        found = run(after, data, world_model, tmp_path / "other", seed=9)
    assert found == expected[2:]
    assert_same(tmp_path / "other" / "model_3.pt", tmp_path / "cpu" / "model_3.pt")
