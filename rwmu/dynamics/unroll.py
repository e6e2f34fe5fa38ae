"""The autoregressive loop: warm up on a true history, then feed predictions back. Imagination takes single steps of it.

RWM (arXiv:2501.10100v5), Eq. 1, for each member b of RWM-U's ensemble (arXiv:2504.16680v3): with a history of H true rows and the
actions a,

    s'_{t+k} ~ N(mu_b, sigma_b^2)(s_{t-H+1:t}, s'_{t+1:t+k-1}, a_{t-H+2:t+k}),    k = 1 .. K,

where a recurrent base stands for the window: its carry remembers rows that a window of fixed length would drop. What s' the next
step starts from is the ``feedback`` (:func:`feed_back`). Pairs follow the action-time convention of ``rwmu.records``: row t of an
episode is predicted from ``(s_{t-1}, a_t)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from rwmu.dynamics.checks import check_feedback_noise, check_window
from rwmu.interfaces import Dynamics
from rwmu.records import Carry, Features, Followed, Prediction, Rollout, Window, follow

Feedback = Literal["sample", "mean", "ensemble_mean", "member", "truth"]


def predict(
    dynamics: Dynamics, features: Features, state: Tensor, followed: Followed | None = None, spread: bool = True
) -> Prediction:
    """Apply all heads to the features of ``state [M, N, D]``; with ``followed``, those of contact and termination to one member."""
    mean, log_std = dynamics.predict_state(features, state, spread)
    return Prediction(mean, log_std, *dynamics.predict_side(features.side, followed))


def step(
    dynamics: Dynamics, state: Tensor, action: Tensor, carry: Carry, followed: Followed | None = None, spread: bool = True
) -> tuple[Prediction, Carry]:
    """Predict what follows ``state [M, B, D]`` and the action ``[M, B, A]`` taken there.

    Args:
        followed: predict contacts and termination by the member that each row follows alone.
        spread: whether log standard deviations are needed.
    """
    features, carry = dynamics.advance(state, action, carry, followed)
    return predict(dynamics, features, state, followed, spread), carry


@dataclass(frozen=True)
class History:
    """What a model makes of H true rows.

    Attributes:
        features: ``[M', B, H, .]`` after each row. state: ``[M, B, H, D]``, the rows themselves.
        carry: after the last row and the action that follows it.
    """

    features: Features
    state: Tensor
    carry: Carry

    def last(self, number: int) -> History:
        """Keep the last ``number`` rows."""
        kept = slice(self.state.shape[2] - number, None)
        return replace(self, features=self.features.map(lambda tensor: tensor[:, :, kept]), state=self.state[:, :, kept])

    def gather(self, rows: Tensor) -> History:
        """Give each member its rows ``[E, B']`` of a common batch."""
        features = self.features.map(lambda tensor: gather(tensor, rows))
        carry = self.carry.map(lambda tensor: torch.stack([gather(layer, rows) for layer in tensor]))
        return History(features, gather(self.state, rows), carry)

    def predict(self, dynamics: Dynamics) -> Prediction:
        """Predict what follows each row, teacher-forced; returns ``[E, B, H, .]``."""
        rows = self.state.shape[1]
        flat = predict(dynamics, self.features.map(lambda tensor: tensor.flatten(1, 2)), self.state.flatten(1, 2))
        return flat.map(lambda tensor: torch.unflatten(tensor, 1, (rows, -1)))


def gather(tensor: Tensor, rows: Tensor) -> Tensor:
    """Take from ``[M, B, ...]`` (M is 1 or E) the rows ``[E, B']`` of each member: ``[E, B', ...]``."""
    if tensor.shape[0] == 1:
        return tensor[0][rows]
    return tensor[torch.arange(len(rows), device=rows.device).unsqueeze(1), rows]


def encode(dynamics: Dynamics, state: Tensor, action: Tensor, carry: Carry | None = None, last: int | None = None) -> History:
    """Run over true rows ``state [M, B, H, D]``, each with the action that *follows* it ``[M, B, H, A]``.

    Args:
        last: how many of the last rows to keep; None for all.
    """
    if carry is None:
        carry = dynamics.initial_carry(state.shape[0], state.shape[1])
    features, carry = dynamics.sequence(state, action, carry, last)
    return History(features, state if last is None else state[:, :, state.shape[2] - last :], carry)


def warm_up(dynamics: Dynamics, state: Tensor, action: Tensor) -> Carry:
    """Return the carry with which row H of a history can be stepped from.

    Args:
        state, action: ``[M, B, H, .]`` rows of an episode (``action`` produced ``state``), normalised. All rows but the last are
            consumed, each with the action of the next; the last is left to the first :func:`step`.
    """
    if state.shape[2] < 2:
        return dynamics.initial_carry(state.shape[0], state.shape[1])
    return encode(dynamics, state[:, :, :-1], action[:, :, 1:], last=1).carry


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
        raise ValueError("feedback 'truth' feeds nothing back: encode the true rows and predict from them")
    if feedback != "sample":
        raise ValueError(f"feedback {feedback!r} is none of {', '.join(get_args(Feedback))}")
    if noise is None:
        raise ValueError("feedback 'sample' needs standard normal noise")
    return torch.addcmul(mean, log_std.exp(), noise)


def forecast(
    dynamics: Dynamics,
    history: History,
    action: Tensor,
    feedback: Feedback,
    noise: Tensor | None = None,
    member: Tensor | None = None,
    side: Tensor | None = None,
) -> Rollout:
    """Go on from the last row of a history.

    The heads whose outputs are not fed back are applied to all steps at once: those of contact and termination, and that of the
    standard deviation unless samples are fed back.

    Args:
        action: ``[M, B, K - 1, A]``, the actions that follow the predicted rows 1..K-1.
        noise: ``[K, E, B, D]`` for feedback ``sample``.
        side: ``[M', B, K - 1, F]``, features of a separate auxiliary base that has read the truth (training); None lets it read
            what is fed back.
    """
    last = history.last(1)
    features, state = last.features.map(lambda tensor: tensor[:, :, 0]), last.state[:, :, 0]
    carry = history.carry if side is None else Carry(history.carry.state)
    sampling = feedback == "sample"
    means, log_stds, fed, sides, states = [], [], [], [features.side], [features]
    for k in range(action.shape[2] + 1):
        if k:
            features, carry = dynamics.advance(state, action[:, :, k - 1], carry)
            sides.append(features.side if side is None else side[:, :, k - 1])
            states.append(features)
        mean, log_std = dynamics.predict_state(features, state, spread=sampling)
        state = feed_back(mean, log_std, feedback, None if noise is None else noise[k], member)
        means.append(mean)
        log_stds.append(log_std)
        fed.append(state)
    rows = means[0].shape[1]
    stacked = _stack(sides).flatten(1, 2)  # [M', K * B, F]
    contact, termination, extension = dynamics.predict_side(stacked)

    def by_step(outputs: Tensor) -> Tensor:  # [E, K * B, .] -> [K, E, B, .]
        return torch.unflatten(outputs, 1, (len(means), rows)).transpose(0, 1)

    if not sampling:
        at_once = Features(*(_stack([getattr(part, name) for part in states]).flatten(1, 2) for name in ("state", "inputs")))
        log_stds = list(by_step(dynamics.predict_spread(at_once)))
    side_outputs = by_step(contact), by_step(termination)
    further = None if extension is None else by_step(extension)
    return Rollout(torch.stack(means), torch.stack(log_stds), *side_outputs, torch.stack(fed), further)


def _stack(tensors: list[Tensor]) -> Tensor:
    """Stack ``[M, B, F]`` along a step axis, ``[M, K, B, F]``, where M may grow from 1 to E once inputs part."""
    most = max(tensor.shape[0] for tensor in tensors)
    return torch.stack([tensor.expand(most, -1, -1) for tensor in tensors], dim=1)


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

    Raises:
        DataError: names the tensor that does not fit, with the expected and the found shape.
    """
    check_window(dynamics, window, history)
    if noise is not None:
        check_feedback_noise(dynamics, window, history, noise)
    encoded = encode(dynamics, window.state[:, :, :history], window.action[:, :, 1 : history + 1], last=1)
    return forecast(dynamics, encoded, window.action[:, :, history + 1 :], feedback, noise, member)
