import math

import pytest
import torch

from rwmu.data.normalizer import Normalizer
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.dynamics.unroll import unroll
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import ConfigError
from rwmu.imagination.boundary import BoundaryPenalty
from rwmu.imagination.penalty import DisagreementBonus, MopoPenalty, typical_disagreement
from rwmu.imagination.recalibrated import RecalibratedPenalty
from rwmu.records import Prediction, Window
from rwmu.uncertainty.calibration_sample import FittedOn
from rwmu.uncertainty.estimates import EPISTEMIC, epistemic, epistemic_pairwise
from rwmu.uncertainty.recalibration import PerHorizon


def prediction(mean):
    mean = torch.tensor(mean)
    return Prediction(mean, mean, mean[..., :1], mean[..., :1])


TWO = [[[0.0, 1.0]], [[2.0, 1.0]]]  # std over members: sqrt(2) in the first dimension, 0 in the second


def by_step(*factors):
    """Return a recalibration of one group whose factor is each step's."""
    return PerHorizon((("state", 1),), "error", FittedOn("", (0, 1), 2), torch.tensor(factors).double().unsqueeze(1))


def penalties(weight):
    return [
        MopoPenalty(weight, 0.02, typical=1.3, estimate="variance"),
        BoundaryPenalty(0.02, threshold=9.0, weight=weight, typical=1.3),
        RecalibratedPenalty(weight, 0.02, by_step(2.0), [2]),
    ]


def test_penalty_by_hand():
    # weight 3, 0.02 s.
    penalty = MopoPenalty(3.0, 0.02)(prediction(TWO))
    torch.testing.assert_close(penalty, torch.tensor([-3.0 * 0.02 * 2.0**0.5]))


@pytest.mark.parametrize(("estimate", "expected"), [("std", 2.0**0.5), ("variance", 2.0), ("largest", 2.0**0.5), ("pairwise", 2.0)])
def test_any_estimate_can_be_penalised(estimate, expected):
    torch.testing.assert_close(MopoPenalty(3.0, 0.02, estimate=estimate)(prediction(TWO)), torch.tensor([-0.06 * expected]))
    weighted = MopoPenalty(1.0, 1.0, estimate=estimate, dimension_weights=torch.tensor([3.0, 1.0]))(prediction(TWO))
    torch.testing.assert_close(weighted, torch.tensor([-expected * (9.0 if estimate == "variance" else 3.0)]))


@pytest.mark.parametrize("index", range(3))
def test_no_weight_is_exactly_zero_even_of_infinite_disagreement(index):
    step = torch.zeros(1, dtype=torch.int64)
    assert torch.equal(penalties(0.0)[index](prediction([[[0.0]], [[float("inf")]]]), step), torch.zeros(1))


@pytest.mark.parametrize("estimate", EPISTEMIC)
def test_one_member_is_not_penalised(estimate):
    one, step = prediction([[[7.0, 1.0], [2.0, 2.0]]]), torch.zeros(2, dtype=torch.int64)
    for penalty in (
        MopoPenalty(5.0, 0.02, estimate=estimate),
        RecalibratedPenalty(5.0, 0.02, by_step(2.0), [2], estimate=estimate),
    ):
        assert torch.equal(penalty(one, step).abs(), torch.zeros(2))
    assert not BoundaryPenalty(0.02, threshold=1e-9, estimate=estimate).boundary.crossed(one).any()


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_a_reward_for_disagreement_is_refused(weight):
    for kind in (lambda: MopoPenalty(weight, 0.02), lambda: RecalibratedPenalty(weight, 0.02)):
        with pytest.raises(ConfigError, match=r"penalty\.weight"):
            kind()


def test_typical_disagreement_costs_nothing():
    mean = torch.randn(3, 6, 4)
    prediction = Prediction(mean, torch.zeros_like(mean), torch.zeros(3, 6, 2), torch.zeros(3, 6, 1))
    plain, centred = MopoPenalty(2.0, 0.02)(prediction), MopoPenalty(2.0, 0.02, typical=1.5)(prediction)
    torch.testing.assert_close(centred - plain, torch.full((6,), 2.0 * 0.02 * 1.5))


def test_rectified_disagreement_below_the_typical_earns_nothing():
    mean = torch.zeros(2, 3, 1)
    mean[1, :, 0] = torch.tensor([0.0, 2.0, 4.0])  # std over members: 0, sqrt(2), 2 sqrt(2)
    found = MopoPenalty(0.5, 0.02, typical=2.0, rectified=True)(Prediction(mean, mean, mean, mean))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, -0.01 * (2.0 * 2.0**0.5 - 2.0)]))


@pytest.mark.parametrize("estimate", [epistemic, epistemic_pairwise])
def test_typical_disagreement_is_the_mean_over_the_forecast(estimate):
    model = SharedEnsemble(4, 2, 3, 2, hidden_size=6, num_layers=1, head_hidden_size=5)
    world_model = WorldModel(model, Normalizer(torch.zeros(4), torch.ones(4)), 5, "robot", [], "", {})
    window = Window(torch.randn(3, 7, 4), torch.randn(3, 7, 2), torch.zeros(3, 7, 3), torch.zeros(3, 7, 1))
    rollout = unroll(model, window.map(lambda tensor: tensor[None]), 5)
    expected = torch.stack([estimate(rollout.at(k)) for k in range(2)]).mean().item()
    assert typical_disagreement(world_model, window, estimate) == pytest.approx(expected)


def test_the_bonus_pays_for_disagreement_up_to_its_end():
    rows = prediction([[[0.0], [0.0]], [[1.0], [20.0]]])  # std over members: 0.71, 14.1
    bonus = DisagreementBonus(3.0, 0.02, most=10.0)
    torch.testing.assert_close(bonus(rows), 0.06 * torch.tensor([0.5**0.5, 10.0]))
    with pytest.raises(ConfigError, match=r"penalty\.weight"):
        DisagreementBonus(-1.0, 0.02)


# -- boundaries -----------------------------------------------------------------------------------------------------------------


def test_the_known_region_ends_above_the_threshold():
    rows = prediction([[[0.0], [0.0], [0.0]], [[1.0], [2.0], [3.0]]])  # std over members: 0.71, 1.41, 2.12
    truncation = BoundaryPenalty(0.02, threshold=1.5)
    assert truncation.boundary.crossed(rows).tolist() == [False, False, True]
    assert truncation.boundary.halting_reward is None
    assert torch.equal(truncation(rows), torch.zeros(3))
    morel = BoundaryPenalty(0.02, threshold=1.5, kappa=4.0, estimate="pairwise")
    assert morel.boundary.crossed(rows).tolist() == [False, True, True]
    edge = BoundaryPenalty(0.02, threshold=2.0, estimate="pairwise")  # the distances are 1, 2 and 3: the threshold is within
    assert edge.boundary.crossed(rows).tolist() == [False, False, True]
    assert morel.boundary.halting_reward == -4.0
    assert not BoundaryPenalty(0.02).boundary.crossed(rows).any()


def test_impossible_boundaries_are_refused():
    with pytest.raises(ConfigError, match=r"penalty\.kappa is -1"):
        BoundaryPenalty(0.02, kappa=-1.0)
    for threshold in (0.0, math.nan):
        with pytest.raises(ConfigError, match=r"penalty\.threshold"):
            BoundaryPenalty(0.02, threshold)


# -- recalibrated ---------------------------------------------------------------------------------------------------------------


def test_the_recalibrated_penalty_by_hand():
    # Disagreement sqrt(2); factors 1, 10 and 100 a step; weight 3, 0.02 s; typical errors 1, 2 and, from then on, 3.
    rows = prediction([TWO[0] * 4, TWO[1] * 4])
    penalty = RecalibratedPenalty(3.0, 0.02, by_step(1.0, 10.0, 100.0), [2])
    found = penalty(rows, torch.tensor([0, 2, 1, 50]))
    torch.testing.assert_close(found, -0.06 * 2.0**0.5 * torch.tensor([1.0, 100.0, 10.0, 100.0]))
    centred = RecalibratedPenalty(3.0, 0.02, by_step(1.0, 10.0, 100.0), [2], torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(centred(rows, torch.tensor([0, 2, 1, 50])) - found, 0.06 * torch.tensor([1.0, 3.0, 2.0, 3.0]))


def test_groups_are_recalibrated_by_themselves_and_summed():
    groups = (("a", 1), ("b", 1))
    recalibration = PerHorizon(groups, "error", FittedOn("", (0, 1), 2), torch.tensor([[5.0, 7.0]]).double())
    rows = prediction([[[0.0, 1.0, 3.0]], [[2.0, 1.0, 5.0]]])  # std sqrt(2), 0, sqrt(2)
    penalty = RecalibratedPenalty(1.0, 1.0, recalibration, [1, 2])
    torch.testing.assert_close(penalty(rows, torch.tensor([0])), torch.tensor([-(5.0 + 7.0) * 2.0**0.5]))


def test_a_recalibrated_penalty_that_was_not_fitted_says_so():
    with pytest.raises(ValueError, match="must be fitted"):
        RecalibratedPenalty(1.0, 0.02)(prediction(TWO), torch.tensor([0]))
