"""Differences between two architectures on the same test episodes: seeds are paired, and so are the episodes of every resample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.shared_vs_independent.cells import SEEDS, ModelCell
from experiments.shared_vs_independent.gather import Gathered, at
from experiments.shared_vs_independent.robust import RESAMPLES, Estimate, of_resampled
from rwmu.evaluation.calibration.weighted import weighted_correlation, weighted_ranks

# One measurement and how often each episode of the data was drawn [R, N] -> [R].
Statistic = Callable[[dict[str, Any], Tensor], Tensor]


def difference(gathered: Gathered, first: str, second: str, data: str, tested_on: str, statistic: Statistic) -> Estimate:
    """Return ``first - second`` over the seeds that both have, with the interval over seeds and test episodes.

    Args:
        first, second: models. data: that they were trained on.
        statistic: of the measurements on ``tested_on``.
    """
    pairs = []
    for seed in SEEDS:
        results = [gathered.of(ModelCell(model, data, seed)) for model in (first, second)]
        tested = [None if result is None else at(result, ("tested_on", tested_on)) for result in results]
        if all(measured is not None and measured.get("rows") for measured in tested):
            pairs.append(tested)
    if not pairs:
        return Estimate(None, reason="not run yet")
    ids = sorted({episode for pair in pairs for measured in pair if measured for rows in _episodes(measured) for episode in rows})
    draws = torch.randint(len(ids), (RESAMPLES, len(ids)), generator=torch.Generator().manual_seed(0))
    drawn = torch.zeros(RESAMPLES, len(ids), dtype=torch.float64).scatter_add_(1, draws, torch.ones(draws.shape).double())
    times = torch.zeros(1 + RESAMPLES, 1 + max(ids), dtype=torch.float64)
    times[0, ids], times[1:, ids] = 1.0, drawn  # first of all, every episode once
    found = torch.stack([statistic(one, times) - statistic(other, times) for one, other in pairs])  # type: ignore[arg-type]
    if not bool(torch.isfinite(found[:, 0]).all()):
        return Estimate(None, reason="not measured: no falls, or nothing that varies, in the test episodes")
    return of_resampled(found[:, 0].tolist(), np.asarray(found[:, 1:]), len(ids))


def _episodes(measured: dict[str, Any]) -> list[list[int]]:
    """Return the lists of episodes that a measurement's rows are of."""
    rows = measured["rows"]
    return [*(points["episode"] for points in rows["points"].values()), rows["falls"]["episode"]]


def rank_correlation(horizon: int) -> Statistic:
    """Return the rank correlation of disagreement with error among the rows that lie ``horizon`` steps after their histories."""

    def statistic(measured: dict[str, Any], times: Tensor) -> Tensor:
        points = measured["rows"]["points"].get(str(horizon))
        if points is None:
            return torch.full((len(times),), torch.nan, dtype=torch.float64)
        disagreement, error = (torch.tensor(points[name], dtype=torch.float64) for name in ("disagreement", "error"))
        return weighted_correlation(disagreement, error, times[:, torch.tensor(points["episode"])])

    return statistic


def fall_area(within: int) -> Statistic:
    """Return the AUROC of disagreement for a fall within so many steps.

    All rows shortly before falls are kept in a result, but of the others a sample; each of these counts for as many as it stands
    for.
    """

    def statistic(measured: dict[str, Any], times: Tensor) -> Tensor:
        rows = measured["rows"]["falls"]
        score, steps, episode = (torch.tensor(rows[name]) for name in ("disagreement", "steps", "episode"))
        positive, far = (steps >= 1) & (steps <= within), (steps < 0) | (steps > FALL_ROWS_WITHIN)
        stand_for = torch.where(far, rows_each_stands_for(measured, int(far.sum()), len(steps)), 1.0)
        weights = times[:, episode]
        before = weights * positive
        others = weights * stand_for * (~positive & (steps != 0))
        area = (before * weighted_ranks(score.double(), others)).sum(dim=1)
        return area / (before.sum(dim=1) * others.sum(dim=1))

    return statistic


FALL_ROWS_WITHIN = 25  # steps before a fall, of which every row is kept


def rows_each_stands_for(measured: dict[str, Any], far: int, kept: int) -> float:
    """Return how many rows of the test episodes each kept row far from a fall stands for."""
    test = measured["test"]
    predicted = float(test["rows"] - measured["history"] * test["episodes"])
    return max(1.0, (predicted - (kept - far)) / max(far, 1))
