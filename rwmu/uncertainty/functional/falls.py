"""Foresight of falls: is the uncertainty higher shortly before one?"""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.uncertainty.functional.ranking import weighted_ranks
from rwmu.uncertainty.measure import Measure
from rwmu.uncertainty.resampling import RESAMPLES, Interval, bootstrap_sums, places

NO_FALL = -1


def steps_to_fall(fallen: Tensor) -> Tensor:
    """Return how many steps each row of ``[T, ...]`` lies before the next fall: int64, 0 at a fall, -1 where none comes.

    Args:
        fallen: ``[T, ...]``, true on the rows at which an episode ends in a fall; the trailing axes are independent episodes.
    """
    time = torch.arange(len(fallen), device=fallen.device).reshape(-1, *[1] * (fallen.ndim - 1)).expand(fallen.shape)
    never = 2 * len(fallen)
    following = torch.where(fallen.bool(), time, never).flip(0).cummin(dim=0).values.flip(0)
    return torch.where(following < never, following - time, NO_FALL)


def area_under_roc(score: Tensor, positive: Tensor) -> Measure:
    """Return the probability that a positive row of ``[N]`` scores above a negative one, ties counting half."""
    positive = positive.bool()
    if not len(positive) or bool((positive == positive[0]).all()):
        return Measure.missing(f"no {'negative' if bool(positive[0]) else 'positive'} row" if len(positive) else "no rows")
    return Measure.of(weighted_area(score, positive, torch.ones_like(score, dtype=torch.float64)))


def weighted_area(score: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
    """Return the same of rows ``[N]`` that count as often as ``weights [..., N]`` say: ``[...]``, nan for none of either kind."""
    before, others = weights * positive, weights * ~positive
    return (before * weighted_ranks(score, others)).sum(dim=-1) / (before.sum(dim=-1) * others.sum(dim=-1))


def fall_foresight(score: Tensor, steps: Tensor, within: int) -> Measure:
    """Return the AUROC of ``score [N]`` for a fall within so many steps, one number.

    Args:
        steps: ``[N]``, as :func:`steps_to_fall`. Positive are rows 1 to ``within`` steps before a fall, negative all others; the
            fallen row itself (0) is left out.
    """
    upright = steps != 0
    score, steps = score[upright], steps[upright]
    if not len(steps):
        return Measure.missing("no rows")
    positive = (steps >= 1) & (steps <= within)
    if not bool(positive.any()):
        return Measure.missing(f"no fall within {within} steps of any row")
    if bool(positive.all()):
        return Measure.missing(f"every row lies within {within} steps of a fall, so there is no other to tell it from")
    return area_under_roc(score, positive)


def foresight(
    score: Tensor,
    steps: Tensor,
    trajectory: Tensor,
    within: int,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return :func:`fall_foresight` with its interval; rows without a score (NaN) are left out.

    The area is a mean over pairs of a row before a fall and another row, so it is computed from a table of pairs of trajectories,
    and a resample only weighs the table.

    Args:
        trajectory: ``[N]`` integers, which independent trajectory each row comes from.
    """
    place, number = places(trajectory)
    known = ~score.isnan() & (steps != 0)
    whole = fall_foresight(score[known], steps[known], within)
    if not bool(whole.available.all()):
        return Interval.missing(whole.reason(), number, level)
    positive = known & (steps >= 1) & (steps <= within)
    negative = known & ~positive
    before, owner = score[positive].double(), place[positive]
    wins = torch.zeros(number, number, dtype=torch.float64)  # of positive rows of i over negative ones of j
    for index in range(number):
        others = score[negative & (place == index)].double().sort().values
        below = torch.searchsorted(others, before) + torch.searchsorted(others, before, right=True)
        wins[:, index].index_add_(0, owner, 0.5 * below.double())  # a tie counts half
    positives, negatives = (torch.bincount(place[rows], minlength=number).double() for rows in (positive, negative))

    def area(times: Tensor) -> Tensor:  # how often each trajectory is drawn, [R, N]
        return ((times @ wins) * times).sum(dim=1) / ((times @ positives) * (times @ negatives))

    return bootstrap_sums(area, torch.eye(number, dtype=torch.float64), level, resamples, seed=seed)
