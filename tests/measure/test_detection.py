"""Telling rows apart: against another implementation, and with answers worked by hand."""

from __future__ import annotations

import pytest
import torch
from sklearn import metrics

from rwmu.measure import detection
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.uncertainty.functional.falls import Pairs, alarm_threshold

HOW = CalibrationSettings(resamples=100)
ONES = torch.ones(1, 9, dtype=torch.float64)


def rows(number: int = 900, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Return a score with ties, flags that it tells a little, and one of nine trajectories of each row."""
    generator = torch.Generator().manual_seed(seed)
    flag = torch.rand(number, generator=generator) < 0.2
    score = (torch.randn(number, generator=generator) * 3).round() + flag
    return score, flag, torch.randint(9, (number,), generator=generator)


def test_the_area_is_that_of_another_implementation_drawn_twice_or_not_at_all() -> None:
    score, flag, trajectory = rows()
    times = torch.tensor([[1, 1, 1, 1, 1, 1, 1, 1, 1], [0, 2, 1, 0, 3, 1, 0, 1, 1]], dtype=torch.float64)
    areas = Pairs.of(score, flag, trajectory, 9).area(times)
    for area, weights in zip(areas.tolist(), times[:, trajectory], strict=True):
        assert area == pytest.approx(metrics.roc_auc_score(flag, score, sample_weight=weights), abs=1e-12)


def test_only_rows_of_one_stratum_are_compared() -> None:
    score, flag, trajectory = rows()
    stratum = torch.arange(len(score)) % 3
    stratum[(stratum == 2) & ~flag] = 0  # nothing to compare with in the last one
    each = [metrics.roc_auc_score(flag[stratum == s], score[stratum == s]) for s in (0, 1)]
    number = torch.tensor([float(flag[stratum == s].sum()) for s in (0, 1)])
    expected = float((torch.tensor(each) * number).sum() / number.sum())
    assert float(Pairs.of(score, flag, trajectory, 9, stratum).area(ONES)) == pytest.approx(expected, abs=1e-6)
    assert Pairs.of(score, torch.zeros_like(flag), trajectory, 9).area(ONES).isnan().all()


@pytest.mark.parametrize(
    ("allowed", "second", "threshold"),
    [(0.0, 1e9, 5.0), (1.0, 1e9, 3.0), (2.0, 1e9, 1.0), (1.0, 50.0, 5.0), (1.1, 50.0, 3.0)],
)
def test_an_alarm_that_lasts_is_one_but_for_its_seconds(allowed: float, second: float, threshold: float) -> None:
    """Above 3 there is one alarm of two rows, above 2 a second one; the row of 9 is before a fall, where an alarm is right."""
    score = torch.tensor([1.0, 4.0, 5.0, 1.0, 9.0, 2.0, 3.0, 1.0])
    begins = torch.tensor([True, False, False, False, False, True, False, False])
    assert alarm_threshold(score, begins, score != 9.0, allowed, second) == threshold


def falling(starts: int = 8) -> dict[str, torch.Tensor]:
    """Return episodes of 400 rows that end in a fall: they tilt in the last 20 rows, and a second sense tells it 60 rows before."""
    steps, trajectory = torch.arange(400, 0, -1).repeat(starts), torch.arange(starts).repeat_interleave(400)
    tilt = (20.0 - steps).clamp(min=0.0)
    sense = (steps <= 60).float() + 0.001 * torch.rand(len(steps), generator=torch.Generator().manual_seed(0))
    return {"steps": steps, "row": torch.arange(len(steps)) + trajectory, "trajectory": trajectory, "tilt": tilt, "sense": sense}


def test_a_score_is_judged_by_what_it_has_more_than_the_best_trivial_one() -> None:
    world = falling()
    noise = torch.rand(len(world["steps"]), generator=torch.Generator().manual_seed(1))
    scores = {"disagreement": world["sense"], "noise_estimate": noise, "tilt": world["tilt"], "action": noise}
    found = detection.foresight(scores, world["steps"], world["row"], world["trajectory"], 0.02, HOW)
    for within in detection.WITHIN:
        for name, score in scores.items():
            expected = metrics.roc_auc_score(world["steps"] <= within, score)
            assert found["auroc"][name][str(within)]["value"] == pytest.approx(expected, abs=1e-6)
    beyond = found["beyond_trivial"]["disagreement"]
    assert (beyond["5"]["best"], beyond["50"]["best"]) == ("tilt", "tilt")
    assert beyond["5"]["high"] < 0.0 < beyond["50"]["low"], "tilt tells the last five rows apart, and the sense the last fifty"
    areas = [found["auroc"][name]["50"]["value"] for name in ("disagreement", "tilt")]
    assert beyond["50"]["value"] == pytest.approx(areas[0] - areas[1], abs=1e-9)
    assert "tilt" not in found["beyond_trivial"]
    assert found["auroc"]["nearest"]["5"]["value"] is None


def test_among_rows_of_like_tilt_the_tilt_itself_tells_nothing() -> None:
    world = falling()
    scores = {"disagreement": world["sense"], "tilt": world["tilt"]}
    alike = detection.foresight(scores, world["steps"], world["row"], world["trajectory"], 0.02, HOW)["given_tilt"]
    # Of the rows within 25 steps, those of 20 to 25 are upright like all others, and only those have others of like tilt.
    assert alike["tilt"]["25"]["value"] == pytest.approx(0.5)
    assert alike["disagreement"]["25"]["value"] > 0.9


def test_the_lead_is_the_share_of_falls_with_an_alarm_so_early() -> None:
    world = falling()
    found = detection.foresight(
        {"disagreement": world["sense"], "tilt": world["tilt"]}, world["steps"], world["row"], world["trajectory"], 0.02, HOW
    )["lead"]
    assert [found["tilt"][str(k)]["value"] for k in detection.LEADS] == [1.0, 1.0, 0.0, 0.0]
    assert [found["disagreement"][str(k)]["value"] for k in detection.LEADS] == [1.0, 1.0, 1.0, 1.0]
    never = detection.foresight(
        {"tilt": world["tilt"]}, torch.full_like(world["steps"], -1), world["row"], world["trajectory"], 0.02, HOW
    )
    assert {cell["value"] for table in never.values() for cells in table.values() for cell in cells.values()} == {None}


def test_rows_beyond_the_data_are_told_from_the_others() -> None:
    error, trajectory = torch.arange(100.0), torch.arange(100) % 10
    share, area, beyond = detection.outside({"disagreement": error.square(), "change": -error}, error, 89.5, trajectory, HOW)
    assert share["value"] == pytest.approx(0.1)
    assert [area[name]["value"] for name in ("disagreement", "change")] == [1.0, 0.0]
    assert beyond["disagreement"]["value"] == pytest.approx(1.0)
    _, area, _ = detection.outside({"disagreement": error}, error, 1e9, trajectory, HOW)
    assert "no row in which the model errs" in area["disagreement"]["reason"]


def test_rows_without_a_score_are_left_out_and_none_at_all_is_said() -> None:
    score, flag, trajectory = rows()
    score[trajectory == 3] = torch.nan  # a whole trajectory
    known = trajectory != 3
    found, _ = detection.tell({"disagreement": score, "change": -score}, flag, trajectory, HOW, "row")
    expected = metrics.roc_auc_score(flag[known], score[known])
    assert found["disagreement"]["value"] == pytest.approx(expected, abs=1e-9)
    assert found["change"]["value"] == pytest.approx(1.0 - expected, abs=1e-9)
    none = torch.zeros(0, dtype=torch.int64)
    never = detection.foresight({"tilt": torch.zeros(0)}, none, none, none, 0.02, HOW)
    assert "full history" in never["beyond_trivial"]["disagreement"]["5"]["reason"]
