"""The verdict follows its thresholds, judges what was named beforehand, and says what was not measured."""

import pytest

from rwmu.report.thresholds import FEWEST_FALLS
from rwmu.report.verdicts.calibration import judge, verdicts
from rwmu.report.verdicts.calibration_words import noise_sentence


def cell(value, low=None, reason="there is none", high=None):
    missing = value is None
    low = None if missing or low == "none" else value - 0.05 if low is None else low
    high = None if low is None else value + 0.02 if high is None else high
    return {"value": value, "low": low, "high": high, "reason": reason if missing else ""}


def scaled(coverage_683, coverage_95, informative=1.0):
    names = ("coverage_683", "coverage_95", "informative")
    return dict(zip(names, map(cell, (coverage_683, coverage_95, informative)), strict=True))


NOTHING = (None, None)


def fall_rows(falls, steps=3):
    return {"episode": [*range(falls), *range(falls), 99], "steps": [steps] * falls + [20] * falls + [-1]}


def measured(rank=0.8, raw=(0.9, 0.99), recalibrated=(0.7, 0.94), fall=0.9, low=None, informative=1.0, fall_low=None, falls=8):
    """Return results at 8 steps: sampled trajectories as they are and by conformal; nothing else."""
    table = {"raw": {"8": scaled(*raw, informative)}, "conformal": {"8": scaled(*recalibrated, informative)}}
    for values, name in ((raw, "raw"), (recalibrated, "conformal")):
        if values == NOTHING:
            table[name]["8"] = scaled(None, None, None)
    return {
        "horizons": [8],
        "ranking": {"8": {"rank": cell(rank, low), "exploded": cell(0.0)}},
        "scale": {"sampled": table, "propagated": {name: {"8": scaled(None, None, None)} for name in table}},
        "by_dimension": {"columns": ["a", "b", "c"]},
        "falls": {"disagreement": {"5": cell(fall, fall_low)}},
        "fall_rows": fall_rows(falls),
        "test": {"falls": falls},
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
        ({"rank": None, "raw": NOTHING, "recalibrated": NOTHING}, "not known"),
        # Of what was not measured nothing is said.
        ({"rank": None, "recalibrated": NOTHING}, "not a scale as it is (ranking not measured)"),
        ({"rank": None, "recalibrated": (0.6, 0.94)}, "not a scale (ranking not measured)"),
        ({"rank": None, "raw": (0.66, 0.96)}, "scale (ranking not measured)"),
        ({"rank": None}, "scale after recalibration (ranking not measured)"),
        ({"recalibrated": NOTHING}, "ranking, not a scale as it is"),
        ({"rank": 0.5, "recalibrated": NOTHING}, "not a ranking, and not a scale as it is"),
    ],
)
def test_uses(case, use):
    verdict = judge(measured(**case))
    assert verdict["by_horizon"] == {"8": use}
    assert verdict["usable_as"] == use
    assert verdict["sentences"]["overall"].startswith(f"Usable as: {use} at 8 steps ahead.")
    tone = verdicts({"verdict": verdict})[0].tone
    both, none = use.startswith("ranking and"), use.startswith("not ")
    assert tone == ("good" if both else "unknown" if none else "bad" if use == "neither" else "middling")


def test_sentences_name_methods_figures_and_reasons():
    sentences = judge(measured())["sentences"]
    assert "0.80 at 8" in sentences["ranking"]
    assert "conformal" in sentences["recalibrated"]
    assert "90 % at 8" in sentences["scale"]
    assert "0.90 [0.85, 0.92]" in sentences["falls"]
    assert "8 falls" in sentences["falls"]
    sentences = judge(measured(rank=None, fall=None, recalibrated=NOTHING))["sentences"]
    assert all("there is none" in sentences[question] for question in ("ranking", "falls", "recalibrated"))


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
    assert verdict["by_horizon"] == {"8": "ranking and scale after recalibration", "24": "neither"}


# -- one combination, named beforehand ----------------------------------------------------------------------------------------


def test_another_forecast_or_method_that_is_right_passes_nothing():
    found = measured(raw=(0.9, 0.99), recalibrated=(0.5, 0.9))
    found["scale"]["propagated"]["raw"]["8"] = scaled(0.68, 0.95)
    found["scale"]["sampled"]["isotonic"] = {"8": scaled(0.68, 0.95)}
    found["scale"]["sampled"]["per_horizon"] = {"8": scaled(0.68, 0.95)}
    verdict = judge(found)
    assert verdict["scale_raw"] == {"8": False}
    assert verdict["scale_recalibrated"] == {"8": False}
    assert verdict["usable_as"] == "ranking only"
    assert verdict["raw_forecasts"] == {"8": ["propagated"]}
    assert verdict["recalibrated_by"] == {"8": {"sampled": ["isotonic", "per_horizon"], "propagated": []}}
    assert all("read off" in verdict["sentences"][question] for question in ("scale", "recalibrated"))


def test_what_was_judged_is_not_said_to_be_read_off():
    assert "read off" not in "".join(judge(measured(raw=(0.68, 0.95)))["sentences"].values())


@pytest.mark.parametrize(
    ("fitted", "judged"),
    [
        ({"constant": 0.68, "isotonic": 0.68, "per_horizon": 0.4, "conformal": 0.4}, "conformal"),
        ({"constant": 0.68, "isotonic": 0.68, "per_horizon": 0.4, "conformal": None}, "per_horizon"),
        ({"constant": 0.68, "isotonic": 0.4, "per_horizon": None}, "isotonic"),
        ({"constant": 0.4, "isotonic": None}, "constant"),
        ({"constant": None}, None),
    ],
)
def test_the_recalibration_judged_is_the_first_fitted_whatever_its_result(fitted, judged):
    found = measured()
    del found["scale"]["sampled"]["conformal"]
    for method, coverage in fitted.items():
        cells = scaled(None, None, None) if coverage is None else scaled(coverage, 0.95)
        found["scale"]["sampled"][method] = {"8": cells}
    verdict = judge(found)
    assert verdict["judged_by"] == {"8": judged}
    assert verdict["scale_recalibrated"] == {"8": None if judged is None else False}


def test_intervals_of_one_level_alone_are_not_a_fitted_recalibration():
    found = measured(recalibrated=(0.68, None))  # conformal intervals of 95 % need 19 episodes, those of 68 % need 3
    found["scale"]["sampled"]["constant"] = {"8": scaled(0.7, 0.94)}
    assert judge(found)["judged_by"] == {"8": "constant"}


def test_width_is_of_the_combination_judged():
    found = measured(raw=(0.68, 0.95), informative=0.3)
    found["scale"]["propagated"]["raw"]["8"] = scaled(0.68, 0.95, 1.0)
    assert "width" in judge(found)["sentences"]
    assert "width" not in judge(measured())["sentences"]


# -- dimensions ---------------------------------------------------------------------------------------------------------------


def test_the_scale_says_what_the_average_over_dimensions_hides():
    found = measured(raw=(0.683, 0.95))
    found["by_dimension"]["8"] = {
        "coverage_683_raw": [0.31, 0.783, 0.956],  # mean 0.683: opposite errors cancel
        "coverage_683_recalibrated": [0.6, 0.7, 0.85],
        "recalibrated_by": "conformal",
    }
    verdict = judge(found)
    raw, recalibrated = verdict["dimensions"]["8"]["raw"], verdict["dimensions"]["8"]["recalibrated"]
    assert (raw["near"], raw["of"], raw["worst"], raw["coverage"]) == (1, 3, "a", 0.31)
    assert (recalibrated["near"], recalibrated["worst"]) == (2, "c")
    assert "1 of 3 at 8 (worst a with 31 %)" in verdict["sentences"]["scale"]
    assert verdict["scale_raw"] == {"8": True}  # no threshold more
    found["by_dimension"]["8"]["recalibrated_by"] = "constant"
    assert "2 of 3 at 8 (by one constant, worst c with 85 %)" in judge(found)["sentences"]["recalibrated"]


def test_without_dimensions_nothing_is_said_of_them():
    found = measured()
    found["by_dimension"]["8"] = {
        "coverage_683_raw": [0.9, 0.9, 0.9],
        "coverage_683_recalibrated": "not measured: nothing could be fitted",
        "recalibrated_by": None,
    }
    verdict = judge(found)
    assert verdict["dimensions"]["8"]["recalibrated"] is None
    assert "Dimensions" not in verdict["sentences"]["recalibrated"]


# -- falls --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "answer"),
    [
        ({}, True),
        ({"fall": 0.7}, False),
        ({"fall": 0.8, "fall_low": 0.48}, False),  # chance is within the interval
        ({"fall": 0.8, "fall_low": 0.51}, True),
        ({"fall": 1.0, "falls": FEWEST_FALLS - 1}, None),
        ({"fall": 1.0, "falls": FEWEST_FALLS}, True),
        ({"fall": 1.0, "fall_low": "none"}, None),
        ({"fall": None}, None),
    ],
)
def test_falls_need_five_and_an_interval_above_chance(case, answer):
    verdict = judge(measured(**case))
    assert verdict["falls"] is answer
    assert ("too few" in verdict["sentences"]["falls"]) == (answer is None and case["fall"] is not None)


def test_only_falls_with_a_scored_row_within_five_steps_count():
    found = measured(falls=8)
    found["fall_rows"] = fall_rows(8, steps=6)
    assert judge(found)["falls"] is None
    assert judge(found)["num_falls"] == 0


# -- noise ------------------------------------------------------------------------------------------------------------------


def noise_cells(error, disagreement, coverage):
    names = ("error", "disagreement", "recalibrated_683")
    return dict(zip(names, map(cell, (error, disagreement, coverage)), strict=True))


def test_the_noise_sentence_says_what_was_measured_at_one_scale_too():
    one = {"given": {"scales": {"0.5": {"8": noise_cells(1.3, 2.0, None), "24": noise_cells(None, None, None)}}}}
    assert "scale 0.5 alone, 8 steps ahead: error 1.3, disagreement 2." in noise_sentence(one)
    two = {"simulated": {"scales": {"0": {"8": noise_cells(1.0, 2.0, 0.7)}, "0.8": {"8": noise_cells(3.0, 4.0, 0.5)}}}}
    sentence = noise_sentence(two)
    assert all(part in sentence for part in ("scale 0 to 0.8", "error 1 to 3", "disagreement 2 to 4", "0.7 to 0.5"))
    nothing = {"given": {"scales": {"0": {"8": noise_cells(None, None, None)}}}, "simulated": {"missing": "no MuJoCo."}}
    assert "no MuJoCo" in noise_sentence(nothing)
