"""Trivial scores against answers worked by hand, and distances against the plain way to compute them."""

from __future__ import annotations

import math

import pytest
import torch

from rwmu.uncertainty.baselines import TRIVIAL, KnownStates, trivial_scores


def states(number: int, seed: int, size: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(number, size, generator=generator) @ torch.randn(size, size, generator=generator)


def test_scores_of_rows_are_those_worked_by_hand() -> None:
    gravity = torch.tensor([[0.0, 0.0, -1.0], [0.6, 0.0, -0.8]])
    state, previous = torch.tensor([[1.0, 5.0], [0.0, 0.0]]), torch.tensor([[-2.0, 1.0], [0.0, 0.0]])
    found = trivial_scores(gravity, state, previous, torch.tensor([[3.0, -4.0], [0.0, 1.0]]), torch.tensor([0, 7]))
    assert found["tilt"].tolist() == pytest.approx([-1.0, -0.8])
    assert found["earliness"].tolist() == [0.0, -7.0]
    assert found["action"].tolist() == pytest.approx([math.sqrt(12.5), math.sqrt(0.5)])
    assert found["change"].tolist() == pytest.approx([math.sqrt(12.5), 0.0])


def test_the_nearest_are_those_of_all_distances() -> None:
    known, asked = states(700, 0), states(600, 1).reshape(2, 300, 5)  # more rows than one chunk
    every = torch.cdist(asked.double(), known.double()).sort(dim=-1).values
    nearest = KnownStates.of(known).nearest(asked)
    torch.testing.assert_close(nearest.double(), every[..., :10].mean(-1), rtol=1e-4, atol=1e-5)
    # Of fewer than ten known states, all are the nearest.
    few = torch.cdist(asked.double(), known[:4].double()).mean(-1)
    torch.testing.assert_close(KnownStates.of(known[:4]).nearest(asked).double(), few, rtol=1e-4, atol=1e-5)


def test_mahalanobis_is_by_the_inverse_covariance() -> None:
    known, asked = states(400, 2), states(9, 3)
    difference = asked.double() - known.double().mean(0)
    expected = (difference @ torch.linalg.inv(known.double().T.cov()) * difference).sum(-1).sqrt()
    torch.testing.assert_close(KnownStates.of(known).mahalanobis(asked).double(), expected, rtol=1e-4, atol=1e-4)
    # Two uncorrelated columns of standard deviations 1 and 10: a step of 10 counts as 10 in the first and as 1 in the second.
    known = torch.tensor([[1.0, 10.0], [1.0, -10.0], [-1.0, 10.0], [-1.0, -10.0]]) * math.sqrt(0.75)
    found = KnownStates.of(known).mahalanobis(torch.tensor([[10.0, 0.0], [0.0, 10.0]]))
    assert found.tolist() == pytest.approx([10.0, 1.0], rel=1e-5)


def test_a_column_that_never_varies_gives_no_infinity() -> None:
    known = states(50, 4)
    known[:, 2] = 1.0
    record = KnownStates.of(known)
    assert bool(record.mahalanobis(states(20, 5)).isfinite().all())
    with pytest.raises(ValueError, match="two"):
        KnownStates.of(known[:1])


def test_every_score_stands_in_the_table_and_distances_only_with_known_states() -> None:
    rows = states(6, 6).reshape(2, 3, 5)
    arguments = (rows[..., :3], rows, rows + 2.0, rows[..., :2], torch.zeros(2, 3))
    found = trivial_scores(*arguments, KnownStates.of(states(30, 7)))
    assert tuple(found) == TRIVIAL
    assert {score.shape for score in found.values()} == {(2, 3)}
    assert float(found["change"][0, 0]) == pytest.approx(2.0)
    assert set(TRIVIAL) - set(trivial_scores(*arguments)) == {"nearest", "mahalanobis"}
