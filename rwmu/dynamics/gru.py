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


def fast_tanh(x: Tensor) -> Tensor:
    """Return tanh(x) as 2 sigmoid(2x) - 1: the same function, about four times as fast on CPUs."""
    return torch.sigmoid(2.0 * x).mul(2.0).sub(1.0)


def gru_cell(projected: Tensor, hidden: Tensor, weight_hh: Tensor, bias_hh: Tensor) -> Tensor:
    """Advance one layer by one step.

    Args:
        projected: ``[G, N, 3W]``, the input's projection with its bias.
        hidden: ``[G, N, W]``.
        weight_hh: ``[G, 3W, W]``; bias_hh: ``[G, 3W]``.

    Returns:
        The new hidden state ``[G, N, W]``.
    """
    width = hidden.shape[-1]
    recurrent = torch.baddbmm(bias_hh.unsqueeze(1), hidden, weight_hh.transpose(1, 2))
    gates = torch.sigmoid(projected[..., : 2 * width] + recurrent[..., : 2 * width])
    reset, update = gates[..., :width], gates[..., width:]
    candidate = fast_tanh(torch.addcmul(projected[..., 2 * width :], reset, recurrent[..., 2 * width :]))
    return torch.lerp(candidate, hidden, update)


class SequenceGRU(torch.autograd.Function):
    """One GRU layer over a whole sequence: ``x [G, T, N, I], hidden [G, N, W] -> outputs [G, T, N, W], gates [G, T, N, 4W]``.

    The forward pass keeps n, r, z and the recurrent part of n side by side in one buffer (the second output, without gradient).
    The backward pass writes the gradients of their pre-activations in the same order, in which the gates of the input (n, r, z)
    and those of the recurrence (r, z, recurrent n) are both contiguous columns: each weight's gradient is then one matrix product.
    ``torch.func.vmap`` folds its axis into the groups.
    """

    @staticmethod
    def forward(  # noqa: D102 - torch names and documents it
        x: Tensor, hidden: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor
    ) -> tuple[Tensor, Tensor]:
        groups, steps, rows, _ = x.shape
        width = hidden.shape[-1]
        rotated = _rotate(weight_ih, width)
        bias = torch.cat([bias_ih[:, 2 * width :], bias_ih[:, : 2 * width] + bias_hh[:, : 2 * width]], dim=1)
        bias_n = bias_hh[:, None, 2 * width :]
        gates = x.new_empty(groups, steps, rows, 4 * width)
        outputs = x.new_empty(groups, steps, rows, width)
        for t in range(steps):
            # Projected step by step rather than at once: the buffer stays in the cache.
            projected = torch.baddbmm(bias[:, None], x[:, t], rotated.transpose(1, 2))
            recurrent = torch.bmm(hidden, weight_hh.transpose(1, 2))
            candidate, reset, update, recurrent_n = torch.split(gates[:, t], width, dim=-1)
            torch.add(recurrent[..., : 2 * width], projected[..., width:], out=gates[:, t, :, width : 3 * width]).sigmoid_()
            torch.add(recurrent[..., 2 * width :], bias_n, out=recurrent_n)
            torch.addcmul(projected[..., :width], reset, recurrent_n, out=candidate)
            candidate.mul_(2.0).sigmoid_().mul_(2.0).sub_(1.0)  # tanh, see fast_tanh
            hidden = torch.lerp(candidate, hidden, update, out=outputs[:, t])
        return outputs, gates

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: D102
        x, hidden, weight_ih, weight_hh, _, _ = inputs
        outputs, gates = output
        ctx.mark_non_differentiable(gates)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, hidden, weight_ih, weight_hh, outputs, gates)

    @staticmethod
    def backward(ctx: Any, grad_outputs: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: D102
        if grad_outputs is None:
            return (None,) * 6
        need_x, need_hidden = ctx.needs_input_grad[:2]
        gradients = _SequenceGRUGradient.apply(grad_outputs, *ctx.saved_tensors, need_x, need_hidden)  # type: ignore[no-untyped-call]
        return gradients[0] if need_x else None, gradients[1] if need_hidden else None, *gradients[2:]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor) -> tuple[Any, Any]:  # noqa: D102
        folded = _fold_members(info.batch_size, in_dims, tensors)
        outputs = SequenceGRU.apply(*folded)  # type: ignore[no-untyped-call]
        return _unfold_members(info.batch_size, outputs), (0, 0)


class _SequenceGRUGradient(torch.autograd.Function):
    """The backward pass of :class:`SequenceGRU`; a function of its own so that ``torch.func`` can batch it too."""

    @staticmethod
    def forward(
        grad_outputs: Tensor,
        x: Tensor,
        initial: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        outputs: Tensor,
        gates: Tensor,
        need_x: bool,
        need_hidden: bool,
    ) -> tuple[Tensor, ...]:
        groups, steps, rows, width = outputs.shape
        grads = torch.empty_like(gates)
        grad_hidden = grad_outputs[:, -1].clone()
        for t in range(steps - 1, -1, -1):
            if t < steps - 1:
                grad_hidden += grad_outputs[:, t]
            candidate, reset, update, recurrent_n = torch.split(gates[:, t], width, dim=-1)
            grad_n, grad_r, grad_z, grad_recurrent_n = torch.split(grads[:, t], width, dim=-1)
            previous = outputs[:, t - 1] if t else initial
            kept = grad_hidden * update
            torch.sub(grad_hidden, kept, out=grad_n)
            grad_n.addcmul_(grad_n, candidate * candidate, value=-1.0)  # times 1 - n^2
            torch.mul(grad_n, reset, out=grad_recurrent_n)
            torch.mul(grad_recurrent_n, recurrent_n, out=grad_r)
            grad_r.addcmul_(grad_r, reset, value=-1.0)  # times 1 - r; the factor r came with grad_recurrent_n
            pull = (previous - candidate).mul_(kept)  # kept carries the factor z
            torch.addcmul(pull, pull, update, value=-1.0, out=grad_z)  # times 1 - z
            if t or need_hidden:
                grad_hidden = torch.baddbmm(kept, grads[:, t, :, width:], weight_hh)
        flat = grads.view(groups, steps * rows, 4 * width)
        of_input, of_recurrence = flat[..., : 3 * width], flat[..., width:]
        previous_all = torch.cat([initial[:, None], outputs[:, :-1]], dim=1).view(groups, steps * rows, width)
        grad_rotated = torch.bmm(of_input.transpose(1, 2), x.reshape(groups, steps * rows, -1))
        bias = flat.sum(dim=1)
        grad_x = torch.bmm(of_input, _rotate(weight_ih, width)).view_as(x) if need_x else x.new_empty(groups, 0)
        return (
            grad_x,
            grad_hidden if need_hidden else x.new_empty(groups, 0),
            torch.cat([grad_rotated[:, width:], grad_rotated[:, :width]], dim=1),
            torch.bmm(of_recurrence.transpose(1, 2), previous_all),
            torch.cat([bias[:, width : 3 * width], bias[:, :width]], dim=1),
            bias[:, width:].contiguous(),
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError("the GRU over a sequence can be differentiated once, not twice")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        folded = _fold_members(info.batch_size, in_dims[:-2], arguments[:-2])
        gradients = _SequenceGRUGradient.apply(*folded, *arguments[-2:])  # type: ignore[no-untyped-call]
        return _unfold_members(info.batch_size, gradients), (0,) * 6


def _rotate(weight_ih: Tensor, width: int) -> Tensor:
    """Order the gates r, z, n of ``[G, 3W, I]`` as n, r, z."""
    return torch.cat([weight_ih[:, 2 * width :], weight_ih[:, : 2 * width]], dim=1)


def _fold_members(members: int, in_dims: tuple[int | None, ...], tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """Bring the axis of ``vmap`` to the front of every ``[G, ...]`` and merge it with the groups."""
    moved = [
        tensor.expand(members, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, in_dims, strict=True)
    ]
    return [tensor.flatten(0, 1) for tensor in moved]


def _unfold_members(members: int, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.unflatten(tensor, 0, (members, -1)) for tensor in tensors)


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
        """Bring ``[M, ..., N, X]`` to the groups' axis: members into rows if one group serves all, expanded if each has its own."""
        members = tensor.shape[0]
        if members == self.num_groups:
            return tensor
        if self.num_groups == 1:
            moved = tensor.movedim(0, -3)  # [..., M, N, X]
            return moved.reshape(1, *moved.shape[:-3], members * tensor.shape[-2], tensor.shape[-1])
        return tensor.expand(self.num_groups, *tensor.shape[1:])

    def _unfold(self, tensor: Tensor, members: int) -> Tensor:
        """Undo :meth:`_fold` for outputs ``[G, ..., N', X]``."""
        if tensor.shape[0] == members:
            return tensor
        split = tensor[0].view(*tensor.shape[1:-2], members, tensor.shape[-2] // members, tensor.shape[-1])
        return split.movedim(-3, 0)

    @staticmethod
    def _widen(hidden: Tensor, num_inputs: int) -> Tensor:
        """Give a hidden state that all members had in common ``[L, 1, B, W]`` to each, once their inputs part."""
        return hidden.expand(-1, num_inputs, -1, -1) if hidden.shape[1] < num_inputs else hidden

    def sequence(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Run over ``x [M, T, B, I]`` (time before rows) from ``hidden [L, M', B, W]``; return all outputs and the last hidden."""
        hidden = self._widen(hidden, x.shape[0])
        members = hidden.shape[1]
        x = self._fold(x)
        last = []
        for layer in range(self.num_layers):
            start = self._fold(hidden[layer])
            x, _ = SequenceGRU.apply(  # type: ignore[no-untyped-call]
                x, start, self.weight_ih[layer], self.weight_hh[layer], self.bias_ih[layer], self.bias_hh[layer]
            )
            last.append(self._unfold(x[:, -1], members))
        return self._unfold(x, members), torch.stack(last)

    def step(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Advance by one row ``x [M, B, I]`` from ``hidden [L, M', B, W]``; return the output ``[M', B, W]`` and the new hidden."""
        hidden = self._widen(hidden, x.shape[0])
        members = hidden.shape[1]
        x = self._fold(x)
        new = []
        for layer in range(self.num_layers):
            projected = torch.baddbmm(self.bias_ih[layer].unsqueeze(1), x, self.weight_ih[layer].transpose(1, 2))
            x = gru_cell(projected, self._fold(hidden[layer]), self.weight_hh[layer], self.bias_hh[layer])
            new.append(self._unfold(x, members))
        return new[-1], torch.stack(new)

    def step_followed(self, x: Tensor, hidden: Tensor, followed: Followed) -> tuple[Tensor, Tensor]:
        """Advance only the copy that each row follows: ``x [1, B, I], hidden [L, 1, B, W] -> [1, B, W]`` and the new hidden."""
        if self.num_groups == 1:
            return self.step(x, hidden)
        x, hidden = x[:, followed.order], hidden[:, :, followed.order]
        parts = zip(torch.split(x, followed.sizes, 1), torch.split(hidden, followed.sizes, 2), strict=True)
        stepped = [self._copy_step(group, part, own) for group, (part, own) in enumerate(parts)]
        new = torch.cat(stepped, dim=2)[:, :, followed.inverse]
        return new[-1], new

    def _copy_step(self, group: int, x: Tensor, hidden: Tensor) -> Tensor:
        one, new = slice(group, group + 1), []
        for layer in range(self.num_layers):
            projected = torch.baddbmm(self.bias_ih[layer][one].unsqueeze(1), x, self.weight_ih[layer][one].transpose(1, 2))
            x = gru_cell(projected, hidden[layer], self.weight_hh[layer][one], self.bias_hh[layer][one])
            new.append(x)
        return torch.stack(new)
