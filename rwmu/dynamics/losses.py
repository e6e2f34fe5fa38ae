"""Training losses of a world model: pure functions, and a dict of named terms.

State losses are sums over state dimensions; every term is a mean over batch rows, steps (weighted by alpha^k) and members, in every
mode, so that switching the mode does not change the scale of the others. Per member, ``[E]``, before that last mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rwmu.dynamics.unroll import Feedback, encode, forecast
from rwmu.errors import ConfigError
from rwmu.interfaces import Dynamics
from rwmu.records import Window

TERMS = ("state", "history", "bound", "contact", "termination")


def gaussian_nll(mean: Tensor, log_std: Tensor, target: Tensor, noise: Tensor | None = None) -> Tensor:
    """Return the negative log-likelihood under N(mean, exp(log_std)^2), summed over dimensions: ``[..., D] -> [...]``."""
    return (log_std + 0.5 * ((target - mean) * torch.exp(-log_std)).square()).sum(-1) + 0.5 * math.log(2 * math.pi) * mean.shape[-1]


def squared_error(mean: Tensor, log_std: Tensor, target: Tensor, noise: Tensor | None = None) -> Tensor:
    """Return the squared error of the mean, summed over dimensions; sigma gets no gradient."""
    return (target - mean).square().sum(-1)


StateLoss = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
STATE_LOSSES: dict[str, StateLoss] = {"gaussian_nll": gaussian_nll, "squared_error": squared_error}


@dataclass(frozen=True)
class LossSettings:
    """How a batch of windows becomes a loss.

    Attributes:
        history: H. The forecast K is what remains of the windows.
        state_loss: a name of ``STATE_LOSSES``.
        weights: one weight a term of ``TERMS``.
        decay: alpha, the weight of forecast step k being alpha^k (RWM, Eq. 3).
        feedback: what is fed back, ``sample`` (as published) or ``mean``.
        history_burn_in: history rows whose one-step predictions are not scored, the carry being still cold.
    """

    history: int
    weights: Mapping[str, float]
    state_loss: str = "gaussian_nll"
    decay: float = 1.0
    feedback: Feedback = "mean"
    history_burn_in: int = 4

    def __post_init__(self) -> None:
        if set(self.weights) != set(TERMS):
            raise ConfigError(f"dynamics.loss.weights names {sorted(self.weights)}, but the loss has the terms {sorted(TERMS)}.")
        if self.state_loss not in STATE_LOSSES:
            raise ConfigError(f"dynamics.loss.state_loss is '{self.state_loss}', but must be one of {sorted(STATE_LOSSES)}.")
        if self.feedback not in ("sample", "mean"):
            raise ConfigError(f"dynamics.loss.feedback is '{self.feedback}', but must be 'sample' or 'mean'.")
        if not 0 <= self.history_burn_in < self.history:
            raise ConfigError(f"dynamics.loss.history_burn_in is {self.history_burn_in}, but must be in 0..{self.history - 1}.")


def _step_weights(steps: int, decay: float, like: Tensor) -> Tensor:
    weights = decay ** torch.arange(steps, device=like.device, dtype=like.dtype)
    return weights / weights.sum()


def member_losses(dynamics: Dynamics, window: Window, settings: LossSettings, noise: Tensor | None = None) -> dict[str, Tensor]:
    """Return every term of every member.

    Args:
        window: ``[M, B, H + K, .]``, normalised; M is E where members have rows of their own, else 1.
        noise: ``[K, E, B, D]`` standard normal draws, for feedback ``sample``.

    Returns:
        term -> ``[E]``.
    """
    state_loss = STATE_LOSSES[settings.state_loss]
    history, burn_in = settings.history, settings.history_burn_in
    steps = window.length - history
    encoded = encode(dynamics, window.state[:, :, :history], window.action[:, :, 1 : history + 1])
    members, rows, dim = dynamics.num_members, window.state.shape[1], window.state.shape[-1]

    # One-step predictions of history rows burn_in + 1 .. H, the last of which is the first forecast step.
    taught = encoded.predict(dynamics, slice(burn_in, history)).map(lambda tensor: tensor.unflatten(1, (rows, -1)))
    first = taught.map(lambda tensor: tensor[:, :, -1])
    rollout = forecast(
        dynamics,
        first,
        encoded.carry,
        window.action[:, :, history + 1 :],
        settings.feedback,
        noise,
        true_state=window.state[:, :, history:-1],
    )
    weights = _step_weights(steps, settings.decay, rollout.mean)
    target = window.state[:, :, history:].movedim(2, 0)  # [K, M, B, D]
    per_step = state_loss(rollout.mean, rollout.log_std, target.expand(steps, members, rows, dim), None).mean(-1)  # [K, E]
    history_target = window.state[:, :, burn_in + 1 : history + 1]

    # The auxiliary heads are scored on the teacher-forced rows and on the forecast alike.
    contact = torch.cat([taught.contact, rollout.contact[1:].movedim(0, 2)], dim=2)  # [E, B, H - burn_in + K - 1, C]
    termination = torch.cat([taught.termination, rollout.termination[1:].movedim(0, 2)], dim=2)
    scored = slice(burn_in + 1, None)
    return {
        "state": weights @ per_step,
        "history": state_loss(taught.mean, taught.log_std, history_target.expand_as(taught.mean), None).mean((1, 2)),
        "bound": _bound(dynamics, members, rollout.mean),
        "contact": _binary_cross_entropy(contact, window.contact[:, :, scored]),
        "termination": _binary_cross_entropy(termination, window.termination[:, :, scored]),
    }


def _binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of each member, ``[E]``."""
    target = target.to(logits.dtype).expand_as(logits)
    return functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((1, 2, 3))


def _bound(dynamics: Dynamics, members: int, like: Tensor) -> Tensor:
    """Return the mean gap between the bounds of the log standard deviation, ``[E]`` (0 for a model without such bounds)."""
    head = getattr(dynamics, "state_head", None)
    if head is None:
        return like.new_zeros(members)
    gap: Tensor = head.log_delta_log_std.exp().mean((1, 2))
    return gap


def total_loss(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Return the weighted sum of all terms, each the mean over members."""
    if set(losses) != set(weights):
        raise ConfigError(f"The loss has the terms {sorted(losses)}, but weights are given for {sorted(weights)}.")
    return torch.stack([weights[name] * loss.mean() for name, loss in losses.items()]).sum()
