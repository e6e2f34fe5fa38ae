"""Foresight of falls: how well a score tells rows before one from others, and what alarms it would give."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NO_FALL = -1


@dataclass(frozen=True)
class Pairs:
    """Pairs of a positive and a negative row, by the trajectories of both: a resample of trajectories only weighs this table.

    Attributes:
        wins: ``[S, N, N]``, how often positive rows of trajectory i score above negative ones of j, in each of S strata; a tie is
            half.
        positives, negatives: ``[S, N]``, how many rows of each trajectory there are.
    """

    wins: Tensor
    positives: Tensor
    negatives: Tensor

    @classmethod
    def of(cls, score: Tensor, positive: Tensor, place: Tensor, number: int, stratum: Tensor | None = None) -> Pairs:
        """Count the pairs of rows ``[B]`` within each stratum; rows that do not count must not be given.

        Args:
            place: int64, of each row's trajectory among ``number``. stratum: int64 from 0 on; None for one.
        """
        stratum = torch.zeros_like(place) if stratum is None else stratum
        strata = int(stratum.max()) + 1 if len(stratum) else 1
        ranks = torch.unique(score, return_inverse=True)[1]
        key = stratum * (len(score) + 1) + ranks  # a row of a higher stratum is above all of a lower one, which is taken off again
        counts = [torch.bincount((stratum * number + place)[rows], minlength=strata * number) for rows in (positive, ~positive)]
        positives, negatives = (count.double().reshape(strata, number) for count in counts)
        lower = negatives.cumsum(dim=0) - negatives
        wins = torch.zeros(strata * number, number, dtype=torch.float64)
        mine, of_stratum = key[positive], stratum[positive]
        others = key[~positive][place[~positive].argsort()]
        for index, part in enumerate(torch.split(others, negatives.sum(dim=0).long().tolist())):
            theirs = part.sort().values
            below = 0.5 * (torch.searchsorted(theirs, mine) + torch.searchsorted(theirs, mine, right=True)).double()
            wins[:, index].index_add_(0, of_stratum * number + place[positive], below - lower[of_stratum, index])
        return cls(wins.reshape(strata, number, number), positives, negatives)

    def area(self, times: Tensor) -> Tensor:
        """Return the area under the ROC curve where each trajectory counts so often, ``[R, N]`` -> ``[R]``; nan for none.

        Of several strata it is their mean, weighed by positive rows; strata without a negative row to compare with are left out.
        """
        won = torch.einsum("rn,snm,rm->rs", times, self.wins, times)
        positives, negatives = times @ self.positives.T, times @ self.negatives.T
        weight = torch.where(negatives > 0, positives, 0.0)
        return (weight * (won / (positives * negatives)).nan_to_num()).sum(dim=1) / weight.sum(dim=1)


def alarm_threshold(score: Tensor, begins: Tensor, normal: Tensor, allowed: float, second: float) -> float:
    """Return the lowest threshold from which on up there are at most so many false alarms: inf without a row to find it by.

    Args:
        score: ``[B]``, in order of time; an alarm is a score above the threshold. begins: ``[B]`` bool, rows that do not follow the
            one before. normal: ``[B]`` bool, rows in which an alarm is false.
        allowed: how many false ones; one that lasts counts once more for each of its seconds, ``second`` rows.
    """
    alone = score[normal].double().sort().values
    if not len(alone):
        return float("inf")
    lasting = normal & ~begins & normal.roll(1)
    both = torch.minimum(score, score.roll(1))[lasting].double().sort().values
    above, continued = (len(one) - torch.searchsorted(one, alone, right=True) for one in (alone, both))
    too_many = (above - continued + above / second > allowed).nonzero()[:, 0]
    return float(alone[int(too_many[-1]) + 1 if len(too_many) else 0])
