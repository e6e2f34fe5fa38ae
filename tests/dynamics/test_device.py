"""Training a world model on a pretended device: batches made for it, and gradients, equal to the CPU's to the last bit."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from rwmu.data.datamodule import OfflineDataModule
from rwmu.data.settings import Bootstrap, DataSettings
from rwmu.dynamics.losses import EXTENSION
from rwmu.dynamics.module import DynamicsModule, OptimizerSettings, clip_gradient_norm_per_member
from rwmu.records import Window
from tests.devices import small_world_model
from tests.dynamics.small import WEIGHTS, loss_settings
from tests.fakes import anymal_d, random_episodes
from tests.pretended_device import on_device, pretended_device, waits

MEMBERS, HISTORY, STEPS = 3, 5, 2
FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.1, "calibration": 0.1}


def streams(device: Any, bootstrap: str, extension: int = 0) -> OfflineDataModule:
    """Return a data module whose trainer is on ``device``."""
    episodes = random_episodes([30] * 10, terminated=(1, 4, 5))
    if extension:
        episodes = replace(episodes, extension=episodes.action[:, :extension] + episodes.state[:, :extension])
    settings = DataSettings(
        fractions=FRACTIONS,
        history=HISTORY,
        forecast=3,
        batch_size=6,
        mirrors=() if extension else ("left_right",),
        bootstrap=bootstrap,  # type: ignore[arg-type]
        beginnings=0.2,
        endings=0.2,
        validation_horizon=4,
    )
    data = OfflineDataModule(episodes, anymal_d(), settings, num_members=MEMBERS)
    data.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=device))  # type: ignore[assignment]
    return data


def train(device: Any, kind: str, bootstrap: str, one_by_one: bool, extension: int = 0, **loss: Any) -> dict[str, Tensor]:
    """Return losses, gradients and weights of a few steps, and a validation error, on the CPU."""
    data = streams(device, bootstrap, extension)
    options = {"auxiliary_base": "separate", "prior_scale": 0.5, "extension_dim": extension}
    model = small_world_model(data.episodes, kind, MEMBERS, HISTORY, **options).dynamics
    model.requires_grad_(True)
    weights = WEIGHTS | ({EXTENSION: 1.0} if extension else {})
    settings = loss_settings(history=HISTORY, weights=weights, **loss)
    module = DynamicsModule(model, settings, 100, OptimizerSettings(one_by_one=one_by_one), validation_horizon=4).to(device)
    optimizer, found = module.configure_optimizers()["optimizer"], {}
    for step in range(STEPS):
        batch = data.train_windows.batch()
        with waits() as waited:
            losses = module.gradients(batch, module._draw_noise(batch))
            norms = clip_gradient_norm_per_member(model, 1.0, MEMBERS)
            module._refuse_non_finite(batch, losses, norms)
            # Which windows of a resample are distinct decides on shapes.
            assert len(waited) == int(torch.device(device).type != "cpu") or bootstrap == "in_batch", waited
        found |= {f"{step}/{name}": term for name, term in losses.items()} | {f"{step}/norms": norms}
        found |= {f"{step}/{name} gradient": p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        optimizer.step()
    module.log = lambda name, value, **_: found.update({name: value})  # type: ignore[method-assign,assignment,misc]
    (window,) = data.val_dataloader()
    assert isinstance(window, Window)
    module.validation_step(window.to(device), 0)
    found |= model.state_dict()
    assert {on_device(tensor) for tensor in found.values()} == {torch.device(device).type != "cpu"}
    return {name: tensor.cpu() for name, tensor in found.items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0.0, atol=0.0, msg=name)


@pytest.mark.parametrize(
    ("kind", "one_by_one", "bootstrap"),
    [
        *(("shared", False, bootstrap) for bootstrap in ("in_batch", "weights")),
        *(("independent", False, bootstrap) for bootstrap in ("none", "episodes")),
        *(("independent", True, bootstrap) for bootstrap in ("in_batch", "weights")),
    ],
)
def test_training_is_that_of_the_cpu(kind: str, one_by_one: bool, bootstrap: str) -> None:
    expected = train("cpu", kind, bootstrap, one_by_one)
    with pretended_device() as device:
        assert_same(train(device, kind, bootstrap, one_by_one), expected)


@pytest.mark.parametrize(
    "loss", [{"feedback": "sample"}, {"feedback": "truth"}, {"state_loss": "sampled_squared_error"}, {"state_loss": "beta_nll"}]
)
def test_every_loss_is_that_of_the_cpu(loss: dict[str, Any]) -> None:
    expected = train("cpu", "shared", "in_batch", False, **loss)
    with pretended_device() as device:
        assert_same(train(device, "shared", "in_batch", False, **loss), expected)


def test_an_extension_is_that_of_the_cpu() -> None:
    expected = train("cpu", "independent", "weights", False, extension=2)
    with pretended_device() as device:
        assert_same(train(device, "independent", "weights", False, extension=2), expected)


def test_independent_members_are_trained_at_once_where_nobody_says_otherwise() -> None:
    with pretended_device() as device:
        model = small_world_model(random_episodes([30]), "independent").dynamics
        assert DynamicsModule(model, loss_settings(), 10).to(device)._in_turn(4096) is None


@pytest.mark.parametrize("bootstrap", get_args(Bootstrap))
def test_batches_are_made_where_they_are_used(bootstrap: str) -> None:
    with pretended_device() as device:
        batch = streams(device, bootstrap).train_windows.batch()
        batch.map(lambda tensor: pytest.fail("a batch on the CPU") if not on_device(tensor) else tensor)
