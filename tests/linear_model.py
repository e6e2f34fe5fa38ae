"""A world model of somebody else's, with no more than the interface asks for: each member predicts linearly from the last row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rwmu.dynamics.losses import LossSettings, member_losses
from rwmu.records import Batch, Carry, Noise, Prediction, Window


class LinearEnsemble(nn.Module):
    """E linear maps of state and action; ``ignored`` are the sizes that a scale sets for recurrent models."""

    def __init__(
        self, state_dim: int, action_dim: int, contact_dim: int, num_members: int, noise: float, seed: int, **ignored: Any
    ) -> None:
        super().__init__()
        self.num_members, self.state_dim, self.action_dim, self.contact_dim = num_members, state_dim, action_dim, contact_dim
        generator = torch.Generator().manual_seed(seed)
        outputs = state_dim + contact_dim + 1
        self.weight = nn.Parameter(0.01 * torch.randn(num_members, state_dim + action_dim, outputs, generator=generator))
        self.log_std = nn.Parameter(torch.full((num_members, 1, state_dim), noise).log())

    def initial_carry(self, num_inputs: int, batch: int) -> Carry:
        return Carry()

    def step(self, carry: Carry, state: Tensor, action: Tensor) -> tuple[Carry, Prediction]:
        rows = torch.cat([tensor.expand(self.num_members, -1, -1) for tensor in (state, action)], dim=-1)
        change, contact, termination = (rows @ self.weight).split((self.state_dim, self.contact_dim, 1), dim=-1)
        mean = state + change
        return carry, Prediction(mean, self.log_std.expand_as(mean), contact, termination)

    def observe(self, carry: Carry, window: Window) -> tuple[Carry, Prediction]:
        steps = window.length - 1
        rows = window.state[:, :, :-1].flatten(1, 2), window.action[:, :, 1:].flatten(1, 2)
        carry, predicted = self.step(carry, *rows)
        return carry, predicted.map(lambda tensor: tensor.unflatten(1, (-1, steps)))

    def losses(self, batch: Batch, settings: LossSettings, noise: Noise | None = None) -> dict[str, Tensor]:
        return member_losses(self, batch, settings, noise)
