"""The forecast that feeds back its own means, as one operation differentiated by hand.

For k = 0 .. K-1, with the features ``f_k = (h_k, s_k, a_k)`` of which the heads read a part,

    s_{k+1} = s_k + W_o relu(W_m f_k + b_m) + b_o,        h_{k+1} = GRU((s_{k+1}, a_{k+1}), h_k).

It is the loop of ``recurrent_rollout.py`` for one GRU layer. Automatic differentiation would record some 40 operations a step, and
sum the gradient of every weight over the steps with as many matrix products of few rows. Here a step is a third of that, and each
weight's gradient is one product over the rows of all steps. The other heads feed nothing back and are no part of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rwmu.dynamics.gru_sequence import advance_cell, cell_gradient, fold_members, unfold_members


class MeanForecast(torch.autograd.Function):
    """``keep, state [M, B, D], hidden [M, B, W], action [M, K, B, A]`` and weights to states, features and more.

    The weights are of M models: ``weight_ih [M, 3W, D + A]``, ``weight_hh [M, 3W, W]``, their biases ``[M, 3W]`` (the GRU, as in
    :mod:`rwmu.dynamics.gru`), ``[M, V, W + D + A]``, ``[M, V]``, ``[M, D, V]``, ``[M, D]`` (the mean's perceptron of V units).
    Models that share weights are given them expanded, and their gradients are summed outside.

    Args of :meth:`apply`: ``hidden`` has already read ``state`` with the first action.

    Returns:
        ``s_1 .. s_K [M, K, B, D]`` and ``f_0 .. f_{K-1} [M, K, B, W + D + A]``; then, without gradient, what backward needs: relu's
        values ``[M, K, B, V]`` and, with ``keep``, of each step but the first what :func:`advance_cell` returns.
    """

    @staticmethod
    def forward(  # noqa: D102 - torch names and documents it
        keep: bool, state: Tensor, hidden: Tensor, action: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        weight_ih, weight_hh, bias_ih, bias_hh, weight_units, bias_units, weight_output, bias_output = weights
        (members, steps, rows, _), width, dims = action.shape, hidden.shape[-1], state.shape[-1]
        bias = bias_ih.clone()
        bias[:, : 2 * width] += bias_hh[:, : 2 * width]
        bias, bias_n, bias_units, bias_output = (
            tensor[:, None] for tensor in (bias, bias_hh[:, 2 * width :], bias_units, bias_output)
        )
        # Products of few rows are a fifth faster with contiguous weights, which pays for the copies.
        into_gates, recurrence, into_units, into_change = (
            weight.transpose(1, 2).contiguous() for weight in (weight_ih, weight_hh, weight_units, weight_output)
        )
        features = state.new_empty(members, steps, rows, width + dims + action.shape[-1])
        features[:, 0, :, :width], features[:, 0, :, width : width + dims] = hidden, state
        features[..., width + dims :] = action
        outputs, fed, inputs, read = (
            part.unbind(1) for part in (features[..., :width], features[..., width : width + dims], features[..., width:], features)
        )
        states = state.new_empty(members, steps, rows, dims)
        units = state.new_empty(members, steps, rows, into_units.shape[-1])
        of_input, of_units, change = (  # the matrix library takes all members at once where the result is contiguous
            state.new_empty(members, rows, size) for size in (3 * width, units.shape[-1], dims)
        )
        kept: list[Tensor] = []
        for k, (predicted, active) in enumerate(zip(states.unbind(1), units.unbind(1), strict=True)):
            if k:
                fed[k].copy_(states[:, k - 1])
                torch.baddbmm(bias, inputs[k], into_gates, out=of_input)
                cell = advance_cell(of_input, outputs[k - 1], recurrence, bias_n, outputs[k])
                if keep:
                    kept += cell
            torch.clamp_min(torch.baddbmm(bias_units, read[k], into_units, out=of_units), 0.0, out=active)
            torch.add(fed[k], torch.baddbmm(bias_output, active, into_change, out=change), out=predicted)
        return states, features, units, *kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: D102
        _, _, _, _, weight_ih, weight_hh, _, _, weight_units, _, weight_output, _ = inputs
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(weight_ih, weight_hh, weight_units, weight_output, *output[1:])

    @staticmethod
    def backward(  # noqa: D102
        ctx: Any, grad_states: Tensor | None, grad_features: Tensor | None, *_: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        if grad_states is None and grad_features is None:
            return (None,) * 12
        weight_output, features = ctx.saved_tensors[3:5]
        if grad_states is None:
            grad_states = features.new_zeros(*features.shape[:-1], weight_output.shape[-2])
        if grad_features is None:
            grad_features = torch.zeros_like(features)
        need_action = ctx.needs_input_grad[3]
        grad_state, grad_hidden, grad_action, *of_weights = _MeanForecastGradient.apply(  # type: ignore[no-untyped-call]
            need_action, grad_states, grad_features, *ctx.saved_tensors
        )
        return None, grad_state, grad_hidden, grad_action if need_action else None, *of_weights

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], keep: bool, *tensors: Tensor) -> tuple[Any, Any]:  # noqa: D102
        outputs = MeanForecast.apply(keep, *fold_members(info.batch_size, in_dims[1:], tensors))  # type: ignore[no-untyped-call]
        return unfold_members(info.batch_size, outputs), (0,) * len(outputs)


class _MeanForecastGradient(torch.autograd.Function):
    """The backward pass of :class:`MeanForecast`; a function of its own so that ``torch.func`` can batch it too.

    The gradients of what goes into the gates' functions lie side by side in the order n, r, z, recurrent n, as in
    :mod:`rwmu.dynamics.gru_sequence`.
    """

    @staticmethod
    def forward(
        need_action: bool,
        grad_states: Tensor,
        grad_features: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        weight_units: Tensor,
        weight_output: Tensor,
        features: Tensor,
        units: Tensor,
        *kept: Tensor,
    ) -> tuple[Tensor, ...]:
        width, dims = weight_hh.shape[-1], weight_output.shape[1]
        weight_nrz = torch.cat([weight_ih[:, 2 * width :], weight_ih[:, : 2 * width]], dim=1)
        grad_states = grad_states.clone(memory_format=torch.contiguous_format)  # becomes that of all that follows from a state
        grad_units = torch.empty_like(units)
        grad_cells = units.new_empty(*units.shape[:-1], 4 * width)
        grad_state, grad_hidden = _back_through_steps(
            grad_states,
            grad_features[..., : width + dims],
            (weight_nrz[..., :dims], weight_hh, weight_units[..., : width + dims], weight_output),
            (features[..., :width], units, kept),
            (grad_units, grad_cells),
        )
        grad_action = features.new_empty(len(features), 0)
        if need_action:
            grad_action = grad_features[..., width + dims :] + _product(grad_units, weight_units[..., width + dims :])
            grad_action[:, 1:] += _product(grad_cells[:, 1:, ..., : 3 * width], weight_nrz[..., dims:])
        cells, inputs = grad_cells[:, 1:], features[:, 1:, :, width:]  # the first row's cell is not ours
        grad_ih, grad_hh = _of_weight(cells[..., : 3 * width], inputs), _of_weight(cells[..., width:], features[:, :-1, :, :width])
        of_bias = cells.flatten(1, 2).sum(dim=1)
        return (
            grad_state,
            grad_hidden,
            grad_action,
            torch.cat([grad_ih[:, width:], grad_ih[:, :width]], dim=1),
            grad_hh,
            torch.cat([of_bias[:, width : 3 * width], of_bias[:, :width]], dim=1),
            of_bias[:, width:].contiguous(),
            _of_weight(grad_units, features),
            grad_units.flatten(1, 2).sum(dim=1),
            _of_weight(grad_states, units),
            grad_states.flatten(1, 2).sum(dim=1),
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError("the forecast of means can be differentiated once, not twice")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], need_action: bool, *tensors: Tensor) -> tuple[Any, Any]:
        folded = fold_members(info.batch_size, in_dims[1:], tensors)
        gradients = _MeanForecastGradient.apply(need_action, *folded)  # type: ignore[no-untyped-call]
        return unfold_members(info.batch_size, gradients), (0,) * len(gradients)


def _back_through_steps(
    grad_states: Tensor,
    grad_features: Tensor,
    weights: tuple[Tensor, Tensor, Tensor, Tensor],
    made: tuple[Tensor, Tensor, tuple[Tensor, ...]],
    out: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Go back from the last step to the first.

    Args:
        grad_states: ``[M, K, B, D]``; what comes back from later steps is added to it.
        grad_features: ``[M, K, B, W + D]``.
        weights: of n, r, z for the state; of the recurrence; of the units for hidden state and state; of the output.
        made: hidden states, units, and what the cells kept.
        out: get the gradients of what goes into the units ``[M, K, B, V]`` and into the cells ``[M, K, B, 4W]``.

    Returns:
        The gradients of the first state and of the first hidden state.
    """
    weight_state, weight_hh, weight_units, weight_output = weights
    outputs, active, kept = made[0].unbind(1), made[1].unbind(1), made[2]
    of_states, of_features, grad_units, grad_cells = (tensor.unbind(1) for tensor in (grad_states, grad_features, *out))
    width, rectified = weight_hh.shape[-1], torch.empty_like(active[0], memory_format=torch.contiguous_format)
    grad_state, through = torch.zeros_like(of_states[-1]), torch.zeros_like(outputs[-1])
    for k in reversed(range(len(outputs))):
        of_states[k].add_(grad_state)
        torch.bmm(of_states[k], weight_output, out=rectified)
        torch.ops.aten.threshold_backward.grad_input(rectified, active[k], 0, grad_input=grad_units[k])
        back = torch.baddbmm(of_features[k], grad_units[k], weight_units)
        grad_hidden, grad_state = back[..., :width], of_states[k] + back[..., width:]
        grad_hidden.add_(through)
        if k:
            gates, candidate = kept[2 * k - 2], kept[2 * k - 1]
            through = cell_gradient(grad_hidden, outputs[k - 1], gates, candidate, grad_cells[k])
            through.baddbmm_(grad_cells[k][..., width:], weight_hh)
            grad_state.baddbmm_(grad_cells[k][..., : 3 * width], weight_state)
    return grad_state, grad_hidden


def _of_weight(grad_outputs: Tensor, inputs: Tensor) -> Tensor:
    """Return the gradient ``[M, O, I]`` of a weight from all steps, ``[M, K, B, O]`` and ``[M, K, B, I]``.

    It is summed transposed: on CPUs a tenth faster than the other way round.
    """
    return torch.bmm(inputs.flatten(1, 2).transpose(1, 2), grad_outputs.flatten(1, 2)).transpose(1, 2)


def _product(rows: Tensor, weight: Tensor) -> Tensor:
    """Return ``[M, K, B, O] [M, O, I] -> [M, K, B, I]``."""
    return torch.unflatten(torch.bmm(rows.flatten(1, 2), weight), 1, rows.shape[1:3])
