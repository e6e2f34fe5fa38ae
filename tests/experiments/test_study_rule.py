"""The protocol's rule on numbers made for it, the choice of a weight, and what was hoped."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.shared_vs_independent import hopes, page, returns, tables
from experiments.shared_vs_independent.answer import Criterion, answer, criteria, decide, recalibration
from experiments.shared_vs_independent.cells import SEEDS, ModelCell, PolicyCell, plan
from experiments.shared_vs_independent.gather import Gathered
from experiments.shared_vs_independent.returns import Returns
from experiments.shared_vs_independent.robust import Estimate
from tests.experiments.made_up_study import EQUAL, SAME, policy_result, whole_study

# -- the rule ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "lacking", "verdict"),
    [
        (-0.02, 0.05, "", "within"),
        (-0.02, 0.051, "", "open"),
        (0.051, 0.2, "", "beyond"),
        (0.05, 0.2, "", "open"),
        (-0.02, 0.01, "4 of 5 seeds are there", "open"),
        (None, None, "", "open"),
    ],
)
def test_one_criterion(low: float | None, high: float | None, lacking: str, verdict: str) -> None:
    criterion = Criterion("something", Estimate(0.0, low, high, (0.0,) * 5), 0.05, lacking)
    assert criterion.verdict == verdict
    assert criterion.meaning.startswith(
        {"within": "more than 0.05 is excluded", "beyond": "more than 0.05", "open": "open"}[verdict]
    )
    assert lacking in criterion.meaning


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (("within", "within", "within", "within"), "sufficient"),
        (("within", "within", "open", "within"), "undecided"),
        (("within", "beyond", "open", "within"), "insufficient"),
    ],
)
def test_all_criteria(verdicts: tuple[str, ...], expected: str) -> None:
    intervals = {"within": (0.0, 0.01), "open": (0.0, 0.1), "beyond": (0.06, 0.1)}
    assert decide([Criterion("x", Estimate(0.0, *intervals[verdict], (0.0,) * 5), 0.05) for verdict in verdicts]) == expected


def test_a_whole_study_of_equals_finds_the_shared_base_sufficient_and_that_recalibration_helps() -> None:
    found = answer(whole_study(EQUAL, SAME))
    assert found.shared == "sufficient"
    assert found.recalibration == "helps"
    for by_penalty in found.best_weights.values():
        known = {penalty: (best.weight, best.wins) for penalty, best in by_penalty.items()}
        assert known == {"raw": (1.0, 1.0), "recalibrated": (0.5, 1.0)}
        assert [by_penalty[name].over_none.value for name in ("raw", "recalibrated")] == pytest.approx([2.0, 3.0])
    assert found.cost[0] == "`independent`: 1.00 times the shared base's parameters, its time not yet taken on one machine"


def test_a_study_in_which_independent_members_earn_more_finds_the_shared_base_insufficient() -> None:
    found = answer(whole_study(EQUAL, SAME | {"independent": 24.0}))
    assert found.shared == "insufficient"
    assert [criterion.verdict for criterion in found.criteria] == ["within", "within", "within", "beyond"]


def test_nothing_is_decided_before_every_weight_has_been_run_for_every_seed() -> None:
    """One missing policy, of whichever weight, leaves both questions open; so does having run the first weight alone."""
    whole = whole_study(EQUAL, SAME | {"independent": 24.0})
    lost = dict(whole.by_name)
    del lost[PolicyCell(ModelCell("shared", "broad", 2), "raw", 0.2).name]
    found = answer(Gathered(lost))
    assert (found.shared, found.recalibration) == ("undecided", "undecided")
    assert found.criteria[-1].meaning == "open: 5 of 6 weights run for all 5 seeds"
    assert found.best_weights["shared"]["raw"].text == "not known (5 of 6 weights run)"
    first = {name: result for name, result in whole.by_name.items() if result["kind"] == "model" or result["weight"] == 1.0}
    assert answer(Gathered(first)).shared == "undecided"
    assert criteria(Gathered(first))[-1].verdict == "open"
    better = dict(whole_study(EQUAL | {"independent": 0.99, "shared": 0.2}, SAME).by_name)
    del better[PolicyCell(ModelCell("shared", "broad", 2), "raw", 0.2).name]
    found = answer(Gathered(better))
    assert found.criteria[0].verdict == "beyond"
    assert found.shared == "undecided", "not even that it is insufficient"


def test_a_return_says_how_far_it_is_above_the_clone_and_a_ranking_how_far_it_could_rise() -> None:
    found = answer(whole_study(EQUAL, SAME)).criteria
    assert found[-1].beside == "earned more than the clone, weights chosen by the other seeds: independent 2.02, shared 2.02"
    assert "at most 0." in found[0].beside


def test_the_gain_over_the_clone_is_the_difference_of_the_means_that_the_tables_show() -> None:
    """Of the seeds' returns 1, 2, 3, 4, 90 less clones' 0, 0, 0, 0, 80: interquartile means 3 and 0, of the pairs 3.33."""
    gathered = whole_study(EQUAL, SAME)
    for seed, (own, clone) in enumerate(((1.0, 0.0), (2.0, 0.0), (3.0, 0.0), (4.0, 0.0), (90.0, 80.0))):
        for cell in plan([seed]):
            if isinstance(cell, PolicyCell) and cell.model.data == "broad":
                gathered.by_name[cell.name]["episodes"] = {"deterministic": {"return": [own] * 8}, "clone": {"return": [clone] * 8}}
    assert returns.gain_over_clone(gathered, "shared", "raw", "broad", 0.2).value == 3.0


def test_a_policy_is_compared_with_the_clone_that_it_started_from() -> None:
    """Clones of one seed differ where the policies of one model were made on another processor."""
    gathered = whole_study(EQUAL, SAME)
    for cell in plan():
        if isinstance(cell, PolicyCell) and cell.model.model == "priors":
            gathered.by_name[cell.name]["episodes"] |= {"clone": {"return": [12.0] * 8}}
    gains = {model: returns.gain_over_clone(gathered, model, "raw", "broad", 0.2).value for model in ("shared", "priors")}
    own = float(Returns.of(gathered, "shared", "raw", "broad", 0.2).scores.mean())
    assert gains["priors"] == pytest.approx(own - 12.0)
    assert gains["shared"] == pytest.approx(own - 20.0)
    best = answer(gathered).best_weights
    assert [best[model]["raw"].gain.value for model in ("priors", "shared")] == pytest.approx([own + 2.0 - 12.0, own + 2.0 - 20.0])


def test_recalibration_that_does_worse_for_sure_hurts_and_what_may_be_either_is_not_shown_to_help() -> None:
    gathered = whole_study(EQUAL, SAME)
    for cell in plan():
        if isinstance(cell, PolicyCell) and cell.penalty == "recalibrated":
            gathered.by_name[cell.name] = policy_result(cell, 15.0 if cell.model.seed % 2 else 30.0)
    assert recalibration(gathered)[0] == "not shown to help"
    for cell in plan():
        if isinstance(cell, PolicyCell) and cell.penalty == "recalibrated":
            gathered.by_name[cell.name] = policy_result(cell, 15.0)
    verdict, rows = recalibration(gathered)
    assert verdict == "hurts"
    assert [(row.model, row.data) for row in rows[3:5]] == [("all", "broad"), ("shared", "narrow")]
    assert all(row.complete for row in rows)
    assert rows[3].best.value == pytest.approx(-7.02)
    assert rows[3].by_others == pytest.approx(-7.02)


def test_a_recalibrated_penalty_half_run_is_compared_at_weights_that_both_have() -> None:
    """Raw earns 2 more at weight 1 alone, recalibrated 3 more at 0.5: of weight 2, run alone, neither says anything more."""
    gathered = whole_study(EQUAL, SAME)
    policies = [cell for cell in plan() if isinstance(cell, PolicyCell)]
    for cell in policies:
        if cell.model.model == "priors" or (cell.penalty == "recalibrated" and cell.weight < 2.0):
            del gathered.by_name[cell.name]
    found = answer(gathered)
    row = next(row for row in found.recalibrated if (row.model, row.data) == ("all", "broad"))
    assert row.best.value == pytest.approx(-2.0)
    assert (row.alike.value, row.models, row.complete) == (0.0, ("shared", "independent"), False)
    lines = page.answer_lines(found, [], gathered)
    assert any("so far, at those that both have been run with, neither surely earns more." in line for line in lines)
    assert any(line.startswith("| **shared and independent** | broad (not all weights run) | -2.00 [") for line in lines)
    assert any(
        "Return with the recalibrated penalty − return with the raw one: 0.00 [0.00, 0.00] (5 × 8)." in line
        for line in page.short_lines(found, gathered)
    )


# -- returns ----------------------------------------------------------------------------------------------------------------------


def raw_returns(table: list[list[float]]) -> Returns:
    """Return made-up returns of weights by seeds, of one episode each."""
    scores = np.array(table)[:, :, None]
    return Returns(tuple(float(i) for i in range(len(table))), tuple(range(scores.shape[1])), scores, complete=True)


def test_the_best_weight_is_chosen_anew_in_every_draw() -> None:
    found = raw_returns([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 3.0]])
    places = np.array([[0, 0, 0, 0], [3, 3, 3, 3], [1, 2, 1, 2]])
    np.testing.assert_allclose(returns.best(found, returns.Draws(places, np.ones((3, 1)))), [1.0, 3.0, 0.0])


def test_other_seeds_choose_a_seeds_weight() -> None:
    """Each seed is best at a weight of its own by luck: those chosen by the others do not have that luck."""
    lucky = raw_returns([[9.0, 1.0, 1.0], [1.0, 9.0, 1.0], [1.0, 1.0, 9.0]])
    assert returns.chosen_by_others(lucky) == [1.0, 1.0, 1.0]
    assert returns.chosen_by_others(raw_returns([[5.0, 6.0, 7.0], [1.0, 1.0, 1.0]])) == [5.0, 6.0, 7.0]


def test_the_gain_at_the_best_weight_has_no_luck_of_the_choice_in_its_other_number() -> None:
    """Every two seeds are lucky at a weight of their own, and earn as much as their clones at the others."""
    gathered = whole_study(EQUAL, SAME)
    for cell in plan():
        if isinstance(cell, PolicyCell) and cell.penalty == "raw":
            place = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0).index(cell.weight)
            lucky = cell.model.seed in (place % 5, (place + 1) % 5)
            gathered.by_name[cell.name] = policy_result(cell, 29.0 if lucky else 20.0)
    best = answer(gathered).best_weights["shared"]["raw"]
    assert best.gain_by_others == 0.0
    assert (best.gain.value, best.gain.low) == (pytest.approx(3.0), 0.0), "chosen anew in every draw, the low end would be above 0"


def test_the_return_is_compared_at_weights_that_both_have() -> None:
    """Without raw weight 1 of the shared base, its 2 more do not count for the other either: 20.02 on both sides."""
    gathered = whole_study(EQUAL, SAME)
    for seed in SEEDS:
        del gathered.by_name[PolicyCell(ModelCell("shared", "broad", seed), "raw", 1.0).name]
    assert criteria(gathered)[-1].difference.value == 0.0
    found = criteria(whole_study(EQUAL, SAME | {"independent": 21.0}))[-1].difference
    assert found.value == pytest.approx(1.0 / 22.02)
    assert (found.seeds, found.episodes) == (5, 8)


def test_episodes_are_paired_and_do_not_widen_a_difference_that_is_the_same_in_all() -> None:
    gathered = whole_study(EQUAL, SAME)
    sides = [Returns.of(gathered, "shared", penalty, "broad") for penalty in ("recalibrated", "raw")]
    found = returns.difference(sides[0], sides[1])
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))
    assert returns.pooled([(sides[0], sides[1])] * 2).value == pytest.approx(1.0)
    luck = gathered.by_name[PolicyCell(ModelCell("shared", "broad", 0), "raw", 1.0).name]["episodes"]["deterministic"]["return"]
    luck.reverse()  # the same mean, but other episodes are the lucky ones
    other = returns.difference(sides[0], Returns.of(gathered, "shared", "raw", "broad"))
    assert other.value == pytest.approx(1.0)
    assert float(other.high or 0.0) - float(other.low or 0.0) > 0.1


def test_weights_still_on_their_way_do_not_count() -> None:
    gathered = whole_study(EQUAL, SAME)
    del gathered.by_name[PolicyCell(ModelCell("shared", "broad", 2), "recalibrated", 0.5).name]
    found = Returns.of(gathered, "shared", "recalibrated", "broad")
    assert (found.weights, found.seeds, found.complete) == ((1.0, 2.0), SEEDS, False)


# -- hopes ------------------------------------------------------------------------------------------------------------------------


def test_hopes_are_judged_once_all_is_there() -> None:
    gathered = whole_study(EQUAL | {"independent": 0.95}, SAME)
    ranking, coverage, foresight, walking, curve = hopes.hopes(gathered)
    assert ranking.met is True
    assert foresight.met is False, "there is no number"
    assert coverage.met is None, "the made-up results have no recalibrated coverage"
    assert walking.met is True
    assert "5 of 5 at weight 1" in walking.found
    assert curve.met is True
    assert "above weight 0 by 2.00 [2.00, 2.00] (5 × 8); above weight 5 by 2.00" in curve.found
    assert answer(gathered).best_weights["independent"]["raw"].weight == 1.0
    for seed in (0, 4):
        del gathered.by_name[ModelCell("independent", "broad", seed).name]
    assert hopes.ranking(gathered).met is None
    assert "not known yet" in hopes.ranking(gathered).line


def test_one_seed_that_falls_is_seen() -> None:
    """The interquartile mean leaves it out; the hope and the table do not."""
    gathered = whole_study(EQUAL, SAME)
    cell = PolicyCell(ModelCell("independent", "broad", 3), "raw", 1.0)
    gathered.by_name[cell.name] = policy_result(cell, 22.0, falls=1.0)
    assert hopes.walking(gathered).met is False
    row = next(line for line in tables.deployed(gathered) if line.startswith("| `independent` | broad | raw | 1 |"))
    assert "| 4 of 5 |" in row
    assert "0.10, 0.10, 0.10, 1.00, 0.10" in row


def test_a_flat_curve_is_no_inverted_u() -> None:
    gathered = whole_study(EQUAL, SAME)
    for cell in plan():
        if isinstance(cell, PolicyCell) and cell.penalty == "raw":
            gathered.by_name[cell.name] = policy_result(cell, 20.0)
    assert hopes.inverted_u(gathered).met is False
