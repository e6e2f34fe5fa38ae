"""THE autoregressive loop: warm up on a true history, then feed predictions back. Training, evaluation and imagination all use it.

Pairs follow the action-time convention of ``rwmu.records``: row t of an episode is predicted from ``(s_{t-1}, a_t)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rwmu.interfaces import Dynamics
from rwmu.records import Carry, Prediction, Rollout, Window, follow

Feedback = Literal["sample", "mean", "ensemble_mean", "member"]


@dataclass(frozen=True)
class History:
    """What a model makes of H true rows.

    Attributes:
        features, auxiliary_features: ``[M, B, H, F]`` after each row, ready for the heads.
        state: ``[M, B, H, D]``, the rows themselves.
        carry: after the last row and the action that follows it.
    """

    features: Tensor
    auxiliary_features: Tensor
    state: Tensor
    carry: Carry

    def predict(self, dynamics: Dynamics, rows: slice) -> Prediction:
        """Predict what follows each of ``rows``, teacher-forced; returns ``[E, B * rows, ...]``, rows fastest."""
        flat = [tensor[:, :, rows].flatten(1, 2) for tensor in (self.features, self.auxiliary_features, self.state)]
        return dynamics.predict(*flat)


def encode(dynamics: Dynamics, state: Tensor, action: Tensor, carry: Carry | None = None) -> History:
    """Run over true rows ``state [M, B, H, D]``, each with the action that *follows* it ``[M, B, H, A]``."""
    if carry is None:
        carry = dynamics.initial_carry(state.shape[0], state.shape[1])
    features, auxiliary_features, carry = dynamics.sequence(state, action, carry)
    return History(features, auxiliary_features, state, carry)


def warm_up(dynamics: Dynamics, state: Tensor, action: Tensor) -> Carry:
    """Return the carry with which row H of a history can be stepped from.

    Args:
        state, action: ``[M, B, H, .]`` rows of an episode (``action`` produced ``state``), normalised. All rows but the last are
            consumed, each with the action of the next; the last is left to the first :meth:`Dynamics.step`.
    """
    if state.shape[2] < 2:
        return dynamics.initial_carry(state.shape[0], state.shape[1])
    return encode(dynamics, state[:, :, :-1], action[:, :, 1:]).carry


def feed_back(prediction: Prediction, feedback: Feedback, noise: Tensor | None = None, member: Tensor | None = None) -> Tensor:
    """Return the state ``[M, B, D]`` that the next step starts from.

    Args:
        feedback: ``sample`` (each member its own reparameterised sample; needs ``noise [E, B, D]``), ``mean`` (each member its
            own mean), ``ensemble_mean`` (all the members' mean, as the published evaluation), ``member`` (each row follows
            ``member [B]``).
    """
    if feedback == "mean":
        return prediction.mean
    if feedback == "ensemble_mean":
        return prediction.mean.mean(dim=0, keepdim=True)
    if feedback == "member":
        if member is None:
            raise ValueError("feedback 'member' needs the member that each row follows")
        return follow(prediction.mean, member)
    if noise is None:
        raise ValueError("feedback 'sample' needs standard normal noise")
    return torch.addcmul(prediction.mean, prediction.log_std.exp(), noise)


def forecast(
    dynamics: Dynamics,
    first: Prediction,
    carry: Carry,
    action: Tensor,
    feedback: Feedback,
    noise: Tensor | None = None,
    member: Tensor | None = None,
    true_state: Tensor | None = None,
) -> Rollout:
    """Go on from a first prediction.

    Args:
        first: what follows the history's last row.
        carry: after that row.
        action: ``[M, B, K - 1, A]``, the actions that follow the predicted rows 1..K-1.
        noise: ``[K, E, B, D]`` for feedback ``sample``.
        true_state: ``[M, B, K - 1, D]``, consumed by a separate auxiliary base in training.
    """
    predictions, fed = [first], [feed_back(first, feedback, None if noise is None else noise[0], member)]
    for k in range(action.shape[2]):
        prediction, carry = dynamics.step(fed[-1], action[:, :, k], carry, None if true_state is None else true_state[:, :, k])
        predictions.append(prediction)
        fed.append(feed_back(prediction, feedback, None if noise is None else noise[k + 1], member))
    return Rollout.stack(predictions, fed)


def unroll(
    dynamics: Dynamics,
    window: Window,
    history: int,
    feedback: Feedback = "ensemble_mean",
    noise: Tensor | None = None,
    member: Tensor | None = None,
) -> Rollout:
    """Predict rows H..T-1 of a window from its first H rows and all its actions.

    Args:
        window: ``[M, B, T, .]``, normalised; M is 1 where every member sees the same rows.
        history: H, at least 1.

    Returns:
        A rollout of K = T - H steps.
    """
    if not 1 <= history < window.length:
        raise ValueError(f"a window of {window.length} rows has no forecast after a history of {history}")
    encoded = encode(dynamics, window.state[:, :, :history], window.action[:, :, 1 : history + 1])
    first = encoded.predict(dynamics, slice(history - 1, history))
    return forecast(dynamics, first, encoded.carry, window.action[:, :, history + 1 :], feedback, noise, member)
