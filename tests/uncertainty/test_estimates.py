import pytest
import torch

from rwmu.errors import ConfigError
from rwmu.records import Prediction
from rwmu.uncertainty.estimates import (
    ALEATORIC,
    EPISTEMIC,
    aleatoric,
    aleatoric_largest,
    by_group,
    epistemic,
    epistemic_largest,
    epistemic_pairwise,
    epistemic_variance,
    member_std,
    uncertainty_estimate,
)


def prediction(mean, log_std=None):
    mean = torch.as_tensor(mean)
    log_std = torch.zeros_like(mean) if log_std is None else torch.as_tensor(log_std)
    return Prediction(mean, log_std, mean[..., :1], mean[..., :1])


def random_prediction(members=5, dims=3):
    generator = torch.Generator().manual_seed(0)
    return prediction(torch.randn(members, 7, dims, generator=generator, dtype=torch.float64))


THREE = [[[0.0, 1.0]], [[3.0, 1.0]], [[6.0, 5.0]]]


def test_epistemic_by_hand():
    # Two members at 0 and 2: unbiased std sqrt(2); at 1 and 1: 0. One row, two dimensions.
    assert torch.allclose(epistemic(prediction([[[0.0, 1.0]], [[2.0, 1.0]]])), torch.tensor([2.0**0.5]))


def test_the_other_epistemic_estimates_by_hand():
    # First dimension 0, 3, 6: unbiased variance 9. Second 1, 1, 5: deviations -4/3, -4/3, 8/3, squares 96/9, variance 16/3.
    std = torch.tensor([[3.0, (16.0 / 3.0) ** 0.5]])
    three = prediction(THREE)
    torch.testing.assert_close(member_std(three), std)
    torch.testing.assert_close(epistemic(three), std.sum(-1))
    torch.testing.assert_close(epistemic_variance(three), torch.tensor([9.0 + 16.0 / 3.0]))
    torch.testing.assert_close(epistemic_largest(three), torch.tensor([3.0]))
    torch.testing.assert_close(epistemic_pairwise(three), torch.tensor([52.0**0.5]))  # first and last: 6 and 4 apart


def test_epistemic_is_the_unbiased_std_summed():
    several = random_prediction()
    mean = several.mean
    torch.testing.assert_close(epistemic(several), mean.std(dim=0).sum(dim=-1), rtol=1e-12, atol=0)
    torch.testing.assert_close(epistemic_variance(several), mean.var(dim=0).sum(dim=-1), rtol=1e-12, atol=0)
    distances = torch.cdist(mean.transpose(0, 1), mean.transpose(0, 1))
    torch.testing.assert_close(epistemic_pairwise(several), distances.amax((1, 2)), rtol=1e-12, atol=0)


def test_the_published_scalar_keeps_its_bits():
    """The committed policies were trained with exactly this sequence of operations."""
    mean = torch.randn(5, 512, 45, generator=torch.Generator().manual_seed(1))
    written_out = ((mean - mean.mean(dim=0)).square().sum(dim=0) / 4).sqrt().sum(dim=-1)
    assert torch.equal(epistemic(prediction(mean)), written_out)
    assert torch.equal(uncertainty_estimate("std")(prediction(mean)), written_out)


@pytest.mark.parametrize("name", EPISTEMIC)
def test_one_member_never_disagrees(name):
    one = prediction(torch.ones(1, 4, 3))
    assert torch.equal(uncertainty_estimate(name)(one), torch.zeros(4))
    assert torch.equal(uncertainty_estimate(name, torch.ones(3))(one), torch.zeros(4))
    assert torch.equal(member_std(one), torch.zeros(4, 3))


@pytest.mark.parametrize("name", EPISTEMIC)
def test_estimates_do_not_depend_on_the_order_of_the_members(name):
    several = random_prediction()
    turned = prediction(several.mean.flip(0))
    torch.testing.assert_close(EPISTEMIC[name](turned), EPISTEMIC[name](several), rtol=1e-12, atol=0)


def test_weights_scale_each_dimension():
    weights = torch.tensor([2.0, 3.0])
    three = prediction(THREE)
    std = member_std(three)[0]
    for name, expected in (
        ("std", (weights * std).sum()),
        ("variance", (weights * std).square().sum()),
        ("largest", (weights * std).max()),
        ("pairwise", torch.tensor((12.0**2 + 12.0**2) ** 0.5)),
    ):
        torch.testing.assert_close(uncertainty_estimate(name, weights)(three)[0], expected)


def test_standardised_dimensions_count_alike():
    three = prediction(THREE)
    torch.testing.assert_close(uncertainty_estimate("std", 1.0 / member_std(three)[0])(three), torch.tensor([2.0]))


@pytest.mark.parametrize("weights", [[1.0, 0.0], [1.0, -1.0], [1.0, float("inf")], [[1.0, 1.0]]])
def test_weights_that_make_no_sense_are_refused(weights):
    with pytest.raises(ConfigError, match="above 0"):
        uncertainty_estimate("std", torch.tensor(weights))


def test_groups_of_dimensions_are_estimated_by_themselves():
    several = random_prediction(dims=6)
    grouped = by_group(epistemic, [1, 2, 3])(several)
    assert grouped.shape == (7, 3)
    torch.testing.assert_close(grouped.sum(-1), epistemic(several))
    torch.testing.assert_close(grouped[:, 1], several.mean[..., 1:3].std(dim=0).sum(-1))
    weights = torch.arange(1.0, 7.0)
    expected = (several.mean.std(dim=0) * weights)[:, 3:].sum(-1)
    torch.testing.assert_close(uncertainty_estimate("std", weights, [1, 2, 3])(several)[:, 2], expected)


def test_aleatoric_by_hand():
    # Standard deviations 1 and 3 of two members average to 2; the larger is 3.
    log_std = torch.log(torch.tensor([[[1.0]], [[3.0]]]))
    torch.testing.assert_close(aleatoric(prediction(torch.zeros(2, 1, 1), log_std)), torch.tensor([2.0]))
    torch.testing.assert_close(aleatoric_largest(prediction(torch.zeros(2, 1, 1), log_std)), torch.tensor([3.0]))
    torch.testing.assert_close(aleatoric(prediction(torch.zeros(1, 1, 1), log_std[1:])), torch.tensor([3.0]))


def test_the_largest_aleatoric_is_of_one_member():
    # Members' sums are 1 + 4 and 3 + 1: the largest is 5, not the sum 7 of the largest in each dimension.
    log_std = torch.log(torch.tensor([[[1.0, 4.0]], [[3.0, 1.0]]]))
    torch.testing.assert_close(aleatoric_largest(prediction(torch.zeros(2, 1, 2), log_std)), torch.tensor([5.0]))


def test_noise_may_stand_where_a_disagreement_does():
    """Sigmas 1, 4 and 3, 1: by dimension 2 and 2.5 on average; weighted by 10 and 1 the larger sum is 31, not 14."""
    both = prediction(torch.tensor([[[0.0, 0.0]], [[5.0, 5.0]]]), torch.log(torch.tensor([[[1.0, 4.0]], [[3.0, 1.0]]])))
    torch.testing.assert_close(uncertainty_estimate("noise")(both), torch.tensor([4.5]))
    torch.testing.assert_close(uncertainty_estimate("noise_largest")(both), torch.tensor([5.0]))
    torch.testing.assert_close(uncertainty_estimate("noise", sizes=[1, 1])(both), torch.tensor([[2.0, 2.5]]))
    torch.testing.assert_close(uncertainty_estimate("noise_largest", torch.tensor([10.0, 1.0]))(both), torch.tensor([31.0]))
    assert torch.equal(uncertainty_estimate("std")(both), epistemic(both))
    with pytest.raises(ConfigError, match="std, variance, largest, pairwise, noise, noise_largest"):
        uncertainty_estimate("sigma")


@pytest.mark.parametrize("name", ALEATORIC)
def test_a_prediction_without_spread_has_no_aleatoric_uncertainty(name):
    with pytest.raises(ValueError, match="without log standard deviations"):
        ALEATORIC[name](prediction(torch.zeros(2, 1, 3), torch.zeros(2, 1, 0)))
