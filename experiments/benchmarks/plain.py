"""The published algorithm (RWM, arXiv:2501.10100; RWM-U, arXiv:2504.16680) as a reader of the papers would write it down.

It is what the benchmark compares with: ``torch.nn.GRU``, one base for the state and one for contacts and termination, every member
running the bases anew on its own rows, the forecast one step at a time. Nothing here is clever, and nothing is deliberately slow.
`tests/experiments/test_plain.py` holds it against numbers recorded from the published code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

LEARNING_RATE, WEIGHT_DECAY, LARGEST_NORM = 1e-4, 1e-5, 1.0
Kind = Literal["shared", "independent"]
KINDS: tuple[Kind, ...] = ("shared", "independent")


@dataclass(frozen=True)
class Sizes:
    """Sizes of an ensemble and of its training windows; the defaults are the paper's (RWM-U, arXiv:2504.16680).

    Attributes:
        state, action, contact: dimensions D, A, C.
        hidden: units of a GRU layer. layers: of a GRU. head: units of a head's hidden layer.
        history, forecast: steps H and K of a window. members: E.
    """

    state: int = 45
    action: int = 12
    contact: int = 8
    hidden: int = 256
    layers: int = 2
    head: int = 128
    history: int = 32
    forecast: int = 8
    members: int = 5


class Rows(NamedTuple):
    """A batch of windows, ``[B, H + K, .]`` each; the action of a row produced its state."""

    state: Tensor
    action: Tensor
    contact: Tensor
    termination: Tensor

    def take(self, index: Tensor) -> Rows:
        """Return the windows ``index [B']``."""
        return Rows(*(tensor[index] for tensor in self))


def random_rows(sizes: Sizes, batch: int, device: str = "cpu", seed: int = 0) -> Rows:
    """Return ``batch`` windows of noise."""
    generator = torch.Generator().manual_seed(seed)
    steps = sizes.history + sizes.forecast
    numbers = [torch.randn(batch, steps, size, generator=generator) for size in (sizes.state, sizes.action)]
    flags = [torch.randint(2, (batch, steps, size), generator=generator).float() for size in (sizes.contact, 1)]
    return Rows(*(tensor.to(device) for tensor in (*numbers, *flags)))


def perceptron(features: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return a perceptron of one hidden layer."""
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


class StateHead(nn.Module):
    """One member's mean and log standard deviation of the next state."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.mean = perceptron(sizes.hidden, sizes.head, sizes.state)
        self.log_std = perceptron(sizes.hidden, sizes.head, sizes.state)
        self.min_log_std = nn.Parameter(torch.full((1, sizes.state), -5.0))
        self.log_delta_log_std = nn.Parameter(torch.full((1, sizes.state), 1.8))

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``[B, D]`` each, from features ``[B, W]`` after ``state [B, D]``: a residual mean and a softly bounded spread."""
        max_log_std = self.min_log_std + self.log_delta_log_std.exp()
        log_std = max_log_std - functional.softplus(max_log_std - self.log_std(features))
        log_std = self.min_log_std + functional.softplus(log_std - self.min_log_std)
        return state + self.mean(features), log_std

    def bound(self) -> Tensor:
        """Return the mean gap between the bounds, which the loss narrows."""
        return self.log_delta_log_std.exp().mean()


class AuxiliaryHead(nn.Module):
    """One member's contact and termination logits."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.contact = perceptron(sizes.hidden, sizes.head, sizes.contact)
        self.termination = perceptron(sizes.hidden, sizes.head, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``[B, C]`` and ``[B, 1]``."""
        return self.contact(features), self.termination(features)


class Outputs(NamedTuple):
    """What all members predict, ``[E, B, .]``, and the hidden states ``[L, B, W]`` of the two bases."""

    mean: Tensor
    log_std: Tensor
    contact: Tensor
    termination: Tensor
    hidden: tuple[Tensor, Tensor]


class PlainEnsemble(nn.Module):
    """One state base, one auxiliary base, and E heads on each."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        inputs = sizes.state + sizes.action
        self.state_base = nn.GRU(inputs, sizes.hidden, sizes.layers, batch_first=True)
        self.auxiliary_base = nn.GRU(inputs, sizes.hidden, sizes.layers, batch_first=True)
        self.state_heads = nn.ModuleList([StateHead(sizes) for _ in range(sizes.members)])
        self.auxiliary_heads = nn.ModuleList([AuxiliaryHead(sizes) for _ in range(sizes.members)])

    def member_losses(self, member: int, rows: Rows, draw: Callable[[Tensor], Tensor] = torch.randn_like) -> Tensor:
        """Return ``[4]``: the sampled squared error, bound, contact and termination loss of one member, each a mean over steps.

        Args:
            rows: this member's windows.
            draw: standard normal noise in the shape of a tensor; twice a step, for the loss and for what is fed back.
        """
        state, action = rows.state, rows.action
        state_head, auxiliary_head = cast(StateHead, self.state_heads[member]), self.auxiliary_heads[member]
        history, forecast = self.sizes.history, self.sizes.forecast
        inputs = auxiliary_inputs = torch.cat([state[:, :history], action[:, 1 : history + 1]], dim=-1)
        fed_back, hidden, auxiliary_hidden = state[:, history - 1], None, None
        losses = []
        for t in range(history, history + forecast):  # row t is predicted
            features, hidden = self.state_base(inputs, hidden)
            auxiliary_features, auxiliary_hidden = self.auxiliary_base(auxiliary_inputs, auxiliary_hidden)
            mean, log_std = state_head(features[:, -1], fed_back)
            contact, termination = auxiliary_head(auxiliary_features[:, -1])
            std = log_std.exp()
            sample = mean + std * draw(mean)
            terms = (
                (sample - state[:, t]).square().sum(dim=-1).mean(),
                state_head.bound(),
                functional.binary_cross_entropy_with_logits(contact, rows.contact[:, t]),
                functional.binary_cross_entropy_with_logits(termination, rows.termination[:, t]),
            )
            losses.append(torch.stack(terms))
            fed_back = mean + std * draw(mean)
            if t + 1 < history + forecast:
                inputs = torch.cat([fed_back, action[:, t + 1]], dim=-1)[:, None]
                auxiliary_inputs = torch.cat([state[:, t], action[:, t + 1]], dim=-1)[:, None]
        return torch.stack(losses).mean(dim=0)

    def losses(self, rows: Rows, bootstrap: Tensor, draw: Callable[[Tensor], Tensor] = torch.randn_like) -> Tensor:
        """Return ``[E, 4]``; member e learns from the windows ``bootstrap[e]``."""
        return torch.stack([self.member_losses(member, rows.take(index), draw) for member, index in enumerate(bootstrap)])

    def predict(self, state: Tensor, action: Tensor, hidden: tuple[Tensor, Tensor] | None = None) -> Outputs:
        """Predict with every member what follows the last of ``state [B, T, D]``, with the actions taken there ``[B, T, A]``."""
        inputs = torch.cat([state, action], dim=-1)
        features, state_hidden = self.state_base(inputs, hidden[0] if hidden else None)
        auxiliary_features, auxiliary_hidden = self.auxiliary_base(inputs, hidden[1] if hidden else None)
        means, log_stds = zip(*(head(features[:, -1], state[:, -1]) for head in self.state_heads), strict=True)
        contacts, terminations = zip(*(head(auxiliary_features[:, -1]) for head in self.auxiliary_heads), strict=True)
        stacked = [torch.stack(each) for each in (means, log_stds, contacts, terminations)]
        return Outputs(*stacked, (state_hidden, auxiliary_hidden))


def build_models(kind: Kind, sizes: Sizes, device: str = "cpu", seed: int = 0) -> list[PlainEnsemble]:
    """Return one ensemble of E heads on shared bases, or E single models."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "shared":
            return [PlainEnsemble(sizes).to(device)]
        return [PlainEnsemble(replace(sizes, members=1)).to(device) for _ in range(sizes.members)]


def training_step(kind: Kind, sizes: Sizes, batch: int, device: str = "cpu") -> Callable[[], None]:
    """Return a function that trains on one batch: forward, backward, clip, Adam; independent models one after the other."""
    models = build_models(kind, sizes, device)
    optimizers = [torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY) for model in models]
    rows = random_rows(sizes, batch, device)

    def step() -> None:
        bootstrap = torch.randint(batch, (len(models), sizes.members // len(models), batch), device=device)
        for model, optimizer, own in zip(models, optimizers, bootstrap, strict=True):
            loss = model.losses(rows, own).mean(dim=0).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM)
            optimizer.step()

    return step


class Imagined(NamedTuple):
    """An imagined step of N environments, each following one member: ``[N, .]``, and the epistemic uncertainty ``[N]``."""

    state: Tensor
    contact: Tensor
    termination: Tensor
    epistemic: Tensor
    hidden: list[tuple[Tensor, Tensor]]


def imagine(
    models: list[PlainEnsemble],
    member: Tensor,
    state: Tensor,
    action: Tensor,
    hidden: list[tuple[Tensor, Tensor]] | None = None,
) -> Imagined:
    """Advance every environment b with the mean of member ``member[b]``.

    Args:
        state, action: ``[N, T, .]`` rows, each with the action taken there: a history at first, one row thereafter.
        hidden: of every model, after the rows before; None for a cold start.
    """
    outputs = [model.predict(state, action, hidden[i] if hidden else None) for i, model in enumerate(models)]
    of_all = [torch.cat([getattr(output, name) for output in outputs]) for name in ("mean", "contact", "termination")]
    mean, environment = of_all[0], torch.arange(len(member), device=member.device)
    epistemic = mean.std(dim=0).sum(dim=-1) if len(mean) > 1 else mean.new_zeros(len(member))
    return Imagined(*(each[member, environment] for each in of_all), epistemic, [output.hidden for output in outputs])


def imagination_step(kind: Kind, sizes: Sizes, envs: int, device: str = "cpu") -> Callable[[], Imagined]:
    """Return a function that advances ``envs`` environments by one step, always the same one."""
    models = [model.eval().requires_grad_(False) for model in build_models(kind, sizes, device)]
    generator = torch.Generator().manual_seed(1)
    member = torch.randint(sizes.members, (envs,), generator=generator).to(device)
    state = torch.randn(envs, 1, sizes.state, generator=generator).to(device)
    action = torch.randn(envs, 1, sizes.action, generator=generator).to(device)
    cold = torch.zeros(sizes.layers, envs, sizes.hidden, device=device)
    hidden = [(cold, cold) for _ in models]

    @torch.no_grad()
    def step() -> Imagined:
        return imagine(models, member, state, action, hidden)

    return step
