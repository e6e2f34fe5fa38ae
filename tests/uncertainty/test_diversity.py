"""Diversity of members against NumPy, SciPy and torchmetrics, and on ensembles of known diversity."""

from __future__ import annotations

import numpy
import pytest
import torch
from torchmetrics.functional import pairwise_cosine_similarity

from rwmu.uncertainty.functional import diversity
from rwmu.uncertainty.metrics import EffectiveMembers, MemberErrorCorrelation, OutputCosine, PairwiseDisagreement
from tests.uncertainty.oracles import outside

E, K, B, D = 4, 3, 50, 2


def outputs(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(E, K, B, D, generator=generator) + 2.0 * torch.randn(K, B, D, generator=generator) + 1.0


def computed(metric, *arguments):  # type: ignore[no-untyped-def]
    metric.update(*arguments)
    return metric.compute()


def off_diagonal_mean(matrix: numpy.ndarray) -> float:
    return float(matrix[~numpy.eye(len(matrix), dtype=bool)].mean())


def test_cosine_agrees_with_torchmetrics_and_scipy() -> None:
    flat = outputs().double().flatten(1)
    matrix = computed(OutputCosine(E, K, D, keep=("pair",)), outputs()).tensor()
    torch.testing.assert_close(matrix, pairwise_cosine_similarity(flat, flat, zero_diagonal=False))
    expected = 1.0 - outside("scipy.spatial.distance").pdist(flat.numpy(), "cosine").mean()
    assert float(computed(OutputCosine(E, K, D), outputs())) == pytest.approx(expected, abs=1e-12)


def test_disagreement_is_the_distance_between_members() -> None:
    flat = outputs().double().flatten(1).numpy()
    expected = outside("scipy.spatial.distance").pdist(flat).mean() / (K * B * D) ** 0.5
    assert float(computed(PairwiseDisagreement(E, K, D), outputs())) == pytest.approx(expected, rel=1e-12)


def test_nearly_equal_members_do_not_cancel_to_noise() -> None:
    far = 1e4 + torch.zeros(2, 1, 10, 1, dtype=torch.float64)
    far[1] += 1e-6
    assert float(computed(PairwiseDisagreement(2), far)) == pytest.approx(1e-6, rel=1e-4)


def test_error_correlation_is_numpys() -> None:
    truth = outputs(1)[0]
    errors = (outputs() - truth).double()
    kept = computed(MemberErrorCorrelation(E, K, D, keep=("step", "dim", "pair")), outputs(), truth).tensor()
    assert kept.shape == (K, D, E, E)
    for k in range(K):
        for d in range(D):
            numpy.testing.assert_allclose(kept[k, d].numpy(), numpy.corrcoef(errors[:, k, :, d].numpy()), atol=1e-9)
    # Pooled: steps and dimensions centred apart, then taken together.
    centred = (errors - errors.mean(2, keepdim=True)).flatten(1).numpy()
    pooled = computed(MemberErrorCorrelation(E, K, D), outputs(), truth)
    assert float(pooled) == pytest.approx(off_diagonal_mean(numpy.corrcoef(centred)), abs=1e-9)


def test_a_bias_in_common_and_growth_with_the_step_are_no_correlation() -> None:
    generator = torch.Generator().manual_seed(2)
    growth = torch.arange(1.0, 4.0)[:, None, None]
    errors = growth * torch.randn(E, 3, 4000, 1, generator=generator) + 50.0 * growth
    assert abs(float(computed(MemberErrorCorrelation(E, 3), errors, torch.zeros(3, 4000, 1)))) < 0.02
    assert float(computed(EffectiveMembers(E, 3), errors, torch.zeros(3, 4000, 1))) == pytest.approx(E, abs=0.3)


def test_effective_members_of_known_correlation() -> None:
    # Errors that share half their variance: r = 1/2, so 5 members are worth 5 / (1 + 4 / 2).
    generator = torch.Generator().manual_seed(3)
    errors = torch.randn(5, 1, 100_000, 1, generator=generator) + torch.randn(1, 1, 100_000, 1, generator=generator)
    zeros = torch.zeros(1, 100_000, 1)
    assert float(computed(EffectiveMembers(5), errors, zeros)) == pytest.approx(5.0 / 3.0, abs=0.03)
    # What it means: the mean of five errs as the mean of that many independent ones.
    assert float(errors.var() / errors.mean(0).var()) == pytest.approx(5.0 / 3.0, abs=0.03)
    copies = errors[:1].expand(5, -1, -1, -1)
    assert float(computed(EffectiveMembers(5), copies, zeros)) == pytest.approx(1.0)


def test_errors_that_cancel_are_said_to() -> None:
    error = torch.randn(1, 1, 30, 1, generator=torch.Generator().manual_seed(4))
    result = computed(EffectiveMembers(2), torch.cat([error, -error]), torch.zeros(1, 30, 1))
    assert result.plain() == "not measured: the members' errors cancel: no number of independent members would do as well"


def test_what_cannot_be_compared_is_said() -> None:
    one, zeros = torch.ones(1, 1, 10, 1), torch.zeros(1, 10, 1)
    for metric, arguments in (
        (OutputCosine(1), (one,)),
        (PairwiseDisagreement(1), (one,)),
        (MemberErrorCorrelation(1), (one, zeros)),
        (EffectiveMembers(1), (one, zeros)),
    ):
        assert computed(metric, *arguments).plain() == f"not measured: {diversity.ONE_MEMBER}"
    two = torch.stack([torch.zeros(1, 10, 1), torch.ones(1, 10, 1)])
    assert "output is 0 throughout" in computed(OutputCosine(2), two).plain()
    assert "error is the same in every row" in computed(MemberErrorCorrelation(2), two + 0.1, zeros).plain()
    assert "fewer rows than the 3 needed" in computed(EffectiveMembers(2), two[:, :, :2], zeros[:, :2]).plain()
    assert computed(PairwiseDisagreement(2), two).plain() == 1.0
