"""Diversity of members on moments worked by hand, and by what the numbers mean."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rwmu.uncertainty.functional import diversity


def products(values: Tensor) -> Tensor:
    """Return the Gram matrix of members' values ``[E, N]``."""
    return values.double() @ values.double().T


def test_cosine_is_that_of_the_angle_between_members() -> None:
    matrix = diversity.cosine(products(torch.tensor([[1.0, 0.0], [2.0, 2.0], [0.0, -3.0]])))
    half = 2.0**-0.5
    expected = torch.tensor([[1.0, half, 0.0], [half, 1.0, -half], [0.0, -half, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(matrix, expected)
    assert float(diversity.pair_mean(matrix)) == pytest.approx(0.0, abs=1e-12)


def test_disagreement_is_the_distance_between_members_and_does_not_cancel_to_noise() -> None:
    values = 1e4 + torch.tensor([[0.0, 3.0], [0.0, -1.0], [1e-6, 3.0]]).double()
    matrix = diversity.disagreement(products(values - values.mean(dim=0)), torch.tensor(2.0))
    assert float(matrix[0, 1]) == pytest.approx((4.0**2 / 2) ** 0.5)
    assert float(diversity.disagreement(products(torch.tensor([[-5e-7], [5e-7]])), torch.tensor(1.0))[0, 1]) == pytest.approx(1e-6)


def test_effective_members_of_known_correlation() -> None:
    # Errors that share half their variance: r = 1/2, so 5 members are worth 5 / (1 + 4 / 2).
    generator = torch.Generator().manual_seed(3)
    errors = torch.randn(5, 100_000, generator=generator) + torch.randn(1, 100_000, generator=generator)
    count = torch.tensor(100_000.0)
    found = diversity.effective_members(diversity.error_correlation(products(errors), count))
    assert float(found) == pytest.approx(5.0 / 3.0, abs=0.03)
    # What it means: the mean of five errs as the mean of that many independent ones.
    assert float(errors.var() / errors.mean(0).var()) == pytest.approx(5.0 / 3.0, abs=0.03)
    copies = products(errors[:1].expand(5, -1))
    assert float(diversity.effective_members(diversity.error_correlation(copies, count))) == pytest.approx(1.0)


def test_what_is_not_defined_is_nan() -> None:
    error, count = torch.randn(1, 30, generator=torch.Generator().manual_seed(4)), torch.tensor(30.0)
    cancelling = products(torch.cat([error, -error]))
    assert bool(diversity.effective_members(diversity.error_correlation(cancelling, count)).isnan())
    assert bool(diversity.error_correlation(cancelling, torch.tensor(2.0)).isnan().all()), "fewer rows than three"
    assert bool(diversity.pair_mean(diversity.cosine(products(torch.tensor([[0.0, 0.0], [1.0, 1.0]])))).isnan())
