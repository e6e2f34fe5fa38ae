"""Measure how far a world model's uncertainty can be trusted: ranking, scale, diversity, heads and foresight of falls.

What :func:`measure_calibration` returns is listed here. A *cell* is ``Interval.plain()``: ``value`` is None, and ``reason`` says
why, where nothing could be measured; ``low`` and ``high`` are None where there is no interval. Horizons are keys as text; all asked
for are there. Everything is normalised.

- ``num_members``, ``history``, ``horizons``, ``level``, ``estimate`` (name of the disagreement), ``grouped_by`` (what of the state
  is recalibrated together);
- ``test``, ``calibration`` (None where there is none): ``data_hash``, ``episodes``, ``rows``, ``falls`` (episodes that end in one),
  ``stretches`` and ``long_stretches`` (how many were used), ``not_finite`` (steps left out);
- ``ranking[horizon]``: cells at that step alone, so that depth is constant: ``rank``, ``ause`` and ``ause_random``,
  ``aleatoric_rank`` and ``aleatoric_largest_rank`` (of the noise that the members expect, their mean and the largest: a single
  model has these too), ``combined_rank`` (of both), ``termination_head_rank``, a rank for each trivial score
  (:mod:`rwmu.uncertainty.baselines`), ``beyond_trivial`` and ``aleatoric_beyond_trivial`` (how much more the disagreement and the
  noise have than the best of these, ``best``), ``error`` (median of the dreams' root mean square error), ``exploded`` (share of
  dreams whose error is beyond 10); and over the steps 1..horizon ``overall_rank``, ``within_step_rank``, ``partial_rank`` and
  ``step_counter_rank``;
- ``scale[forecast][method][horizon]``: cells ``coverage_683``, ``coverage_95``, ``width_683``, ``width_95`` (whole width),
  ``informative`` (share of the 68.3 % intervals narrower than 2, the width of one who knows only the data's mean and spread),
  ``calibration_error``, ``miscalibration_area``, ``ence``, ``nll``, ``crps``; ``forecast`` is ``sampled`` (spread of sampled
  trajectories), ``propagated`` (of propagated means) or ``members`` (the members' own Gaussians, horizon 1 only); ``method`` is
  ``raw`` or one of ``settings.methods``;
- to be drawn: ``reliability[forecast][method][horizon]`` (``expected`` and ``observed`` fractions), ``sparsification[horizon]``,
  and ``by_dimension`` (``columns``; by horizon ``rank``, ``coverage_683_raw``, ``coverage_683_recalibrated``, ``error`` and
  ``recalibrated_by``); what was not measured is a sentence;
- ``dimensions[horizon][raw | recalibrated]``: what an average over dimensions hides: ``near`` (how many are within ``NEAR`` of
  68.3 %), ``of`` (all of them), ``worst`` (name), ``coverage`` (of the worst) and ``method``; None where not measured;
- ``diversity``, ``heads[contact | termination]``: cells, one step ahead;
- ``falls[score][steps]`` (AUROC of a fall within so many steps) and ``foresight``, the other tables of
  :func:`rwmu.measure.detection.foresight`: cells, one step ahead; ``falls_judged``: of how many falls;
- ``outside``: ``threshold``, the error that 99 of 100 calibration rows stay within (None without these), ``share`` of the test rows
  beyond it, and by score ``auroc`` for telling these from the others, and ``beyond_trivial``;
- ``points[horizon]`` (of every stretch) and ``fall_rows`` (of all rows near a fall and some others): scores with their ``episode``.
  Two models measured on the same selection and settings have the same rows, so they can be paired;
- ``recalibrations[forecast]``: a list by reach (short and long stretches), each with ``steps`` (of the forecast, in the order of a
  recalibration's own steps) and ``fitted``: method -> :meth:`~rwmu.measure.calibration.recalibrated.Fitted.to_dict`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from rwmu.data.windows import evenly
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import DataError
from rwmu.measure.calibration import ranking, scale
from rwmu.measure.calibration.diversity import diversity_cells
from rwmu.measure.calibration.recalibrated import NOMINAL, PREFERRED, RAW, Fitted, Gaussians
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.calibration.stretches import FORECASTS, Stretches, follow_stretches, longest_forecast
from rwmu.measure.cells import missing, nothing
from rwmu.measure.detection import OUTSIDE_QUANTILE, outside
from rwmu.measure.one_step import OneStep, fall_cells, fall_rows, falls_judged, heads, predict_one_step
from rwmu.measure.windows import Selection, known_states
from rwmu.robots.layout import StateLayout
from rwmu.uncertainty.baselines import KnownStates
from rwmu.uncertainty.calibration_sample import Groups, groups_of
from rwmu.uncertainty.functional.ranking import correlation
from rwmu.uncertainty.metrics.ranking import ONE_MEMBER

MEMBERS = "members"
NEAR = 0.1  # how far a dimension's coverage may be off to be counted as near; nothing is passed or failed by it
NO_SPLIT = "there is no calibration split to fit it on: give data.fractions.calibration a share"
_ROWS = 1000  # of the one-step pass that the members' Gaussians are judged on


def measure_calibration(
    world_model: WorldModel,
    test: Selection,
    calibration: Selection | None,
    settings: CalibrationSettings | None = None,
    trained_on: Selection | None = None,
) -> dict[str, Any]:
    """Measure the uncertainty of a world model on test episodes, before and after recalibration on calibration episodes.

    Returns what the head of this file lists, ready for JSON. The test episodes may be of another dataset of the same robot than the
    model was trained on (narrow training, broad test).

    Args:
        calibration: None, or without ids, where there is no calibration split: cells after recalibration then say so.
        trained_on: the model's training episodes, to be far from; None where they are not at hand.

    Raises:
        DataError: the episodes are another robot's, or none is longer than the history.
    """
    settings = settings or CalibrationSettings()
    calibration = calibration if calibration is not None and len(calibration.ids) else None
    for what, selection in (("test", test), ("calibration", calibration)):
        if selection is not None:
            check_selection(world_model, selection, what)
    layout = StateLayout.from_description(world_model.layout)
    groups = groups_of(layout, settings.recalibrated_by)
    known = known_states(world_model, trained_on)
    reaches = _reaches(world_model, test, calibration, groups, settings, known)
    one_step = predict_one_step(world_model, test, settings.one_step_windows, known)
    fitted_on = None if calibration is None else predict_one_step(world_model, calibration, settings.one_step_windows)
    members = None if fitted_on is None else _members(fitted_on)
    result = _settings(world_model, settings) | {
        "test": _described(test, [reach.test for reach in reaches]),
        "calibration": None if calibration is None else _described(calibration, [reach.calibration for reach in reaches]),
    }
    result |= _ranking(world_model, test, reaches, settings)
    result |= _scale(world_model, test, reaches, settings)
    for method in (RAW, *settings.methods):
        fitted = Fitted(method, members, groups, NO_SPLIT)
        cells, curve = scale.scale_at(_members(one_step), 0, fitted, settings)
        result["scale"].setdefault(MEMBERS, {})[method] = {"1": cells}
        result["reliability"].setdefault(MEMBERS, {})[method] = {"1": curve}
    by_dimension = {"columns": layout.names()} | _by_dimension(world_model, reaches)
    return result | {
        "recalibrations": {forecast: _recalibrations(reaches, forecast, settings) for forecast in FORECASTS},
        "by_dimension": by_dimension,
        "dimensions": {str(k): near_dimensions(by_dimension, str(k)) for k in settings.horizons},
        "diversity": diversity_cells(one_step, settings),
        "heads": heads(one_step, settings),
        **fall_cells(one_step, settings.estimate, settings),
        "outside": _outside(one_step, fitted_on, settings),
        "falls_judged": falls_judged(one_step),
        "fall_rows": fall_rows(one_step, settings.estimate),
    }


def check_selection(world_model: WorldModel, selection: Selection, what: str) -> None:
    """Refuse episodes on which nothing at all can be measured.

    Raises:
        DataError: another robot's, none, or all too short.
    """
    attributes = selection.episodes.attributes
    if attributes.get("robot", world_model.robot) != world_model.robot:
        raise DataError(
            f"The {what} episodes are of the robot '{attributes['robot']}', but the world model is of '{world_model.robot}'; "
            "give data of its own robot."
        )
    found, known = ([list(field) for field in layout] for layout in (attributes["layout"], world_model.layout))
    if found != known:
        other = next((f for f, k in zip(found, known, strict=False) if f != k), "another number of fields")
        raise DataError(f"The {what} episodes' state differs from the world model's ({other}); give data of its own robot.")
    if longest_forecast(world_model, selection) < 1:
        raise DataError(
            f"None of the {len(selection.ids)} {what} episodes has more than the {world_model.history} rows of a history; collect "
            "longer episodes."
        )


@dataclass(frozen=True)
class _Reach:
    """Horizons that share stretches, the stretches of both splits (None where no episode is long enough), and what was fitted.

    Attributes:
        fitted: forecast -> method -> fitted on the stretches of the calibration split.
    """

    horizons: tuple[int, ...]
    test: Stretches | None
    calibration: Stretches | None
    fitted: dict[str, dict[str, Fitted]]

    def at(self, horizon: int) -> tuple[Stretches, int] | None:
        """Return the test stretches and the place of a horizon among their kept steps; None where no episode gets there."""
        if self.test is None or horizon not in self.test.steps:
            return None
        return self.test, self.test.steps.index(horizon)


def _reaches(
    world_model: WorldModel,
    test: Selection,
    calibration: Selection | None,
    groups: Groups,
    settings: CalibrationSettings,
    known: KnownStates | None,
) -> list[_Reach]:
    """Forecast and fit; the one constant is that of the short stretches, for the long ones too."""
    followed = []
    for horizons, number in settings.reaches():
        tested = follow_stretches(world_model, test, horizons, number, settings, known=known)
        other = None if calibration is None else follow_stretches(world_model, calibration, horizons, number, settings)
        followed.append((horizons, tested, other))
    why = NO_SPLIT if all(other is None for _, _, other in followed) else "no calibration episode is long enough"
    reaches: list[_Reach] = []
    for horizons, tested, other in followed:
        fitted = {}
        for forecast in FORECASTS:
            # The calibration episodes may be shorter: then the last steps are not fitted, and say so.
            sample = None if tested is None or other is None else other.gaussians(forecast, tested.steps)
            fitted[forecast] = {method: Fitted(method, sample, groups, why) for method in (RAW, *settings.methods)}
            if reaches and "constant" in settings.methods:
                fitted[forecast]["constant"] = reaches[0].fitted[forecast]["constant"]
        reaches.append(_Reach(horizons, tested, other, fitted))
    return reaches


def _too_short(world_model: WorldModel, test: Selection, horizon: int) -> str:
    longest = longest_forecast(world_model, test) + world_model.history
    return f"{world_model.history} + {horizon} rows are needed, but the longest test episode has {longest}"


def _settings(world_model: WorldModel, settings: CalibrationSettings) -> dict[str, Any]:
    return {
        "num_members": world_model.num_members,
        "history": world_model.history,
        "horizons": list(settings.horizons),
        "level": settings.level,
        "estimate": settings.estimate_name,
        "grouped_by": settings.recalibrated_by,
    }


def _described(selection: Selection, stretches: Sequence[Stretches | None]) -> dict[str, Any]:
    episodes, ids = selection.episodes, selection.ids
    last = (episodes.offsets + episodes.lengths - 1)[ids]
    numbers = [0 if part is None else part.valid.shape[1] for part in stretches] + [0]
    return {
        "data_hash": episodes.content_hash(),
        "episodes": len(ids),
        "rows": int(episodes.lengths[ids].sum()),
        "falls": int(episodes.termination[last].sum()),
        "stretches": numbers[0],
        "long_stretches": numbers[1],
        "not_finite": sum(part.not_finite for part in stretches if part is not None),
    }


def _ranking(world_model: WorldModel, test: Selection, reaches: Sequence[_Reach], settings: CalibrationSettings) -> dict[str, Any]:
    table: dict[str, dict[str, Any]] = {"ranking": {}, "points": {}, "sparsification": {}}
    for reach, horizon in _each(reaches):
        key, found = str(horizon), reach.at(horizon)
        if found is None:
            table["ranking"][key] = nothing(ranking.CELLS, _too_short(world_model, test, horizon), settings)
            continue
        table["ranking"][key] = ranking.ranking_at(found[0], horizon, world_model.num_members, settings)
        if world_model.num_members > 1:
            table["points"][key] = ranking.points_at(found[0], horizon)
            table["sparsification"][key] = ranking.sparsification_at(found[0], horizon)
    return table


def _each(reaches: Sequence[_Reach]) -> list[tuple[_Reach, int]]:
    return [(reach, horizon) for reach in reaches for horizon in reach.horizons]


def _scale(world_model: WorldModel, test: Selection, reaches: Sequence[_Reach], settings: CalibrationSettings) -> dict[str, Any]:
    tables: dict[str, Any] = {name: {forecast: {} for forecast in FORECASTS} for name in ("scale", "reliability")}
    for forecast, method in product(FORECASTS, (RAW, *settings.methods)):
        cells, curves = (table[forecast].setdefault(method, {}) for table in tables.values())
        for reach, horizon in _each(reaches):
            found = reach.at(horizon)
            if found is None:
                cells[str(horizon)] = nothing(scale.CELLS, _too_short(world_model, test, horizon), settings)
                continue
            scaled = scale.scale_at(found[0].gaussians(forecast), found[1], reach.fitted[forecast][method], settings)
            cells[str(horizon)], curves[str(horizon)] = scaled
    return tables


def _recalibrations(reaches: Sequence[_Reach], forecast: str, settings: CalibrationSettings) -> list[dict[str, Any]]:
    return [
        {
            "steps": list(reach.calibration.steps),
            "fitted": {method: reach.fitted[forecast][method].to_dict() for method in settings.methods},
        }
        for reach in reaches
        if reach.calibration is not None
    ]


def _outside(rows: OneStep, reference: OneStep | None, settings: CalibrationSettings) -> dict[str, Any]:
    if reference is None:
        return {"threshold": None, "share": missing(NO_SPLIT, settings), "auroc": {}, "beyond_trivial": {}}
    threshold = float(torch.quantile(reference.error().double(), OUTSIDE_QUANTILE))
    cells = outside(rows.scores(settings.estimate), rows.error(), threshold, rows.episode, settings)
    return {"threshold": threshold} | dict(zip(("share", "auroc", "beyond_trivial"), cells, strict=True))


def _members(rows: OneStep) -> Gaussians:
    """Return each member's own Gaussian, one step ahead, as so many forecasts of some of the rows."""
    kept = evenly(torch.arange(len(rows.episode)), _ROWS)
    mean, log_std = rows.prediction.mean[:, kept], rows.prediction.log_std[:, kept]
    truth = rows.truth[kept].expand_as(mean)
    finite = (mean.isfinite() & log_std.isfinite()).all(dim=-1).reshape(1, -1)
    flat = [tensor.reshape(1, -1, tensor.shape[-1]) for tensor in (mean, log_std.exp(), truth)]
    return Gaussians(flat[0], flat[1], flat[2], finite, rows.episode[kept].repeat(len(mean)), rows.data_hash)


def _by_dimension(world_model: WorldModel, reaches: Sequence[_Reach]) -> dict[str, Any]:
    """Return ranking, coverage and error of each dimension at each horizon, to be drawn."""
    table: dict[str, Any] = {}
    for reach, horizon in _each(reaches):
        if found := reach.at(horizon):
            table[str(horizon)] = _dimensions_at(*found, reach.fitted[FORECASTS[0]], world_model.num_members)
    return table


def _dimensions_at(stretches: Stretches, place: int, fitted: dict[str, Fitted], num_members: int) -> dict[str, Any]:
    tested, nominal = stretches.gaussians(FORECASTS[0]), NOMINAL[0]
    rows = tested.valid[place]
    std, error = (tensor[place, rows].T for tensor in (stretches.member_std, stretches.dream_error))
    usable = [n for n in PREFERRED if n in fitted and not any(fitted[n].why_not(place, level) for level in NOMINAL)]
    by = usable[0] if usable else None
    recalibrated = None if by is None else scale.coverage_by_dimension(tested, place, fitted[by], nominal)
    return {
        "trajectories": len(torch.unique(tested.episode[rows])),
        "rank": correlation(std, error).plain() if num_members > 1 else f"not measured: {ONE_MEMBER}",
        "error": error.double().square().mean(dim=1).sqrt().tolist(),
        "coverage_683_raw": scale.coverage_by_dimension(tested, place, fitted[RAW], nominal),
        "coverage_683_recalibrated": recalibrated or "not measured: nothing could be fitted",
        "recalibrated_by": by,
    }


def near_dimensions(table: Mapping[str, Any], horizon: str) -> dict[str, dict[str, Any] | None]:
    """Return what an average over dimensions hides, see the head of this file."""
    found: dict[str, dict[str, Any] | None] = {"raw": None, "recalibrated": None}
    for kind in found:
        row = table.get(horizon, {}).get(f"coverage_683_{kind}")
        if not isinstance(row, list):
            continue
        off = [abs(entry - NOMINAL[0]) for entry in row]
        worst = max(range(len(off)), key=off.__getitem__)
        found[kind] = {
            "near": sum(distance <= NEAR + 1e-12 for distance in off),
            "of": len(row),
            "worst": table["columns"][worst],
            "coverage": row[worst],
            "method": RAW if kind == "raw" else table[horizon]["recalibrated_by"],
        }
    return found
