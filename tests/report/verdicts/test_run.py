from __future__ import annotations

from typing import Any

import pytest

from rwmu.report.verdicts.run import better_than_data, dream_gap, knows, walks


def deployed(tracking: float, falls: float, total: float = 15.0) -> dict[str, Any]:
    summary = {"track_lin_vel_xy": tracking, "fall_fraction": falls, "return": total}
    still = {"track_lin_vel_xy": 0.19, "return": 8.5}
    return {"deployment": {"deterministic": summary, "standing_still": still, "behaviour": {"poor": {"return": 1.0}}}}


@pytest.mark.parametrize(
    ("tracking", "falls", "tone"),
    [
        (0.75, 0.05, "good"),
        (0.6, 0.2, "good"),
        (0.59, 0.0, "middling"),
        (0.8, 0.21, "middling"),
        (0.44, 0.0, "bad"),
        (0.18, 0, "bad"),
    ],
)
def test_walking_is_tracking_without_falls(tracking: float, falls: float, tone: str) -> None:
    verdict = walks(deployed(tracking, falls))
    assert verdict.tone == tone
    assert f"{tracking:.2f}" in verdict.answer
    assert walks({}).tone == "unknown"


def test_better_than_the_data_is_above_their_average_and_all_but_one_policy() -> None:
    report = deployed(0.7, 0.1) | {"dataset": {"return_per_20s": 9.0}}
    assert better_than_data(report).tone == "good"
    report["deployment"]["behaviour"] = {"good": {"return": 15.1}, "expert": {"return": 20.0}}
    assert better_than_data(report).tone == "middling"
    report["dataset"]["return_per_20s"] = 16.0
    assert better_than_data(report).tone == "bad"


@pytest.mark.parametrize(("first", "last", "tone"), [(0.9, 0.5, "good"), (0.9, 0.2, "middling"), (0.3, 0.5, "bad")])
def test_knowing_is_ranking_at_the_first_step_and_the_last(first: float, last: float, tone: str) -> None:
    report: dict[str, Any] = {"dynamics": {"num_members": 5, "epistemic_correlation": {"spearman": {"1": first, "100": last}}}}
    assert knows(report).tone == tone
    report["dynamics"]["epistemic_correlation"]["windows"] = 3
    assert knows(report).tone == "unknown"
    report["dynamics"]["num_members"] = 1
    assert knows(report).tone == "unknown"


@pytest.mark.parametrize(("imagined", "tone"), [(16.0, "good"), (20.0, "middling"), (30.0, "bad"), (8.0, "bad")])
def test_the_dream_is_judged_by_its_relative_gap(imagined: float, tone: str) -> None:
    report = deployed(0.7, 0.1) | {"imagination": {"return": imagined, "gap": {"return": imagined - 15.0}}}
    assert dream_gap(report).tone == tone
    assert ("flatters" in dream_gap(report).answer) == (imagined > 18.0)
    del report["imagination"]["gap"]
    assert dream_gap(report).tone == "unknown", "of another length"
