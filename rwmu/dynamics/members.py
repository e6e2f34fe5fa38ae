"""The members of an independent ensemble as single models, in place."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.recurrent import RecurrentEnsemble


def member_view(ensemble: RecurrentEnsemble, member: int) -> IndependentEnsemble:
    """Return a single model (an ensemble of one) whose parameters are one member's, of a shared base too, in the same memory."""
    arguments = {name: value for name, value in ensemble.arguments.items() if name != "num_bases"}
    single = IndependentEnsemble(**{**arguments, "num_members": 1})
    for name, parameter in ensemble.named_parameters():
        own = parameter.data[member : member + 1] if parameter.shape[0] == ensemble.num_members else parameter.data
        path, _, leaf = name.rpartition(".")
        single.get_submodule(path)._parameters[leaf] = nn.Parameter(own, requires_grad=parameter.requires_grad)
    return single


class MemberViews:
    """The members of an independent ensemble as single models on the same memory: what trains them, trains the ensemble.

    Args:
        ensemble: with as many bases as members, and on its final device.
    """

    def __init__(self, ensemble: RecurrentEnsemble) -> None:
        self._ensemble = ensemble
        self._views = [member_view(ensemble, member) for member in range(ensemble.num_members)]

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
