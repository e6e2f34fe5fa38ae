"""Measure the uncertainty of a fitted world model on the test episodes of a dataset, and choose what of it a result keeps."""

from __future__ import annotations

from typing import Any

from rwmu.data.datamodule import OfflineDataModule
from rwmu.dynamics.world_model import WorldModel
from rwmu.evaluation.calibration.measure import measure_calibration
from rwmu.evaluation.calibration.settings import CalibrationSettings, Selection

SETTINGS = CalibrationSettings(horizons=(1, 8, 24, 100))

_PARTS = ("num_members", "history", "horizons", "level", "test", "calibration", "ranking", "diversity", "heads", "falls", "verdict")
_SCORES = ("coverage_683", "coverage_95", "width_683", "crps")
_PAIRED = ("8", "24")  # horizons at which architectures are compared episode by episode
_DIGITS = 5


def measure(world_model: WorldModel, tested: OfflineDataModule, own: OfflineDataModule) -> dict[str, Any]:
    """Measure a world model on the test split of ``tested``, recalibrated on the calibration split of the data of its ``own``."""
    return measure_calibration(
        world_model,
        test=Selection(tested.episodes, tested.splits["test"]),
        calibration=Selection(own.episodes, own.splits["calibration"]),
        settings=SETTINGS,
    )


def kept(found: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of a measurement, and the rows that two architectures are paired by; the rest stays in the folder."""
    scale = {
        forecast: {
            method: {horizon: {name: scores[name] for name in _SCORES if name in scores} for horizon, scores in by_horizon.items()}
            for method, by_horizon in methods.items()
        }
        for forecast, methods in found.get("scale", {}).items()
    }
    points = {horizon: found["points"][horizon] for horizon in _PAIRED if horizon in found["points"]}
    falls = {name: found["fall_rows"][name] for name in ("disagreement", "steps", "episode")}
    rows = {"points": points, "falls": falls}
    shortened = _short({name: found[name] for name in _PARTS if name in found} | {"scale": scale, "rows": rows})
    assert isinstance(shortened, dict)
    return shortened


def _short(value: Any) -> Any:
    """Round numbers, and leave the sentence and the empty reason of a cell out: they can be made of the rest."""
    if isinstance(value, dict):
        if "trajectories" in value and "value" in value:
            value = {name: item for name, item in value.items() if name not in ("text", "level") and item != ""}
        return {name: _short(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
