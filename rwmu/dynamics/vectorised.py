"""An ensemble of any single model: written for one member, run for all of them at once by ``torch.func.vmap``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from rwmu.dynamics.layers import member_seed
from rwmu.dynamics.losses import LossSettings, member_losses
from rwmu.records import Batch, Carry, Noise, Prediction, TensorRecord, Window


class VectorisedEnsemble(nn.Module):
    """E single models with stacked parameters ``[E, ...]``, a :class:`~rwmu.interfaces.Dynamics`.

    Args:
        models: of the same architecture, without buffers; the ensemble takes copies of their weights. Each is an ``nn.Module``
            whose tensors and records have no members' axis, with ``state_dim``, ``action_dim``, ``contact_dim``, ``extension_dim``,
            a ``decoder`` (:class:`~rwmu.dynamics.decoder.Decoder`) and two methods. ``initial_carry(batch)`` is the carry before
            any row. ``read(carry, state, action)`` reads rows ``[B, T, D]``, each with the action that follows it, and returns the
            carry, predictions ``[B, T, .]``, and what it will.
    """

    def __init__(self, models: Sequence[Any]) -> None:
        super().__init__()
        self.num_members = len(models)
        first = models[0]
        self.state_dim, self.action_dim, self.contact_dim = first.state_dim, first.action_dim, first.contact_dim
        self.extension_dim = first.extension_dim
        stacked, _ = stack_module_state(list(models))
        self.member = _Member(first)
        for name, tensor in stacked.items():
            path, _, leaf = name.rpartition(".")
            parameter = nn.Parameter(tensor.detach().clone(), requires_grad=first.get_parameter(name).requires_grad)
            first.get_submodule(path)._parameters[leaf] = parameter

    @property
    def model(self) -> Any:
        """Return the single model that holds everybody's parameters; only :meth:`call` can run it."""
        return self.member.model

    def call(self, method: str, *arguments: Tensor | TensorRecord | None) -> Any:
        """Call a method of every member on tensors and records whose first axis is E, or 1 where all have them in common.

        Returns:
            What the method returns, a tuple of tensors and records, with E as their first axis.
        """
        tensors = [tensor for argument in arguments for tensor in _tensors(argument)]
        in_dims = [0 if len(tensor) == self.num_members else None for tensor in tensors]
        tensors = [tensor[0] if dim is None else tensor for tensor, dim in zip(tensors, in_dims, strict=True)]
        returned: list[Any] = []

        def one(weights: dict[str, Tensor], *own: Tensor) -> tuple[Tensor, ...]:
            returned[:] = functional_call(self.member, weights, (method, *_rebuilt(arguments, own)))
            return tuple(tensor for part in returned for tensor in _tensors(part))

        outputs = vmap(one, in_dims=(0, *in_dims))(dict(self.member.named_parameters()), *tensors)
        return tuple(_rebuilt(returned, outputs))

    def initial_carry(self, num_inputs: int, batch: int) -> Carry:
        """Return the carry before any row; see :class:`~rwmu.interfaces.Dynamics`."""
        one: Carry = self.model.initial_carry(batch)
        return one.map(lambda tensor: tensor.expand(self.num_members, *tensor.shape))

    def observe(self, carry: Carry, window: Window) -> tuple[Carry, Prediction]:
        """Read true rows; see :class:`~rwmu.interfaces.Dynamics`."""
        carry, prediction, *_ = self.call("read", carry, window.state[:, :, :-1], window.action[:, :, 1:])
        return carry, prediction

    def step(self, carry: Carry, state: Tensor, action: Tensor) -> tuple[Carry, Prediction]:
        """Read one row and predict the next; see :class:`~rwmu.interfaces.Dynamics`."""
        carry, prediction, *_ = self.call("read", carry, state.unsqueeze(2), action.unsqueeze(2))
        return carry, prediction.map(lambda tensor: tensor[:, :, 0])

    def losses(self, batch: Batch, settings: LossSettings, noise: Noise | None = None) -> dict[str, Tensor]:
        """Return every term; see :func:`rwmu.dynamics.losses.member_losses`."""
        return member_losses(self, batch, settings, noise)

    def freeze_auxiliary(self) -> None:
        """Train the heads of contact, termination and extension no further (what they read is trained on)."""
        self.model.decoder.freeze_auxiliary()

    def correct_termination_odds(self, ratio: float) -> None:
        """Lower the termination head's odds by ``ratio``: how much more frequent terminations were in training than they are."""
        with torch.no_grad():
            self.model.decoder.termination[-1].bias.sub_(math.log(ratio))


def single_models(make: Callable[[], nn.Module], num_members: int, seed: int) -> list[nn.Module]:
    """Make single models, each initialised from its own stream, which does not depend on how many there are."""
    models = []
    for member in range(num_members):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(member_seed(seed, member))
            models.append(make())
    return models


class _Member(nn.Module):
    """Let ``functional_call`` reach any method of a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, method: str, *arguments: Any) -> Any:
        """Dispatch."""
        return getattr(self.model, method)(*arguments)


def _tensors(value: Any) -> list[Tensor]:
    """Return the tensors of a tensor, a record or None, in their order."""
    if isinstance(value, Tensor):
        return [value]
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    if value is not None:
        value.map(note)
    return found


def _rebuilt(values: Sequence[Any], tensors: Sequence[Tensor]) -> Iterator[Any]:
    """Put other tensors into the places of those of ``values``."""
    left = iter(tensors)
    for value in values:
        if value is None or isinstance(value, Tensor):
            yield None if value is None else next(left)
        else:
            yield value.map(lambda _: next(left))
