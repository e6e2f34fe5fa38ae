"""Between one model and many: stack single models into an independent ensemble, take members out of one, look at them in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.utils._pytree import tree_map

from rwmu.dynamics.ensemble import RecurrentEnsemble
from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.errors import ConfigError
from rwmu.records import Carry, Features, Followed


def stack_members(models: Sequence[RecurrentEnsemble]) -> IndependentEnsemble:
    """Make an independent ensemble of single models (ensembles of one) of the same architecture, with copies of their weights.

    ``torch.func.stack_module_state`` stacks the weights; the ensemble's own member axis is theirs.

    Raises:
        ConfigError: a model is not single, or differs from the first in its architecture.
    """
    _refuse_unlike(models)
    parameters, buffers = stack_module_state(list(models))
    first = models[0]
    arguments = {name: value for name, value in first.arguments.items() if name != "num_bases"}
    ensemble = IndependentEnsemble(**{**arguments, "num_members": len(models)})
    ensemble.to(next(first.parameters()))
    state: dict[str, Tensor] = {**parameters, **buffers}
    ensemble.load_state_dict({name: tensor.detach().flatten(0, 1) for name, tensor in state.items()})
    for own, single in zip(ensemble.parameters(), first.parameters(), strict=True):
        own.requires_grad_(single.requires_grad)
    return ensemble


def take_member(ensemble: RecurrentEnsemble, member: int) -> IndependentEnsemble:
    """Return one member as a single model (an ensemble of one), with a copy of its weights; of a shared base too.

    Raises:
        ConfigError: there is no such member.
    """
    if not 0 <= member < ensemble.num_members:
        raise ConfigError(f"There is no member {member} in an ensemble of {ensemble.num_members}.")
    return _single(ensemble, member, copy=True)


def _single(ensemble: RecurrentEnsemble, member: int, copy: bool) -> IndependentEnsemble:
    """Build a single model whose parameters are one member's, copied or in the same memory."""
    arguments = {name: value for name, value in ensemble.arguments.items() if name != "num_bases"}
    single = IndependentEnsemble(**{**arguments, "num_members": 1})
    for name, parameter in ensemble.named_parameters():
        own = parameter.data[member : member + 1] if parameter.shape[0] == ensemble.num_members else parameter.data
        path, _, leaf = name.rpartition(".")
        placed = nn.Parameter(own.clone() if copy else own, requires_grad=parameter.requires_grad)
        single.get_submodule(path)._parameters[leaf] = placed
    return single


def _refuse_unlike(models: Sequence[RecurrentEnsemble]) -> None:
    if not models:
        raise ConfigError("An ensemble needs at least one model.")
    for index, model in enumerate(models):
        if model.num_members != 1:
            raise ConfigError(f"Model {index} has {model.num_members} members; only single models can be stacked.")
        for name, value in models[0].arguments.items():
            if name != "seed" and model.arguments[name] != value:
                raise ConfigError(f"Model {index} has {name} = {model.arguments[name]}, but model 0 has {value}.")


class MemberViews:
    """The members of an independent ensemble as single models on the same memory: what trains them, trains the ensemble.

    Args:
        ensemble: with as many bases as members, and on its final device.
    """

    def __init__(self, ensemble: RecurrentEnsemble) -> None:
        if ensemble.num_bases != ensemble.num_members:
            raise ConfigError("The members of an ensemble with a shared base cannot be trained one by one.")
        self._ensemble = ensemble
        self._views = [_single(ensemble, member, copy=False) for member in range(ensemble.num_members)]

    def __len__(self) -> int:
        return len(self._views)

    def __iter__(self) -> Iterator[RecurrentEnsemble]:
        return iter(self._views)

    def zero_grad(self) -> None:
        """Set the ensemble's gradients to zero, in memory that the members' gradients are views of."""
        self._refuse_moved_weights()
        per_view = [list(view.parameters()) for view in self._views]
        for position, parameter in enumerate(self._ensemble.parameters()):
            if not parameter.requires_grad:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            else:
                parameter.grad.zero_()
            for member, parameters in enumerate(per_view):  # anew: the ensemble may have got other gradients since
                parameters[position].grad = parameter.grad[member : member + 1]

    def _refuse_moved_weights(self) -> None:
        own, view = next(self._ensemble.parameters()), next(self._views[0].parameters())
        if own.data_ptr() != view.data_ptr():  # by a cast, a move to another device or load_state_dict(assign=True)
            raise RuntimeError("the ensemble's weights lie elsewhere since its members were looked at; make new MemberViews")


class VmappedEnsemble:
    """An independent ensemble straight from ``torch.func``: one single model, called for all members' weights under ``vmap``.

    It does what :class:`IndependentEnsemble` does, as a :class:`~rwmu.interfaces.Dynamics`, and is what that fast path is tested
    against. Only :meth:`parameters` (stacked, ``[E, ...]``) are trained; the models that they come from stay as they are.

    Args:
        models: single models of the same architecture.
    """

    def __init__(self, models: Sequence[RecurrentEnsemble]) -> None:
        _refuse_unlike(models)
        first = models[0]
        self.num_members = len(models)
        self.state_dim, self.action_dim, self.contact_dim = first.state_dim, first.action_dim, first.contact_dim
        self.extension_dim = first.extension_dim
        self._model = _Call(first)
        stacked, _ = stack_module_state([_Call(model) for model in models])
        self.weights = {name: tensor.detach().requires_grad_(tensor.requires_grad) for name, tensor in stacked.items()}

    def parameters(self) -> Iterator[Tensor]:
        """Return the stacked weights, ``[E, 1, ...]``, in the order of the single model's."""
        return iter(self.weights.values())

    def _call(self, method: str, mapped: tuple[Any, ...], common: tuple[Any, ...] = ()) -> Any:
        """Call ``method`` of every member: tensors of ``mapped`` have the members' axis, or 1 where all have them in common."""

        def one(weights: dict[str, Tensor], arguments: tuple[Any, ...]) -> Any:
            return functional_call(self._model, weights, (method, arguments, common))

        # Without gradient the GRU works in place on memory of its own, which vmap has no rule for.
        with torch.enable_grad():
            result = vmap(one, in_dims=(0, 0))(self.weights, mapped)
        return result if torch.is_grad_enabled() else tree_map(lambda tensor: tensor.detach(), result)

    def _members_first(self, tensor: Tensor, axis: int = 0) -> Tensor:
        """Bring the members' axis, expanded to E, before an axis of 1 that the single model takes for its own."""
        if tensor.shape[axis] == 1:
            tensor = tensor.expand(*tensor.shape[:axis], self.num_members, *tensor.shape[axis + 1 :])
        return tensor.movedim(axis, 0).unsqueeze(1 + axis)

    def _split_carry(self, carry: Carry) -> tuple[Tensor, ...]:
        return tuple(self._members_first(part, 1) for part in (carry.state, carry.auxiliary) if part is not None)

    @staticmethod
    def _join(parts: tuple[Tensor, ...], axis: int) -> list[Tensor]:
        """Undo :meth:`_members_first` for outputs ``[E, ..., 1, ...]`` with the 1 at ``1 + axis``."""
        return [part.squeeze(1 + axis).movedim(0, axis) for part in parts]

    def initial_carry(self, num_inputs: int, batch: int) -> Carry:
        """Return the carry before any row; see :class:`~rwmu.interfaces.Dynamics`."""
        one: Carry = self._model.model.initial_carry(1, batch)
        return one.map(lambda tensor: tensor.expand(-1, self.num_members, -1, -1))

    def _read(
        self, method: str, state: Tensor, action: Tensor, carry: Carry, common: tuple[Any, ...] = ()
    ) -> tuple[Features, Carry]:
        rows = tuple(self._members_first(tensor) for tensor in (state, action))
        features, hidden = self._call(method, (*rows, self._split_carry(carry)), common)
        return Features(*self._join(features, 0)), Carry(*self._join(hidden, 1))

    def sequence(self, state: Tensor, action: Tensor, carry: Carry, last: int | None = None) -> tuple[Features, Carry]:
        """Read true rows; see :class:`~rwmu.interfaces.Dynamics`."""
        return self._read("sequence", state, action, carry, (last,))

    def advance(self, state: Tensor, action: Tensor, carry: Carry, followed: Followed | None = None) -> tuple[Features, Carry]:
        """Read one row; see :class:`~rwmu.interfaces.Dynamics`."""
        if followed is not None:
            raise NotImplementedError("the oracle runs all members")
        return self._read("advance", state, action, carry)

    def auxiliary_sequence(self, state: Tensor, action: Tensor, carry: Carry) -> Tensor:
        """Read true rows with the auxiliary base; see :class:`~rwmu.interfaces.Dynamics`."""
        rows = tuple(self._members_first(tensor) for tensor in (state, action))
        (features,) = self._call("auxiliary_sequence", (*rows, self._split_carry(carry)))
        return self._join((features,), 0)[0]

    def predict_state(self, features: Features, state: Tensor, spread: bool = True) -> tuple[Tensor, Tensor]:
        """Apply the state heads; see :class:`~rwmu.interfaces.Dynamics`."""
        arguments = tuple(self._members_first(tensor) for tensor in (features.state, features.inputs, state))
        mean, log_std = self._join(self._call("predict_state", arguments), 0)
        return mean, log_std

    def predict_spread(self, features: Features) -> Tensor:
        """Apply the head of the log standard deviation; see :class:`~rwmu.interfaces.Dynamics`."""
        arguments = tuple(self._members_first(tensor) for tensor in (features.state, features.inputs))
        return self._join(self._call("predict_spread", arguments), 0)[0]

    def predict_side(self, side: Tensor, followed: Followed | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Apply the other heads; see :class:`~rwmu.interfaces.Dynamics`."""
        if followed is not None:
            raise NotImplementedError("the oracle evaluates all members")
        parts = self._join(self._call("predict_side", (self._members_first(side),)), 0)
        return parts[0], parts[1], parts[2] if len(parts) > 2 else None


class _Call(nn.Module):
    """Call a single model's methods with plain tuples of tensors, which is what ``functional_call`` and ``vmap`` pass on."""

    def __init__(self, model: RecurrentEnsemble) -> None:
        super().__init__()
        self.model = model

    def forward(self, method: str, mapped: tuple[Any, ...], common: tuple[Any, ...]) -> tuple[Any, ...]:
        """Dispatch."""
        function = getattr(self.model, method)
        if method == "predict_state":
            return tuple(function(Features(mapped[0], mapped[1]), mapped[2]))
        if method == "predict_spread":
            return (function(Features(mapped[0], mapped[1])),)
        if method == "predict_side":
            return tuple(part for part in function(*mapped) if part is not None)
        result = function(*mapped[:2], Carry(*mapped[2]), *common)
        if method == "auxiliary_sequence":
            return (result,)
        features, carry = result
        present = [part for part in (features.state, features.inputs, features.auxiliary) if part is not None]
        return tuple(present), tuple(part for part in (carry.state, carry.auxiliary) if part is not None)
