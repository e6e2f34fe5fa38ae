"""The verdict follows its thresholds, and says what was not measured."""

import pytest

from rwmu.evaluation.calibration.verdict import judge


def cell(value, low=None, reason="there is none"):
    missing = value is None
    return {"value": value, "low": None if missing else value - 0.05 if low is None else low, "reason": reason if missing else ""}


def scaled(coverage_683, coverage_95, informative=1.0):
    names = ("coverage_683", "coverage_95", "informative")
    return dict(zip(names, map(cell, (coverage_683, coverage_95, informative)), strict=True))


def measured(rank=0.8, raw=(0.9, 0.99), recalibrated=(0.7, 0.94), fall=0.9, low=None, informative=1.0):
    table = {"raw": {"8": scaled(*raw, informative)}, "isotonic": {"8": scaled(*recalibrated, informative)}}
    nothing = {name: {"8": scaled(None, None, None)} for name in table}
    return {
        "horizons": [8],
        "ranking": {"8": {"rank": cell(rank, low), "exploded": cell(0.0)}},
        "scale": {"sampled": table, "propagated": nothing},
        "falls": {"disagreement": {"5": cell(fall)}},
        "test": {"falls": 4},
    }


@pytest.mark.parametrize(
    ("case", "use"),
    [
        ({}, "ranking and scale after recalibration"),
        ({"raw": (0.66, 0.96)}, "ranking and scale"),
        ({"recalibrated": (0.6, 0.94)}, "ranking only"),
        ({"rank": 0.5}, "scale only, after recalibration"),
        ({"rank": 0.5, "raw": (0.66, 0.96)}, "scale only"),
        ({"rank": 0.7, "low": 0.1, "recalibrated": (0.6, 0.94)}, "neither"),  # the interval reaches too far down
        ({"informative": 0.3}, "ranking only"),  # right, but as wide as ignorance
        ({"rank": None, "raw": (None, None), "recalibrated": (None, None)}, "not known"),
    ],
)
def test_uses(case, use):
    verdict = judge(measured(**case))
    assert verdict["by_horizon"] == {"8": use}
    assert verdict["usable_as"] == use
    assert use in verdict["sentences"]["overall"]


def test_sentences_name_methods_figures_and_reasons():
    sentences = judge(measured())["sentences"]
    assert "0.80 at 8" in sentences["ranking"]
    assert "at 8 sampled trajectories by isotonic" in sentences["recalibrated"]
    assert "90 % at 8" in sentences["scale"]
    assert "AUROC 0.90" in sentences["falls"]
    assert "4 falls" in sentences["falls"]
    sentences = judge(measured(rank=None, fall=None))["sentences"]
    assert sentences["ranking"] == "Ranking: not measured: there is none."
    assert sentences["falls"] == "Falls: not measured: there is none."


def test_horizons_that_differ_are_mixed():
    both = measured()
    other = measured(rank=0.1, recalibrated=(0.2, 0.3))
    both["horizons"] = [8, 24]
    both["ranking"]["24"] = other["ranking"]["8"]
    for forecast in both["scale"]:
        for method in both["scale"][forecast]:
            both["scale"][forecast][method]["24"] = other["scale"][forecast][method]["8"]
    verdict = judge(both)
    assert verdict["usable_as"] == "mixed"
    assert verdict["sentences"]["overall"] == "Usable as: ranking and scale after recalibration at 8; neither at 24 steps ahead."
