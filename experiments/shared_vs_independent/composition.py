"""What a ranking is made of: the same statistic within groups of rows, for many draws of whole episodes at once.

Part of a rank correlation is telling hard episodes from easy ones. Within a group (the episodes of one policy, or one episode) that
is no merit. Rows ``[B]``; ``times [R, N]`` says how often each of N episodes was drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.uncertainty.functional.ranking import weighted_correlation, weighted_ranks


def rank_within(group: Tensor, score: Tensor, error: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of the groups' own rank correlations, weighed by their rows: ``[R]``.

    Args:
        group: ``[B]`` integers. weights: ``[R, B]``, how often each row was drawn.
    """
    total, rows = torch.zeros(len(weights)).double(), torch.zeros(len(weights)).double()
    for name in torch.unique(group):
        own = group == name
        found = weighted_correlation(score[own], error[own], weights[:, own])
        number = torch.where(found.isnan(), 0.0, weights[:, own].sum(dim=1))
        total, rows = total + number * found.nan_to_num(), rows + number
    return total / rows


def pairs_in_order(episode: Tensor, score: Tensor, error: Tensor, times: Tensor) -> Tensor:
    """Return the share of pairs of rows of one episode of which the one with the higher score has more error, ``[R]``.

    0.5 is chance; a pair counts as often as its episode was drawn.
    """
    right, pairs = torch.zeros(times.shape[1]).double(), torch.zeros(times.shape[1]).double()
    for own in torch.unique(episode):
        rows = episode == own
        first, second = torch.combinations(torch.arange(int(rows.sum()))).unbind(1)
        sign = [torch.sign(values[rows][first] - values[rows][second]) for values in (score, error)]
        right[own], pairs[own] = (0.5 + 0.5 * sign[0] * sign[1]).sum(), len(first)
    return (times @ right) / (times @ pairs)


def fall_area(score: Tensor, steps: Tensor, within: int, weights: Tensor) -> Tensor:
    """Return the AUROC of a score for a fall within so many steps, ``[R]``.

    Args:
        steps: ``[B]``, to the fall that ends the episode: 0 for the fall itself, which counts for nothing, -1 where it has none.
        weights: ``[R, B]``, how many rows each one stands for in each draw.
    """
    positive = (steps >= 1) & (steps <= within)
    before, others = weights * positive, weights * (~positive & (steps != 0))
    return (before * weighted_ranks(score, others)).sum(dim=-1) / (before.sum(dim=-1) * others.sum(dim=-1))
