"""Summary statistics of independent episodes."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mean(values: Tensor) -> float:
    """Return the mean of ``[N]`` values, nan where there are none."""
    return float(values.double().mean()) if len(values) else math.nan


def standard_error(values: Tensor) -> float:
    """Return the standard error of the mean of ``[N]`` *independent* values, nan below two of them."""
    if len(values) < 2:
        return math.nan
    return float(values.double().std() / math.sqrt(len(values)))


def ratio(numerator: float, denominator: float) -> float:
    """Divide, with nan for nothing divided by nothing."""
    return numerator / denominator if denominator else math.nan


def pearson(x: Tensor, y: Tensor) -> float:
    """Return the linear correlation of two ``[N]`` tensors, nan where one of them does not vary."""
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    scale = float((x.square().sum() * y.square().sum()).sqrt())
    return ratio(float((x * y).sum()), scale) if len(x) > 1 and scale > 1e-12 else math.nan


def ranks(values: Tensor) -> Tensor:
    """Return the ranks of ``[N]`` values (ties share their mean rank), from 0."""
    _, place, count = torch.unique(values, return_inverse=True, return_counts=True)
    last = count.cumsum(0) - 1
    mean_rank: Tensor = last - (count - 1) / 2.0
    return mean_rank[place]


def spearman(x: Tensor, y: Tensor) -> float:
    """Return the rank correlation of two ``[N]`` tensors, nan where one of them does not vary."""
    return pearson(ranks(x), ranks(y)) if len(x) > 1 else math.nan


def area_under_roc(score: Tensor, positive: Tensor) -> float:
    """Return the probability that a positive row scores above a negative one (ties count half); nan without both."""
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if not num_positive or not num_negative:
        return math.nan
    above = float(ranks(score)[positive].double().sum()) - num_positive * (num_positive - 1) / 2.0
    return above / (num_positive * num_negative)
