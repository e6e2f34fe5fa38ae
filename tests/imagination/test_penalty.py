import pytest
import torch

from rwmu.data.normalizer import Normalizer
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.dynamics.unroll import unroll
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import ConfigError
from rwmu.imagination.penalty import MopoPenalty, typical_disagreement
from rwmu.records import Prediction, Window
from rwmu.uncertainty.estimates import epistemic


def prediction(mean):
    mean = torch.tensor(mean)
    return Prediction(mean, mean, mean[..., :1], mean[..., :1])


def test_penalty_by_hand():
    # std over members: sqrt(2) in the first dimension, 0 in the second; weight 3, 0.02 s.
    penalty = MopoPenalty(3.0, 0.02)(prediction([[[0.0, 1.0]], [[2.0, 1.0]]]))
    torch.testing.assert_close(penalty, torch.tensor([-3.0 * 0.02 * 2.0**0.5]))


def test_no_weight_is_exactly_zero_even_of_infinite_disagreement():
    assert torch.equal(MopoPenalty(0.0, 0.02)(prediction([[[0.0]], [[float("inf")]]])), torch.zeros(1))


def test_one_member_is_not_penalised():
    assert torch.equal(MopoPenalty(5.0, 0.02)(prediction([[[7.0, 1.0], [2.0, 2.0]]])).abs(), torch.zeros(2))


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_a_reward_for_disagreement_is_refused(weight):
    with pytest.raises(ConfigError, match=r"penalty\.weight"):
        MopoPenalty(weight, 0.02)


def test_typical_disagreement_costs_nothing():
    mean = torch.randn(3, 6, 4)
    prediction = Prediction(mean, torch.zeros_like(mean), torch.zeros(3, 6, 2), torch.zeros(3, 6, 1))
    plain, centred = MopoPenalty(2.0, 0.02)(prediction), MopoPenalty(2.0, 0.02, typical=1.5)(prediction)
    torch.testing.assert_close(centred - plain, torch.full((6,), 2.0 * 0.02 * 1.5))


def test_typical_disagreement_is_the_mean_over_the_forecast():
    model = SharedEnsemble(4, 2, 3, 2, hidden_size=6, num_layers=1, head_hidden_size=5)
    world_model = WorldModel(model, Normalizer(torch.zeros(4), torch.ones(4)), 5, "robot", [], "", {})
    window = Window(torch.randn(3, 7, 4), torch.randn(3, 7, 2), torch.zeros(3, 7, 3), torch.zeros(3, 7, 1))
    rollout = unroll(model, window.map(lambda tensor: tensor[None]), 5)
    expected = torch.stack([epistemic(rollout.at(k)) for k in range(2)]).mean().item()
    assert typical_disagreement(world_model, window) == pytest.approx(expected)
