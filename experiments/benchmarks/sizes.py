"""What is measured: the sizes of a model, and random rows for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

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
    rows = Rows(
        torch.randn(batch, steps, sizes.state, generator=generator),
        torch.randn(batch, steps, sizes.action, generator=generator),
        torch.randint(2, (batch, steps, sizes.contact), generator=generator).float(),
        torch.randint(2, (batch, steps, 1), generator=generator).float(),
    )
    return Rows(*(tensor.to(device) for tensor in rows))
