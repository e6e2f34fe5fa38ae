from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from rwmu.measure.deploy import measure_deployment, measure_imagination
from rwmu.measure.deployment import Deployment
from rwmu.measure.dream_check import dream_reality
from rwmu.measure.model import measure_dynamics, merge
from rwmu.measure.windows import Selection
from rwmu.report import page
from rwmu.report.run.report import STABLE_DEPLOYMENT, build_report
from tests.fakes import known_world_model, random_episodes
from tests.measure.fakes import results

HORIZONS = ["1", "8", "24", "100"]
FIGURES = {
    "command_tracking",
    "dream_reality",
    "error_by_field",
    "error_by_horizon",
    "learning",
    "returns",
    "rounds",
    "rollout_against_truth",
    "survival",
    "uncertainty_against_error",
}


def read(folder: Path) -> tuple[dict[str, Any], str]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"report.json holds {constant}, which is not JSON")

    report = json.loads((folder / "report.json").read_text(), parse_constant=refuse)
    return report, (folder / "report.html").read_text()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("run")
    (folder / "logs").mkdir()
    (folder / "logs" / "metrics.csv").write_text("step,train/loss,validation/rollout_error\n0,3.0,\n5,2.0,0.5\n9,1.5,0.4\n")
    (folder / "video.gif").write_bytes(b"GIF89a")
    rounds = [{"real_transitions": 1000, "deployed": {"return": 5.0}}]
    build_report(results() | {"video": "video.gif", "rounds": rounds}, folder)
    return folder


def test_stable_keys_hold_numbers(full: Path) -> None:
    report, _ = read(full)
    assert report["experiment"] == "made_up"
    assert report["seed"] == 3
    assert report["wall_clock_s"] == 61.5
    for name in ("normalized_error", "hold_last_error"):
        assert list(report["dynamics"][name]) == HORIZONS
        assert all(isinstance(value, float) for value in report["dynamics"][name].values())
    for name in ("deterministic", "sampled"):
        assert all(isinstance(report["deployment"][name][key], float) for key in STABLE_DEPLOYMENT)
    assert isinstance(report["imagination"]["return"], float)


def test_every_figure_is_written_and_embedded(full: Path) -> None:
    _, html = read(full)
    assert {path.stem for path in (full / "figures").iterdir()} == FIGURES | {"training_dynamics"}
    assert html.count("data:image/png;base64,") == len(FIGURES) + 1
    assert "data:image/gif;base64," in html


def test_the_page_needs_nothing_beside_itself(full: Path) -> None:
    _, html = read(full)
    sources = re.findall(r'(?:src|href)="([^"]{0,40})', html)
    assert sources
    assert all(source.startswith("data:") for source in sources)
    assert "<script" not in html


def test_figure_data_stay_out_of_the_report(full: Path) -> None:
    report, _ = read(full)
    assert "figure_data" not in report
    assert json.loads((full / "figure_data.json").read_text())["example_rollout"]["columns"]


@pytest.mark.usefixtures("undrawn")
def test_a_run_of_nothing_still_reports(tmp_path: Path) -> None:
    missing = {"deployment": "MuJoCo is not installed: pip install 'rwmu[mujoco]'.", "video": "no rendering backend."}
    build_report({"experiment": "bare", "seed": 0, "wall_clock_s": 1.0, "missing": missing}, tmp_path)
    report, html = read(tmp_path)
    assert report["dynamics"]["normalized_error"] == dict.fromkeys(HORIZONS)
    assert report["deployment"]["sampled"] == dict.fromkeys(STABLE_DEPLOYMENT)
    assert report["imagination"] == {"return": None}
    assert "MuJoCo is not installed: pip install &#x27;rwmu[mujoco]&#x27;." in html
    assert "There is no video: no rendering backend." in html
    assert "<img" not in html


def test_robots_that_fall_within_a_second_are_reported(tmp_path: Path) -> None:
    """Of which nothing is known after the first second: no speed, no reward a second."""
    terms = {"track_lin_vel_xy_exp": torch.ones(2, dtype=torch.float64), "track_ang_vel_z_exp": torch.ones(2, dtype=torch.float64)}
    nothing = torch.zeros(0, 3, dtype=torch.float64)
    steps, returns = torch.tensor([3, 2]), torch.tensor([0.1, 0.2], dtype=torch.float64)
    settled = {name: torch.zeros(2, dtype=torch.float64) for name in terms}
    weights, fell, none = dict.fromkeys(terms, 1.0), torch.tensor([True, True]), torch.zeros(2, dtype=torch.int64)
    brief = Deployment(0.02, 1000, weights, steps, fell, returns, terms, none, settled, nothing, nothing)
    deployed = measure_deployment(dict.fromkeys(("deterministic", "sampled", "standing_still", "poor"), brief))
    dreamt = {"dream_reality": dream_reality({"poor": brief}, {"poor": brief})}
    part = merge(deployed, measure_imagination(brief, brief), dreamt)
    build_report({"experiment": "fallen", "seed": 0, "wall_clock_s": 1.0, **part}, tmp_path)
    report, _ = read(tmp_path)
    assert report["deployment"]["deterministic"]["episode_length_s"] == pytest.approx(0.05)
    assert report["dream_reality"]["levels"]["poor"]["terms"]["total"]["simulator"] is None
    assert "dream_reality" not in {path.stem for path in (tmp_path / "figures").iterdir()}


@pytest.mark.usefixtures("few_resamples")
def test_one_member_is_told_that_it_cannot_know(tmp_path: Path) -> None:
    part = measure_dynamics(known_world_model(1), Selection(random_episodes([160, 150]), torch.arange(2)))
    build_report({"experiment": "alone", "seed": 0, "wall_clock_s": 1.0, **part}, tmp_path)
    report, html = read(tmp_path)
    assert report["dynamics"]["ranking"]["1"]["rank"]["value"] is None
    assert "one member" in html
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"error_by_horizon", "error_by_field", "rollout_against_truth"}


@pytest.mark.usefixtures("undrawn")
def test_a_part_without_the_others_reports_alone(tmp_path: Path) -> None:
    whole = results()
    for part in ("dynamics", "deployment", "imagination", "dream_reality", "learning", "dataset"):
        build_report({"experiment": part, "seed": 0, "wall_clock_s": 1.0, part: whole[part]}, tmp_path / part)
        assert "Run report" in read(tmp_path / part)[1]


@pytest.mark.usefixtures("undrawn", "few_resamples")
def test_horizons_that_no_test_episode_holds_are_null(tmp_path: Path) -> None:
    part = measure_dynamics(known_world_model(2), Selection(random_episodes([40, 30]), torch.arange(2)))
    build_report({"experiment": "short", "seed": 0, "wall_clock_s": 1.0, **part}, tmp_path)
    errors = read(tmp_path)[0]["dynamics"]["normalized_error"]
    assert [k for k, error in errors.items() if error is None] == ["100"]


@pytest.mark.usefixtures("undrawn")
def test_what_the_audit_said_stands_with_the_data(tmp_path: Path) -> None:
    finding = {"name": "short_episodes", "severity": "note", "sentence": "24 of 1334 episodes are <short>.", "numbers": {}}
    build_report(results() | {"audit": [finding]}, tmp_path / "said")
    report, html = read(tmp_path / "said")
    assert report["audit"] == [finding]
    assert ">short episodes</td>" in html
    assert ">24 of 1334 episodes are &lt;short&gt;.</td>" in html
    build_report(results() | {"audit": []}, tmp_path / "silent")
    assert "The audit before training found nothing to say." in read(tmp_path / "silent")[1]
    build_report(results(), tmp_path / "none")
    assert "audit" not in read(tmp_path / "none")[1]


@pytest.mark.usefixtures("undrawn")
def test_text_is_escaped(tmp_path: Path) -> None:
    build_report({"experiment": "<script>alert(1)</script>", "seed": 0, "wall_clock_s": 1.0}, tmp_path)
    assert "<script" not in read(tmp_path)[1]


def test_a_large_video_is_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "EMBED_LIMIT_BYTES", 10)
    (tmp_path / "video.mp4").write_bytes(b"0" * 11)
    shown = page.video(tmp_path / "video.mp4", tmp_path, "none", "caption")
    assert 'href="video.mp4"' in shown
    monkeypatch.setattr(page, "EMBED_LIMIT_BYTES", 11)
    assert "<video" in page.video(tmp_path / "video.mp4", tmp_path, "none", "caption")
