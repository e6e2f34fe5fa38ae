"""The same step in operations that a tracer can follow, for graphs that leave Python.

Left out are writing in place, blocks of rows, a backward pass by hand, and ``torch.func``; results differ by rounding alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from rwmu.dynamics.gru import GRU
from rwmu.dynamics.layers import affine
from rwmu.dynamics.vectorised import VectorisedEnsemble
from rwmu.records import Carry, Prediction, TensorRecord

Record = TypeVar("Record", bound=TensorRecord)


def traceable(dynamics: nn.Module) -> nn.Module:
    """Return a copy of a model with a ``step`` that can be traced, for states and carries of E members.

    A model that is not of the package is copied as it is.
    """
    if isinstance(dynamics, VectorisedEnsemble):
        return OneByOne(dynamics)
    copied = copy.deepcopy(dynamics)
    for module in list(copied.modules()):
        for name, part in list(module.named_children()):
            if isinstance(part, GRU):
                setattr(module, name, PlainGRU(part))
    return copied


class PlainGRU(nn.Module):
    """The step of a :class:`~rwmu.dynamics.gru.GRU`, written as its equations."""

    def __init__(self, gru: GRU) -> None:
        super().__init__()
        self.gru = gru

    def step(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Advance by one row ``x [E, B, I]`` from ``hidden [L, E, B, W]``; return the output ``[E, B, W]`` and the new hidden."""
        after = []
        weights = (self.gru.weight_ih, self.gru.weight_hh, self.gru.bias_ih, self.gru.bias_hh)
        for before, weight_ih, weight_hh, bias_ih, bias_hh in zip(hidden, *weights, strict=True):
            input_r, input_z, input_n = affine(x, weight_ih, bias_ih).chunk(3, dim=-1)
            hidden_r, hidden_z, hidden_n = affine(before, weight_hh, bias_hh).chunk(3, dim=-1)
            candidate = torch.tanh(input_n + torch.sigmoid(input_r + hidden_r) * hidden_n)
            x = torch.lerp(candidate, before, torch.sigmoid(input_z + hidden_z))
            after.append(x)
        return x, torch.stack(after)


class OneByOne(nn.Module):
    """The step of a :class:`~rwmu.dynamics.vectorised.VectorisedEnsemble`: one member after another."""

    def __init__(self, ensemble: VectorisedEnsemble) -> None:
        super().__init__()
        self.models = nn.ModuleList(_single(ensemble.model, member) for member in range(ensemble.num_members))

    def step(self, carry: Carry, state: Tensor, action: Tensor) -> tuple[Carry, Prediction]:
        """Read one row of each member's own, ``[E, B, .]``, and predict the next."""
        carries, predictions = [], []
        for member, model in enumerate(self.models):
            own: Any = model
            after, predicted, *_ = own.read(carry.map(lambda t, i=member: t[i]), state[member, :, None], action[member, :, None])
            carries.append(after)
            predictions.append(predicted.map(lambda tensor: tensor[:, 0]))
        return _stacked(carries), _stacked(predictions)


def _single(model: nn.Module, member: int) -> nn.Module:
    """Return one member of a model that holds everybody's parameters."""
    single = copy.deepcopy(model)
    for name, parameter in model.named_parameters():
        path, _, leaf = name.rpartition(".")
        single.get_submodule(path)._parameters[leaf] = nn.Parameter(parameter.detach()[member].clone(), requires_grad=False)
    return single


def _stacked(records: Sequence[Record]) -> Record:
    """Stack records along a new first axis."""
    present = [name for name, value in vars(records[0]).items() if value is not None]
    stacked = {name: torch.stack([getattr(record, name) for record in records]) for name in present}
    return replace(records[0], **stacked)  # type: ignore[type-var]  # a dataclass, as every record
