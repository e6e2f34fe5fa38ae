import pytest
import torch

from rwmu.errors import ConfigError
from rwmu.imagination.penalty import MopoPenalty
from rwmu.records import Prediction


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
