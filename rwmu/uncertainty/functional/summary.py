"""Plain numbers of independent episodes, nan where there is none: for tables, which show a dash there."""

from __future__ import annotations

import math

from torch import Tensor

from rwmu.uncertainty.functional import ranking


def mean(values: Tensor) -> float:
    """Return the mean of ``[N]`` values."""
    return float(values.double().mean()) if len(values) else math.nan


def standard_error(values: Tensor) -> float:
    """Return the standard error of the mean of ``[N]`` *independent* values; there is none below two of them."""
    return float(values.double().std() / math.sqrt(len(values))) if len(values) > 1 else math.nan


def share_interval(share: float, number: int) -> tuple[float, float]:
    """Return the 95 % interval of a share among ``number`` independent trials (Wilson 1927): within 0..1, not empty at 0 or 1."""
    quantile = 1.959964
    weight = quantile**2 / number
    centre = (share + weight / 2.0) / (1.0 + weight)
    half = quantile * math.sqrt(share * (1.0 - share) / number + weight / (4.0 * number)) / (1.0 + weight)
    return max(0.0, centre - half), min(1.0, centre + half)


def ratio(numerator: float, denominator: float) -> float:
    """Divide."""
    return numerator / denominator if denominator else math.nan


def correlation(x: Tensor, y: Tensor, relation: ranking.Relation = "rank") -> float:
    """Return the rank or linear correlation of ``[N]`` values; there is none where one does not vary, or is not finite."""
    if not len(x) or not bool((x.isfinite() & y.isfinite()).all()):
        return math.nan
    found = ranking.correlation(x, y, relation=relation)
    return float(found) if bool(found.available) else math.nan
