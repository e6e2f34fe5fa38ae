"""Write a run's report: ``report.json`` with stable keys, the figures, and ``report.html`` that explains itself.

Results are one mapping, put together from :mod:`rwmu.measure.model`, :mod:`rwmu.measure.deploy` and what the run knows:

- ``experiment``, ``seed``, ``wall_clock_s``, ``stages`` (name -> s), ``provenance`` (anything plain);
- ``dataset`` (:func:`rwmu.measure.dataset.dataset_statistics`), ``dynamics``, ``deployment``, ``imagination``, ``dream_reality``
  (:func:`rwmu.measure.dream_check.dream_reality`);
- ``video``: a path, or None; ``missing``: part -> a sentence on why it is absent;
- ``figure_data``: what only figures need; kept in ``figure_data.json``, not in the report.

Any part may be absent: the report says so. The stable keys are always there, null where nothing was measured. An exploit diagnostic
that lies in the run's folder has its say among the answers, ``verdicts``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rwmu.files import json_ready, read_json, write_json
from rwmu.measure.rollout_error import HORIZONS
from rwmu.report import page, verdicts
from rwmu.report.questions import Verdict
from rwmu.report.run import content, curves, figures

STABLE_DEPLOYMENT = ("track_lin_vel_xy", "track_ang_vel_z", "return", "fall_fraction", "episode_length_s")
EXPLOIT = Path("diagnostics") / "exploit.json"
_LINKS = {
    "settings": "config.yaml",
    "world model": "checkpoints/dynamics.pt",
    "policy": "checkpoints/policy.pt",
    "is its uncertainty calibrated?": "calibration/calibration.html",
    "was the model exploited?": "diagnostics/exploit.html",
}


def build_report(results: Mapping[str, Any], run_dir: Path | str) -> list[Verdict]:
    """Write ``report.json``, ``figure_data.json``, ``figures/*.png`` and ``report.html`` into ``run_dir``; returns the answers."""
    run_dir = Path(run_dir)
    plain = json_ready(results)
    figure_data = plain.pop("figure_data", None) or {}
    report = with_stable_keys(plain)
    found = answers(report, run_dir)
    write_json(run_dir / "report.json", {**report, "verdicts": [asdict(answer) for answer in found]})
    write_json(run_dir / "figure_data.json", figure_data, indent=None)
    images = figures.draw(report, figure_data, curves.read_curves(run_dir))
    links = {words: address for words, address in _LINKS.items() if (run_dir / address).is_file()}
    body = content.body(report, images, run_dir, found, links)
    pngs = {run_dir / "figures" / f"{name}.png": png for name, png in images.items()}
    page.write(run_dir / "report.html", f"rwmu: {report['experiment']}", body, pngs)
    return found


def answers(report: Mapping[str, Any], run_dir: Path) -> list[Verdict]:
    """Return the answers of a run to the questions that are asked of every one.

    Args:
        report: results :func:`with_stable_keys`.
    """
    return verdicts.of_run(report, read(run_dir / EXPLOIT))


def read(path: Path) -> dict[str, Any] | None:
    """Return the results of another page of the run; None where it has not been made, or by another version.

    Raises:
        UserError: they are damaged.
    """
    if not path.exists():
        return None
    found = read_json(path, "make that page again, or delete it")
    try:
        return found if ("verdicts" in found and not found["verdicts"]) or "tones" in found["verdicts"][0] else None
    except (KeyError, TypeError, IndexError):
        return None


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
