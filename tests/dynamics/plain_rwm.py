"""A plain single RWM (arXiv:2501.10100), written as simply as possible: torch.nn.GRU, nn.Sequential heads, an explicit loop.

What the ensembles at size 1 are compared with. Nothing of ``rwmu`` is used but the records in which results travel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from rwmu.dynamics.recurrent_rollout import RecurrentCarry
from rwmu.records import Followed, Prediction, Window


@dataclass(frozen=True)
class Step:
    """What is predicted from one row: ``[B, .]`` each, and the hidden state ``[L, B, W]``."""

    mean: Tensor
    log_std: Tensor
    contact: Tensor
    termination: Tensor
    hidden: Tensor


class PlainRWM(nn.Module):
    """One GRU, and a perceptron for each of mean, log standard deviation, contacts and termination."""

    def __init__(
        self, state_dim: int, action_dim: int, contact_dim: int, hidden_size: int, num_layers: int, head_hidden_size: int
    ) -> None:
        super().__init__()
        inputs = state_dim + action_dim

        def head(outputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(hidden_size + inputs, head_hidden_size), nn.ReLU(), nn.Linear(head_hidden_size, outputs))

        self.gru = nn.GRU(inputs, hidden_size, num_layers, batch_first=True)
        self.mean, self.log_std = head(state_dim), head(state_dim)
        self.contact, self.termination = head(contact_dim), head(1)
        self.low = nn.Parameter(torch.zeros(1, state_dim), requires_grad=False)
        self.log_range = nn.Parameter(torch.zeros(1, state_dim), requires_grad=False)

    def forward(self, state: Tensor, action: Tensor, hidden: Tensor | None = None) -> Step:
        row = torch.cat([state, action], dim=-1)
        output, hidden = self.gru(row.unsqueeze(1), hidden)
        features = torch.cat([output[:, 0], row], dim=-1)
        high = self.low + self.log_range.exp()
        log_std = high - softplus(high - self.log_std(features))
        log_std = self.low + softplus(log_std - self.low)
        return Step(state + self.mean(features), log_std, self.contact(features), self.termination(features), hidden)


def pairs(plain: PlainRWM, ensemble: Any) -> Iterator[tuple[str, nn.Parameter, nn.Parameter]]:
    """Yield name, plain parameter, and the ensemble's of the same meaning, which has a leading axis of 1."""
    base, state_head = ensemble.state_base, ensemble.state_head
    for layer in range(plain.gru.num_layers):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            yield f"{name}_l{layer}", getattr(plain.gru, f"{name}_l{layer}"), getattr(base, name)[layer]
    heads = {
        "mean": (plain.mean, state_head.mean),
        "log_std": (plain.log_std, state_head.log_std),
        "contact": (plain.contact, ensemble.contact_head),
        "termination": (plain.termination, ensemble.termination_head),
    }
    for name, (own, other) in heads.items():
        yield f"{name}.weight_hidden", own[0].weight, other.weight_hidden
        yield f"{name}.bias_hidden", own[0].bias, other.bias_hidden
        yield f"{name}.weight_output", own[2].weight, other.weight_output
        yield f"{name}.bias_output", own[2].bias, other.bias_output
    yield "low", plain.low, state_head.min_log_std
    yield "log_range", plain.log_range, state_head.log_delta_log_std


def plain_copy(ensemble: Any, sizes: dict[str, int]) -> PlainRWM:
    """Return a plain model with the weights of an ensemble of one."""
    plain = PlainRWM(ensemble.state_dim, ensemble.action_dim, ensemble.contact_dim, **sizes).to(
        ensemble.state_head.mean.bias_output
    )
    with torch.no_grad():
        for _, own, other in pairs(plain, ensemble):
            own.copy_(other[0])
    return plain


def plain_rollout(model: PlainRWM, state: Tensor, action: Tensor, history: int) -> list[Step]:
    """Predict rows ``history ..`` of ``action [B, T, A]``, feeding back means, after reading the true ``state [B, history, D]``."""
    hidden, steps = None, []
    for t in range(1, action.shape[1]):
        step = model(state[:, t - 1] if t <= history else steps[-1].mean, action[:, t], hidden)
        hidden = step.hidden
        if t >= history:
            steps.append(step)
    return steps


def state_error(kind: str, step: Step, target: Tensor, noise: Tensor | None) -> Tensor:
    """Return a state loss, summed over dimensions and averaged over the batch."""
    std = step.log_std.exp()
    if kind == "gaussian_nll":
        error = -Normal(step.mean, std).log_prob(target)
    elif kind == "beta_nll":
        error = -std.detach() * Normal(step.mean, std).log_prob(target)
    elif kind == "squared_error":
        error = (step.mean - target) ** 2
    else:
        assert noise is not None
        error = (step.mean + std * noise - target) ** 2
    return error.sum(-1).mean()


def plain_losses(
    model: PlainRWM,
    window: Window,
    history: int,
    state_loss: str,
    feedback: str,
    burn_in: int,
    decay: float = 1.0,
    noise: Callable[[str, int], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return every term for windows ``[B, T, .]``; ``noise(purpose, k)`` gives ``[B, D]`` for "feedback", "loss" or "history"."""
    hidden, fed = None, window.state[:, 0]
    taught, ahead, contact, termination, weights = [], [], [], [], []
    for t in range(1, window.state.shape[1]):
        k = t - history
        step = model(window.state[:, t - 1] if k <= 0 or feedback == "truth" else fed, window.action[:, t], hidden)
        hidden = step.hidden
        if k >= 0:
            drawn = noise("loss", k) if noise and state_loss == "sampled_squared_error" else None
            ahead.append(decay**k * state_error(state_loss, step, window.state[:, t], drawn))
            fed = step.mean + step.log_std.exp() * noise("feedback", k) if noise and feedback == "sample" else step.mean
        elif t > burn_in:
            drawn = noise("history", t - burn_in - 1) if noise and state_loss == "sampled_squared_error" else None
            taught.append(state_error(state_loss, step, window.state[:, t], drawn))
        if t > burn_in:
            weight = decay ** max(k, 0)
            weights.append(weight)
            contact.append(weight * binary_cross_entropy_with_logits(step.contact, window.contact[:, t].to(step.mean)))
            termination.append(weight * binary_cross_entropy_with_logits(step.termination, window.termination[:, t].to(step.mean)))
    return {
        "state": sum(ahead) / sum(decay**k for k in range(len(ahead))),
        "history": sum(taught) / len(taught),
        "bound": model.log_range.exp().mean(),
        "contact": sum(contact) / sum(weights),
        "termination": sum(termination) / sum(weights),
    }


def plain_training(
    model: PlainRWM, loss: Callable[[int], Tensor], steps: int, learning_rate: float, weight_decay: float, clip: float, warmup: int
) -> None:
    """Take AdamW steps on ``loss(step)`` with clipped gradients, a linear warm-up, and a cosine down to 2 % over ``steps``."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=weight_decay)
    for i in range(steps):
        cosine = 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * i / steps))
        optimizer.param_groups[0]["lr"] = learning_rate * min(1.0, (i + 1) / warmup) * cosine
        optimizer.zero_grad()
        loss(i).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, clip)
        optimizer.step()


class PlainWorldModel:
    """A plain model in the place of a world model, for the imagined environment."""

    num_members = 1

    def __init__(self, model: PlainRWM, normalizer: Any, history: int) -> None:
        self.model, self.normalizer, self.history = model, normalizer, history

    def warm_up(self, history: Window) -> RecurrentCarry:
        hidden = None
        for t in range(1, history.length):
            hidden = self.model(self.normalizer.normalize(history.state[:, t - 1]), history.action[:, t], hidden).hidden
        assert hidden is not None
        return RecurrentCarry(hidden.unsqueeze(1))

    def step(
        self, carry: RecurrentCarry, state: Tensor, action: Tensor, followed: Followed, spread: bool = True
    ) -> tuple[RecurrentCarry, Prediction]:
        step = self.model(self.normalizer.normalize(state), action, carry.state[:, 0].contiguous())
        outputs = (step.mean, step.log_std, step.contact, step.termination)
        return RecurrentCarry(step.hidden.unsqueeze(1)), Prediction(*(output.unsqueeze(0) for output in outputs))

    def follow(self, carry: RecurrentCarry, member: Tensor) -> RecurrentCarry:
        return carry
