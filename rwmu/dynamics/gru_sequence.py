"""One GRU layer over a whole sequence, differentiated by hand; see :mod:`rwmu.dynamics.gru` for the equations."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor


@cache
def _minus_one(device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(-1.0, device=device, dtype=dtype)


def fast_tanh(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Return tanh(x) as 2 sigmoid(2x) - 1, into ``out`` if given: the same function, about four times as fast on CPUs."""
    sigmoid = torch.mul(x, 2.0, out=out).sigmoid_()
    return torch.add(_minus_one(x.device, x.dtype), sigmoid, alpha=2.0, out=sigmoid)  # one pass


_CHUNK_ROWS = 1024


class SequenceGRU(torch.autograd.Function):
    """One GRU layer over a sequence: ``last, keep, x [G, T, N, I], hidden [G, N, W] -> outputs [G, last, N, W], hidden`` and more.

    Only the outputs of the last rows are handed out: what nobody looks at costs nothing on the way back. The other results, without
    gradient, are all outputs ``[G, T, N, W]`` (empty if those of all rows come first) and, to ``keep`` for backward, of every step
    the gates r, z and the recurrent part of n side by side ``[G, N, 3W]``, and n ``[G, N, W]``. The input is projected, and the
    weights' gradients are summed, a chunk of steps at a time: large matrix products for small batches, and for large ones buffers
    that stay in the cache and in the allocator's hands. ``torch.func.vmap`` folds its axis into the groups.
    """

    @staticmethod
    def forward(  # noqa: D102 - torch names and documents it
        last: int, keep: bool, x: Tensor, hidden: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor
    ) -> tuple[Tensor, ...]:
        groups, steps, rows, _ = x.shape
        width = hidden.shape[-1]
        bias = bias_ih.clone()
        bias[:, : 2 * width] += bias_hh[:, : 2 * width]
        bias_n = bias_hh[:, None, 2 * width :]
        recurrence = weight_hh.transpose(1, 2)
        if steps >= 8:
            recurrence = recurrence.contiguous()  # products of few rows are a fifth faster so, which pays for the copy
        outputs = x.new_empty(groups, steps, rows, width)
        kept: list[Tensor] = []
        for chunk in _chunks(steps, rows):
            flat = torch.baddbmm(bias[:, None], x[:, chunk].flatten(1, 2), weight_ih.transpose(1, 2))
            projected = flat.view(groups, -1, rows, 3 * width)
            for t in range(chunk.start, chunk.stop):
                of_input = projected[:, t - chunk.start]
                cell = advance_cell(of_input, hidden, recurrence, bias_n, outputs[:, t])
                hidden = outputs[:, t]
                if keep:
                    kept += cell
        if last == steps:
            return outputs, hidden.clone(), outputs.new_empty(groups, 0), *kept
        return outputs[:, steps - last :].contiguous(), hidden.clone(), outputs, *kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: D102
        last, _, x, hidden, weight_ih, weight_hh, _, _ = inputs
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)
        outputs = output[0] if last == x.shape[-3] else output[2]
        ctx.save_for_backward(x, hidden, weight_ih, weight_hh, outputs, *output[3:])

    @staticmethod
    def backward(  # noqa: D102
        ctx: Any, grad_outputs: Tensor | None, grad_hidden: Tensor | None, *_: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        if grad_outputs is None and grad_hidden is None:
            return (None,) * 8
        need_x, need_hidden = ctx.needs_input_grad[2:4]
        x, initial = ctx.saved_tensors[:2]
        if grad_outputs is None:
            grad_outputs = initial.new_empty(x.shape[0], 0, *initial.shape[1:])
        if grad_hidden is None:
            grad_hidden = torch.zeros_like(initial)
        gradients = _SequenceGRUGradient.apply(  # type: ignore[no-untyped-call]
            need_x, need_hidden, grad_outputs, grad_hidden, *ctx.saved_tensors
        )
        return None, None, gradients[0] if need_x else None, gradients[1] if need_hidden else None, *gradients[2:]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], last: int, keep: bool, *tensors: Tensor) -> tuple[Any, Any]:  # noqa: D102
        outputs = SequenceGRU.apply(last, keep, *fold_members(info.batch_size, in_dims[2:], tensors))  # type: ignore[no-untyped-call]
        return unfold_members(info.batch_size, outputs), (0,) * len(outputs)


class _SequenceGRUGradient(torch.autograd.Function):
    """The backward pass of :class:`SequenceGRU`; a function of its own so that ``torch.func`` can batch it too.

    The gradients of the pre-activations lie in the order n, r, z, recurrent n, in which those of the input (n, r, z) and those of
    the recurrence (r, z, recurrent n) are both contiguous columns: each weight's gradient is then one matrix product a chunk. It
    is summed transposed, as ``inputs^T gradients``: on CPUs a tenth faster than the other way round.
    """

    @staticmethod
    def forward(
        need_x: bool,
        need_hidden: bool,
        grad_outputs: Tensor,
        grad_hidden: Tensor,
        x: Tensor,
        initial: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        outputs: Tensor,
        *kept: Tensor,
    ) -> tuple[Tensor, ...]:
        groups, steps, rows, width = outputs.shape
        grad_ih = x.new_empty(groups, x.shape[-1], 3 * width)
        grad_hh = x.new_empty(groups, width, 3 * width)
        grad_bias = x.new_zeros(groups, 4 * width)
        grad_x = torch.empty_like(x, memory_format=torch.contiguous_format) if need_x else x.new_empty(groups, 0)
        unseen = steps - grad_outputs.shape[1]  # rows whose outputs have no gradient of their own
        chunks = _chunks(steps, rows)
        buffer = x.new_empty(groups, chunks[0].stop, rows, 4 * width)
        weight_nrz = torch.cat([weight_ih[:, 2 * width :], weight_ih[:, : 2 * width]], dim=1) if need_x else weight_ih
        for chunk in reversed(chunks):
            grads = buffer[:, : chunk.stop - chunk.start]
            for t in range(chunk.stop - 1, chunk.start - 1, -1):
                if t >= unseen:
                    out = grad_hidden if t < steps - 1 else None  # the first is not ours to write to
                    grad_hidden = torch.add(grad_hidden, grad_outputs[:, t - unseen], out=out)
                previous = outputs[:, t - 1] if t else initial
                before = grads[:, t - chunk.start]
                through = cell_gradient(grad_hidden, previous, kept[2 * t], kept[2 * t + 1], before)
                if t or need_hidden:
                    grad_hidden = torch.baddbmm(through, before[..., width:], weight_hh)
            flat = grads.flatten(1, 2)
            of_input, of_recurrence = flat[..., : 3 * width], flat[..., width:]
            beta = 0.0 if chunk is chunks[-1] else 1.0  # the first to come writes, the others add
            grad_ih.baddbmm_(x[:, chunk].flatten(1, 2).transpose(1, 2), of_input, beta=beta)
            grad_hh.baddbmm_(_previous(initial, outputs, chunk).transpose(1, 2), of_recurrence, beta=beta)
            grad_bias += flat.sum(dim=1)
            if need_x:
                grad_x[:, chunk] = torch.bmm(of_input, weight_nrz).view(groups, -1, rows, x.shape[-1])
        return (
            grad_x,
            grad_hidden if need_hidden else x.new_empty(groups, 0),
            torch.cat([grad_ih[..., width:], grad_ih[..., :width]], dim=2).transpose(1, 2).contiguous(),
            grad_hh.transpose(1, 2).contiguous(),
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
        folded = fold_members(info.batch_size, in_dims[2:], arguments[2:])
        gradients = _SequenceGRUGradient.apply(*arguments[:2], *folded)  # type: ignore[no-untyped-call]
        return unfold_members(info.batch_size, gradients), (0,) * 6


def advance_cell(of_input: Tensor, hidden: Tensor, recurrence: Tensor, bias_n: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """Write the hidden state ``[N, W]`` of every group that follows ``hidden`` to ``out``.

    Args:
        of_input: ``[G, N, 3W]``, the projected input with the biases that can be added up. recurrence: ``W_h^T [G, W, 3W]``.
        bias_n: ``[G, 1, W]``, of the recurrent part of n.

    Returns:
        What :func:`cell_gradient` needs: the gates r, z and the recurrent part of n, side by side ``[G, N, 3W]``; n ``[G, N, W]``.
    """
    width = hidden.shape[-1]
    gates = torch.bmm(hidden, recurrence)
    gates[..., : 2 * width].add_(of_input[..., : 2 * width]).sigmoid_()
    recurrent_n = gates[..., 2 * width :].add_(bias_n)
    candidate = torch.addcmul(of_input[..., 2 * width :], gates[..., :width], recurrent_n)
    fast_tanh(candidate, out=candidate)
    torch.lerp(candidate, hidden, gates[..., width : 2 * width], out=out)
    return gates, candidate


def cell_gradient(grad_hidden: Tensor, previous: Tensor, gates: Tensor, candidate: Tensor, out: Tensor) -> Tensor:
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


def fold_members(members: int, in_dims: tuple[int | None, ...], tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """Bring the axis of ``vmap`` to the front of every ``[G, ...]`` and merge it with the groups."""
    moved = [
        tensor.expand(members, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, in_dims, strict=True)
    ]
    return [tensor.flatten(0, 1) for tensor in moved]


def unfold_members(members: int, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Undo :func:`fold_members`."""
    return tuple(torch.unflatten(tensor, 0, (members, -1)) for tensor in tensors)
