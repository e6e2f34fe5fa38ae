"""The verbs: what a part must do to be plugged in. Any object of the right shape will do; nothing needs to be inherited."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from rwmu.records import Batch, Carry, Followed, Noise, Prediction, Rollout, Window


@runtime_checkable
class Dynamics(Protocol):
    """An ensemble of E dynamics models in normalised state space; ``rwmu.dynamics.unroll`` is the loop over its verbs.

    Rows have a leading axis M: 1 where every member sees the same, E where each sees its own. Of a step, the states may have E
    (each member's own are fed back) where the actions have 1. Predictions always have E. What a model carries from call to call
    is a record of its own with ``map``, ``take`` and ``put`` (:class:`~rwmu.records.Carry`); nobody else looks into it.

    A trained model is an ``nn.Module``. Parameters with E as their first axis are clipped member by member, the others as one
    group. What saves work is optional: :class:`UnrollsFast`, :class:`FollowsMembers`.
    """

    num_members: int
    state_dim: int
    action_dim: int
    contact_dim: int

    def initial_carry(self, num_inputs: int, batch: int) -> Carry:
        """Return the carry before any row, for inputs ``[num_inputs, batch, ...]``."""
        ...

    def observe(self, carry: Any, window: Window) -> tuple[Carry, Prediction]:
        """Read true rows (teacher forcing) ``[M, B, T, .]``, all but the last of the window; the last is left to :meth:`step`.

        Returns:
            The carry after row T - 2, read with the action of row T - 1; and what was predicted of rows 1 .. T - 1, each from the
            true rows before it, ``[E, B, T - 1, .]``.
        """
        ...

    def step(self, carry: Any, state: Tensor, action: Tensor) -> tuple[Carry, Prediction]:
        """Read one row, ``state [M, B, D]`` and the action that follows it ``[M, B, A]``; predict the next, ``[E, B, .]``."""
        ...

    def losses(self, batch: Batch, settings: Any, noise: Noise | None = None) -> dict[str, Tensor]:
        """Return every term of the loss of every member, term -> ``[E]``.

        :func:`rwmu.dynamics.losses.member_losses` does it by the verbs above; a model may add terms of its own.

        Args:
            settings: a :class:`~rwmu.dynamics.losses.LossSettings`, whose weights must name the same terms.
        """
        ...


@runtime_checkable
class UnrollsFast(Protocol):
    """What a model may have besides: whole rollouts in fewer calls than the loop needs, with the same results but for rounding."""

    def warm_up(self, window: Window) -> Carry:
        """Return the carry that :meth:`Dynamics.observe` returns, from the beginning."""
        ...

    def unroll(self, window: Window, history: int, feedback: Any, noise: Tensor | None, member: Tensor | None) -> Rollout:
        """Do what :func:`rwmu.dynamics.unroll.unroll` does."""
        ...


@runtime_checkable
class FollowsMembers(Protocol):
    """What a model may have besides: a step that leaves out what imagination never looks at."""

    def follow(self, carry: Any, member: Tensor) -> Carry:
        """Return what of a carry is needed from here on where row b follows member ``member[b]``, ``[B]`` int64."""
        ...

    def step_followed(
        self, carry: Any, state: Tensor, action: Tensor, followed: Followed, spread: bool
    ) -> tuple[Carry, Prediction]:
        """Step from such a carry; contacts, termination and extension are those of the member that a row follows, ``[1, B, .]``.

        Args:
            spread: whether the log standard deviation is wanted; else it may be ``[E, B, 0]``.
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
