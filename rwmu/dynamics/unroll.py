"""The autoregressive loop: warm up on a true history, then feed predictions back. Imagination takes single steps of it.

RWM (arXiv:2501.10100v5), Eq. 1, for each member b of RWM-U's ensemble (arXiv:2504.16680v3): with a history of H true rows and the
actions a,

    s'_{t+k} ~ N(mu_b, sigma_b^2)(s_{t-H+1:t}, s'_{t+1:t+k-1}, a_{t-H+2:t+k}),    k = 1 .. K,

where the carry stands for the window: a recurrent model's remembers rows that a window of fixed length would drop. What s' the next
step starts from is the ``feedback`` (:func:`feed_back`). Pairs follow the action-time convention of ``rwmu.records``: row t of an
episode is predicted from ``(s_{t-1}, a_t)``.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from rwmu.dynamics.checks import check_window, refuse_shape
from rwmu.interfaces import Dynamics, UnrollsFast
from rwmu.records import Carry, Prediction, Rollout, Window, follow

Feedback = Literal["sample", "mean", "ensemble_mean", "member", "truth"]


def unroll(
    dynamics: Dynamics,
    window: Window,
    history: int,
    feedback: Feedback = "ensemble_mean",
    noise: Tensor | None = None,
    member: Tensor | None = None,
) -> Rollout:
    """Predict rows H..T-1 of a window from its first H rows and all its actions, the fastest way that the model knows.

    Args:
        window: ``[M, B, T, .]``, normalised; M is 1 where every member sees the same rows.
        history: H, at least 1.
        feedback, noise, member: see :func:`feed_back`; ``noise`` is ``[K, E, B, D]``.

    Returns:
        A rollout of K = T - H steps.

    Raises:
        DataError: names the tensor that does not fit, with the expected and the found shape.
    """
    check_window(dynamics, window, history)
    if noise is not None:
        refuse_shape("noise", noise, (window.length - history, dynamics.num_members, window.state.shape[1], dynamics.state_dim))
    if isinstance(dynamics, UnrollsFast):
        return dynamics.unroll(window, history, feedback, noise, member)
    return unroll_by_steps(dynamics, window, history, feedback, noise, member)


def unroll_by_steps(
    dynamics: Dynamics,
    window: Window,
    history: int,
    feedback: Feedback = "ensemble_mean",
    noise: Tensor | None = None,
    member: Tensor | None = None,
) -> Rollout:
    """Do what :func:`unroll` does by the verbs that every model has."""
    carry = warm_up(dynamics, window.map(lambda tensor: tensor[:, :, :history]))
    return forecast(dynamics, carry, window.state[:, :, history - 1], window.action[:, :, history:], feedback, noise, member)


def forecast(
    dynamics: Dynamics,
    carry: Carry,
    state: Tensor,
    action: Tensor,
    feedback: Feedback,
    noise: Tensor | None = None,
    member: Tensor | None = None,
) -> Rollout:
    """Go on from a warm carry and the last true row, ``state [M, B, D]``, with the actions ``[M, B, K, A]`` that follow."""
    predictions, fed = [], []
    for k in range(action.shape[2]):
        carry, prediction = dynamics.step(carry, state, action[:, :, k])
        state = feed_back(prediction.mean, prediction.log_std, feedback, None if noise is None else noise[k], member)
        predictions.append(prediction)
        fed.append(state)
    return Rollout.of(predictions, fed)


def warm_up(dynamics: Dynamics, window: Window) -> Carry:
    """Return the carry with which the last row of a history can be stepped from.

    Args:
        window: ``[M, B, H, .]`` true rows, normalised. All but the last are consumed, each with the action of the next.
    """
    if isinstance(dynamics, UnrollsFast):
        return dynamics.warm_up(window)
    return dynamics.observe(dynamics.initial_carry(*window.state.shape[:2]), window)[0]


def predict_rows(dynamics: Dynamics, window: Window, history: int) -> Prediction:
    """Predict each of the rows H..T-1 of ``window [M, B, T, .]`` from the true rows before it; returns ``[E, B, T - H, .]``."""
    carry = warm_up(dynamics, window.map(lambda tensor: tensor[:, :, :history]))
    return dynamics.observe(carry, window.map(lambda tensor: tensor[:, :, history - 1 :]))[1]


def feed_back(
    mean: Tensor, log_std: Tensor, feedback: Feedback, noise: Tensor | None = None, member: Tensor | None = None
) -> Tensor:
    """Return the state ``[M, B, D]`` that the next step starts from, given means and log standard deviations ``[E, B, D]``.

    Args:
        feedback: ``sample`` (each member its own reparameterised sample, as the papers train; needs ``noise [E, B, D]``), ``mean``
            (each member its own mean), ``ensemble_mean`` (all the members' mean, as the published evaluation), ``member`` (each row
            follows ``member [B]``, as the published imagination; the trajectories TS-infinity of PETS, arXiv:1805.12114).

    Raises:
        ValueError: the feedback is none of these, or lacks what it needs.
    """
    if feedback == "mean":
        return mean
    if feedback == "ensemble_mean":
        return mean.mean(dim=0, keepdim=True)
    if feedback == "member":
        if member is None:
            raise ValueError("feedback 'member' needs the member that each row follows")
        return follow(mean, member)
    if feedback == "truth":
        raise ValueError("feedback 'truth' feeds nothing back: predict each row from the true ones")
    if feedback != "sample":
        raise ValueError(f"feedback {feedback!r} is none of {', '.join(get_args(Feedback))}")
    if noise is None:
        raise ValueError("feedback 'sample' needs standard normal noise")
    return torch.addcmul(mean, log_std.exp(), noise)
