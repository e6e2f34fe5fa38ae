"""A GRU whose weights may carry a leading member axis, with the whole sequence differentiated by hand.

``torch.nn.GRU`` has neither a member axis nor a batching rule for ``torch.func.vmap``. Gate order, parametrisation and
initialisation are PyTorch's (r, z, n; two biases), so that weights go over unchanged:

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
    n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
    h' = (1 - z) * n + z * h
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rwmu.records import Followed


def fast_tanh(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Return tanh(x) as 2 sigmoid(2x) - 1, into ``out`` if given: the same function, about four times as fast on CPUs."""
    return torch.mul(x, 2.0, out=out).sigmoid_().mul_(2.0).sub_(1.0)


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


_CHUNK_ROWS = 1024


class SequenceGRU(torch.autograd.Function):
    """One GRU layer over a whole sequence: ``x [G, T, N, I], hidden [G, N, W] -> outputs [G, T, N, W]`` and what backward needs.

    The other outputs, without gradient, are the gates r, z and the recurrent part of n side by side ``[G, N, 3W]`` and n
    ``[G, N, W]`` of every step. The input is projected, and the weights' gradients are summed, a chunk of steps at a time: large
    matrix products for small batches, and for large ones buffers that stay in the cache and in the allocator's hands.
    ``torch.func.vmap`` folds its axis into the groups.
    """

    @staticmethod
    def forward(  # noqa: D102 - torch names and documents it
        x: Tensor, hidden: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor
    ) -> tuple[Tensor, ...]:
        groups, steps, rows, _ = x.shape
        width = hidden.shape[-1]
        bias = bias_ih.clone()
        bias[:, : 2 * width] += bias_hh[:, : 2 * width]
        bias_n = bias_hh[:, None, 2 * width :]
        recurrence = weight_hh.transpose(1, 2)
        if rows <= 64 and steps >= 8:
            recurrence = recurrence.contiguous()  # products of few rows are a fifth faster so, which pays for the copy
        outputs = x.new_empty(groups, steps, rows, width)
        kept: list[Tensor] = []
        for chunk in _chunks(steps, rows):
            flat = torch.baddbmm(bias[:, None], x[:, chunk].flatten(1, 2), weight_ih.transpose(1, 2))
            projected = flat.view(groups, -1, rows, 3 * width)
            for t in range(chunk.start, chunk.stop):
                of_input = projected[:, t - chunk.start]
                gates = torch.bmm(hidden, recurrence)
                gates[..., : 2 * width].add_(of_input[..., : 2 * width]).sigmoid_()
                recurrent_n = gates[..., 2 * width :].add_(bias_n)
                candidate = torch.addcmul(of_input[..., 2 * width :], gates[..., :width], recurrent_n)
                fast_tanh(candidate, out=candidate)
                hidden = torch.lerp(candidate, hidden, gates[..., width : 2 * width], out=outputs[:, t])
                kept += (gates, candidate)
        return outputs, *kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:  # noqa: D102
        x, hidden, weight_ih, weight_hh, _, _ = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, hidden, weight_ih, weight_hh, *output)

    @staticmethod
    def backward(ctx: Any, grad_outputs: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: D102
        if grad_outputs is None:
            return (None,) * 6
        need_x, need_hidden = ctx.needs_input_grad[:2]
        gradients = _SequenceGRUGradient.apply(need_x, need_hidden, grad_outputs, *ctx.saved_tensors)  # type: ignore[no-untyped-call]
        return gradients[0] if need_x else None, gradients[1] if need_hidden else None, *gradients[2:]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor) -> tuple[Any, Any]:  # noqa: D102
        outputs = SequenceGRU.apply(*_fold_members(info.batch_size, in_dims, tensors))  # type: ignore[no-untyped-call]
        return _unfold_members(info.batch_size, outputs), (0,) * len(outputs)


class _SequenceGRUGradient(torch.autograd.Function):
    """The backward pass of :class:`SequenceGRU`; a function of its own so that ``torch.func`` can batch it too.

    The gradients of the pre-activations lie in the order n, r, z, recurrent n, in which those of the input (n, r, z) and those of
    the recurrence (r, z, recurrent n) are both contiguous columns: each weight's gradient is then one matrix product a chunk.
    """

    @staticmethod
    def forward(
        need_x: bool,
        need_hidden: bool,
        grad_outputs: Tensor,
        x: Tensor,
        initial: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        outputs: Tensor,
        *kept: Tensor,
    ) -> tuple[Tensor, ...]:
        groups, steps, rows, width = outputs.shape
        grad_weight_ih, grad_weight_hh = torch.empty_like(weight_ih), torch.empty_like(weight_hh)
        grad_bias = x.new_zeros(groups, 4 * width)
        grad_x = torch.empty_like(x, memory_format=torch.contiguous_format) if need_x else x.new_empty(groups, 0)
        grad_hidden = torch.zeros_like(initial)
        chunks = _chunks(steps, rows)
        buffer = x.new_empty(groups, chunks[0].stop, rows, 4 * width)
        for chunk in reversed(chunks):
            grads = buffer[:, : chunk.stop - chunk.start]
            for t in range(chunk.stop - 1, chunk.start - 1, -1):
                grad_hidden += grad_outputs[:, t]
                previous = outputs[:, t - 1] if t else initial
                before = grads[:, t - chunk.start]
                through = _cell_gradient(grad_hidden, previous, kept[2 * t], kept[2 * t + 1], before)
                if t or need_hidden:
                    grad_hidden = torch.baddbmm(through, before[..., width:], weight_hh)
            flat = grads.flatten(1, 2)
            of_n, of_gates, of_recurrence = flat[..., :width], flat[..., width : 3 * width], flat[..., width:]
            beta = 0.0 if chunk is chunks[-1] else 1.0  # the first to come writes, the others add
            inputs = x[:, chunk].flatten(1, 2)
            grad_weight_ih[:, : 2 * width].baddbmm_(of_gates.transpose(1, 2), inputs, beta=beta)
            grad_weight_ih[:, 2 * width :].baddbmm_(of_n.transpose(1, 2), inputs, beta=beta)
            grad_weight_hh.baddbmm_(of_recurrence.transpose(1, 2), _previous(initial, outputs, chunk), beta=beta)
            grad_bias += flat.sum(dim=1)
            if need_x:
                product = torch.baddbmm(torch.bmm(of_n, weight_ih[:, 2 * width :]), of_gates, weight_ih[:, : 2 * width])
                grad_x[:, chunk] = product.view(groups, -1, rows, x.shape[-1])
        return (
            grad_x,
            grad_hidden if need_hidden else x.new_empty(groups, 0),
            grad_weight_ih,
            grad_weight_hh,
            torch.cat([grad_bias[:, width : 3 * width], grad_bias[:, :width]], dim=1),
            grad_bias[:, width:].contiguous(),
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError("the GRU over a sequence can be differentiated once, not twice")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        folded = _fold_members(info.batch_size, in_dims[2:], arguments[2:])
        gradients = _SequenceGRUGradient.apply(*arguments[:2], *folded)  # type: ignore[no-untyped-call]
        return _unfold_members(info.batch_size, gradients), (0,) * 6


def _cell_gradient(grad_hidden: Tensor, previous: Tensor, gates: Tensor, candidate: Tensor, out: Tensor) -> Tensor:
    """Write the gradients of one step's pre-activations (n, r, z, recurrent n) to ``out [G, N, 4W]``.

    Returns:
        What goes to the previous hidden state past the recurrence, ``[G, N, W]``.
    """
    width = candidate.shape[-1]
    reset, update, recurrent_n = torch.split(gates, width, dim=-1)
    grad_n, grad_r, grad_z, grad_recurrent_n = torch.split(out, width, dim=-1)
    through = grad_hidden * update
    torch.sub(grad_hidden, through, out=grad_n)
    grad_n.addcmul_(grad_n, candidate * candidate, value=-1.0)  # times 1 - n^2
    torch.mul(grad_n, reset, out=grad_recurrent_n)
    torch.mul(grad_recurrent_n, recurrent_n, out=grad_r)
    grad_r.addcmul_(grad_r, reset, value=-1.0)  # times 1 - r; the factor r came with grad_recurrent_n
    pull = (previous - candidate).mul_(through)  # it carries the factor z
    torch.addcmul(pull, pull, update, value=-1.0, out=grad_z)  # times 1 - z
    return through


def _chunks(steps: int, rows: int) -> list[slice]:
    """Cut the steps into chunks of about ``_CHUNK_ROWS`` rows."""
    size = max(1, min(steps, _CHUNK_ROWS // max(1, rows)))
    return [slice(first, min(first + size, steps)) for first in range(0, steps, size)]


def _previous(initial: Tensor, outputs: Tensor, chunk: slice) -> Tensor:
    """Return the hidden states that the steps of a chunk start from, ``[G, chunk * N, W]``."""
    if chunk.start:
        return outputs[:, chunk.start - 1 : chunk.stop - 1].flatten(1, 2)
    return torch.cat([initial[:, None], outputs[:, : chunk.stop - 1]], dim=1).flatten(1, 2)


def _fold_members(members: int, in_dims: tuple[int | None, ...], tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """Bring the axis of ``vmap`` to the front of every ``[G, ...]`` and merge it with the groups."""
    moved = [
        tensor.expand(members, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, in_dims, strict=True)
    ]
    return [tensor.flatten(0, 1) for tensor in moved]


def _unfold_members(members: int, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.unflatten(tensor, 0, (members, -1)) for tensor in tensors)


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
        bound = hidden_size**-0.5

        def uniform(*shape: int) -> nn.Parameter:
            draws = [torch.empty(*shape).uniform_(-bound, bound, generator=g) for g in generators[:num_groups]]
            return nn.Parameter(torch.stack(draws))

        self.weight_ih, self.weight_hh = nn.ParameterList(), nn.ParameterList()
        self.bias_ih, self.bias_hh = nn.ParameterList(), nn.ParameterList()
        for layer in range(num_layers):
            self.weight_ih.append(uniform(3 * hidden_size, input_size if layer == 0 else hidden_size))
            self.weight_hh.append(uniform(3 * hidden_size, hidden_size))
            self.bias_ih.append(uniform(3 * hidden_size))
            self.bias_hh.append(uniform(3 * hidden_size))

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

    def sequence(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Run over ``x [M, T, B, I]`` (time before rows) from ``hidden [L, M', B, W]``; return all outputs and the last hidden."""
        x, hidden = self._widen(x, hidden)
        members = hidden.shape[1]
        x = self._fold(x)
        last = []
        for layer in range(self.num_layers):
            start = self._fold(hidden[layer])
            x = SequenceGRU.apply(  # type: ignore[no-untyped-call]
                x, start, self.weight_ih[layer], self.weight_hh[layer], self.bias_ih[layer], self.bias_hh[layer]
            )[0]
            last.append(self._unfold(x[:, -1], members))
        return self._unfold(x, members), torch.stack(last)

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
