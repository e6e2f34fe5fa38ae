import torch

from rwmu.records import Prediction
from rwmu.uncertainty.estimates import aleatoric, epistemic


def prediction(mean, log_std=None):
    mean = torch.as_tensor(mean)
    log_std = torch.zeros_like(mean) if log_std is None else torch.as_tensor(log_std)
    return Prediction(mean, log_std, mean[..., :1], mean[..., :1])


def test_epistemic_by_hand():
    # Two members at 0 and 2: unbiased std sqrt(2); at 1 and 1: 0. One row, two dimensions.
    assert torch.allclose(epistemic(prediction([[[0.0, 1.0]], [[2.0, 1.0]]])), torch.tensor([2.0**0.5]))


def test_epistemic_is_the_unbiased_std_summed():
    mean = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(epistemic(prediction(mean)), mean.std(dim=0).sum(dim=-1), rtol=1e-12, atol=0)


def test_one_member_never_disagrees():
    assert torch.equal(epistemic(prediction(torch.ones(1, 4, 3))), torch.zeros(4))


def test_aleatoric_by_hand():
    # Standard deviations 1 and 3 of two members average to 2.
    log_std = torch.log(torch.tensor([[[1.0]], [[3.0]]]))
    torch.testing.assert_close(aleatoric(prediction(torch.zeros(2, 1, 1), log_std)), torch.tensor([2.0]))
    torch.testing.assert_close(aleatoric(prediction(torch.zeros(1, 1, 1), log_std[1:])), torch.tensor([3.0]))
