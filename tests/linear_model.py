"""A world model of somebody else's, with no more than the interface asks for: each member predicts linearly from the last row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rwmu.records import Carry, Features, Followed, follow


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
        return Carry(torch.zeros(1, num_inputs, batch, 0))

    def _rows(self, state: Tensor, action: Tensor) -> Tensor:
        members = max(len(state), len(action))
        return torch.cat([tensor.expand(members, *tensor.shape[1:]) for tensor in (state, action)], dim=-1)

    def sequence(self, state: Tensor, action: Tensor, carry: Carry, last: int | None = None) -> tuple[Features, Carry]:
        rows = self._rows(state, action)
        rows = rows if last is None else rows[:, :, rows.shape[2] - last :]
        return Features(rows, rows), carry

    def auxiliary_sequence(self, state: Tensor, action: Tensor, carry: Carry) -> Tensor:
        return self._rows(state, action)

    def advance(self, state: Tensor, action: Tensor, carry: Carry, followed: Followed | None = None) -> tuple[Features, Carry]:
        rows = self._rows(state, action)
        return Features(rows, rows), carry

    def predict_state(self, features: Features, state: Tensor, spread: bool = True) -> tuple[Tensor, Tensor]:
        return state + features.state @ self.weight[..., : self.state_dim], self.predict_spread(features)

    def predict_spread(self, features: Features) -> Tensor:
        return self.log_std.expand(-1, features.state.shape[1], -1)

    def predict_side(self, side: Tensor, followed: Followed | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        outputs = side @ self.weight[..., self.state_dim :]
        if followed is not None:
            outputs = follow(outputs, followed.member)
        return outputs[..., :-1], outputs[..., -1:], None
