"""Measure how far a world model's uncertainty can be trusted: ranking, scale, diversity, heads and foresight of falls."""

from __future__ import annotations

from typing import Any

from rwmu.dynamics.world_model import WorldModel
from rwmu.evaluation.calibration.settings import CalibrationSettings, Selection


def measure_calibration(
    world_model: WorldModel,
    test: Selection,
    calibration: Selection | None,
    settings: CalibrationSettings | None = None,
) -> dict[str, Any]:
    """Measure the uncertainty of a world model on test episodes, before and after recalibration on calibration episodes.

    The test episodes may be of another dataset of the same robot than the model was trained on (narrow training, broad test).
    A *cell* below is ``Interval.plain()``: ``value``, ``low``, ``high``, ``level``, ``trajectories`` (independent episodes),
    ``reason`` and ``text``; ``value`` is None, and ``reason`` says why, where nothing could be measured; ``low`` and ``high`` are
    None where there is no interval. Horizons are keys as text ("1", "8", ...); all asked for are there. Everything is normalised.

    Args:
        calibration: None, or without ids, where there is no calibration split: cells after recalibration then say so.

    Returns:
        Plain values, ready for JSON:

        - ``num_members``, ``history``, ``horizons`` (list of int), ``level``;
        - ``test``, ``calibration``: ``data_hash``, ``episodes``, ``stretches`` and ``long_stretches`` (how many were used), ``falls``
          (episodes that end in one); ``calibration`` is None where there is none;
        - ``ranking[horizon]``: cells ``rank`` and ``linear`` (at that step alone, so depth is constant), ``ause`` and
          ``ause_random`` (at that step); and over the steps 1..horizon ``overall_rank``, ``overall_linear``, ``within_step_rank``,
          ``within_step_linear``, ``partial_rank``, ``partial_linear``, ``step_counter_rank``, ``step_counter_linear``;
        - ``scale[forecast][method][horizon]``: cells ``coverage_683``, ``coverage_95``, ``width_683``, ``width_95``,
          ``calibration_error``, ``miscalibration_area``, ``ence``, ``nll``, ``crps``; ``forecast`` is ``sampled`` (spread of sampled
          trajectories), ``propagated`` (of propagated means) or ``members`` (the members' own Gaussians, horizon 1 only);
          ``method`` is ``raw`` or one of ``settings.methods`` (by field of the state);
        - ``reliability[forecast][method][horizon]``: ``expected`` and ``observed`` fractions (or a sentence), to be drawn;
        - ``coverage_by_step[forecast][method]``: ``steps``, ``coverage_683``, ``coverage_95`` (numbers or sentences), to be drawn;
        - ``by_dimension``: ``columns`` (names), and by horizon ``rank``, ``coverage_683_raw``, ``coverage_683_recalibrated``,
          ``error`` (a number or a sentence each), with ``recalibrated_by``;
        - ``diversity``: cells ``cosine``, ``error_correlation``, ``effective_members``, ``disagreement`` (one step ahead);
        - ``heads[contact | termination]``: cells ``calibration_error``, ``recall``, ``precision``, ``base_rate``;
        - ``falls[disagreement | termination_head]["1" | "5" | "10" | "25"]``: cells, AUROC of a fall within so many steps;
        - ``points[horizon]``: ``disagreement`` and ``error`` (lists), to be drawn; ``sparsification[horizon]``: ``removed``,
          ``uncertainty``, ``oracle``;
        - ``verdict``: see :func:`rwmu.evaluation.calibration.verdict.judge`.

    Raises:
        DataError: the episodes are another robot's, or none is longer than the history.
    """
    raise NotImplementedError
