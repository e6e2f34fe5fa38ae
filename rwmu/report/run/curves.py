"""Read the curves that training has logged, for the report's figures."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rwmu.report.wording import number

_log = logging.getLogger(__name__)

Curve = tuple[list[float], list[float]]

# Title of a panel -> label of a line -> column of the log.
DYNAMICS_PANELS: Mapping[str, Mapping[str, str]] = {
    "training loss": {"loss": "train/loss"},
    "error on validation episodes (std)": {
        "first step": "validation/one_step_error",
        "mean over horizon": "validation/rollout_error",
        "last step": "validation/last_step_error",
    },
    "uncertainty on validation episodes": {
        "in 68.3 % intervals": "validation/coverage_683",
        "ranking of errors": "validation/rank_correlation",
    },
    "loss of the auxiliary heads": {"contact": "train/contact", "termination": "train/termination"},
}
POLICY_PANELS: Mapping[str, Mapping[str, str]] = {
    "imagined reward per second": {"task": "imagined/reward", "penalty": "imagined/penalty"},
    "imagined tracking reward per second": {"linear": "imagined/track_lin_vel_xy_exp", "yaw": "imagined/track_ang_vel_z_exp"},
    "members' disagreement": {"epistemic": "imagined/epistemic"},
    "imagined episode (s)": {"length": "imagined/episode_length_s"},
    "change an iteration (KL)": {"KL": "policy/kl"},
    "action noise (std)": {"std": "policy/std"},
}

# Title of a panel -> place of both sides in what :func:`rwmu.measure.dream_check.compare` returns.
LEARNING_PANELS: Mapping[str, tuple[str, ...]] = {
    "reward per second": ("terms", "total"),
    "tracking reward per second": ("terms", "track_lin_vel_xy_exp"),
    "falls per minute": ("falls_per_minute",),
}


def read_curves(run_dir: Path) -> dict[str, Curve]:
    """Return column -> (steps, values) of every ``metrics.csv`` under a run; blank cells and broken lines are passed over.

    A run that was interrupted repeats steps; what was logged last counts.
    """
    curves: dict[str, dict[float, float]] = {}
    for path in sorted(run_dir.rglob("metrics.csv"), key=_in_order):
        rows = _rows(path)
        if not rows:
            _log.warning("%s holds no metrics; the figures of training lack them.", path)
        for step, row in rows:
            for name, cell in row.items():
                value = _number(cell)
                if name and name != "step" and value is not None:
                    curves.setdefault(name, {})[step] = value
    return {name: (sorted(found), [found[step] for step in sorted(found)]) for name, found in curves.items()}


def _rows(path: Path) -> list[tuple[float, dict[str, Any]]]:
    """Return step and cells of every row that has a step; none of a file that is no table."""
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            return [(step, row) for row in csv.DictReader(file) if (step := _number(row.get("step"))) is not None]
    except (OSError, csv.Error):
        return []


def _in_order(path: Path) -> tuple[tuple[int, str], ...]:
    """Return a key that sorts version_10 after version_9."""
    return tuple((int(digits) if (digits := part.rpartition("_")[2]).isdigit() else -1, part) for part in path.parts)


def panels(curves: Mapping[str, Curve], wanted: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Curve]]:
    """Return the panels of ``wanted`` of which at least one line was logged, as ``figures.training_curves`` takes them."""
    found = ({label: curves[name] for label, name in lines.items() if name in curves} for lines in wanted.values())
    return {title: lines for title, lines in zip(wanted, found, strict=True) if lines}


def policy_panels(curves: Mapping[str, Curve]) -> dict[str, dict[str, Curve]]:
    """Return the panels of the policy's training; a penalty that pays at times has had what is typical taken off, and says so."""
    found = panels(curves, POLICY_PANELS)
    for lines in found.values():
        if max(lines.get("penalty", ([], [0.0]))[1]) > 0.0:
            lines["penalty (centred)"] = lines.pop("penalty")
    return found


def learning(levels: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Curve]]:
    """Return the panels of a policy's learning, given iteration -> what it earned in dream and simulator."""

    def curve(*place: str) -> Curve:
        known = {float(step): value for step, row in levels.items() if (value := number(row, *place)) is not None}
        return list(known), list(known.values())

    return {title: {side: curve(*place, side) for side in ("simulator", "dream")} for title, place in LEARNING_PANELS.items()}


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None
