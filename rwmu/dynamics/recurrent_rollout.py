"""The recurrent ensembles' own way through a rollout: the loop of ``unroll.py`` with fewer and larger calls.

A history is read once for all rows that go on from it; heads whose outputs are not fed back are applied to all steps at once; a
separate auxiliary base that trains on true rows reads them at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from rwmu.dynamics.gru import GRU
from rwmu.dynamics.losses import LossSettings, split_taught
from rwmu.dynamics.mean_forecast import MeanForecast
from rwmu.dynamics.unroll import Feedback, feed_back
from rwmu.records import Batch, Carry, Followed, Noise, Prediction, Rollout, TensorRecord, Window, gather

if TYPE_CHECKING:
    from rwmu.dynamics.recurrent import RecurrentEnsemble


@dataclass(frozen=True)
class RecurrentCarry(Carry):
    """The hidden states of the bases.

    Attributes:
        state: ``[L, M, B, W]`` of the state base (L layers, W units); M is E where members have bases or inputs of their own, else
            1.
        auxiliary: the same of a separate auxiliary base (contacts, termination), or None where the heads share one base or where
            that base is not to be run. M is 1 where each row follows one member.
    """

    rows_axis: ClassVar[int] = 2

    state: Tensor
    auxiliary: Tensor | None = None


@dataclass(frozen=True)
class Features(TensorRecord):
    """What the bases make of the rows so far, ready for the heads; leading axes ``[M, B]`` or ``[M, B, T]``.

    Attributes:
        state: ``[..., F]`` of the state heads; M is E, or 1 where all members have it in common.
        inputs: ``[..., D + A]``, the rows themselves.
        auxiliary: ``[..., F]`` of a separate auxiliary base, or None where there is none (or it was not run).
    """

    state: Tensor
    inputs: Tensor
    auxiliary: Tensor | None = None

    @property
    def side(self) -> Tensor:
        """Return the features of the contact and termination heads."""
        return self.state if self.auxiliary is None else self.auxiliary


@dataclass(frozen=True)
class History:
    """What a model makes of H true rows.

    Attributes:
        features: ``[M', B, H, .]`` after each row. state: ``[M, B, H, D]``, the rows themselves.
        carry: after the last row and the action that follows it.
    """

    features: Features
    state: Tensor
    carry: RecurrentCarry

    def rows(self, kept: slice) -> History:
        """Keep some of the rows."""
        return replace(self, features=self.features.map(lambda tensor: tensor[:, :, kept]), state=self.state[:, :, kept])

    def gather(self, rows: Tensor) -> History:
        """Give each member its rows ``[E, B']`` of a common batch."""
        features = self.features.map(lambda tensor: gather(tensor, rows))
        carry = self.carry.map(lambda tensor: torch.stack([gather(layer, rows) for layer in tensor]))
        return History(features, gather(self.state, rows), carry)

    def predict(self, model: RecurrentEnsemble) -> Prediction:
        """Predict what follows each row, teacher-forced; returns ``[E, B, H, .]``."""
        rows = self.state.shape[1]
        flat = predict(model, self.features.map(lambda tensor: tensor.flatten(1, 2)), self.state.flatten(1, 2))
        return flat.map(lambda tensor: torch.unflatten(tensor, 1, (rows, -1)))


def predict(
    model: RecurrentEnsemble, features: Features, state: Tensor, followed: Followed | None = None, spread: bool = True
) -> Prediction:
    """Apply all heads to the features of ``state [M, N, D]``; with ``followed``, those of contact and termination to one member."""
    if followed is None:
        return Prediction(
            model.state_head.predict_mean(features.state, features.inputs, state), *model.predict_beside(features, spread)
        )
    mean, log_std = model.predict_state(features, state, spread)
    return Prediction(mean, log_std, *model.predict_followed(features.side, followed))


def encode(
    model: RecurrentEnsemble, state: Tensor, action: Tensor, carry: RecurrentCarry | None = None, last: int | None = None
) -> History:
    """Run over true rows ``state [M, B, H, D]``, each with the action that *follows* it ``[M, B, H, A]``.

    Args:
        last: how many of the last rows to keep; None for all.
    """
    if carry is None:
        carry = model.initial_carry(state.shape[0], state.shape[1])
    features, carry = model.sequence(state, action, carry, last)
    return History(features, state if last is None else state[:, :, state.shape[2] - last :], carry)


def forecast(
    model: RecurrentEnsemble,
    history: History,
    action: Tensor,
    feedback: Feedback,
    noise: Tensor | None = None,
    member: Tensor | None = None,
    side: Tensor | None = None,
) -> Rollout:
    """Go on from the last row of a history.

    The heads whose outputs are not fed back are applied to all steps at once: those of contact and termination, and that of the
    standard deviation unless samples are fed back.

    Args:
        action: ``[M, B, K - 1, A]``, the actions that follow the predicted rows 1..K-1.
        noise: ``[K, E, B, D]`` for feedback ``sample``.
        side: ``[M', B, K - 1, F]``, features of a separate auxiliary base that has read the truth (training); None lets it read
            what is fed back.
    """
    base = _base_to_unroll(model, history, feedback, side)
    if base is None:
        steps = _steps_by_loop(model, history, action, feedback, noise, member, side)
    else:
        steps = _steps_of_means(model, base, history, action, side)
    features, count = steps.features, steps.mean.shape[0]
    spread, contact, termination, extension = model.predict_beside(features, spread=steps.log_std is None)

    def by_step(outputs: Tensor) -> Tensor:  # [E, K * B, .] -> [K, E, B, .]
        return torch.unflatten(outputs, 1, (count, -1)).transpose(0, 1)

    log_std = by_step(spread) if steps.log_std is None else steps.log_std
    further = None if extension is None else by_step(extension)
    return Rollout(steps.mean, log_std, by_step(contact), by_step(termination), steps.feedback, further)


@dataclass(frozen=True)
class Steps:
    """What a forecast feeds back, and what the heads beside it read.

    Attributes:
        mean: ``[K, E, B, D]``. feedback: ``[K, M, B, D]``.
        log_std: ``[K, E, B, D]``, or None where it is not fed back and was left for later.
        features: of all steps, ``[M', K * B, .]``.
    """

    mean: Tensor
    feedback: Tensor
    log_std: Tensor | None
    features: Features


def _base_to_unroll(model: RecurrentEnsemble, history: History, feedback: Feedback, side: Tensor | None) -> GRU | None:
    """Return the base, if :class:`MeanForecast` covers a forecast: with gradient, one GRU layer, no other base and no prior."""
    base = model.state_base
    alone = history.carry.auxiliary is None or side is not None
    if not (torch.is_grad_enabled() and feedback == "mean" and alone and model.state_head.prior is None):
        return None
    return base if isinstance(base, GRU) and base.num_layers == 1 else None


def _steps_of_means(model: RecurrentEnsemble, base: GRU, history: History, action: Tensor, side: Tensor | None) -> Steps:
    """Feed every member's own mean back, all steps in one operation."""
    last = history.features.map(lambda tensor: tensor[:, :, -1:])
    actions = torch.cat([last.inputs[..., model.state_dim :], action], dim=2).transpose(1, 2)  # [M, K, B, A]

    def of_members(tensor: Tensor) -> Tensor:
        return tensor.expand(model.num_members, *tensor.shape[1:])

    head, skipped = model.state_head.mean, 0 if model.skip else last.inputs.shape[-1]
    weights = base.weight_ih[0], base.weight_hh[0], base.bias_ih[0], base.bias_hh[0]
    weight_units = functional.pad(head.weight_hidden, (0, skipped)) if skipped else head.weight_hidden
    means, features, *_ = MeanForecast.apply(  # type: ignore[no-untyped-call]
        True,
        *map(of_members, (history.state[:, :, -1], history.carry.state[0], actions, *weights)),
        weight_units,
        head.bias_hidden,
        head.weight_output,
        head.bias_output,
    )
    flat = features.flatten(1, 2)
    inputs = flat[..., flat.shape[-1] - last.inputs.shape[-1] :]
    auxiliary = None
    if last.auxiliary is not None and side is not None:
        auxiliary = torch.cat([last.auxiliary, side], dim=2).transpose(1, 2).flatten(1, 2)
    state = flat[..., : flat.shape[-1] - skipped]
    mean = means.transpose(0, 1)
    return Steps(mean, mean, None, Features(state, inputs, auxiliary))


def _steps_by_loop(
    model: RecurrentEnsemble,
    history: History,
    action: Tensor,
    feedback: Feedback,
    noise: Tensor | None,
    member: Tensor | None,
    side: Tensor | None,
) -> Steps:
    """Feed back whatever is wanted, one step after the other."""
    features, state = history.features.map(lambda tensor: tensor[:, :, -1]), history.state[:, :, -1]
    carry = history.carry if side is None else RecurrentCarry(history.carry.state)
    sampling = feedback == "sample"
    means, log_stds, fed, read = [], [], [], [features]
    for k in range(action.shape[2] + 1):
        if k:
            features, carry = model.advance(state, action[:, :, k - 1], carry)
            read.append(features if side is None else replace(features, auxiliary=side[:, :, k - 1]))
        mean, log_std = model.predict_state(features, state, spread=sampling)
        state = feed_back(mean, log_std, feedback, None if noise is None else noise[k], member)
        means.append(mean)
        log_stds.append(log_std)
        fed.append(state)

    def stacked(name: str) -> Tensor | None:
        parts = [getattr(features, name) for features in read]
        return None if parts[0] is None else _stack(parts).flatten(1, 2)

    every = Features(*map(stacked, ("state", "inputs", "auxiliary")))  # type: ignore[arg-type]
    return Steps(torch.stack(means), torch.stack(fed), torch.stack(log_stds) if sampling else None, every)


def _stack(tensors: list[Tensor]) -> Tensor:
    """Stack ``[M, B, F]`` along a step axis, ``[M, K, B, F]``, where M may grow from 1 to E once inputs part."""
    most = max(tensor.shape[0] for tensor in tensors)
    return torch.stack([tensor.expand(most, -1, -1) for tensor in tensors], dim=1)


def predict_for_loss(
    model: RecurrentEnsemble, batch: Batch, settings: LossSettings, noise: Noise
) -> tuple[Prediction | None, Rollout]:
    """Do what :func:`rwmu.dynamics.losses.predict_batch` does; rows that members have in common are read once."""
    if model.num_bases == model.num_members:  # no base to share: only its own rows are worth reading
        batch = batch.distinct()
    window, length = batch.window, settings.history
    if settings.feedback == "truth":
        length = window.length - 1
    last = settings.scored_history + 1 + length - settings.history
    encoded = encode(model, window.state[:, :, :length], window.action[:, :, 1 : length + 1], last=last)
    side = _side_over_truth(model, window, encoded, length)
    action = window.action[:, :, length + 1 :]
    if batch.rows is not None:
        encoded = encoded.gather(batch.rows)
        action = gather(action, batch.rows)
        side = None if side is None else gather(side, batch.rows)
    if settings.feedback == "truth":
        return split_taught(encoded.predict(model), settings.scored_history)
    taught = encoded.rows(slice(settings.scored_history)).predict(model) if settings.scored_history else None
    return taught, forecast(model, encoded, action, settings.feedback, noise.feedback, side=side)


def _side_over_truth(model: RecurrentEnsemble, window: Window, encoded: History, length: int) -> Tensor | None:
    """Let a separate auxiliary base read the true rows of the forecast, all at once (it needs no feedback to train)."""
    if encoded.carry.auxiliary is None or window.length - length < 2:
        return None
    return model.auxiliary_sequence(window.state[:, :, length:-1], window.action[:, :, length + 1 :], encoded.carry)
