"""How much do the members differ, one step ahead: in what they say, and in how they err?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.cells import Cell, from_sums, missing
from rwmu.measure.one_step import OneStep
from rwmu.uncertainty.functional import diversity
from rwmu.uncertainty.resampling import places, trajectory_sums

DIVERSITY = ("cosine", "disagreement", "error_correlation", "effective_members")


def diversity_cells(rows: OneStep, settings: CalibrationSettings) -> dict[str, Cell]:
    """Compare the members' predicted changes of the state, and their errors; the mean over pairs of members."""
    mean = rows.prediction.mean.double()
    members, number, dims = mean.shape
    if members == 1:
        return {name: missing(diversity.ONE_MEMBER, settings, places(rows.episode)[1]) for name in DIVERSITY}
    change, deviation = mean - rows.before.double(), mean - mean.mean(dim=0)
    error = mean - rows.truth.double()
    place, episodes = places(rows.episode)

    def of_episodes(function: Any) -> Tensor:
        return torch.stack([function(place == index).flatten() for index in range(episodes)])

    def pairs(values: Tensor) -> Tensor:  # [N_episodes, E * E]
        return of_episodes(lambda own: torch.einsum("end,fnd->ef", values[:, own], values[:, own]))

    count = trajectory_sums(torch.full((number, 1), float(dims)), rows.episode)

    def square(totals: Tensor) -> Tensor:
        return totals.reshape(-1, members, members)

    def cosine(totals: Tensor) -> Tensor:
        return diversity.pair_mean(diversity.cosine(square(totals)).filled(torch.nan))

    def disagreement(totals: Tensor) -> Tensor:
        return diversity.pair_mean(diversity.disagreement(square(totals[:, :-1]), totals[:, -1]).filled(torch.nan))

    # Errors are centred on each dimension's own mean, so that a bias that members share does not count as correlation.
    products = of_episodes(lambda own: torch.einsum("end,fnd->def", error[:, own], error[:, own]))
    totals_of_error = of_episodes(lambda own: error[:, own].sum(dim=1).T)
    errors = torch.cat([products, totals_of_error, count / dims], dim=1)

    def correlations(totals: Tensor) -> Any:
        product, total, rows_drawn = torch.split(totals, [dims * members * members, dims * members, 1], dim=1)
        total = total.reshape(-1, dims, members)
        centred = (
            product.reshape(-1, dims, members, members) - total[..., :, None] * total[..., None, :] / rows_drawn[..., None, None]
        )
        return diversity.error_correlation(centred.sum(dim=1), rows_drawn[:, 0] * dims)

    return {
        "cosine": from_sums(cosine, pairs(change), settings),
        "disagreement": from_sums(disagreement, torch.cat([pairs(deviation), count], dim=1), settings),
        "error_correlation": from_sums(lambda t: diversity.pair_mean(correlations(t).filled(torch.nan)), errors, settings),
        "effective_members": from_sums(lambda t: diversity.effective_members(correlations(t)).filled(torch.nan), errors, settings),
    }
