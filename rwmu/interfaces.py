"""The verbs: what a part must do to be plugged in. Any object of the right shape will do; nothing needs to be inherited."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from rwmu.records import Carry, Prediction


@runtime_checkable
class Dynamics(Protocol):
    """An ensemble of recurrent dynamics models in normalised state space; see ``rwmu.dynamics.unroll`` for its use.

    Inputs carry a leading axis M: 1 where every member sees the same rows, E where each sees its own. Outputs always carry E.
    """

    num_members: int
    state_dim: int
    action_dim: int
    contact_dim: int

    def initial_carry(self, num_inputs: int, batch: int) -> Carry:
        """Return the carry before any row, for inputs ``[num_inputs, batch, ...]``."""
        ...

    def sequence(self, state: Tensor, action: Tensor, carry: Carry) -> tuple[Tensor, Tensor, Carry]:
        """Run the recurrent base over true rows (teacher forcing).

        Args:
            state: ``[M, B, T, D]`` rows ``s_t``.
            action: ``[M, B, T, A]``, the actions that *follow* them, ``a_{t+1}``.

        Returns:
            Features of the state heads and of the auxiliary heads after each row, ``[M', B, T, F]`` (M' is 1 or E), and the carry
            after the last.
        """
        ...

    def step(self, state: Tensor, action: Tensor, carry: Carry, true_state: Tensor | None = None) -> tuple[Prediction, Carry]:
        """Predict the next row from ``state [M, B, D]`` and the action that follows it ``[M, B, A]``.

        ``true_state [M, B, D]`` is what a separate auxiliary base consumes in training; None lets it consume ``state``.
        """
        ...

    def predict(self, features: Tensor, auxiliary_features: Tensor, state: Tensor) -> Prediction:
        """Apply the heads to features ``[M', N, F]`` of states ``[M, N, D]``; N is any flattened batch."""
        ...


class Penalty(Protocol):
    """Turn what the members predict into a reward penalty."""

    def __call__(self, prediction: Prediction) -> Tensor:
        """Return ``[B]``, at most 0 for a positive weight, to be added to the reward (already times the step duration)."""
        ...


class Actor(Protocol):
    """A policy seen from outside: observations in, actions out."""

    def __call__(self, observation: Tensor) -> Tensor:
        """Return actions ``[B, A]`` for observations ``[B, O]``."""
        ...


Device = torch.device | str
