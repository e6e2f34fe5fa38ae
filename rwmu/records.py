"""The nouns: named records of tensors that travel between the rooms of the house.

Letters, used in every shape of the package:

====  =====================================================================
E     ensemble members
B     batch rows, or parallel environments
T     time steps (rows of an episode)
H     history steps fed as ground truth (the papers' M)
K     forecast steps predicted autoregressively (the papers' N)
D     state dimensions
A     action dimensions
C     contact flags
====  =====================================================================

Members come first: ``[E, B, D]``.

**The action-time convention, stated once.** Row ``t`` holds the state ``s_t``, the action ``a_t`` that *produced* it, the
contacts of ``s_t``, and whether the episode terminated on reaching ``s_t``. So a one-step example is
``(s_t, a_{t+1}) -> s_{t+1}``; the action of an episode's first row produced nothing and is zero. The command of row ``t`` is the
one in force when ``a_{t+1}`` was chosen, and the reward of row ``t`` is the one received on reaching ``s_t``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor


class _TensorRecord:
    """Give a dataclass of tensors the few operations that apply to all of them at once."""

    def map(self, function: Any) -> Self:
        """Apply ``function`` to every tensor of the record, leaving absent ones absent."""
        changes = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return replace(self, **{name: function(value) for name, value in changes.items() if value is not None})  # type: ignore[type-var]

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move or cast every tensor of the record, as ``Tensor.to``."""
        return self.map(lambda tensor: tensor.to(*args, **kwargs))

    def detach(self) -> Self:
        """Cut every tensor of the record from the graph."""
        return self.map(lambda tensor: tensor.detach())


@dataclass(frozen=True)
class Window(_TensorRecord):
    """Consecutive rows of one episode, leading axes free (``[B]``, or ``[E, B]`` where members see different rows).

    Attributes:
        state: ``[..., T, D]``, in the units of the layout, or normalised where a function says so.
        action: ``[..., T, A]``, the action that produced the state of the same row.
        contact: ``[..., T, C]``, 0 or 1.
        termination: ``[..., T, 1]``, 1 where the episode terminated on reaching the row.
    """

    state: Tensor
    action: Tensor
    contact: Tensor
    termination: Tensor

    @property
    def length(self) -> int:
        """Return the number of rows T."""
        return self.state.shape[-2]


@dataclass(frozen=True)
class Carry(_TensorRecord):
    """The explicit recurrent state of a dynamics model; it goes into and comes out of every call.

    Attributes:
        state: ``[L, M, B, W]`` hidden state of the state base (L layers, W units); M is E where members have their own
            bases or their own inputs, else 1.
        auxiliary: the same of a separate auxiliary base (contacts, termination), or None where the heads share one base.
    """

    state: Tensor
    auxiliary: Tensor | None = None


@dataclass(frozen=True)
class Prediction(_TensorRecord):
    """What every member predicts for the next row, in normalised state space.

    Attributes:
        mean: ``[E, B, D]``, mean of the next state.
        log_std: ``[E, B, D]``, logarithm of its aleatoric standard deviation.
        contact: ``[E, B, C]``, logits.
        termination: ``[E, B, 1]``, logits.
    """

    mean: Tensor
    log_std: Tensor
    contact: Tensor
    termination: Tensor

    @property
    def num_members(self) -> int:
        """Return E."""
        return self.mean.shape[0]

    def follow(self, member: Tensor) -> Prediction:
        """Return the prediction of one member a row, as ``[1, B, ...]``; ``member`` is ``[B]`` of int64."""
        return self.map(lambda tensor: follow(tensor, member))


def follow(tensor: Tensor, member: Tensor) -> Tensor:
    """Pick from ``[E, B, X]`` the member ``member[b]`` of each row b; returns ``[1, B, X]``."""
    if tensor.shape[0] == 1:
        return tensor
    index = member.view(1, -1, 1).expand(1, -1, tensor.shape[-1])
    return tensor.gather(0, index)


@dataclass(frozen=True)
class Rollout(_TensorRecord):
    """K autoregressive predictions, stacked along a leading time axis.

    Attributes:
        mean, log_std: ``[K, E, B, D]``, normalised.
        contact: ``[K, E, B, C]`` logits. termination: ``[K, E, B, 1]`` logits.
        feedback: ``[K, M, B, D]``, the normalised state that was fed back after each step (M is E or 1).
    """

    mean: Tensor
    log_std: Tensor
    contact: Tensor
    termination: Tensor
    feedback: Tensor

    @classmethod
    def stack(cls, predictions: list[Prediction], feedback: list[Tensor]) -> Rollout:
        """Stack one prediction and one fed-back state a step."""
        names = [f.name for f in fields(Prediction)]
        stacked = {name: torch.stack([getattr(prediction, name) for prediction in predictions]) for name in names}
        return cls(**stacked, feedback=torch.stack(feedback))

    def at(self, k: int) -> Prediction:
        """Return the prediction of step ``k`` (0 is the first step after the history)."""
        return Prediction(self.mean[k], self.log_std[k], self.contact[k], self.termination[k])


@dataclass(frozen=True)
class Reward:
    """One step's reward of a batch of environments.

    Attributes:
        total: ``[B]``, the sum of weight x term x step duration.
        terms: name -> ``[B]``, unweighted and not multiplied by the step duration.
    """

    total: Tensor
    terms: dict[str, Tensor]
