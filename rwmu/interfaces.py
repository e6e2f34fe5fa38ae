"""The verbs: what a part must do to be plugged in. Any object of the right shape will do; nothing needs to be inherited."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from rwmu.records import Carry, Features, Followed, Prediction


@runtime_checkable
class Dynamics(Protocol):
    """An ensemble of dynamics models in normalised state space; ``rwmu.dynamics.unroll`` puts these calls together.

    A model is a base, which reads rows and carries what it remembers of them, and heads on its features. Inputs have a leading
    axis M: 1 where every member sees the same rows, E where each sees its own; of a forecast, states may have E (each member's own
    are fed back) where actions have 1, and must be brought together. What the heads return always has E. A trained model is an
    ``nn.Module``; parameters with E as their first axis are clipped member by member, the others as one group. Nothing else is
    asked for: what :class:`~rwmu.dynamics.ensemble.RecurrentEnsemble` has besides (extensions, freezing, bounds) is optional.
    """

    num_members: int
    state_dim: int
    action_dim: int
    contact_dim: int

    def initial_carry(self, num_inputs: int, batch: int) -> Carry:
        """Return the carry before any row, for inputs ``[num_inputs, batch, ...]``."""
        ...

    def sequence(self, state: Tensor, action: Tensor, carry: Carry, last: int | None = None) -> tuple[Features, Carry]:
        """Read true rows at once (teacher forcing).

        Args:
            state: ``[M, B, T, D]`` rows ``s_t``.
            action: ``[M, B, T, A]``, the actions that *follow* them, ``a_{t+1}``.
            last: of how many of the last rows features are wanted; None for all.

        Returns:
            Features after each of these rows, ``[M', B, T, .]`` (M' is 1 or E), and the carry after the last.
        """
        ...

    def auxiliary_sequence(self, state: Tensor, action: Tensor, carry: Carry) -> Tensor:
        """Read true rows with a separate auxiliary base alone; returns its features ``[M', B, T, F]``."""
        ...

    def advance(self, state: Tensor, action: Tensor, carry: Carry, followed: Followed | None = None) -> tuple[Features, Carry]:
        """Read one row, ``state [M, B, D]`` and the action that follows it ``[M, B, A]``.

        A separate auxiliary base is run only where the carry has a part for it; with ``followed``, that part is ``[L, 1, B, W]``
        and only the member that a row follows is run for it.
        """
        ...

    def predict_state(self, features: Features, state: Tensor, spread: bool = True) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation ``[E, N, D]`` of what follows ``state [M, N, D]``; N is any flattened batch.

        Without ``spread``, the latter may be ``[E, N, 0]``: nobody will look at it, or asks for it later.
        """
        ...

    def predict_spread(self, features: Features) -> Tensor:
        """Return the log standard deviation ``[E, N, D]`` alone."""
        ...

    def predict_side(self, side: Tensor, followed: Followed | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return contact logits ``[E, N, C]``, termination logits ``[E, N, 1]`` and any extension ``[E, N, X]``.

        Args:
            side: ``Features.side``, ``[M', N, F]``.
            followed: evaluate only the member that each row follows, and return ``[1, N, .]``.
        """
        ...


class Boundary(Protocol):
    """Where the region that the members know ends; an episode that leaves it ends too."""

    @property
    def halting_reward(self) -> float | None:
        """Return what the step that leaves it is paid in place of the task's reward and the penalty; the episode then terminates.

        None cuts the episode short as if timed out, and the step is paid as any other.
        """
        ...

    def crossed(self, prediction: Prediction) -> Tensor:
        """Return which rows leave the known region, ``[B]`` bool."""
        ...


class Penalty(Protocol):
    """Turn what the members predict into a reward penalty.

    Attributes:
        needs_spread: whether it looks at ``Prediction.log_std``.
    """

    needs_spread: bool

    @property
    def boundary(self) -> Boundary | None:
        """Return where episodes end for want of knowledge; None where they do not."""
        ...

    def __call__(self, prediction: Prediction, step: Tensor | None = None) -> Tensor:
        """Return ``[B]``, to be added to the reward (already times the step duration); at most 0 where it is not centred.

        Args:
            step: ``[B]`` int64, how many steps each row was imagined for before this one; 0 is the first after a true history.
                Penalties that depend on the prediction alone ignore it.
        """
        ...


class Actor(Protocol):
    """A policy seen from outside: observations in, actions out."""

    def __call__(self, observation: Tensor) -> Tensor:
        """Return actions ``[B, A]`` for observations ``[B, O]``."""
        ...


Device = torch.device | str
