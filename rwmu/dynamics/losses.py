"""Training losses of a world model: pure functions, and a dict of named terms.

State losses are sums over state dimensions; every term is a mean over batch rows, steps (weighted by alpha^k) and members, in every
mode, so that switching the mode does not change the scale of the others. Per member, ``[E]``, before that last mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import BeforeValidator
from torch import Tensor
from torch.nn import functional

from rwmu.dynamics.checks import check_batch, check_noise
from rwmu.dynamics.unroll import forecast, warm_up
from rwmu.errors import ConfigError
from rwmu.interfaces import Dynamics
from rwmu.records import Batch, Noise, Prediction, Rollout, Window, gather
from rwmu.settings import Count, Fraction, NotNegative, WholeNumber, settings

TERMS = ("state", "history", "bound", "contact", "termination")
EXTENSION = "extension"  # a further term, of models that predict an extension
KL = "kl"  # a further term, of models with latents

StateLoss = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def gaussian_nll(mean: Tensor, log_std: Tensor, target: Tensor, noise: Tensor | None = None) -> Tensor:
    """Return the negative log-likelihood under N(mean, exp(log_std)^2), summed over dimensions: ``[..., D] -> [...]``."""
    return _nll_by_dimension(mean, log_std, target).sum(-1)


def squared_error(mean: Tensor, log_std: Tensor, target: Tensor, noise: Tensor | None = None) -> Tensor:
    """Return the squared error of the mean, summed over dimensions; sigma gets no gradient."""
    return (target - mean).square().sum(-1)


def sampled_squared_error(mean: Tensor, log_std: Tensor, target: Tensor, noise: Tensor | None = None) -> Tensor:
    """Return the squared error of a reparameterised sample, summed over dimensions, as published.

    Its expectation is the squared error of the mean plus sigma^2, whose optimum is sigma = 0: it teaches no uncertainty.
    """
    if noise is None:
        raise ValueError("the squared error of a sample needs standard normal noise")
    return (target - torch.addcmul(mean, log_std.exp(), noise)).square().sum(-1)


def beta_nll(mean: Tensor, log_std: Tensor, target: Tensor, noise: Tensor | None = None, beta: float = 0.5) -> Tensor:
    """Return the NLL of each dimension weighted by sigma^(2 beta), which is not differentiated (Seitzer et al., arXiv:2203.09168).

    At beta 0 it is the NLL; at 1 the mean is learnt as under the squared error, however large sigma is.
    """
    weight = torch.exp(2.0 * beta * log_std.detach())
    return (weight * _nll_by_dimension(mean, log_std, target)).sum(-1)


def _nll_by_dimension(mean: Tensor, log_std: Tensor, target: Tensor) -> Tensor:
    return log_std + 0.5 * ((target - mean) * torch.exp(-log_std)).square() + 0.5 * math.log(2.0 * math.pi)


STATE_LOSSES: dict[str, StateLoss] = {
    "gaussian_nll": gaussian_nll,
    "sampled_squared_error": sampled_squared_error,
    "squared_error": squared_error,
    "beta_nll": beta_nll,
}


def _without_null(weights: Mapping[str, float | None]) -> dict[str, float]:
    """Leave out the terms that a model or its data do not have."""
    return {name: weight for name, weight in weights.items() if weight is not None}


@settings("trainer.loss")
class LossSettings:
    """How a batch of windows becomes a loss.

    Attributes:
        history: H. The forecast K is what remains of the windows.
        weights: one weight a term: those of ``TERMS``, and any that the model adds (``extension``, or ``kl`` of an RSSM). A
            weight of 0 for ``history`` leaves the history unscored by any head, as published.
        state_loss: a name of ``STATE_LOSSES``.
        beta: of ``beta_nll``.
        decay: alpha. Forecast step k = 0 .. K-1 weighs alpha^k / sum_j alpha^j: RWM's Eq. 2 (arXiv:2501.10100v5) up to a constant
            factor, which keeps the scale of the loss where alpha is changed.
        feedback: what is fed back, ``sample`` (as published), ``mean``, or ``truth`` (teacher forcing, for comparison).
        history_burn_in: history rows whose one-step predictions are not scored, the carry being still cold.
    """

    history: Count
    weights: Annotated[Mapping[str, NotNegative], BeforeValidator(_without_null)]
    state_loss: Literal["gaussian_nll", "sampled_squared_error", "squared_error", "beta_nll"] = "gaussian_nll"
    beta: Fraction = 0.5
    decay: Fraction = 1.0
    feedback: Literal["sample", "mean", "truth"] = "mean"
    history_burn_in: WholeNumber = 4

    def __post_init__(self) -> None:
        if missing := set(TERMS) - set(self.weights):
            raise ConfigError(f"trainer.loss.weights has no weight for {', '.join(sorted(missing))}, which every loss has.")
        most = max(0, self.history - (2 if self.weights["history"] else 1))
        if self.history_burn_in > most:
            raise ConfigError(
                f"trainer.loss.history_burn_in is {self.history_burn_in}, but must be in 0..{most} with {self.history} rows of "
                "history: beyond, none of them is scored; trainer.loss.weights.history=0 says that none shall be."
            )

    @property
    def loss(self) -> StateLoss:
        """Return the state loss as a function of mean, log standard deviation, target and noise."""
        return partial(beta_nll, beta=self.beta) if self.state_loss == "beta_nll" else STATE_LOSSES[self.state_loss]

    @property
    def scored_history(self) -> int:
        """Return R, how many rows of the history are scored before the first forecast step."""
        return self.history - self.history_burn_in - 1 if self.weights["history"] else 0

    def scored_rows(self, forecast: int) -> float:
        """Return how many rows of a window the contact and termination heads are scored on, in units of its last row's weight.

        With a decay the last row, where terminations are, weighs less than the others; infinite if it weighs nothing.
        """
        last = self.decay ** (forecast - 1)
        rows = self.scored_history + sum(self.decay**k for k in range(forecast))
        return rows / last if last > 0.0 else math.inf

    @property
    def needs_sample(self) -> bool:
        """Return whether the state loss is that of a sample."""
        return self.state_loss == "sampled_squared_error"


Predictor = Callable[[Batch, LossSettings, Noise], tuple[Prediction | None, Rollout]]


def member_losses(
    dynamics: Dynamics,
    batch: Batch | Window,
    settings: LossSettings,
    noise: Noise | None = None,
    predict: Predictor | None = None,
) -> dict[str, Tensor]:
    """Return every term of every member: the summands of RWM's objective (arXiv:2501.10100v5, Eq. 2) for each.

    Args:
        batch: windows ``[M, B, H + K, .]``, normalised.
        noise: see :class:`~rwmu.records.Noise`; needed for feedback ``sample`` and for the sampled squared error.
        predict: the model's own way of making the predictions that are scored; None for :func:`predict_batch`.

    Returns:
        term -> ``[E]``.
    """
    batch = batch if isinstance(batch, Batch) else Batch(batch)
    check_batch(dynamics, batch, settings.history)
    noise = noise or Noise()
    check_noise(dynamics, batch, noise, batch.window.length - settings.history, settings.scored_history)
    predict = predict or partial(predict_batch, dynamics)
    return _scores(dynamics, batch, settings, noise, *predict(batch, settings, noise))


def predict_batch(dynamics: Dynamics, batch: Batch, settings: LossSettings, noise: Noise) -> tuple[Prediction | None, Rollout]:
    """Predict by the verbs that every model has.

    Returns:
        The one-step predictions of the scored history ``[E, B', R, .]``, None if it is not scored, and the forecast.
    """
    window, history = batch.own_windows(), settings.history
    first = history - settings.scored_history  # the first row to be scored
    carry = warm_up(dynamics, window.map(lambda tensor: tensor[:, :, :first]))
    if settings.feedback == "truth":
        _, predicted = dynamics.observe(carry, window.map(lambda tensor: tensor[:, :, first - 1 :]))
        return split_taught(predicted, settings.scored_history)
    taught = None
    if settings.scored_history:
        carry, taught = dynamics.observe(carry, window.map(lambda tensor: tensor[:, :, first - 1 : history]))
    last, ahead = window.state[:, :, history - 1], window.action[:, :, history:]
    return taught, forecast(dynamics, carry, last, ahead, settings.feedback, noise.feedback)


def split_taught(predicted: Prediction, scored_history: int) -> tuple[Prediction | None, Rollout]:
    """Take teacher-forced predictions ``[E, B', R + K, .]`` for those of the history and a forecast."""
    ahead = predicted.map(lambda tensor: tensor[:, :, scored_history:].movedim(2, 0))
    rollout = Rollout(ahead.mean, ahead.log_std, ahead.contact, ahead.termination, ahead.mean, ahead.extension)
    return (predicted.map(lambda tensor: tensor[:, :, :scored_history]) if scored_history else None), rollout


def _scores(
    dynamics: Dynamics, batch: Batch, settings: LossSettings, noise: Noise, taught: Prediction | None, rollout: Rollout
) -> dict[str, Tensor]:
    first = settings.history - settings.scored_history
    window = batch.window.map(lambda tensor: tensor[:, :, first:])
    if batch.rows is not None:
        rows = batch.rows
        window = window.map(lambda tensor: gather(tensor, rows))
    scored, ahead = slice(settings.scored_history), slice(settings.scored_history, None)
    steps = decay_weights(rollout.mean.shape[0], settings.decay, rollout.mean)

    def mean_of_rows(losses: Tensor) -> Tensor:  # [..., E, B'] -> [..., E]; weights are 1 on average, so not divided by
        return (losses if batch.weight is None else losses * batch.weight).mean(-1)

    def targets(name: str, like: Tensor) -> Tensor:  # [K, M, B', .] -> [K, E, B', .]
        target: Tensor = getattr(window, name)
        return target[:, :, ahead].movedim(2, 0).to(like.dtype).expand_as(like)

    def forecast_loss(losses: Tensor) -> Tensor:  # [K, E, B'] -> [E]
        return (steps / steps.sum()) @ mean_of_rows(losses)

    def side_loss(name: str, score: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Score the taught rows and the forecast alike: a head that reads true rows is not a matter of how far ahead."""
        logits = getattr(rollout, name)
        by_step, weights = mean_of_rows(score(logits, targets(name, logits))), steps  # [K, E]
        if taught is not None:
            known = getattr(taught, name).movedim(2, 0)  # [R, E, B', .]
            truth = getattr(window, name)[:, :, scored].movedim(2, 0).to(known.dtype).expand_as(known)
            by_step = torch.cat([mean_of_rows(score(known, truth)), by_step])
            weights = torch.cat([steps.new_ones(len(known)), steps])
        return (weights / weights.sum()) @ by_step

    members = rollout.mean.shape[1]
    state = settings.loss(rollout.mean, rollout.log_std, targets("state", rollout.mean), noise.loss)
    losses = {
        "state": forecast_loss(state),
        "history": rollout.mean.new_zeros(members),
        "bound": _bound(dynamics, members, rollout.mean),
        "contact": side_loss("contact", _binary_cross_entropy),
        "termination": side_loss("termination", _binary_cross_entropy),
    }
    if taught is not None:
        mean, log_std = taught.mean.movedim(2, 0), taught.log_std.movedim(2, 0)
        target = window.state[:, :, scored].movedim(2, 0).expand_as(mean)
        losses["history"] = mean_of_rows(settings.loss(mean, log_std, target, noise.history)).mean(0)
    if rollout.extension is not None:
        losses[EXTENSION] = side_loss(EXTENSION, lambda predicted, truth: (predicted - truth).square().sum(-1))
    return losses


def decay_weights(steps: int, decay: float, like: Tensor) -> Tensor:
    """Return ``[K]``, alpha^k for the forecast steps k = 0..K-1."""
    return decay ** torch.arange(steps, device=like.device, dtype=like.dtype)


def _binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the binary cross-entropy, averaged over flags: ``[..., C] -> [...]``; 0 where there is no flag."""
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return entropy.mean(-1) if entropy.shape[-1] else entropy.sum(-1)


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
        raise ConfigError(f"The loss has the terms {sorted(losses)}, but trainer.loss.weights names {sorted(weights)}.")
    return torch.stack([weights[name] * loss.mean() for name, loss in losses.items()]).sum()
