import torch

from rwmu.uncertainty.spread import mixture


def test_moments_of_a_mixture_by_hand():
    # Two paths at 0 and 4 with standard deviations 1 and 3: mean 2, variance (1 + 9) / 2 + 4 = 9.
    mean = torch.tensor([0.0, 4.0]).view(1, 2, 1, 1)
    log_std = torch.tensor([1.0, 3.0]).log().view(1, 2, 1, 1)
    spread = mixture(mean, log_std)
    torch.testing.assert_close(spread.mean, torch.full((1, 1, 1), 2.0))
    torch.testing.assert_close(spread.std, torch.full((1, 1, 1), 3.0))
    assert spread.paths == 2


def test_a_single_path_has_its_own_sigma():
    spread = mixture(torch.randn(4, 1, 3, 2), torch.full((4, 1, 3, 2), -1.0))
    torch.testing.assert_close(spread.std, torch.full((4, 3, 2), -1.0).exp())


def test_moments_are_those_of_draws_from_the_mixture():
    generator = torch.Generator().manual_seed(0)
    mean, log_std = torch.randn(1, 6, 1, 3, generator=generator), 0.5 * torch.randn(1, 6, 1, 3, generator=generator)
    spread = mixture(mean, log_std)
    draws = mean + log_std.exp() * torch.randn(1, 6, 40_000, 3, generator=generator)
    torch.testing.assert_close(spread.mean[0, 0], draws.mean((0, 1, 2)), rtol=0, atol=0.02)
    torch.testing.assert_close(spread.std[0, 0], draws[0].flatten(0, 1).std(dim=0), rtol=0.02, atol=0)
