"""The recurrent ensemble behind both world models: they differ only in how many GRU bases there are."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rwmu.dynamics.gru import GRU
from rwmu.dynamics.heads import MemberMLP, Prior, StateHead, check_bounds, side_by_side
from rwmu.dynamics.layers import member_generators
from rwmu.dynamics.losses import LossSettings, member_losses
from rwmu.dynamics.recurrent_rollout import Features, RecurrentCarry, encode, forecast, predict, predict_for_loss
from rwmu.dynamics.unroll import Feedback
from rwmu.dynamics.window_mlp import WindowMLP
from rwmu.records import Batch, Followed, Noise, Prediction, Rollout, Window, follow
from rwmu.settings import Count, Few, NotNegative, WholeNumber, checked


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

    @checked("dynamics")
    def __init__(
        self,
        state_dim: Count,
        action_dim: Count,
        contact_dim: WholeNumber,
        num_members: Few,
        num_bases: Few,
        hidden_size: Count = 256,
        num_layers: Few = 2,
        head_hidden_size: Count = 128,
        side_head_hidden_size: Count | None = None,
        auxiliary_base: Literal["shared", "separate"] = "shared",
        skip: bool = True,
        backbone: Literal["gru", "mlp"] = "gru",
        window: Count = 32,
        extension_dim: WholeNumber = 0,
        prior_scale: NotNegative = 0.0,
        prior_hidden_size: Count = 32,
        min_log_std: float = -6.0,
        max_log_std: float = 1.0,
        learn_bounds: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        side = head_hidden_size if side_head_hidden_size is None else side_head_hidden_size
        check_bounds(min_log_std, max_log_std)
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

    # -- the verbs of a dynamics model ----------------------------------------------------------------------------------------

    def initial_carry(self, num_inputs: int, batch: int) -> RecurrentCarry:
        """Return the carry before any row; see :class:`~rwmu.interfaces.Dynamics`."""
        auxiliary = self.auxiliary_base.initial_hidden(num_inputs, batch) if self.auxiliary_base is not None else None
        return RecurrentCarry(self.state_base.initial_hidden(num_inputs, batch), auxiliary)

    def observe(self, carry: RecurrentCarry, window: Window) -> tuple[RecurrentCarry, Prediction]:
        """Read true rows; see :class:`~rwmu.interfaces.Dynamics`."""
        encoded = encode(self, window.state[:, :, :-1], window.action[:, :, 1:], carry)
        return encoded.carry, encoded.predict(self)

    def step(self, carry: RecurrentCarry, state: Tensor, action: Tensor) -> tuple[RecurrentCarry, Prediction]:
        """Read one row and predict the next; see :class:`~rwmu.interfaces.Dynamics`."""
        features, carry = self.advance(state, action, carry)
        return carry, predict(self, features, state)

    def losses(self, batch: Batch, settings: LossSettings, noise: Noise | None = None) -> dict[str, Tensor]:
        """Return every term; see :func:`rwmu.dynamics.losses.member_losses`."""
        return member_losses(self, batch, settings, noise, partial(predict_for_loss, self))

    # -- ways to save work: UnrollsFast, FollowsMembers -----------------------------------------------------------------------

    def warm_up(self, window: Window) -> RecurrentCarry:
        """Read all rows but the last without predicting; see :class:`~rwmu.interfaces.UnrollsFast`."""
        if window.length < 2:
            return self.initial_carry(*window.state.shape[:2])
        return encode(self, window.state[:, :, :-1], window.action[:, :, 1:], last=1).carry

    def unroll(self, window: Window, history: int, feedback: Feedback, noise: Tensor | None, member: Tensor | None) -> Rollout:
        """Predict rows H..T-1; see :class:`~rwmu.interfaces.UnrollsFast`."""
        encoded = encode(self, window.state[:, :, :history], window.action[:, :, 1 : history + 1], last=1)
        return forecast(self, encoded, window.action[:, :, history + 1 :], feedback, noise, member)

    def follow(self, carry: RecurrentCarry, member: Tensor) -> RecurrentCarry:
        """Keep of a separate auxiliary base the member that each row follows; see :class:`~rwmu.interfaces.FollowsMembers`.

        Every member's state base goes on, for what they disagree about.
        """
        if carry.auxiliary is None:
            return carry
        return RecurrentCarry(carry.state, torch.stack([follow(layer, member) for layer in carry.auxiliary]))

    def step_followed(
        self, carry: RecurrentCarry, state: Tensor, action: Tensor, followed: Followed, spread: bool
    ) -> tuple[RecurrentCarry, Prediction]:
        """Step from such a carry; see :class:`~rwmu.interfaces.FollowsMembers`."""
        features, carry = self.advance(state, action, carry, followed)
        return carry, predict(self, features, state, followed, spread)

    # -- bases and heads, which rollouts are put together from ------------------------------------------------------------------

    def _features(self, output: Tensor, x: Tensor) -> Tensor:
        return torch.cat([output, x.expand(output.shape[0], *x.shape[1:])], dim=-1) if self.skip else output

    def sequence(
        self, state: Tensor, action: Tensor, carry: RecurrentCarry, last: int | None = None
    ) -> tuple[Features, RecurrentCarry]:
        """Read true rows at once.

        Args:
            state: ``[M, B, T, D]`` rows ``s_t``.
            action: ``[M, B, T, A]``, the actions that *follow* them, ``a_{t+1}``.
            last: of how many of the last rows features are wanted; None for all.

        Returns:
            Features after each of these rows, ``[M', B, T, .]`` (M' is 1 or E), and the carry after the last.
        """
        rows = torch.cat([state, action], dim=-1).transpose(1, 2).contiguous()  # [M, T, B, D + A]
        x = rows if last is None else rows[:, rows.shape[1] - last :]
        output, hidden = self.state_base.sequence(rows, carry.state, last)
        features, inputs = self._features(output, x).transpose(1, 2), x.transpose(1, 2)
        if self.auxiliary_base is None or carry.auxiliary is None:
            return Features(features, inputs), RecurrentCarry(hidden)
        output, auxiliary = self.auxiliary_base.sequence(rows, carry.auxiliary, last)
        return Features(features, inputs, self._features(output, x).transpose(1, 2)), RecurrentCarry(hidden, auxiliary)

    def auxiliary_sequence(self, state: Tensor, action: Tensor, carry: RecurrentCarry) -> Tensor:
        """Read true rows with the separate auxiliary base alone; returns its features ``[M', B, T, F]``."""
        if self.auxiliary_base is None or carry.auxiliary is None:
            raise ValueError("the model has no separate auxiliary base, or the carry no part for it")
        x = torch.cat([state, action], dim=-1).transpose(1, 2).contiguous()
        output, _ = self.auxiliary_base.sequence(x, carry.auxiliary)
        return self._features(output, x).transpose(1, 2)

    def advance(
        self, state: Tensor, action: Tensor, carry: RecurrentCarry, followed: Followed | None = None
    ) -> tuple[Features, RecurrentCarry]:
        """Read one row, ``state [M, B, D]`` and the action that follows it ``[M, B, A]``.

        The auxiliary base is run only where the carry has a part for it; with ``followed``, that part is ``[L, 1, B, W]`` and only
        the member that a row follows is run for it.
        """
        inputs = max(state.shape[0], action.shape[0])  # members may share a state and not the actions, or the other way round
        x = torch.cat([state.expand(inputs, -1, -1), action.expand(inputs, -1, -1)], dim=-1)
        output, hidden = self.state_base.step(x, carry.state)
        features = self._features(output, x)
        if self.auxiliary_base is None or carry.auxiliary is None:
            return Features(features, x), RecurrentCarry(hidden)
        if followed is None:
            output, auxiliary = self.auxiliary_base.step(x, carry.auxiliary)
        else:
            output, auxiliary = self.auxiliary_base.step_followed(x, carry.auxiliary, followed)
        return Features(features, x, self._features(output, x)), RecurrentCarry(hidden, auxiliary)

    def predict_state(self, features: Features, state: Tensor, spread: bool = True) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation ``[E, N, D]`` of what follows ``state [M, N, D]``; N is any flattened batch.

        Without ``spread``, the latter is ``[E, N, 0]``: nobody will look at it, or asks for it later.
        """
        head = self.state_head
        mean = head.predict_mean(features.state, features.inputs, state)
        return mean, head.bound(head.log_std(features.state)) if spread else mean.new_empty(*mean.shape[:-1], 0)

    def predict_beside(self, features: Features, spread: bool = True) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Predict all but the mean.

        Returns:
            The log standard deviation ``[E, N, D]`` (``[E, N, 0]`` without ``spread``), contact logits ``[E, N, C]``, termination
            logits ``[E, N, 1]`` and any extension ``[E, N, X]``.
        """
        log_std = [self.state_head.log_std] if spread else []
        side = [self.contact_head, self.termination_head, *([] if self.extension_head is None else [self.extension_head])]
        if features.auxiliary is None:
            outputs = side_by_side([*log_std, *side], features.state)
        else:
            outputs = [*side_by_side(log_std, features.state), *side_by_side(side, features.auxiliary)]
        if spread:
            outputs[0] = self.state_head.bound(outputs[0])
        else:
            outputs.insert(0, outputs[0].new_empty(*outputs[0].shape[:-1], 0))
        found, contact, termination, *extension = outputs
        return found, contact, termination, extension[0] if extension else None

    def predict_followed(self, side: Tensor, followed: Followed) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return contact logits ``[1, N, C]``, termination logits ``[1, N, 1]`` and any extension of the member each row follows.

        Args:
            side: ``Features.side``, ``[M', N, F]``.
        """
        extension = None if self.extension_head is None else self.extension_head.followed(side, followed)
        return self.contact_head.followed(side, followed), self.termination_head.followed(side, followed), extension
