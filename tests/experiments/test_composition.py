"""What a ranking is made of, by hand and against the statistics of all rows."""

from __future__ import annotations

import pytest
import torch
from sklearn import metrics
from torch import Tensor

from experiments.shared_vs_independent.composition import fall_area, pairs_in_order, rank_within

ERROR = torch.tensor([1.0, 1.1, 1.2, 1.3, 0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
POLICY, EPISODE = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
ONCE = torch.ones(1, 4, dtype=torch.float64)


def score(within: float) -> Tensor:
    """Tell a poor policy's episodes from a good one's, and within them be right or wrong."""
    return torch.where(POLICY == 0, 10.0, 1.0) + within * ERROR


@pytest.mark.parametrize("within", [1.0, -1.0])
def test_telling_policies_apart_is_no_merit_within_them(within: float) -> None:
    everything = torch.zeros_like(POLICY)
    assert float(rank_within(everything, score(within), ERROR, ONCE[:, EPISODE])) > 0.5, "the policy alone ranks"
    assert float(rank_within(POLICY, score(within), ERROR, ONCE[:, EPISODE])) == pytest.approx(within)
    assert float(pairs_in_order(EPISODE, score(within), ERROR, ONCE)) == 0.5 + 0.5 * within


def test_pairs_of_an_episode_count_as_often_as_it_is_drawn() -> None:
    """Episode 0 is in order, the others are not: drawn three times beside episode 1 once, it makes three pairs of four."""
    mostly_wrong = score(-1.0)
    mostly_wrong[:2] = torch.tensor([1.0, 2.0])
    times = torch.tensor([[3.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    assert float(pairs_in_order(EPISODE, mostly_wrong, ERROR, times)) == pytest.approx(0.75)


def test_the_area_of_all_rows_but_the_falls_is_that_of_another_implementation() -> None:
    generator = torch.Generator().manual_seed(0)
    steps, scores = torch.randint(-1, 30, (300,), generator=generator), torch.rand(300, generator=generator)
    found = fall_area(scores, steps, 5, torch.ones(1, 300, dtype=torch.float64))
    upright = steps != 0
    positive = (steps >= 1) & (steps <= 5)
    assert float(found) == pytest.approx(metrics.roc_auc_score(positive[upright], scores[upright]), abs=1e-6)


def test_rows_count_for_what_they_stand_for() -> None:
    """The rows far from a fall stand for two each: one near it that scores high costs half as much."""
    scores, steps = torch.tensor([0.5, 0.9, 0.1, 0.1]), torch.tensor([1, 20, -1, -1])
    assert float(fall_area(scores, steps, 5, torch.tensor([[1.0, 1.0, 2.0, 2.0]]).double())) == pytest.approx(4 / 5)
