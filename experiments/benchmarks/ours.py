"""What the benchmark measures of this project: the same two steps as in plain.py, and the package's own, by ``rwmu.dynamics``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import torch

from experiments.benchmarks.plain import LARGEST_NORM, LEARNING_RATE, WEIGHT_DECAY, Kind, Sizes, random_rows
from rwmu.dynamics import recurrent_rollout
from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.losses import LossSettings
from rwmu.dynamics.module import DynamicsModule, clip_gradient_norm_per_member
from rwmu.dynamics.recurrent import RecurrentEnsemble
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.records import Batch, Carry, Followed, Noise, Prediction, Window, follow
from rwmu.uncertainty.estimates import epistemic

ENSEMBLES: dict[Kind, type[SharedEnsemble] | type[IndependentEnsemble]] = {
    "shared": SharedEnsemble,
    "independent": IndependentEnsemble,
}
PUBLISHED: dict[str, Any] = {"auxiliary_base": "separate", "skip": False, "learn_bounds": True}
_FAST = {"cpu": {"fused": True}, "cuda": {"fused": True, "capturable": True}}  # of Adam; a graph has the learning rate in it


def build_ensemble(kind: Kind, sizes: Sizes, device: str = "cpu", **options: Any) -> RecurrentEnsemble:
    """Return an ensemble of the published architecture, or of the package's own with ``options`` of it."""
    shape = (sizes.state, sizes.action, sizes.contact, sizes.members)
    widths = {"hidden_size": sizes.hidden, "num_layers": sizes.layers, "head_hidden_size": sizes.head}
    return ENSEMBLES[kind](*shape, **widths, **(options or PUBLISHED)).to(device)


def loss_settings(sizes: Sizes) -> LossSettings:
    """Return the settings of the published loss: the forecast alone, by a sample's squared error."""
    return LossSettings(
        history=sizes.history,
        weights={"state": 1.0, "history": 0.0, "bound": 1.0, "contact": 1.0, "termination": 1.0},
        state_loss="sampled_squared_error",
        feedback="sample",
        history_burn_in=0,
    )


LAPTOP = Sizes(hidden=128, layers=1, history=16)  # of ``scale=laptop``; the forecast grows up to 32


def default_step(kind: Kind, sizes: Sizes, batch: int, device: str = "cpu", at_once: bool = True) -> Callable[[], None]:
    """Return a function that trains on one batch as the package does by default: every member on windows of its own.

    Args:
        at_once: whether the forecast is the one operation of ``rwmu.dynamics.mean_forecast``, or a loop under automatic
            differentiation.
    """
    model = build_ensemble(kind, sizes, device, side_head_hidden_size=sizes.head // 2)
    weights = {"state": 1.0, "history": 0.5, "bound": 0.0, "contact": 20.0, "termination": 20.0}
    settings = LossSettings(history=sizes.history, weights=weights, history_burn_in=sizes.history // 4)
    module = DynamicsModule(model, settings, max_steps=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, **_FAST[device])
    own = [random_rows(sizes, batch, device, seed) for seed in range(sizes.members)]
    rows = Batch(Window(*(torch.stack(tensors) for tensors in zip(*own, strict=True))))

    def step() -> None:
        module.gradients(rows, Noise())
        clip_gradient_norm_per_member(model, LARGEST_NORM, sizes.members)
        optimizer.step()

    def step_by_loop() -> None:
        with mock.patch.object(recurrent_rollout, "_base_to_unroll", return_value=None):
            step()

    return step if at_once else step_by_loop


def training_step(kind: Kind, sizes: Sizes, batch: int, device: str = "cpu") -> Callable[[], None]:
    """Return a function that trains all members on one batch: forward, backward, clip, Adam.

    Gradients are those of :class:`~rwmu.dynamics.module.DynamicsModule`, without the trainer around it.
    """
    model = build_ensemble(kind, sizes, device)
    module = DynamicsModule(model, loss_settings(sizes), max_steps=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, **_FAST[device])
    window = Window(*(tensor.unsqueeze(0) for tensor in random_rows(sizes, batch, device)))
    noise_shape = (sizes.forecast, sizes.members, batch, sizes.state)

    def step() -> None:
        rows = Batch(window, torch.randint(batch, (sizes.members, batch), device=device))
        noise = Noise(torch.randn(noise_shape, device=device), torch.randn(noise_shape, device=device))
        module.gradients(rows, noise)
        clip_gradient_norm_per_member(model, LARGEST_NORM, sizes.members)
        optimizer.step()

    return step


def imagination_step(kind: Kind, sizes: Sizes, envs: int, device: str = "cpu") -> Callable[[], object]:
    """Return a function that advances ``envs`` environments by one step, always the same one, each following one member."""
    model = build_ensemble(kind, sizes, device).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    member = torch.randint(sizes.members, (envs,), generator=generator).to(device)
    state = torch.randn(1, envs, sizes.state, generator=generator).to(device)
    action = torch.randn(1, envs, sizes.action, generator=generator).to(device)
    followed, start = Followed(member, sizes.members), model.initial_carry(1, envs)
    carry = model.follow(start, member)

    @torch.no_grad()
    def step() -> tuple[torch.Tensor, Prediction, torch.Tensor, Carry]:
        after, prediction = model.step_followed(carry, state, action, followed, spread=False)
        return follow(prediction.mean, member), prediction, epistemic(prediction), after

    return step
