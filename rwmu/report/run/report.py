"""Write a run's report: ``report.json`` with stable keys, the figures, and ``report.html`` that explains itself.

Results are one mapping, put together from :mod:`rwmu.measure.measure` and what the run knows:

- ``experiment``, ``seed``, ``wall_clock_s``, ``stages`` (name -> s), ``provenance`` (anything plain);
- ``dataset`` (:func:`rwmu.measure.dataset.dataset_statistics`), ``dynamics``, ``deployment``, ``imagination``
  (:mod:`rwmu.measure.measure`), ``dream_reality`` (:func:`rwmu.measure.dream_check.dream_reality`);
- ``video``: a path, or None; ``missing``: part -> a sentence on why it is absent;
- ``figure_data``: what only figures need; kept in ``figure_data.json``, not in the report.

Any part may be absent: the report says so. The stable keys are always there, null where nothing was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rwmu.files import json_ready, write_json
from rwmu.measure.rollout_error import HORIZONS
from rwmu.report import page
from rwmu.report.run import content, curves, figures

STABLE_DEPLOYMENT = ("track_lin_vel_xy", "track_ang_vel_z", "return", "fall_fraction", "episode_length_s")


def build_report(results: Mapping[str, Any], run_dir: Path | str) -> None:
    """Write ``report.json``, ``figure_data.json``, ``figures/*.png`` and ``report.html`` into ``run_dir``."""
    run_dir = Path(run_dir)
    plain = json_ready(results)
    figure_data = plain.pop("figure_data", None) or {}
    report = with_stable_keys(plain)
    write_json(run_dir / "report.json", report)
    write_json(run_dir / "figure_data.json", figure_data, indent=None)
    images = figures.draw(report, figure_data, curves.read_curves(run_dir))
    body = content.body(report, images, run_dir)
    pngs = {run_dir / "figures" / f"{name}.png": png for name, png in images.items()}
    page.write(run_dir / "report.html", f"rwmu: {report['experiment']}", body, pngs)


def with_stable_keys(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report with every stable key present, null where nothing was measured, the stable keys first."""
    empty_errors = {str(k): None for k in HORIZONS}
    dynamics, deployment = plain.get("dynamics") or {}, plain.get("deployment") or {}
    stable: dict[str, Any] = {name: plain.get(name) for name in ("experiment", "seed", "wall_clock_s")}
    errors = {name: empty_errors | (dynamics.get(name) or {}) for name in ("normalized_error", "hold_last_error")}
    stable["dynamics"] = {**dynamics, **errors}
    nothing = dict.fromkeys(STABLE_DEPLOYMENT)
    stable["deployment"] = {"deterministic": nothing, "sampled": nothing} | deployment
    stable["imagination"] = {"return": None} | (plain.get("imagination") or {})
    return stable | {name: value for name, value in plain.items() if name not in stable}
