"""Measure the uncertainty of a fitted world model on the test episodes of a dataset, and choose what of it a result keeps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from experiments.shared_vs_independent.cells import RULE_STEPS
from rwmu.data.datamodule import OfflineDataModule
from rwmu.dynamics.world_model import WorldModel
from rwmu.imagination.rehearsal import rehearse
from rwmu.measure.calibration.measure import measure_calibration
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.deployment import Deployment
from rwmu.measure.windows import Selection
from rwmu.report.verdicts.calibration import judge
from rwmu.uncertainty.estimates import aleatoric, epistemic

# Every row of the test episodes is predicted one step ahead: a sample of them would have to be weighed.
SETTINGS = CalibrationSettings(horizons=(1, 8, 24, 100), one_step_windows=1_000_000)
FORECASTS = 1000  # at most so many for the rule's steps, evenly over the test episodes

_PARTS = ("num_members", "history", "horizons", "level", "test", "calibration", "ranking", "diversity", "heads", "falls", "verdict")
_SCORES = ("coverage_683", "coverage_95", "width_683", "crps")
_DIGITS = 5


def measure(world_model: WorldModel, tested: OfflineDataModule, own: OfflineDataModule) -> dict[str, Any]:
    """Measure a world model on the test split of ``tested``, recalibrated on the calibration split of the data of its ``own``."""
    measured = measure_calibration(
        world_model,
        test=Selection(tested.episodes, tested.splits["test"]),
        calibration=Selection(own.episodes, own.splits["calibration"]),
        settings=SETTINGS,
    )
    return measured | {"verdict": judge(measured)}


def dense_rows(world_model: WorldModel, tested: OfflineDataModule) -> dict[str, Any]:
    """Forecast along many short stretches of the test episodes, as imagination dreams.

    Returns:
        ``episode`` and ``level`` (the policy that acted) of each forecast, and by step ``disagreement``, ``noise`` (that the
        members predict: their mean sigma, summed over dimensions) and ``error`` (root mean square over dimensions), None where the
        episode has ended before or a forecast is not finite. Two models measured on the same episodes have the same forecasts.
    """
    dream = rehearse(world_model, tested.episodes, tested.splits["test"], max(RULE_STEPS), FORECASTS)
    columns = {
        "disagreement": dream.disagreement(epistemic),
        "noise": dream.disagreement(aleatoric),
        "error": dream.error.square().mean(dim=-1).sqrt(),
    }
    valid = torch.stack([dream.valid, *(values.isfinite() for values in columns.values())]).all(dim=0)

    def column(values: Tensor, step: int) -> list[float | None]:
        pairs = zip(values[step - 1].tolist(), valid[step - 1].tolist(), strict=True)
        return [value if known else None for value, known in pairs]

    return {
        "episode": dream.episode.tolist(),
        "level": [tested.episodes.levels[i] for i in dream.episode.tolist()],
        "steps": {str(k): {name: column(values, k) for name, values in columns.items()} for k in RULE_STEPS},
    }


def episodes(deployed: Deployment) -> dict[str, Any]:
    """Return what each episode of a deployment gave: two deployments of the same seed have the same starts and commands."""
    return {
        "return": [float(f"{value:.{_DIGITS}g}") for value in deployed.returns.tolist()],
        "fell": deployed.fell.nonzero()[:, 0].tolist(),
    }


def kept(found: dict[str, Any], dense: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of a measurement, and the rows that two architectures are paired by; the rest stays in the folder.

    Args:
        dense: by :func:`dense_rows`.
    """
    scale = {
        forecast: {
            method: {horizon: {name: scores[name] for name in _SCORES if name in scores} for horizon, scores in by_horizon.items()}
            for method, by_horizon in methods.items()
        }
        for forecast, methods in found.get("scale", {}).items()
    }
    names = {"disagreement": "disagreement", "noise": "noise_estimate"} | {n: n for n in ("termination_head", "steps", "episode")}
    falls = {name: found["fall_rows"][of] for name, of in names.items()}
    rows = {"forecasts": dense, "falls": falls}
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
