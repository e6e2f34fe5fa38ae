"""Foresight of falls: is the uncertainty higher shortly before one?"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from rwmu.uncertainty.functional.ranking import ranks
from rwmu.uncertainty.measure import Measure

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
    """Return the probability that a positive row of ``[N]`` scores above a negative one, ties counting half.

    By torchmetrics, on ranks: it takes scores outside 0 and 1 for logits, and its sigmoid makes large ones equal.
    """
    positive = positive.bool()
    found, others = int(positive.sum()), int((~positive).sum())
    if not found or not others:
        return Measure.missing("no rows" if not (found or others) else f"no {'negative' if found else 'positive'} row")
    place = ranks(score, torch.ones_like(positive)) / len(score)
    return Measure.of(binary_auroc(place, positive.long(), validate_args=False).double())


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
