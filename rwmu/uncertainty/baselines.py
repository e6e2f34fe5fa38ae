"""Trivial scores: what needs no ensemble, and mostly no model either, and must be beaten before an uncertainty is called useful.

A score is high where trouble is to be expected, and its sign is fixed beforehand. All are of the row from which is forecast, and
of the action that is taken there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TRIVIAL = ("tilt", "nearest", "mahalanobis", "earliness", "action", "change")
NEIGHBOURS = 10
_CHUNK = 256  # rows whose distances to all known states are held at once
_FLOOR = 1e-6  # of the largest variance of the known states; a direction of less is one in which they do not vary


@dataclass(frozen=True)
class KnownStates:
    """Normalised states that a model was trained on, to be far from.

    Attributes:
        states: ``[M, D]``. mean: ``[D]``. whitening: ``[D, D]``, by which their deviations from the mean get unit covariance.
    """

    states: Tensor
    mean: Tensor
    whitening: Tensor

    @classmethod
    def of(cls, states: Tensor) -> KnownStates:
        """Return the record of states ``[M, D]``.

        Raises:
            ValueError: for fewer than two.
        """
        if len(states) < 2:
            raise ValueError(f"distances to known states need two of these, not {len(states)}")
        mean = states.double().mean(dim=0)
        deviation = states.double() - mean
        variances, directions = torch.linalg.eigh(deviation.T @ deviation / (len(states) - 1))
        variances = variances.clamp(min=max(_FLOOR * float(variances[-1]), 1e-30))
        return cls(states.float(), mean.float(), (directions / variances.sqrt()).float())

    def nearest(self, states: Tensor) -> Tensor:
        """Return the mean Euclidean distance of states ``[..., D]`` to their nearest known ones, exact: ``[...]``."""
        known, found = self.states - self.mean, []
        half, count = 0.5 * known.square().sum(dim=-1), min(NEIGHBOURS, len(known))
        for rows in torch.split((states - self.mean).flatten(0, -2), _CHUNK):
            # The least |known|^2 / 2 - row known belongs to the least distance; that itself is then taken without cancellation.
            closest = torch.addmm(half, rows, known.T, alpha=-1.0).topk(count, dim=-1, largest=False, sorted=False).indices
            found.append((known[closest] - rows[:, None]).square().sum(dim=-1).sqrt().mean(dim=-1))
        return torch.cat(found).reshape(states.shape[:-1])

    def mahalanobis(self, states: Tensor) -> Tensor:
        """Return the Mahalanobis distance of states ``[..., D]`` from the known ones: ``[...]``."""
        return ((states - self.mean) @ self.whitening).square().sum(dim=-1).sqrt()


def trivial_scores(
    gravity: Tensor, state: Tensor, previous: Tensor, action: Tensor, age: Tensor, known: KnownStates | None = None
) -> dict[str, Tensor]:
    """Return every trivial score of rows ``[...]``; those of ``TRIVIAL`` that rest on known states only where there are some.

    ``tilt`` of the base (-1 upright, 0 on its side), ``earliness`` (the step counter backwards: many falls come early), the size of
    the ``action``, and the last ``change``, which is the error that the forecast "nothing changes" has just made; both root mean
    squares.

    Args:
        gravity: ``[..., 3]``, direction in the base frame. state, previous: ``[..., D]`` normalised, of the row and the one before.
        action: ``[..., A]``, taken in the row. age: ``[...]``, steps since the episode began.
    """
    found = {"tilt": gravity[..., 2]}
    if known is not None:
        found |= {"nearest": known.nearest(state), "mahalanobis": known.mahalanobis(state)}
    return found | {
        "earliness": -age.float(),
        "action": action.square().mean(dim=-1).sqrt(),
        "change": (state - previous).square().mean(dim=-1).sqrt(),
    }
