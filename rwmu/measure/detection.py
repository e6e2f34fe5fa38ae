"""How well scores tell some rows from others: those before a fall, those in which the model errs as it does not on its own data.

Everything stands beside what trivial scores do (:mod:`rwmu.uncertainty.baselines`). Before a fall a robot tilts, so a score is
also judged among rows of like tilt, and by how early its alarms come.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rwmu.measure.cells import Cell, Resampling, Statistic, beside_trivial, missing, nothing, share
from rwmu.uncertainty.functional.falls import Pairs, alarm_threshold
from rwmu.uncertainty.measure import Measure
from rwmu.uncertainty.resampling import places

WITHIN = (1, 5, 10, 25, 50)  # steps before a fall
LEADS = (5, 10, 25, 50)  # steps before a fall at which there must have been an alarm
WATCHED = 100  # steps before a fall; alarms before these are false
ALARMS_A_MINUTE = 1.0  # false ones
OUTSIDE_QUANTILE = 0.99  # of the model's own data that it was not trained on: a larger error is outside of what these were like
_STRATA = 10  # of the tilt, of equally many rows before a fall
_NO_ROW = "no row has a full history behind it"
_NO_FALL = "there is no fall with a scored row before it"

Table = dict[str, dict[str, Cell]]


def tell(
    scores: Mapping[str, Tensor],
    positive: Tensor,
    trajectory: Tensor,
    how: Resampling,
    what: str,
    stratum: Tensor | None = None,
) -> tuple[dict[str, Cell], dict[str, Cell]]:
    """Return each score's AUROC for telling positive rows ``[B]`` from the others, and how much more that is than the best trivial.

    Args:
        scores: ``[B]`` each; rows in which one is NaN are left out of its own.
        trajectory: ``[B]``, which independent episode (or start) each row is of. what: the positive rows are.
        stratum: ``[B]`` int64; only rows of one stratum are compared with each other.
    """
    place, number = places(trajectory)
    if not number:
        absent = nothing(("disagreement", *scores), _NO_ROW, how)
        return absent, absent
    statistics = {}
    for name, score in scores.items():
        known = ~score.isnan()
        pairs = Pairs.of(score[known], positive[known], place[known], number, None if stratum is None else stratum[known])
        area = pairs.area(torch.ones(1, number, dtype=torch.float64))[0]
        reasons = (not bool(positive[known].any()), f"no {what}"), (bool(area.isnan()), f"no other row to tell from a {what}")
        statistics[name] = Statistic(Measure.of(area, *((torch.tensor(holds), why) for holds, why in reasons)), pairs.area)
    return beside_trivial(statistics, number, how)


def foresight(
    scores: Mapping[str, Tensor], steps: Tensor, row: Tensor, trajectory: Tensor, step_dt: float, how: Resampling
) -> dict[str, Table]:
    """Return how falls are foreseen, in tables of score -> steps -> cell.

    Args:
        scores: ``[B]`` each, ``tilt`` among them. steps: ``[B]`` before a fall, -1 where none comes; the fallen row itself does not
            count. row: ``[B]``, number of a row, which only those that follow each other have in succession.
        trajectory: ``[B]``, which independent episode (or start) each row is of.

    Returns:
        ``auroc`` for a fall within each of ``WITHIN`` steps; ``beyond_trivial``: how much more that is than the best trivial score
        reaches; ``given_tilt``: the AUROC among rows of like tilt, and ``beyond_trivial_given_tilt``; ``lead``: the share of falls
        of which an alarm came at least each of ``LEADS`` steps before, with one false alarm a minute.
    """
    upright = steps != 0
    scores = {name: score[upright] for name, score in scores.items()}
    steps, row, trajectory = steps[upright], row[upright], trajectory[upright]
    tables: dict[str, Table] = {name: {} for name in ("auroc", "beyond_trivial", "given_tilt", "beyond_trivial_given_tilt")}
    for within in WITHIN:
        near = (steps >= 1) & (steps <= within)
        what = f"row within {within} steps of a fall" if bool((steps > 0).any()) else f"row before a fall: {_NO_FALL}"
        found = *tell(scores, near, trajectory, how, what), *tell(scores, near, trajectory, how, what, _like(scores["tilt"], near))
        for table, cells in zip(tables.values(), found, strict=True):
            for name, cell in cells.items():
                table.setdefault(name, {})[str(within)] = cell
    return tables | {"lead": {name: _leads(score, steps, row, trajectory, step_dt, how) for name, score in scores.items()}}


def _like(tilt: Tensor, positive: Tensor) -> Tensor:
    """Return the stratum of each row: tenths of the positive rows by their tilt, so that most cuts lie where these are."""
    if not bool(positive.any()):
        return torch.zeros_like(positive, dtype=torch.int64)
    cuts = torch.quantile(tilt[positive].double(), torch.arange(1, _STRATA, dtype=torch.float64) / _STRATA)
    return torch.searchsorted(cuts, tilt.double().contiguous())


def _leads(score: Tensor, steps: Tensor, row: Tensor, trajectory: Tensor, step_dt: float, how: Resampling) -> dict[str, Cell]:
    """Return the share of falls that were foreseen so many steps ahead; falls without a row so early do not count."""
    number, normal = places(trajectory)[1], (steps < 0) | (steps > WATCHED)
    if not bool((steps > 0).any()) or not bool(normal.any()):
        return nothing(map(str, LEADS), _NO_FALL if bool(normal.any()) else "there is no row far from a fall", how, number)
    begins = torch.cat([torch.ones(1, dtype=torch.bool), row[1:] != row[:-1] + 1])
    allowed = ALARMS_A_MINUTE * int(normal.sum()) * step_dt / 60.0
    alarm = score > alarm_threshold(score, begins, normal, allowed, 1.0 / step_dt)
    found = {}
    for lead in LEADS:
        early = (steps >= lead) & (steps <= WATCHED)
        fall, place = torch.unique((row + steps)[early], return_inverse=True)
        warned = torch.zeros(len(fall)).index_add_(0, place, alarm[early].float()) > 0
        whose = torch.zeros(len(fall), dtype=torch.int64).index_copy_(0, place, trajectory[early])
        why = f"no fall has a scored row {lead} steps before it"
        found[str(lead)] = share(warned, torch.ones(len(fall)), whose, how, why) if len(fall) else missing(why, how, number)
    return found


def outside(
    scores: Mapping[str, Tensor], error: Tensor, threshold: float, trajectory: Tensor, how: Resampling
) -> tuple[Cell, dict[str, Cell], dict[str, Cell]]:
    """Return the share of rows whose error ``[B]`` is beyond the threshold, and how well scores tell them, as :func:`tell`."""
    beyond = error > threshold
    part = share(beyond, torch.ones_like(error), trajectory, how, _NO_ROW)
    return part, *tell(scores, beyond, trajectory, how, "row in which the model errs so much")
