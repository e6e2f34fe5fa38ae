"""The recurrent ensemble behind both world models: they differ only in how many GRU bases there are."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rwmu.dynamics.gru import GRU
from rwmu.dynamics.heads import MemberMLP, StateHead
from rwmu.errors import ConfigError
from rwmu.records import Carry, Prediction


def member_generators(seed: int, num_members: int) -> list[torch.Generator]:
    """Return one random generator a member; a member's stream depends on the seed and its index, not on how many there are."""
    return [torch.Generator().manual_seed((seed + 1) * 1_000_003 + member) for member in range(num_members)]


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
        min_log_std, max_log_std, learn_bounds: see :class:`~rwmu.dynamics.heads.StateHead`.
        seed: of the initialisation.
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
        min_log_std: float = -6.0,
        max_log_std: float = 1.0,
        learn_bounds: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("num_members", num_members), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if value < 1:
                raise ConfigError(f"dynamics.{name} is {value}, but must be at least 1.")
        if auxiliary_base not in ("shared", "separate"):
            raise ConfigError(f"dynamics.auxiliary_base is '{auxiliary_base}', but must be 'shared' or 'separate'.")
        self.state_dim, self.action_dim, self.contact_dim = state_dim, action_dim, contact_dim
        self.num_members, self.num_bases, self.skip = num_members, num_bases, skip
        generators = member_generators(seed, num_members)
        inputs = state_dim + action_dim
        features = hidden_size + (inputs if skip else 0)
        self.state_base = GRU(inputs, hidden_size, num_layers, num_bases, generators)
        self.auxiliary_base = GRU(inputs, hidden_size, num_layers, num_bases, generators) if auxiliary_base == "separate" else None
        side = head_hidden_size if side_head_hidden_size is None else side_head_hidden_size
        self.state_head = StateHead(
            features, (head_hidden_size, side), state_dim, generators, min_log_std, max_log_std, learn_bounds
        )
        self.contact_head = MemberMLP(features, side, contact_dim, generators)
        self.termination_head = MemberMLP(features, side, 1, generators)

    def correct_termination_odds(self, ratio: float) -> None:
        """Lower the termination head's odds by ``ratio``: how much more frequent terminations were in training than they are."""
        with torch.no_grad():
            self.termination_head.bias_output.sub_(math.log(ratio))

    def initial_carry(self, num_inputs: int, batch: int) -> Carry:
        """Return zeros; see :class:`~rwmu.interfaces.Dynamics`."""
        auxiliary = self.auxiliary_base.initial_hidden(num_inputs, batch) if self.auxiliary_base is not None else None
        return Carry(self.state_base.initial_hidden(num_inputs, batch), auxiliary)

    def _features(self, output: Tensor, x: Tensor) -> Tensor:
        return torch.cat([output, x.expand(output.shape[0], *x.shape[1:])], dim=-1) if self.skip else output

    def sequence(self, state: Tensor, action: Tensor, carry: Carry) -> tuple[Tensor, Tensor, Carry]:
        """Run the base over true rows; see :class:`~rwmu.interfaces.Dynamics`."""
        x = torch.cat([state, action], dim=-1).transpose(1, 2).contiguous()  # [M, T, B, D + A]
        output, hidden = self.state_base.sequence(x, carry.state)
        features = self._features(output, x).transpose(1, 2)
        if self.auxiliary_base is None or carry.auxiliary is None:
            return features, features, Carry(hidden)
        output, auxiliary = self.auxiliary_base.sequence(x, carry.auxiliary)
        return features, self._features(output, x).transpose(1, 2), Carry(hidden, auxiliary)

    def step(self, state: Tensor, action: Tensor, carry: Carry, true_state: Tensor | None = None) -> tuple[Prediction, Carry]:
        """Predict the next row; see :class:`~rwmu.interfaces.Dynamics`."""
        x = torch.cat([state, action.expand(*state.shape[:-1], -1)], dim=-1)
        output, hidden = self.state_base.step(x, carry.state)
        features = self._features(output, x)
        if self.auxiliary_base is None or carry.auxiliary is None:
            return self.predict(features, features, state), Carry(hidden)
        x = x if true_state is None else torch.cat([true_state, action.expand(*true_state.shape[:-1], -1)], dim=-1)
        output, auxiliary = self.auxiliary_base.step(x, carry.auxiliary)
        return self.predict(features, self._features(output, x), state), Carry(hidden, auxiliary)

    def predict(self, features: Tensor, auxiliary_features: Tensor, state: Tensor) -> Prediction:
        """Apply the heads; see :class:`~rwmu.interfaces.Dynamics`."""
        mean, log_std = self.state_head(features, state)
        return Prediction(mean, log_std, self.contact_head(auxiliary_features), self.termination_head(auxiliary_features))
