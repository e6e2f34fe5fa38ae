"""The recurrent ensemble behind both world models: they differ only in how many GRU bases there are."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from rwmu.dynamics.gru import GRU
from rwmu.dynamics.heads import MemberMLP, Prior, StateHead
from rwmu.dynamics.window_mlp import WindowMLP
from rwmu.errors import ConfigError
from rwmu.records import Carry, Features, Followed


def member_generators(seed: int, num_members: int) -> list[torch.Generator]:
    """Return one random generator a member; a member's stream depends on the seed and its index, not on how many there are."""
    return [torch.Generator().manual_seed((seed + 1) * 1_000_003 + member) for member in range(num_members)]


def _refuse_impossible(sizes: dict[str, int], auxiliary_base: str, backbone: str) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ConfigError(f"dynamics.{name} is {value}, but must be at least 1.")
    choices = {"auxiliary_base": (auxiliary_base, ("shared", "separate")), "backbone": (backbone, ("gru", "mlp"))}
    for name, (chosen, known) in choices.items():
        if chosen not in known:
            raise ConfigError(f"dynamics.{name} is '{chosen}', but must be one of {list(known)}.")


def _refuse_impossible_numbers(prior_scale: float, min_log_std: float, max_log_std: float) -> None:
    if not prior_scale >= 0.0:
        raise ConfigError(f"dynamics.prior_scale is {prior_scale}, but must be 0 or above.")
    if not min_log_std < max_log_std:
        raise ConfigError(f"dynamics.min_log_std is {min_log_std}, but must be below dynamics.max_log_std, which is {max_log_std}.")


class RecurrentEnsemble(nn.Module):
    """E recurrent world models in normalised state space (RWM, arXiv:2501.10100; RWM-U, arXiv:2504.16680).

    Args:
        state_dim, action_dim, contact_dim: D, A, C.
        num_members: E.
        num_bases: 1 for a shared GRU base, E for independent members.
        hidden_size, num_layers: of the GRU.
        head_hidden_size: of the hidden layer of the mean's head.
        side_head_hidden_size: of the other heads' (log-std, contact, termination); None for the same size, as published.
        auxiliary_base: ``shared`` puts the contact and termination heads on the state base; ``separate`` gives them a GRU of their
            own, as published.
        skip: whether the heads also see the base's input, next to its output.
        backbone: ``gru``, or ``mlp`` for a perceptron of ``num_layers`` on the last ``window`` rows (RWM's baseline).
        extension_dim: X, further continuous quantities to be predicted; 0 for none.
        prior_scale, prior_hidden_size: see :class:`~rwmu.dynamics.heads.Prior`; a scale of 0 is none.
        min_log_std, max_log_std, learn_bounds: see :class:`~rwmu.dynamics.heads.StateHead`.
        seed: of the initialisation.

    Attributes:
        arguments: of the constructor, by name; a model of the same architecture is built from them.
    """

    def __init__(
        self,
        state_dim: int,
        action_dim: int,
        contact_dim: int,
        num_members: int,
        num_bases: int,
        hidden_size: int = 256,
        num_layers: int = 2,
        head_hidden_size: int = 128,
        side_head_hidden_size: int | None = None,
        auxiliary_base: str = "shared",
        skip: bool = True,
        backbone: str = "gru",
        window: int = 32,
        extension_dim: int = 0,
        prior_scale: float = 0.0,
        prior_hidden_size: int = 32,
        min_log_std: float = -6.0,
        max_log_std: float = 1.0,
        learn_bounds: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        side = head_hidden_size if side_head_hidden_size is None else side_head_hidden_size
        sizes = {"num_members": num_members, "hidden_size": hidden_size, "num_layers": num_layers, "window": window}
        sizes |= {"head_hidden_size": head_hidden_size, "side_head_hidden_size": side, "prior_hidden_size": prior_hidden_size}
        _refuse_impossible(sizes, auxiliary_base, backbone)
        _refuse_impossible_numbers(prior_scale, min_log_std, max_log_std)
        self.state_dim, self.action_dim, self.contact_dim, self.extension_dim = state_dim, action_dim, contact_dim, extension_dim
        self.num_members, self.num_bases, self.skip = num_members, num_bases, skip
        generators = member_generators(seed, num_members)
        inputs = state_dim + action_dim
        features = hidden_size + (inputs if skip else 0)

        def base() -> GRU | WindowMLP:
            if backbone == "gru":
                return GRU(inputs, hidden_size, num_layers, num_bases, generators)
            return WindowMLP(inputs, hidden_size, num_layers, num_bases, generators, window)

        self.state_base = base()
        self.auxiliary_base = base() if auxiliary_base == "separate" else None
        self.state_head = StateHead(
            features, (head_hidden_size, side), state_dim, generators, min_log_std, max_log_std, learn_bounds
        )
        self.contact_head = MemberMLP(features, side, contact_dim, generators)
        self.termination_head = MemberMLP(features, side, 1, generators)
        # Drawn last, so that switching them on changes no other initial weight.
        self.extension_head = MemberMLP(features, side, extension_dim, generators) if extension_dim else None
        if prior_scale:
            self.state_head.prior = Prior(inputs, prior_hidden_size, state_dim, prior_scale, generators)

    def freeze_auxiliary(self) -> None:
        """Train neither the heads of contact, termination and extension nor a base of their own (a shared base is trained on)."""
        for part in (self.auxiliary_base, self.contact_head, self.termination_head, self.extension_head):
            if part is not None:
                part.requires_grad_(False)

    def correct_termination_odds(self, ratio: float) -> None:
        """Lower the termination head's odds by ``ratio``: how much more frequent terminations were in training than they are."""
        with torch.no_grad():
            self.termination_head.bias_output.sub_(math.log(ratio))

    def initial_carry(self, num_inputs: int, batch: int) -> Carry:
        """Return the carry before any row; see :class:`~rwmu.interfaces.Dynamics`."""
        auxiliary = self.auxiliary_base.initial_hidden(num_inputs, batch) if self.auxiliary_base is not None else None
        return Carry(self.state_base.initial_hidden(num_inputs, batch), auxiliary)

    def _features(self, output: Tensor, x: Tensor) -> Tensor:
        return torch.cat([output, x.expand(output.shape[0], *x.shape[1:])], dim=-1) if self.skip else output

    def sequence(self, state: Tensor, action: Tensor, carry: Carry, last: int | None = None) -> tuple[Features, Carry]:
        """Read true rows; see :class:`~rwmu.interfaces.Dynamics`."""
        rows = torch.cat([state, action], dim=-1).transpose(1, 2).contiguous()  # [M, T, B, D + A]
        x = rows if last is None else rows[:, rows.shape[1] - last :]
        output, hidden = self.state_base.sequence(rows, carry.state, last)
        features, inputs = self._features(output, x).transpose(1, 2), x.transpose(1, 2)
        if self.auxiliary_base is None or carry.auxiliary is None:
            return Features(features, inputs), Carry(hidden)
        output, auxiliary = self.auxiliary_base.sequence(rows, carry.auxiliary, last)
        return Features(features, inputs, self._features(output, x).transpose(1, 2)), Carry(hidden, auxiliary)

    def auxiliary_sequence(self, state: Tensor, action: Tensor, carry: Carry) -> Tensor:
        """Read true rows with the auxiliary base alone; see :class:`~rwmu.interfaces.Dynamics`."""
        if self.auxiliary_base is None or carry.auxiliary is None:
            raise ValueError("the model has no separate auxiliary base, or the carry no part for it")
        x = torch.cat([state, action], dim=-1).transpose(1, 2).contiguous()
        output, _ = self.auxiliary_base.sequence(x, carry.auxiliary)
        return self._features(output, x).transpose(1, 2)

    def advance(self, state: Tensor, action: Tensor, carry: Carry, followed: Followed | None = None) -> tuple[Features, Carry]:
        """Read one row; see :class:`~rwmu.interfaces.Dynamics`."""
        inputs = max(state.shape[0], action.shape[0])  # members may share a state and not the actions, or the other way round
        x = torch.cat([state.expand(inputs, -1, -1), action.expand(inputs, -1, -1)], dim=-1)
        output, hidden = self.state_base.step(x, carry.state)
        features = self._features(output, x)
        if self.auxiliary_base is None or carry.auxiliary is None:
            return Features(features, x), Carry(hidden)
        if followed is None:
            output, auxiliary = self.auxiliary_base.step(x, carry.auxiliary)
        else:
            output, auxiliary = self.auxiliary_base.step_followed(x, carry.auxiliary, followed)
        return Features(features, x, self._features(output, x)), Carry(hidden, auxiliary)

    def predict_state(self, features: Features, state: Tensor, spread: bool = True) -> tuple[Tensor, Tensor]:
        """Apply the state heads; see :class:`~rwmu.interfaces.Dynamics`."""
        if not spread:
            mean = self.state_head.predict_mean(features.state, features.inputs, state)
            return mean, mean.new_empty(*mean.shape[:-1], 0)
        mean, log_std = self.state_head(features.state, features.inputs, state)
        return mean, log_std

    def predict_spread(self, features: Features) -> Tensor:
        """Apply the head of the log standard deviation; see :class:`~rwmu.interfaces.Dynamics`."""
        return self.state_head.predict_spread(features.state)

    def predict_side(self, side: Tensor, followed: Followed | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Apply the other heads; see :class:`~rwmu.interfaces.Dynamics`."""

        def apply(head: MemberMLP) -> Tensor:
            outputs: Tensor = head(side) if followed is None else head.followed(side, followed)
            return outputs

        extension = None if self.extension_head is None else apply(self.extension_head)
        return apply(self.contact_head), apply(self.termination_head), extension
