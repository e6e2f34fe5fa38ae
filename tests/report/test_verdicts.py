"""The rules, and what each page asks: by numbers and tones, never by wording."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from rwmu.report import verdicts
from rwmu.report.questions import QUESTIONS, RULES, answer, summed, table_of_rules, worst
from tests.measure.exploit import made_up


def cell(value: float | None, spread: float | None = 0.01, number: int = 24) -> dict[str, Any]:
    found = {"value": value, "low": None, "high": None, "trajectories": number, "reason": "too few"}
    return found if value is None or spread is None else found | {"low": value - spread, "high": value + spread}


@pytest.mark.parametrize(
    ("rule", "value", "spread", "tone"),
    [
        ("rank", 0.6, 0.3, "good"),
        ("rank", 0.9, 0.61, "middling"),  # green only where the interval allows it
        ("rank", 0.5, 0.01, "middling"),
        ("rank", 0.39, 0.01, "bad"),
        ("rank", 0.9, None, "unknown"),
        ("rank", None, None, "unknown"),
        ("fall_share", 0.2, 0.1, "good"),
        ("fall_share", 0.2, 0.11, "middling"),
        ("fall_share", 0.51, 0.01, "bad"),
        ("coverage_683", 0.633, 0.05, "good"),
        ("coverage_683", 0.74, 0.01, "middling"),
        ("coverage_683", 0.8, 0.01, "bad"),
        ("gap", -0.1, 0.05, "good"),
        ("gap", -0.35, 0.1, "middling"),
        ("gap", 0.41, 0.01, "bad"),
        ("gain", 0.03, 0.02, "good"),
        ("gain", 0.03, 0.04, "middling"),
        ("gain", -0.06, 0.01, "bad"),
    ],
)
def test_a_number_is_judged_with_its_interval(rule: str, value: float | None, spread: float | None, tone: str) -> None:
    assert RULES[rule].tone(cell(value, spread)) == tone


def test_tones_are_joined() -> None:
    assert worst(["good", "bad", "middling"]) == "bad"
    assert worst(["good", "unknown"]) == "unknown"
    assert (summed(["good", "unknown"]), summed(["good", "bad"]), summed(["bad", "bad"]), summed([])) == (
        "good",
        "middling",
        "bad",
        "unknown",
    )


def test_an_answer_states_horizon_interval_and_number_of_episodes() -> None:
    found = answer("knows", {"rank": {"8 steps ahead": cell(0.71, 0.02, 17), "24 steps ahead": cell(None)}})
    assert found.tone == "good"
    assert found.tones == {"8 steps ahead": "good", "24 steps ahead": "unknown"}
    assert all(part in found.answer for part in ("8 steps ahead", "0.71", "[0.69, 0.73]", "17", "24 steps ahead", "too few"))


def test_every_question_has_rules_that_are_printed() -> None:
    assert {rule for question in QUESTIONS.values() for rule in question.rules} <= set(RULES)
    assert len(table_of_rules(QUESTIONS)) == len({rule for question in QUESTIONS.values() for rule in question.rules})


# -- the run ------------------------------------------------------------------------------------------------------------------


def run(tracking: float = 0.9, falls: float = 0.02, imagined: float = 22.0, real: float = 22.4) -> dict[str, Any]:
    """Return the report of a run of 64 episodes."""
    errors = {"track_lin_vel_xy": 0.01, "fall_fraction": 0.01, "return": 0.3}
    ours = {"track_lin_vel_xy": tracking, "fall_fraction": falls, "return": real, "standard_error": errors, "num_episodes": 64}
    gains = {"clone": {"name": "clone", "return": 20.0, "gain": cell(2.4, 0.5, 64)}}
    gains["best"] = {"name": "expert", "return": 22.3, "gain": cell(0.1, 0.4, 64)}
    dream = {"return": imagined, "standard_error": {"return": 0.3}, "num_episodes": 64, "gap": {"return": imagined - real}}
    ranked = {"rank": cell(0.9), "aleatoric_rank": cell(0.92), "beyond_trivial": cell(0.1) | {"best": "change"}}
    dynamics = {
        "skill": {"1": cell(0.1), "100": cell(0.6)},
        "ranking": dict.fromkeys(("1", "100"), ranked),
        "falls": {"disagreement": {"5": cell(0.97)}, "tilt": {"5": cell(0.99)}},
        "foresight": {"beyond_trivial": {"disagreement": {"5": cell(-0.02) | {"best": "tilt"}}}, "given_tilt": {}},
        "falls_judged": 24,
    }
    deployment = {"deterministic": ours, "standing_still": {"track_lin_vel_xy": 0.19}, "gain": gains}
    return {"dynamics": dynamics, "deployment": deployment, "imagination": dream | {"full_length_s": 20.0}}


def by_question(found: list[verdicts.Verdict]) -> dict[str, str]:
    return {verdict.question: verdict.tone for verdict in found}


def test_a_good_run_is_good_where_its_intervals_say_so() -> None:
    tones = by_question(verdicts.of_run(run()))
    wanted = {"walks": "good", "helped": "middling", "predicts": "good", "knows": "good", "falls": "bad", "dream": "good"}
    assert tones == {QUESTIONS[name].text: tone for name, tone in wanted.items()}, "no better than the tilt, nor than the expert"


@pytest.mark.parametrize(
    ("tracking", "falls", "tone"), [(0.75, 0.05, "good"), (0.59, 0.0, "middling"), (0.8, 0.21, "middling"), (0.3, 0.0, "bad")]
)
def test_walking_is_tracking_without_falls(tracking: float, falls: float, tone: str) -> None:
    assert verdicts.walks(run(tracking, falls)).tone == tone
    assert verdicts.walks({}).tone == "unknown"


def test_the_dream_is_judged_over_both_horizons_and_alike_on_both_pages() -> None:
    """Imagined 12.9 against 22.4 an episode, and 1.02 against 1 a second over 8 steps: neither page says one without the other."""
    report, exploit = run(imagined=12.9), made_up.results()
    assert verdicts.dream(report, None).tone == "bad"
    assert verdicts.dream(None, exploit).tone == "good"
    both = verdicts.dream(report, exploit)
    assert both.tone == "middling"
    assert set(both.tones.values()) == {"good", "bad"}
    assert both in verdicts.of_run(report, exploit)
    assert both in verdicts.of_exploit(exploit, report)
    del report["imagination"]["gap"]
    assert verdicts.dream(report, None).tone == "unknown", "of another length"


def test_what_was_not_measured_is_unknown_and_comes_last() -> None:
    report = run()
    report["deployment"] = {"deterministic": {"return": None}}
    tones = [verdict.tone for verdict in verdicts.of_run(report | {"missing": {"deployment": "no MuJoCo."}})]
    assert tones == sorted(tones, key=lambda tone: tone == "unknown")
    assert tones.count("unknown") == 3


# -- the exploit diagnostic ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("area", "falls", "tilt", "tone"),
    [
        (0.97, 30, 0.9, "good"),
        (0.97, 30, 0.965, "middling"),  # better, but not by its interval
        (0.97, 30, 0.98, "bad"),
        (0.85, 30, 0.8, "middling"),
        (0.7, 30, 0.6, "bad"),
        (0.97, 4, 0.9, "unknown"),
    ],
)
def test_foresight_must_beat_the_best_trivial_score_and_rest_on_falls(area: float, falls: int, tilt: float, tone: str) -> None:
    results = made_up.results() | {"aligned": made_up.aligned(falls, area, tilt=tilt)}
    assert by_question(verdicts.of_exploit(results))[QUESTIONS["falls"].text] == tone


@pytest.mark.parametrize(
    ("beyond", "spread", "tone"), [(0.02, 0.01, "good"), (0.02, 0.03, "middling"), (-0.001, 0.01, "bad"), (0.02, None, "unknown")]
)
def test_what_a_trivial_score_tells_as_well_is_not_known(beyond: float, spread: float | None, tone: str) -> None:
    """A rank correlation of 0.9 is worth nothing where the last change of the state has as much."""
    more = cell(beyond, spread) | {"best": "change"}
    ranking = {"8": {"rank": cell(0.9), "aleatoric_rank": cell(0.92), "beyond_trivial": more}}
    found = verdicts.knows(ranking)
    assert found.tone == tone
    assert "last change" in found.answer
    areas = {"share": cell(0.02), "auroc": {"disagreement": cell(0.97)}, "beyond_trivial": {"disagreement": more}}
    assert verdicts.tells(areas).tone == tone
    assert verdicts.tells(areas | {"share": cell(None)}).tone == verdicts.tells(None).tone == "unknown"


@pytest.mark.parametrize(("share", "tone"), [(0.02, "good"), (0.08, "middling"), (0.3, "bad")])
def test_leaving_the_data_is_erring_where_they_do_not(share: float, tone: str) -> None:
    results = made_up.results()
    results["policies"][-1]["outside"]["error"] = made_up.interval(share)
    assert verdicts.left(results).tone == tone


def test_exploitation_is_a_dream_that_pays_more_while_reality_does_not() -> None:
    results = made_up.results()
    assert verdicts.exploited(results).tone == "good"
    grown = deepcopy(results)
    grown["policies"][-1]["gap"]["gap"] = 0.3
    assert verdicts.exploited(grown).tone == "bad"
    grown["policies"][-1]["less_first"] = made_up.interval(3.0, 0.7)
    assert verdicts.exploited(grown).tone == "good", "the real return has risen with it"
    fallen = deepcopy(results)
    fallen["policies"][1] |= {"return": made_up.interval(25.0), "final_less_this": made_up.interval(-3.0, 0.8)}
    assert verdicts.exploited(fallen).tone == "middling"
    assert verdicts.exploited(results | {"policies": results["policies"][-1:]}).tone == "unknown"


# -- calibration --------------------------------------------------------------------------------------------------------------


def scaled(first: float, second: float, informative: float = 0.9) -> dict[str, Any]:
    return {"1": {"coverage_683": cell(first), "coverage_95": cell(second), "informative": cell(informative)}}


def measured(raw: dict[str, Any], conformal: dict[str, Any], factor: dict[str, Any]) -> dict[str, Any]:
    tables = {"raw": raw, "conformal": conformal, "per_horizon": factor}
    return {"horizons": [1], "scale": {"sampled": tables}, "dimensions": {}}


def test_a_scale_holds_what_it_should_and_says_something() -> None:
    right, wide, idle = scaled(0.69, 0.96), scaled(0.9, 0.99), scaled(0.69, 0.96, informative=0.1)
    assert verdicts.scale(measured(right, wide, wide)).tone == "good"
    assert verdicts.scale(measured(wide, right, right)).tone == "bad"
    assert verdicts.scale(measured(idle, right, right)).tone == "bad"


def test_the_recalibration_is_named_beforehand() -> None:
    """The first of the preferred that could be fitted is judged, whichever does better on the test episodes."""
    right, wide = scaled(0.69, 0.96), scaled(0.9, 0.99)
    absent = {"1": {name: cell(None) for name in verdicts.LEVELS}}
    assert verdicts.recalibrated(measured(wide, wide, right)).tone == "bad"
    assert verdicts.named_method(measured(wide, absent, right), "1") == "per_horizon"
    assert verdicts.recalibrated(measured(wide, absent, right)).tone == "good"
    assert verdicts.recalibrated(measured(wide, absent, absent)).tone == "unknown"


def test_noise_is_judged_at_its_largest_scale() -> None:
    def row(coverage: float) -> dict[str, Any]:
        return {"8": {"error": cell(1.0), "disagreement": cell(1.0), "recalibrated_683": cell(coverage)}}

    given = {"about": "", "scales": {"0": row(0.68), "0.8": row(0.3)}}
    assert verdicts.noise({"given": given}).tone == "bad"
    assert verdicts.noise({"given": {"about": "", "scales": {"0": row(0.68)}}}).tone == "good"
    assert verdicts.noise({"simulated": {"missing": "no MuJoCo"}}).tone == "unknown"
