"""A causal transformer over the last rows, a baseline of the RWM paper (arXiv:2501.10100, Fig. 4); keys and values are cached.

Every layer attends to the last ``window`` rows. Positions are ages: a learnt bias of each head for how many rows ago a key was read
(arXiv:1910.10683), which means the same wherever the window stands, so that a dream may be of any length.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rwmu.dynamics.decoder import Decoder, Outputs
from rwmu.dynamics.layers import RowLinear
from rwmu.dynamics.vectorised import VectorisedEnsemble, single_models
from rwmu.errors import ConfigError
from rwmu.records import Carry, Prediction
from rwmu.settings import Count, Few, WholeNumber, checked


@dataclass(frozen=True)
class Cache(Carry):
    """Keys and values of the latest H - 1 rows, oldest first.

    Attributes:
        keys, values: ``[E, B, L, H - 1, W]``. read: ``[E, B, H - 1]`` bool, which of them are of rows that there were.
    """

    keys: Tensor
    values: Tensor
    read: Tensor


class Block(nn.Module):
    """One layer: attention to the rows before, then a perceptron, each added to what came in (pre-norm)."""

    def __init__(self, width: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads, self.window = num_heads, window
        self.norm_attention, self.norm_perceptron = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projection, self.output = RowLinear(width, 3 * width), RowLinear(width, width)
        self.perceptron = nn.Sequential(RowLinear(width, 4 * width), nn.GELU(), RowLinear(4 * width, width))
        self.age_bias = nn.Parameter(torch.zeros(num_heads, window))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, read: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Advance by rows ``x [B, T, W]`` after cached ``keys, values [B, H - 1, W]``, of which ``read [B, H - 1]`` count.

        Returns:
            Outputs ``[B, T, W]``, and all keys and values ``[B, H - 1 + T, W]``.
        """
        query, key, value = self.projection(self.norm_attention(x)).chunk(3, dim=-1)
        keys, values = torch.cat([keys, key], dim=1), torch.cat([values, value], dim=1)
        place = torch.arange(keys.shape[1], device=x.device)
        age = place[self.window - 1 :, None] - place  # [T, H - 1 + T]
        near = (age >= 0) & (age < self.window)
        seen = functional.pad(read, (0, x.shape[1]), value=True)[:, None, None] & near  # [B, 1, T, H - 1 + T]
        scores = self._heads(query) @ self._heads(keys).transpose(-1, -2) * (x.shape[-1] // self.num_heads) ** -0.5
        scores = scores + self.age_bias[:, age.clamp(0, self.window - 1)]
        attention = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
        attended = (attention @ self._heads(values)).transpose(1, 2).flatten(2)
        x = x + self.output(attended)
        return x + self.perceptron(self.norm_perceptron(x)), keys, values

    def _heads(self, tensor: Tensor) -> Tensor:
        """Split ``[B, T, W]`` into ``[B, heads, T, W / heads]``."""
        return torch.unflatten(tensor, -1, (self.num_heads, -1)).transpose(1, 2)


class Transformer(nn.Module):
    """One member; arguments as :class:`TransformerEnsemble`."""

    def __init__(self, action_dim: int, hidden_size: int, num_layers: int, num_heads: int, window: int, outputs: Outputs) -> None:
        super().__init__()
        self.state_dim, self.action_dim, self.contact_dim = outputs.state_dim, action_dim, outputs.contact_dim
        self.extension_dim, self.hidden_size, self.window = outputs.extension_dim, hidden_size, window
        self.embedding = RowLinear(self.state_dim + action_dim, hidden_size)
        self.blocks = nn.ModuleList([Block(hidden_size, num_heads, window) for _ in range(num_layers)])
        self.norm = nn.LayerNorm(hidden_size)
        self.decoder = Decoder(hidden_size, outputs)

    def initial_carry(self, batch: int) -> Cache:
        """Return a cache of no rows."""
        size = (batch, len(self.blocks), self.window - 1, self.hidden_size)
        empty = self.embedding.weight.new_zeros(size)
        return Cache(empty, empty, torch.zeros(batch, self.window - 1, dtype=torch.bool, device=empty.device))

    def read(self, carry: Cache, state: Tensor, action: Tensor) -> tuple[Cache, Prediction]:
        """Read rows; see :class:`~rwmu.dynamics.vectorised.VectorisedEnsemble`."""
        x = self.embedding(torch.cat([state, action], dim=-1))
        keys, values = [], []
        for layer, block in enumerate(self.blocks):
            x, key, value = block(x, carry.keys[:, layer], carry.values[:, layer], carry.read)
            keys.append(key)
            values.append(value)
        kept = slice(state.shape[1], None)  # the latest H - 1
        read = functional.pad(carry.read, (0, state.shape[1]), value=True)[:, kept]
        cache = Cache(torch.stack(keys, dim=1)[:, :, kept], torch.stack(values, dim=1)[:, :, kept], read)
        return cache, self.decoder(self.norm(x), state)


class TransformerEnsemble(VectorisedEnsemble):
    """E causal transformers that share nothing.

    Args:
        state_dim, action_dim, contact_dim: D, A, C.
        num_members: E.
        hidden_size: W, of every row. num_layers: L.
        num_heads: of the attention; they share ``hidden_size`` equally.
        window: H, rows that a layer attends to.
        seed: of the initialisation. outputs: further fields of :class:`~rwmu.dynamics.decoder.Outputs`.

    Attributes:
        arguments: of the constructor, by name.
    """

    @checked("dynamics")
    def __init__(
        self,
        state_dim: Count,
        action_dim: Count,
        contact_dim: WholeNumber,
        num_members: Few,
        hidden_size: Count = 128,
        num_layers: Few = 2,
        num_heads: Count = 4,
        window: Count = 32,
        seed: int = 0,
        **outputs: Any,
    ) -> None:
        own = {name: value for name, value in locals().items() if name not in ("self", "__class__", "outputs")}
        if hidden_size % num_heads:
            raise ConfigError(f"dynamics.hidden_size is {hidden_size}, but must be a multiple of dynamics.num_heads ({num_heads}).")
        predicted = Outputs(state_dim, contact_dim, **outputs)
        make = partial(Transformer, action_dim, hidden_size, num_layers, num_heads, window, predicted)
        super().__init__(single_models(make, num_members, seed))
        self.arguments: dict[str, Any] = own | vars(predicted)
