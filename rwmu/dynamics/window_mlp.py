"""The MLP baseline of the RWM paper as a base: a perceptron on the last H rows, in the place of the GRU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rwmu.dynamics.layers import affine, uniform
from rwmu.records import Followed, follow


class WindowMLP(nn.Module):
    """``num_groups`` perceptrons (ReLU) on a window of rows, with the calls of :class:`~rwmu.dynamics.gru.GRU`.

    What it carries is the window itself, ``[1, M, B, (H - 1) * I]``: zeros before the first row, the latest row last. Rows beyond
    the window are forgotten, which is all that sets it apart from a recurrent base.

    Args:
        input_size: I, of a row. hidden_size: W, of every layer, which all are outputs of a ReLU.
        num_layers: of each perceptron. num_groups: G, copies. window: H, rows seen.
        generators: one random generator a copy (uniform in +-1/sqrt(fan in), as PyTorch's).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        num_groups: int,
        generators: list[torch.Generator],
        window: int,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers, self.num_groups = input_size, hidden_size, num_layers, num_groups
        self.window = window
        self.weight, self.bias = nn.ParameterList(), nn.ParameterList()
        for layer in range(num_layers):
            fan_in = window * input_size if layer == 0 else hidden_size
            self.weight.append(uniform((hidden_size, fan_in), fan_in**-0.5, generators[:num_groups]))
            self.bias.append(uniform((hidden_size,), fan_in**-0.5, generators[:num_groups]))

    def initial_hidden(self, num_inputs: int, batch: int) -> Tensor:
        """Return zeros ``[1, M, B, (H - 1) * I]``; the window is the input's, so M is that of the inputs."""
        like: Tensor = self.weight[0]
        return like.new_zeros(1, num_inputs, batch, (self.window - 1) * self.input_size)

    def _perceptron(self, rows: Tensor) -> Tensor:
        """Apply to windows ``[M, N, H * I]``: ``[M', N, W]`` with M' = max(M, G)."""
        members = rows.shape[0]
        rows = rows.reshape(1, -1, rows.shape[-1]) if self.num_groups == 1 else rows.expand(self.num_groups, -1, -1)
        for weight, bias in zip(self.weight, self.bias, strict=True):
            rows = functional.relu(affine(rows, weight, bias))
        return rows.view(members, -1, self.hidden_size) if self.num_groups == 1 else rows

    def sequence(self, x: Tensor, hidden: Tensor, last: int | None = None) -> tuple[Tensor, Tensor]:
        """Run over ``x [M, T, B, I]`` (time before rows); return outputs ``[M', T, B, W]`` and the last window.

        Args:
            last: of how many of the last rows outputs are wanted; None for all.
        """
        members, steps, batch, size = x.shape
        before = torch.unflatten(hidden[0].expand(members, -1, -1), -1, (self.window - 1, size)).transpose(1, 2)
        rows = torch.cat([before, x], dim=1)  # [M, H - 1 + T, B, I]
        if last is not None:
            rows, steps = rows[:, steps - last :], last
        windows = rows.unfold(1, self.window, 1).transpose(-1, -2)  # [M, T, B, H, I]
        outputs = self._perceptron(windows.reshape(members, steps * batch, self.window * size))
        carried = rows[:, rows.shape[1] - self.window + 1 :].transpose(1, 2).flatten(2)
        return torch.unflatten(outputs, 1, (steps, batch)), carried.unsqueeze(0)

    def step(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Advance by one row ``x [M, B, I]``; return the output ``[M', B, W]`` and the new window."""
        members = max(x.shape[0], hidden.shape[1])
        window = torch.cat([hidden[0].expand(members, -1, -1), x.expand(members, -1, -1)], dim=-1)
        return self._perceptron(window), window[..., self.input_size :].unsqueeze(0)

    def step_followed(self, x: Tensor, hidden: Tensor, followed: Followed) -> tuple[Tensor, Tensor]:
        """Advance as the copy that each row follows: ``x [1, B, I], hidden [1, 1, B, .]``."""
        outputs, carried = self.step(x, hidden)
        return follow(outputs, followed.member), carried
