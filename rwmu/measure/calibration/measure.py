"""Measure how far a world model's uncertainty can be trusted: ranking, scale, diversity, heads and foresight of falls.

What :func:`measure_calibration` returns is listed here. A *cell* is ``Interval.plain()``: ``value``, ``low``, ``high``, ``level``,
``trajectories`` (independent episodes), ``reason`` and ``text``; ``value`` is None, and ``reason`` says why, where nothing could be
measured; ``low`` and ``high`` are None where there is no interval. Horizons are keys as text ("1", "8", ...); all asked for are
there. Everything is normalised.

- ``num_members``, ``history``, ``horizons`` (list of int), ``level``, ``estimate`` (name of the disagreement), ``grouped_by``
  (what of the state is recalibrated together: ``field``, ``dimension`` or ``state``);
- ``test``, ``calibration``: ``data_hash``, ``episodes``, ``rows``, ``falls`` (episodes that end in one), ``stretches`` and
  ``long_stretches`` (how many were used), ``not_finite`` (steps left out); ``calibration`` is None where there is none;
- ``ranking[horizon]``: cells ``rank`` and ``linear`` (at that step alone, so depth is constant), ``ause`` and
  ``ause_random``, ``aleatoric_rank`` and ``aleatoric_largest_rank`` (of the noise that the members expect, their mean and the
  largest, with the error: a single model has these too), ``error`` (median over stretches of the dream's root mean square error)
  and ``exploded`` (share of dreams whose error is beyond 10), all at that step; and over the steps 1..horizon
  ``overall_rank``, ``overall_linear``, ``within_step_rank``, ``within_step_linear``, ``partial_rank``, ``partial_linear``,
  ``step_counter_rank``, ``step_counter_linear``;
- ``scale[forecast][method][horizon]``: cells ``coverage_683``, ``coverage_95``, ``width_683``, ``width_95``
  (whole width), ``informative`` (share of the 68.3 % intervals narrower than 2, the width of one who knows only the data's
  mean and spread), ``calibration_error``, ``miscalibration_area``, ``ence``, ``nll``, ``crps``; ``forecast`` is ``sampled``
  (spread of sampled trajectories), ``propagated`` (of propagated means) or ``members`` (the members' own Gaussians,
  horizon 1 only); ``method`` is ``raw`` or one of ``settings.methods``;
- ``reliability[forecast][method][horizon]``: ``expected`` and ``observed`` fractions (or a sentence), to be drawn;
- ``coverage_by_step[forecast][method]``: ``steps``, ``coverage_683``, ``coverage_95`` (numbers or sentences), to be drawn;
- ``by_dimension``: ``columns`` (names), and by horizon ``rank``, ``coverage_683_raw``, ``coverage_683_recalibrated``,
  ``error`` (a number or a sentence each), with ``recalibrated_by``;
- ``diversity``: cells ``cosine``, ``error_correlation``, ``effective_members``, ``disagreement`` (one step ahead);
- ``heads[contact | termination]``: cells ``calibration_error``, ``recall``, ``precision``, ``base_rate``;
- ``falls[disagreement | noise_estimate | termination_head]["1" | "5" | "10" | "25"]``: cells, AUROC of a fall within so many
  steps (``noise_estimate``: the members' mean sigma, summed over dimensions);
- ``points[horizon]``: ``disagreement``, ``error`` and ``episode`` of every stretch at that step, and ``fall_rows``:
  ``disagreement``, ``noise_estimate``, ``termination_head``, ``steps`` (to the fall, -1 for none) and ``episode`` of all rows
  within 25 steps of a fall and of some others. Two models measured on the same selection and settings have the same rows, so they
  can be paired;
- ``recalibrations[forecast]``: a list by reach (short and long stretches), each with ``steps`` (of the forecast, in the order of
  a recalibration's own steps) and ``fitted``: method -> what :meth:`~rwmu.measure.calibration.recalibrated.Fitted.to_dict`
  says;
- ``sparsification[horizon]``: ``removed``, ``uncertainty``, ``oracle``, to be drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import DataError
from rwmu.measure.calibration import ranking, scale
from rwmu.measure.calibration.diversity import diversity_cells
from rwmu.measure.calibration.one_step import OneStep, fall_cells, fall_rows, heads, predict_one_step
from rwmu.measure.calibration.recalibrated import NOMINAL, PREFERRED, RAW, Fitted, Gaussians
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.calibration.stretches import FORECASTS, Stretches, follow_stretches, longest_forecast
from rwmu.measure.windows import Selection, evenly
from rwmu.robots.layout import StateLayout
from rwmu.uncertainty.calibration_sample import Groups, groups_of
from rwmu.uncertainty.functional.ranking import correlation
from rwmu.uncertainty.metrics.ranking import ONE_MEMBER

MEMBERS = "members"
NO_SPLIT = "there is no calibration split to fit it on: give data.fractions.calibration a share"
_ROWS = 1000  # of the one-step pass that the members' Gaussians are judged on


def measure_calibration(
    world_model: WorldModel,
    test: Selection,
    calibration: Selection | None,
    settings: CalibrationSettings | None = None,
) -> dict[str, Any]:
    """Measure the uncertainty of a world model on test episodes, before and after recalibration on calibration episodes.

    The test episodes may be of another dataset of the same robot than the model was trained on (narrow training, broad test).
    It takes half a minute of one core for a laptop model.

    Args:
        calibration: None, or without ids, where there is no calibration split: cells after recalibration then say so.

    Returns:
        What the head of this file lists, ready for JSON.

    Raises:
        DataError: the episodes are another robot's, or none is longer than the history.
    """
    settings = settings or CalibrationSettings()
    check_selection(world_model, test, "test")
    if calibration is not None and len(calibration.ids):
        check_selection(world_model, calibration, "calibration")
    else:
        calibration = None
    reaches = [_Reach.of(world_model, test, calibration, *part, settings) for part in _parts(settings)]
    one_step = predict_one_step(world_model, test, settings.one_step_windows)
    fitted_step = None if calibration is None else predict_one_step(world_model, calibration, settings.one_step_windows)
    result: dict[str, Any] = {
        "num_members": world_model.num_members,
        "history": world_model.history,
        "horizons": list(settings.horizons),
        "level": settings.level,
        "estimate": settings.estimate_name,
        "grouped_by": settings.recalibrated_by,
        "test": _described(world_model, test, [reach.test for reach in reaches], one_step.data_hash),
        "calibration": None
        if calibration is None or fitted_step is None
        else _described(world_model, calibration, [reach.calibration for reach in reaches], fitted_step.data_hash),
    }
    result |= _ranking(world_model, test, reaches, settings)
    groups = groups_of(StateLayout.from_description(world_model.layout), settings.recalibrated_by)
    fitted = {forecast: _fitted(reaches, forecast, (RAW, *settings.methods), groups) for forecast in FORECASTS}
    result |= _scale(world_model, test, fitted, one_step, fitted_step, groups, settings)
    result["by_dimension"] = _by_dimension(world_model, fitted[FORECASTS[0]])
    result["diversity"] = diversity_cells(one_step, settings)
    result["heads"] = heads(one_step, settings)
    result["falls"] = fall_cells(one_step, settings)
    result["fall_rows"] = fall_rows(one_step, settings.estimate)
    return result


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


def _parts(settings: CalibrationSettings) -> list[tuple[tuple[int, ...], int]]:
    """Return horizons that share stretches, and how many of these."""
    short = tuple(k for k in settings.horizons if k <= settings.short)
    long = tuple(k for k in settings.horizons if k > settings.short)
    return [part for part in ((short, settings.stretches), (long, settings.long_stretches)) if part[0]]


@dataclass(frozen=True)
class _Reach:
    """Horizons that share stretches, and the stretches of both splits; None where no episode is long enough."""

    horizons: tuple[int, ...]
    test: Stretches | None
    calibration: Stretches | None

    @classmethod
    def of(
        cls,
        world_model: WorldModel,
        test: Selection,
        calibration: Selection | None,
        horizons: tuple[int, ...],
        number: int,
        settings: CalibrationSettings,
    ) -> _Reach:
        """Forecast along the stretches of both."""
        followed = follow_stretches(world_model, test, horizons, number, settings)
        other = None if calibration is None else follow_stretches(world_model, calibration, horizons, number, settings)
        return cls(horizons, followed, other)

    def why_not(self, horizon: int, world_model: WorldModel, test: Selection) -> str:
        """Return why nothing can be measured at a horizon; empty where it can."""
        if self.test is not None and horizon in self.test.steps:
            return ""
        longest = longest_forecast(world_model, test) + world_model.history
        return f"{world_model.history} + {horizon} rows are needed, but the longest test episode has {longest}"

    def gaussians(self, forecast: str, calibration: bool = False) -> Gaussians | None:
        """Return the forecasts of the kept steps of the test episodes; of the calibration split, of the same steps, or None."""
        found = self.calibration if calibration else self.test
        if found is None or self.test is None:
            return None
        # The calibration episodes may be shorter: then the last steps are not fitted, and say so.
        steps = [place for place, step in enumerate(found.steps) if step in self.test.steps]
        if list(self.test.steps[: len(steps)]) != [found.steps[place] for place in steps]:
            raise AssertionError("both splits keep the same steps, as far as they reach")
        spread = found.spreads[forecast]
        kept = spread.mean[steps], spread.std[steps], found.truth[steps]
        return Gaussians(*kept, found.valid_kept[steps], found.episode, found.data_hash)


_FittedReaches = list[tuple[_Reach, dict[str, Fitted]]]  # method -> what was fitted for a reach


def _described(
    world_model: WorldModel, selection: Selection, stretches: Sequence[Stretches | None], data_hash: str
) -> dict[str, Any]:
    episodes, ids = selection.episodes, selection.ids
    last = (episodes.offsets + episodes.lengths - 1)[ids]
    numbers = [0 if part is None else part.valid.shape[1] for part in stretches] + [0]
    return {
        "data_hash": data_hash,
        "episodes": len(ids),
        "rows": int(episodes.lengths[ids].sum()),
        "falls": int(episodes.termination[last].sum()),
        "stretches": numbers[0],
        "long_stretches": numbers[1],
        "not_finite": sum(part.not_finite for part in stretches if part is not None),
    }


def _ranking(world_model: WorldModel, test: Selection, reaches: Sequence[_Reach], settings: CalibrationSettings) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    points: dict[str, Any] = {}
    sparsification: dict[str, Any] = {}
    for reach, horizon in [(part, k) for part in reaches for k in part.horizons]:
        key, reason = str(horizon), reach.why_not(horizon, world_model, test)
        if reason or reach.test is None:
            cells[key] = ranking.not_ranked(reason, settings)
            continue
        if world_model.num_members == 1:
            cells[key] = ranking.not_compared(reach.test, horizon, ONE_MEMBER, settings)
            continue
        cells[key] = ranking.ranking_at(reach.test, horizon, settings)
        points[key] = ranking.points_at(reach.test, horizon)
        sparsification[key] = ranking.sparsification_at(reach.test, horizon)
    return {"ranking": cells, "points": points, "sparsification": sparsification}


def _scale(
    world_model: WorldModel,
    test: Selection,
    fitted_by: dict[str, _FittedReaches],
    one_step: OneStep,
    fitted_step: OneStep | None,
    groups: Groups,
    settings: CalibrationSettings,
) -> dict[str, Any]:
    methods = (RAW, *settings.methods)
    cells: dict[str, Any] = {name: {method: {} for method in methods} for name in (*FORECASTS, MEMBERS)}
    curves: dict[str, Any] = {name: {method: {} for method in methods} for name in (*FORECASTS, MEMBERS)}
    by_step: dict[str, Any] = {
        name: {method: {"steps": [], "coverage_683": [], "coverage_95": []} for method in methods} for name in FORECASTS
    }
    saved: dict[str, Any] = {name: [] for name in FORECASTS}
    for forecast in FORECASTS:
        for reach, fitted in fitted_by[forecast]:
            tested = reach.gaussians(forecast)
            if reach.calibration is not None:
                by_method = {method: fitted[method].to_dict() for method in settings.methods}
                saved[forecast].append({"steps": list(reach.calibration.steps), "fitted": by_method})
            for method in methods:
                for horizon in reach.horizons:
                    reason = reach.why_not(horizon, world_model, test)
                    if reason or tested is None or reach.test is None:
                        cells[forecast][method][str(horizon)] = scale.not_scaled(reason, settings)
                        continue
                    found = scale.scale_at(tested, reach.test.steps.index(horizon), fitted[method], settings)
                    cells[forecast][method][str(horizon)], curves[forecast][method][str(horizon)] = found
                if tested is not None and reach.test is not None:
                    _add_steps(by_step[forecast][method], reach.test, tested, fitted[method])
    members = _members(one_step)
    fit_members = None if fitted_step is None else _members(fitted_step)
    for method in methods:
        found = scale.scale_at(members, 0, Fitted(method, fit_members, groups, NO_SPLIT), settings)
        cells[MEMBERS][method]["1"], curves[MEMBERS][method]["1"] = found
    return {"scale": cells, "reliability": curves, "coverage_by_step": by_step, "recalibrations": saved}


def _fitted(reaches: Sequence[_Reach], forecast: str, methods: Sequence[str], groups: Groups) -> _FittedReaches:
    """Fit every method; the one constant is that of the short stretches, for the long ones too."""
    table: _FittedReaches = []
    for reach in reaches:
        calibration = reach.gaussians(forecast, calibration=True)
        why = NO_SPLIT if all(other.calibration is None for other in reaches) else "no calibration episode is long enough"
        fitted = {method: Fitted(method, calibration, groups, why) for method in methods}
        if table and "constant" in fitted:
            fitted["constant"] = table[0][1]["constant"]
        table.append((reach, fitted))
    return table


def _add_steps(curve: dict[str, list[Any]], stretches: Stretches, tested: Gaussians, fitted: Fitted) -> None:
    """Add the coverage at each kept step that is beyond those already there."""
    for place, step in enumerate(stretches.steps):
        if curve["steps"] and step <= curve["steps"][-1]:
            continue
        curve["steps"].append(step)
        for name, level in zip(("coverage_683", "coverage_95"), NOMINAL, strict=True):
            curve[name].append(scale.coverage_at(tested, place, fitted, level))


def _members(rows: OneStep) -> Gaussians:
    """Return each member's own Gaussian, one step ahead, as so many forecasts of some of the rows."""
    kept = evenly(torch.arange(len(rows.episode)), _ROWS)
    mean, log_std = rows.prediction.mean[:, kept], rows.prediction.log_std[:, kept]
    members = len(mean)
    truth = rows.truth[kept].expand_as(mean)
    finite = (mean.isfinite() & log_std.isfinite()).all(dim=-1).reshape(1, -1)
    flat = [tensor.reshape(1, -1, tensor.shape[-1]) for tensor in (mean, log_std.exp(), truth)]
    return Gaussians(flat[0], flat[1], flat[2], finite, rows.episode[kept].repeat(members), rows.data_hash)


def _by_dimension(world_model: WorldModel, fitted_reaches: _FittedReaches) -> dict[str, Any]:
    """Return ranking, coverage and error of each dimension at each horizon, to be drawn."""
    layout = StateLayout.from_description(world_model.layout)
    table: dict[str, Any] = {"columns": layout.names()}
    for reach, fitted in fitted_reaches:
        tested = reach.gaussians(FORECASTS[0])
        if reach.test is None or tested is None:
            continue
        for horizon in (k for k in reach.horizons if k in reach.test.steps):
            place = reach.test.steps.index(horizon)
            table[str(horizon)] = _dimensions_at(reach.test, tested, place, fitted, world_model.num_members)
    return table


def _dimensions_at(
    stretches: Stretches, tested: Gaussians, place: int, fitted: dict[str, Fitted], num_members: int
) -> dict[str, Any]:
    rows = tested.valid[place]
    std, error = (tensor[place, rows].T for tensor in (stretches.member_std, stretches.dream_error))
    usable = [n for n in PREFERRED if n in fitted and not any(fitted[n].why_not(place, level) for level in NOMINAL)]
    by = usable[0] if usable else None
    rank: Any = f"not measured: {ONE_MEMBER}"
    if num_members > 1:
        rank = correlation(std, error).plain()
    return {
        "trajectories": len(torch.unique(tested.episode[rows])),
        "rank": rank,
        "error": error.double().square().mean(dim=1).sqrt().tolist(),
        "coverage_683_raw": scale.coverage_by_dimension(tested, place, fitted[RAW], NOMINAL[0]),
        "coverage_683_recalibrated": "not measured: nothing could be fitted"
        if by is None
        else scale.coverage_by_dimension(tested, place, fitted[by], NOMINAL[0]),
        "recalibrated_by": by,
    }
