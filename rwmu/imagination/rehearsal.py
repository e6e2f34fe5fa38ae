"""Dream along true episodes as imagination dreams, and compare: what the members' disagreement was worth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.data.windows import evenly, padded
from rwmu.dynamics.unroll import unroll
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import DataError
from rwmu.records import Rollout
from rwmu.uncertainty.estimates import Estimate, member_std


@dataclass(frozen=True)
class Rehearsal:
    """Dreams of K steps along B stretches of true episodes, with their true actions, normalised.

    Attributes:
        rollout: what all members predicted, ``[K, E, B, .]``.
        error: ``[K, B, D]``, how far the dreamt state was from the true one, absolute.
        valid: ``[K, B]`` bool, the steps that the true episode lived to see.
        episode: ``[B]`` int64. data_hash: of the dataset.
    """

    rollout: Rollout
    error: Tensor
    valid: Tensor
    episode: Tensor
    data_hash: str

    def disagreement(self, estimate: Estimate) -> Tensor:
        """Return the estimate (of disagreement, or of the noise that members expect) at every step, ``[K, B]``.

        ``[K, B, G]`` of groups; steps that are not valid are meaningless.
        """
        return torch.stack([estimate(self.rollout.at(k)) for k in range(len(self.rollout.mean))])

    def quantile(self, estimate: Estimate, level: float) -> float:
        """Return the value that the disagreement stays within at the fraction ``level`` of all steps."""
        return float(torch.quantile(self.disagreement(estimate)[self.valid].double(), level))

    def typical_std(self) -> Tensor:
        """Return the members' mean standard deviation in each dimension, ``[D]``."""
        return self.disagreement(member_std)[self.valid].mean(dim=0)


def covering_starts(lengths: Tensor, ids: Tensor, history: int, length: int, number: int | None = None) -> Tensor:
    """Return rows from which stretches of ``length`` rows cover the episodes ``ids`` without overlap, ``[B]`` int64.

    The last stretch of an episode may reach beyond its end, as long as a row after its history is within: episodes that end early
    do so in a fall, and leaving them out would leave out the largest errors.

    Args:
        number: at most so many, spread evenly; None for all.
    """
    counts = ((lengths[ids] - history - 1) // length + 1).clamp(min=0)
    within = torch.arange(int(counts.sum())) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return evenly((lengths.cumsum(0) - lengths)[ids].repeat_interleave(counts) + length * within, number)


@torch.no_grad()
def rehearse(world_model: WorldModel, episodes: Episodes, ids: Tensor, horizon: int, number: int | None = 512) -> Rehearsal:
    """Dream ``horizon`` steps along stretches of the episodes ``ids``; stretch b follows member b mod E.

    As in :class:`~rwmu.imagination.env.ImaginedEnv`, all members see what the followed one predicted, its mean, and disagree about
    what comes next.

    Args:
        number: at most so many stretches; None for all that do not overlap.

    Raises:
        DataError: no episode is longer than the history.
    """
    history = world_model.history
    starts = covering_starts(episodes.lengths, ids, history, history + horizon, number)
    if not len(starts):
        raise DataError(
            f"None of the {len(ids)} episodes of the calibration split has more than the {history} rows of a history; collect "
            "longer episodes, or give data.fractions.calibration a larger share."
        )
    window, within = padded(episodes, starts, history + horizon)
    window = replace(window, state=world_model.normalizer.normalize(window.state))
    member = torch.arange(len(starts)) % world_model.num_members
    rollout = unroll(world_model.dynamics, window, history, "member", member=member)
    error = (rollout.feedback[:, 0] - window.state[0, :, history:].transpose(0, 1)).abs()
    return Rehearsal(rollout, error, within[:, history:].T, episodes.episode_of_row[starts], episodes.content_hash())
