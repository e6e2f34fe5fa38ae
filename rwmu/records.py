"""The nouns: named records of tensors that travel between the rooms of the house.

Letters, used in every shape of the package:

- ``E``: ensemble members
- ``B``: batch rows, or parallel environments
- ``T``: time steps (rows of an episode)
- ``H``: history steps fed as ground truth (the papers' M)
- ``K``: forecast steps predicted autoregressively (the papers' N)
- ``D``: state dimensions
- ``A``: action dimensions
- ``C``: contact flags

Members come first: ``[E, B, D]``.

**The action-time convention, stated once.** Row ``t`` holds the state ``s_t``, the action ``a_t`` that *produced* it, the
contacts of ``s_t``, and whether the episode terminated on reaching ``s_t``. So a one-step example is
``(s_t, a_{t+1}) -> s_{t+1}``; the action of an episode's first row produced nothing and is zero. The command of row ``t`` is the
one in force when ``a_{t+1}`` was chosen, and the reward of row ``t`` is the one received on reaching ``s_t``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional


class TensorRecord:
    """Give a dataclass of tensors the few operations that apply to all of them at once."""

    def map(self, function: Any) -> Self:
        """Apply ``function`` to every tensor of the record and of records within, leaving absent ones absent."""
        present = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}  # type: ignore[arg-type]
        changes = {k: v.map(function) if isinstance(v, TensorRecord) else function(v) for k, v in present.items()}
        return replace(self, **changes)  # type: ignore[type-var]

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move or cast every tensor of the record, as ``Tensor.to``."""
        return self.map(lambda tensor: tensor.to(*args, **kwargs))

    def detach(self) -> Self:
        """Cut every tensor of the record from the graph."""
        return self.map(lambda tensor: tensor.detach())


@dataclass(frozen=True)
class Window(TensorRecord):
    """Consecutive rows of one episode, leading axes free (``[B]``, or ``[E, B]`` where members see different rows).

    Attributes:
        state: ``[..., T, D]``, in the units of the layout, or normalised where a function says so.
        action: ``[..., T, A]``, the action that produced the state of the same row.
        contact: ``[..., T, C]``, 0 or 1.
        termination: ``[..., T, 1]``, 1 where the episode terminated on reaching the row.
        extension: ``[..., T, X]``, other privileged quantities to be predicted, or None.
    """

    state: Tensor
    action: Tensor
    contact: Tensor
    termination: Tensor
    extension: Tensor | None = None

    @property
    def length(self) -> int:
        """Return the number of rows T."""
        return self.state.shape[-2]

    def split(self, rows: int) -> tuple[Window, Window]:
        """Return the first ``rows`` rows, and those after them."""
        return self.map(lambda tensor: tensor[..., :rows, :]), self.map(lambda tensor: tensor[..., rows:, :])


@dataclass(frozen=True)
class Batch(TensorRecord):
    """What a training step sees: windows, and which of them, or how much of each, a member trains on.

    Attributes:
        window: ``[M, B, H + K, .]``, normalised; M is E where members have rows of their own, else 1.
        rows: ``[E, B']`` int64, the windows (common ones if M = 1) that each member trains on, repeats allowed; None for all.
        weight: ``[E, B']``, weight of each row in the member's loss, 1 on average; None for 1.
    """

    window: Window
    rows: Tensor | None = None
    weight: Tensor | None = None

    @property
    def num_rows(self) -> int:
        """Return B', the rows that a member trains on."""
        return self.window.state.shape[1] if self.rows is None else self.rows.shape[1]

    def own_windows(self) -> Window:
        """Return the windows that each member trains on, ``[E, B', ...]``; ``[1, B', ...]`` where they are the same for all."""
        rows = self.rows
        return self.window if rows is None else self.window.map(lambda tensor: gather(tensor, rows))

    def of_member(self, member: int) -> Batch:
        """Return what one member sees, as a batch for a single model."""
        window = self.window if self.window.state.shape[0] == 1 else self.window.map(lambda t: t[member : member + 1])
        rows, weight = (None if t is None else t[member : member + 1] for t in (self.rows, self.weight))
        return Batch(window, rows, weight)

    def sorted_parts(self, size: int) -> list[Tensor]:
        """Return which rows to take together, ``size`` at most at a time: int64 indices, repeats of a window side by side.

        Only for what a single member sees: members' repeats differ.
        """
        every = torch.arange(self.num_rows, device=self.window.state.device)
        if self.num_rows <= size:
            return [every]
        order = every if self.rows is None else torch.argsort(self.rows[0], stable=True)
        return list(torch.chunk(order, -(-self.num_rows // size)))

    def part(self, index: Tensor) -> Batch:
        """Return the rows at ``index`` of every member's."""
        weight = None if self.weight is None else self.weight[:, index]
        if self.rows is not None:
            return Batch(self.window, self.rows[:, index], weight)
        return Batch(self.window.map(lambda tensor: tensor[:, index]), None, weight)

    def distinct(self) -> Batch:
        """Return the same rows, but of windows ``[E, U, ...]`` that hold what a member has repeatedly only once.

        A resample of B windows has about 0.63 B distinct ones, and a model that reads a history needs to read it once. U is that
        of the member with the most; the others' are filled up with a window that no row chooses.
        """
        if self.rows is None:
            return self
        found = [torch.unique(rows, return_inverse=True) for rows in self.rows]
        most = max(len(chosen) for chosen, _ in found)
        chosen = torch.stack([functional.pad(chosen, (0, most - len(chosen)), value=int(chosen[0])) for chosen, _ in found])
        member = torch.arange(len(chosen), device=chosen.device).unsqueeze(1) if self.window.state.shape[0] > 1 else 0
        return Batch(
            self.window.map(lambda tensor: tensor[member, chosen]), torch.stack([place for _, place in found]), self.weight
        )


@dataclass(frozen=True)
class Noise(TensorRecord):
    """Standard normal draws of one training step, of each member's own stream, ``[K, E, B', D]`` each.

    Attributes:
        feedback: for the sample that is fed back; None where means are.
        loss: for the sample whose squared error is the published loss; None for losses without one.
        history: the same for the one-step predictions of the history, ``[R, E, B', D]`` (R scored rows).
        latent: ``[H + K - 1, E, B', Z]``, of a model with a number Z of random quantities, ``num_latents``, in every row it reads.
    """

    feedback: Tensor | None = None
    loss: Tensor | None = None
    history: Tensor | None = None
    latent: Tensor | None = None

    def of_member(self, member: int) -> Noise:
        """Return one member's draws."""
        return self.map(lambda tensor: tensor[:, member : member + 1])

    def part(self, index: Tensor) -> Noise:
        """Return the draws of the rows at ``index``."""
        return self.map(lambda tensor: tensor[:, :, index])


@dataclass(frozen=True)
class Carry(TensorRecord):
    """What a dynamics model remembers of the rows so far; it goes into and comes out of every call.

    A model's own is a subclass whose fields are tensors. As it stands, it is that of a model without memory.

    Attributes:
        rows_axis: the axis of every tensor along which its B rows lie; the second where members come first.
    """

    rows_axis: ClassVar[int] = 1

    def take(self, rows: Tensor) -> Self:
        """Return a copy of the rows at ``rows [N]`` int64, repeats allowed."""
        return self.map(lambda tensor: tensor.index_select(self.rows_axis, rows))

    def put(self, rows: Tensor, other: Self) -> None:
        """Write the N rows of ``other`` in the place of those at ``rows [N]`` int64."""
        for name, own in vars(self).items():
            if own is not None:
                own.index_copy_(self.rows_axis, rows, getattr(other, name))


class Followed:
    """Which member each of B rows follows, with the rows in the order of their members, so that each member's lie together.

    Args:
        member: ``[B]`` int64.
        num_members: E.

    Attributes:
        member: as given. order: ``[B]``, rows sorted by member. inverse: ``[B]``, the way back.
        sizes: rows of each member, E integers.
    """

    def __init__(self, member: Tensor, num_members: int) -> None:
        self.member = member
        self.order = torch.argsort(member, stable=True)
        self.inverse = torch.empty_like(self.order).scatter_(0, self.order, torch.arange(len(member), device=member.device))
        each = torch.arange(num_members, device=member.device).unsqueeze(1)
        self.sizes: list[int] = (member == each).sum(1).tolist()  # for which a device is waited; bincount would wait thrice


@dataclass(frozen=True)
class Prediction(TensorRecord):
    """What every member predicts for the next row, in normalised state space.

    Attributes:
        mean: ``[E, B, D]``, mean of the next state.
        log_std: ``[E, B, D]``, logarithm of its aleatoric standard deviation; ``[E, B, 0]`` where it was not asked for.
        contact: ``[E, B, C]``, logits; ``[1, B, C]`` of the member followed where a row follows one.
        termination: ``[E, B, 1]``, logits; the same.
        extension: ``[E, B, X]``, other privileged quantities, or None; the same.
    """

    mean: Tensor
    log_std: Tensor
    contact: Tensor
    termination: Tensor
    extension: Tensor | None = None

    @property
    def num_members(self) -> int:
        """Return E."""
        return self.mean.shape[0]

    def follow(self, member: Tensor) -> Prediction:
        """Return the prediction of one member a row, as ``[1, B, ...]``; ``member`` is ``[B]`` of int64."""
        return self.map(lambda tensor: follow(tensor, member))


def follow(tensor: Tensor, member: Tensor) -> Tensor:
    """Pick from ``[E, B, X]`` the member ``member[b]`` of each row b; returns ``[1, B, X]``."""
    if tensor.shape[0] == 1:
        return tensor
    rows = member * tensor.shape[1] + torch.arange(len(member), device=member.device)
    return tensor.flatten(0, 1).index_select(0, rows).unsqueeze(0)  # on CPUs five times as fast as a gather


def gather(tensor: Tensor, rows: Tensor) -> Tensor:
    """Take from ``[M, B, ...]`` (M is 1 or E) the rows ``[E, B']`` of each member: ``[E, B', ...]``."""
    if tensor.shape[0] == 1:
        return tensor[0][rows]
    return tensor[torch.arange(len(rows), device=rows.device).unsqueeze(1), rows]


@dataclass(frozen=True)
class Rollout(TensorRecord):
    """K autoregressive predictions, stacked along a leading time axis.

    Attributes:
        mean, log_std: ``[K, E, B, D]``, normalised.
        contact: ``[K, E, B, C]`` logits. termination: ``[K, E, B, 1]`` logits.
        feedback: ``[K, M, B, D]``, the normalised state that was fed back after each step (M is E or 1).
        extension: ``[K, E, B, X]``, or None.
    """

    mean: Tensor
    log_std: Tensor
    contact: Tensor
    termination: Tensor
    feedback: Tensor
    extension: Tensor | None = None

    @classmethod
    def of(cls, steps: Sequence[Prediction], feedback: Sequence[Tensor]) -> Rollout:
        """Stack K predictions, and what was fed back after each."""
        parts = {f.name: [getattr(step, f.name) for step in steps] for f in fields(Prediction)}
        stacked = {name: None if part[0] is None else torch.stack(part) for name, part in parts.items()}
        return cls(feedback=torch.stack(list(feedback)), **stacked)  # type: ignore[arg-type]

    def at(self, k: int) -> Prediction:
        """Return the prediction of step ``k`` (0 is the first step after the history)."""
        extension = None if self.extension is None else self.extension[k]
        return Prediction(self.mean[k], self.log_std[k], self.contact[k], self.termination[k], extension)


@dataclass(frozen=True)
class Reward:
    """One step's reward of a batch of environments.

    Attributes:
        total: ``[B]``, the sum of weight x term x step duration.
        terms: name -> ``[B]``, unweighted and not multiplied by the step duration.
    """

    total: Tensor
    terms: dict[str, Tensor]
