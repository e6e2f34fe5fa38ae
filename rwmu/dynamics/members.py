"""Between one model and many: stack single models into an independent ensemble, take members out of one, look at them in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import stack_module_state

from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.recurrent import RecurrentEnsemble
from rwmu.errors import ConfigError


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
