"""A GRU whose weights may carry a leading member axis, with the whole sequence differentiated by hand.

``torch.nn.GRU`` has neither a member axis nor a batching rule for ``torch.func.vmap``. Gate order, parametrisation and
initialisation are PyTorch's (r, z, n; two biases), so that weights go over unchanged:

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
    n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
    h' = (1 - z) * n + z * h
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rwmu.dynamics.gru_sequence import SequenceGRU, fast_tanh
from rwmu.dynamics.layers import uniform
from rwmu.records import Followed


def gru_cell_in_place(x: Tensor, hidden: Tensor, weights: CellWeights, out: Tensor) -> Tensor:
    """Advance one layer by one step without gradient: ``x [N, I], hidden [N, W]`` into ``out [N, W]``, which is returned."""
    width = hidden.shape[-1]
    projected = torch.addmm(weights.bias, x, weights.weight_ih.T)
    recurrent = torch.mm(hidden, weights.weight_hh.T)
    gates = projected[:, : 2 * width].add_(recurrent[:, : 2 * width]).sigmoid_()
    recurrent_n = recurrent[:, 2 * width :].add_(weights.bias_hn)
    candidate = projected[:, 2 * width :].addcmul_(gates[:, :width], recurrent_n)
    fast_tanh(candidate, out=candidate)
    return torch.lerp(candidate, hidden, gates[:, width:], out=out)


class CellWeights:
    """The weights of one layer of one copy, with the biases of the input and of the recurrence added up where they can be."""

    def __init__(self, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> None:
        width = weight_hh.shape[-1]
        self.weight_ih, self.weight_hh = weight_ih, weight_hh
        self.bias = bias_ih.clone()
        self.bias[: 2 * width] += bias_hh[: 2 * width]
        self.bias_hn = bias_hh[2 * width :]


_BLOCK_ROWS = 512


class GRU(nn.Module):
    """A stack of GRU layers; ``num_groups`` independent copies of it, or one that serves every member.

    Args:
        input_size, hidden_size, num_layers: sizes of each copy.
        num_groups: G, the number of copies.
        generators: one random generator a copy, for the initialisation (uniform in +-1/sqrt(hidden_size), as PyTorch's).
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int, num_groups: int, generators: list[torch.Generator]
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers, self.num_groups = input_size, hidden_size, num_layers, num_groups

        def draw(*shape: int) -> nn.Parameter:
            return uniform(shape, hidden_size**-0.5, generators[:num_groups])

        self.weight_ih, self.weight_hh = nn.ParameterList(), nn.ParameterList()
        self.bias_ih, self.bias_hh = nn.ParameterList(), nn.ParameterList()
        for layer in range(num_layers):
            self.weight_ih.append(draw(3 * hidden_size, input_size if layer == 0 else hidden_size))
            self.weight_hh.append(draw(3 * hidden_size, hidden_size))
            self.bias_ih.append(draw(3 * hidden_size))
            self.bias_hh.append(draw(3 * hidden_size))

    def initial_hidden(self, num_inputs: int, batch: int) -> Tensor:
        """Return zeros ``[L, M, B, W]`` for inputs ``[num_inputs, batch, ...]``; M is what the outputs will carry."""
        members = max(num_inputs, self.num_groups)
        like: Tensor = self.weight_hh[0]
        return like.new_zeros(self.num_layers, members, batch, self.hidden_size)

    def _fold(self, tensor: Tensor) -> Tensor:
        """Bring ``[M, ..., N, X]`` to the groups' axis: members into rows if one group serves them all."""
        members = tensor.shape[0]
        if members == self.num_groups:
            return tensor
        moved = tensor.movedim(0, -3)  # [..., M, N, X]
        return moved.reshape(1, *moved.shape[:-3], members * tensor.shape[-2], tensor.shape[-1])

    def _unfold(self, tensor: Tensor, members: int) -> Tensor:
        """Undo :meth:`_fold` for outputs ``[G, ..., N', X]``."""
        if tensor.shape[0] == members:
            return tensor
        split = tensor[0].view(*tensor.shape[1:-2], members, tensor.shape[-2] // members, tensor.shape[-1])
        return split.movedim(-3, 0)

    def _widen(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Give to each member what all have in common: rows ``[1, ..., B, I]``, or a hidden state ``[L, 1, B, W]``.

        Raises:
            ValueError: they are not of the same number of rows; the step in place would leave memory unwritten.
        """
        if x.shape[-2] != hidden.shape[2]:
            raise ValueError(f"{x.shape[-2]} rows cannot go on from a hidden state of {hidden.shape[2]}")
        members = max(x.shape[0], hidden.shape[1], self.num_groups)
        if x.shape[0] < members:
            x = x.expand(members, *x.shape[1:])
        if hidden.shape[1] < members:
            hidden = hidden.expand(-1, members, -1, -1)
        return x, hidden

    def sequence(self, x: Tensor, hidden: Tensor, last: int | None = None) -> tuple[Tensor, Tensor]:
        """Run over ``x [M, T, B, I]`` (time before rows) from ``hidden [L, M', B, W]``.

        Args:
            last: of how many of the last rows outputs are wanted; None for all.

        Returns:
            Outputs of these rows ``[M', T, B, W]``, and the hidden state after the last.
        """
        x, hidden = self._widen(x, hidden)
        members, steps = hidden.shape[1], x.shape[1]
        x = self._fold(x)
        after = []
        for layer in range(self.num_layers):
            kept = steps if layer + 1 < self.num_layers or last is None else last
            weights = self.weight_ih[layer], self.weight_hh[layer], self.bias_ih[layer], self.bias_hh[layer]
            start = self._fold(hidden[layer])
            x, end, *_ = SequenceGRU.apply(kept, torch.is_grad_enabled(), x, start, *weights)  # type: ignore[no-untyped-call]
            after.append(self._unfold(end, members))
        return self._unfold(x, members), torch.stack(after)

    def step(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Advance by one row ``x [M, B, I]`` from ``hidden [L, M', B, W]``; return the output ``[M', B, W]`` and the new hidden."""
        if torch.is_grad_enabled() or x.device.type != "cpu":
            output, new = self.sequence(x.unsqueeze(1), hidden)
            return output[:, 0], new
        x, hidden = self._widen(x, hidden)
        members = hidden.shape[1]
        x = self._fold(x)
        # Folding is the identity on members of their own and merges adjacent axes otherwise, so all layers can go at once.
        folded = hidden if members == self.num_groups else hidden.reshape(self.num_layers, 1, -1, self.hidden_size)
        new = torch.empty_like(folded, memory_format=torch.contiguous_format)
        for group in range(self.num_groups):
            self._step_in_blocks(group, x[group], folded[:, group], new[:, group])
        new = new.view(self.num_layers, members, -1, self.hidden_size)
        return new[-1], new

    def _step_in_blocks(self, group: int, x: Tensor, hidden: Tensor, new: Tensor) -> None:
        """Advance one copy without gradient, ``x [N, I], hidden [L, N, W]`` into ``new``, in blocks that stay in the cache."""
        names = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        weights = [CellWeights(*(parameters[layer][group] for parameters in names)) for layer in range(self.num_layers)]
        for first in range(0, x.shape[0], _BLOCK_ROWS):
            rows = slice(first, first + _BLOCK_ROWS)
            output = x[rows]
            for layer, own in enumerate(weights):
                output = gru_cell_in_place(output, hidden[layer, rows], own, new[layer, rows])

    def step_followed(self, x: Tensor, hidden: Tensor, followed: Followed) -> tuple[Tensor, Tensor]:
        """Advance only the copy that each row follows, without gradient: ``x [1, B, I], hidden [L, 1, B, W]``.

        Returns:
            The output ``[1, B, W]`` and the new hidden ``[L, 1, B, W]``.
        """
        if self.num_groups == 1:
            return self.step(x, hidden)
        with torch.no_grad():
            x, hidden = x[0, followed.order], hidden[:, 0, followed.order]
            new = torch.empty_like(hidden)
            parts = (torch.split(tensor, followed.sizes, axis) for tensor, axis in ((x, 0), (hidden, 1), (new, 1)))
            for group, (rows, before, after) in enumerate(zip(*parts, strict=True)):
                self._step_in_blocks(group, rows, before, after)
            new = new[:, followed.inverse].unsqueeze(1)
        return new[-1], new
