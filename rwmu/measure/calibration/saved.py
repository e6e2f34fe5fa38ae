"""Recalibrations as a file of their own, which knows the model that they were fitted to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import CheckpointError
from rwmu.files import json_ready, write_json
from rwmu.uncertainty.recalibration import Constant, Recalibration, recalibration_from_dict


def save_recalibrations(path: Path, recalibrations: Mapping[str, Any], model_hash: str) -> None:
    """Write what :func:`~rwmu.measure.calibration.measure.measure_calibration` returns as ``recalibrations``.

    Args:
        model_hash: of the world model that they were fitted to, ``WorldModel.content_hash()``.
    """
    write_json(path, json_ready({"model_hash": model_hash, "recalibrations": recalibrations}))


def load_recalibration(
    path: Path, world_model: WorldModel, method: str, forecast: str = "sampled", level: float | None = None, reach: int = 0
) -> tuple[list[int], Recalibration]:
    """Return the steps ahead that a saved recalibration was fitted at, in the order of its own steps, and the recalibration.

    Calibration episodes may end before the last step: a step that too few live to see is not among those returned, though
    :meth:`Recalibration.apply` would take the last fitted one for it. A constant is for all steps.

    Args:
        world_model: that it is to be used with.
        method: ``constant``, ``per_horizon``, ``isotonic`` or ``conformal``. forecast: ``sampled`` or ``propagated``.
        level: of conformal intervals, one of those fitted. reach: 0 for the short stretches, 1 for the long ones.

    Raises:
        CheckpointError: the file is none of these, of another model, or has no such recalibration.
    """
    try:
        content = json.loads(path.read_text())
        saved, found = content["recalibrations"], content["model_hash"]
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointError(
            f"{path} holds no recalibrations that name their world model; run python -m experiments.calibration again."
        ) from None
    if found != world_model.content_hash():
        raise CheckpointError(
            f"The recalibrations in {path} were fitted to another world model (hash {found[:12]}, not "
            f"{world_model.content_hash()[:12]}); run python -m experiments.calibration on this one."
        )
    try:
        part = saved[forecast][reach]
        fitted = part["fitted"][method]
        plain = fitted["recalibration"] if level is None else fitted["by_level"][f"{level:g}"]
    except (KeyError, IndexError):
        of_level = "" if level is None else f" of level {level:g}"
        raise CheckpointError(f"{path} has no {method}{of_level} for {forecast} forecasts (reach {reach}).") from None
    recalibration = recalibration_from_dict(plain)
    steps = list(part["steps"])
    return steps if method == Constant.method else steps[: recalibration.steps], recalibration
