"""Intervals by resampling whole trajectories: against SciPy, by coverage on known data, and what they say of themselves."""

from __future__ import annotations

import math

import pytest
import torch

from rwmu.errors import ConfigError
from rwmu.uncertainty.functional import ranking
from rwmu.uncertainty.measure import Measure
from rwmu.uncertainty.resampling import FEW, NEEDED, Interval, bootstrap, bootstrap_sums, resampled_rows
from tests.uncertainty.oracles import outside


def clusters(number: int, length: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of trajectories that each have a mean of their own, standard normal, and the trajectory of each row."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(number, 1, generator=generator) + 0.1 * torch.randn(number, length, generator=generator)
    return values.flatten(), torch.arange(number).repeat_interleave(length)


def test_whole_trajectories_are_drawn_with_all_their_rows() -> None:
    # Place 0 is trajectory 2 (rows 1, 2, 4), place 1 trajectory 5 (row 5), place 2 trajectory 9 (rows 0, 3).
    trajectory = torch.tensor([9, 2, 2, 9, 2, 5])
    rows = resampled_rows(trajectory, torch.tensor([[0, 1, 2], [2, 2, 1], [1, 1, 1]]))
    assert [drawn.tolist() for drawn in rows] == [[1, 2, 4, 5, 0, 3], [0, 3, 0, 3, 5], [5, 5, 5]]


def test_interval_of_a_mean_agrees_with_scipys_bootstrap() -> None:
    stats = outside("scipy.stats")
    values = torch.randn(30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours = bootstrap(lambda rows: values[rows].mean(), torch.arange(30), level=0.9, resamples=4000)
    theirs = stats.bootstrap(
        (values.numpy(),), lambda x: x.mean(), vectorized=False, confidence_level=0.9, n_resamples=4000, method="percentile", rng=0
    )
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.03)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.03)
    assert ours.value == pytest.approx(float(values.mean()))


def test_sums_give_the_same_interval_as_rows() -> None:
    values, trajectory = clusters(12, 7)
    by_rows = bootstrap(lambda rows: values[rows].square().mean().sqrt(), trajectory, resamples=200)
    sums = torch.stack([values.reshape(12, 7).square().sum(1), torch.full((12,), 7.0)], dim=1)
    by_sums = bootstrap_sums(lambda total: (total[:, 0] / total[:, 1]).sqrt(), sums, resamples=200)
    assert (by_sums.value, by_sums.low, by_sums.high) == pytest.approx((by_rows.value, by_rows.low, by_rows.high), rel=1e-5)


def test_resampling_rows_instead_would_be_far_too_sure() -> None:
    # Of 100 experiments, about 95 intervals should hold the true mean 0; rows as independent would hold it in a few.
    held = {"trajectories": 0, "rows": 0}
    for seed in range(100):
        values, trajectory = clusters(20, 30, seed)
        for name, groups in (("trajectories", values.reshape(20, 30).sum(1, keepdim=True)), ("rows", values[:, None])):
            held[name] += not bootstrap_sums(lambda total: total[:, 0], groups, resamples=400, seed=seed).excludes(0.0)
        assert len(trajectory) == 600
    assert held["trajectories"] >= 87
    assert held["rows"] <= 50


def test_pairs_see_a_difference_that_two_intervals_do_not() -> None:
    hard, trajectory = clusters(15, 10)
    better = hard + 0.05
    first, second = (bootstrap(lambda rows, e=e: e[rows].mean(), trajectory, resamples=300) for e in (better, hard))
    assert first.low is not None
    assert second.high is not None
    assert first.low < second.high
    paired = bootstrap(lambda rows: better[rows].mean() - hard[rows].mean(), trajectory, resamples=300)
    assert paired.value == pytest.approx(0.05, abs=1e-5)
    assert paired.excludes(0.0)
    assert paired.trajectories == 15


def test_a_measure_is_a_statistic() -> None:
    values, trajectory = clusters(8, 5)
    every = torch.ones(40, dtype=torch.bool)
    interval = bootstrap(lambda rows: ranking.correlation(values[rows], values[rows].exp(), every), trajectory, resamples=50)
    assert (interval.value, interval.low, interval.high) == pytest.approx((1.0, 1.0, 1.0))


def test_an_interval_prints_how_many_independent_trajectories_it_rests_on() -> None:
    assert str(Interval(0.12345, 0.1, 0.2, 0.95, 37)) == "0.1235 [0.1, 0.2] (95 %, 37 independent trajectories)"
    assert Interval(0.1, 0.0, 0.2, 0.9, 36).plain()["text"].endswith("(90 %, 36 independent trajectories)")
    few = Interval(0.1, 0.0, 0.2, 0.9, 6).plain()["text"]
    assert few.endswith("(90 %, 6 independent trajectories; so few that it is too narrow)")
    assert "(1 independent trajectory)" in str(Interval(None, None, None, 0.95, 1, "no falls"))


def test_the_ends_of_an_interval_belong_to_it() -> None:
    interval = Interval(0.1, 0.0, 0.2, 0.95, 37)
    assert [interval.excludes(number) for number in (-1e-9, 0.0, 0.1, 0.2, 0.2 + 1e-9)] == [True, False, False, False, True]


def test_too_few_trajectories_have_a_value_and_no_interval() -> None:
    values, trajectory = clusters(4, 100)
    for few in (
        bootstrap(lambda rows: values[rows].mean(), trajectory),
        bootstrap_sums(lambda total: total[:, 0] / 400, values.reshape(4, 100).sum(1, keepdim=True)),
    ):
        assert few.value == pytest.approx(float(values.mean()), abs=1e-6)
        assert few.low is None
        assert few.high is None
        assert not few.excludes(1e9)
        assert str(few).endswith("(no interval: 5 independent trajectories are needed; 4 independent trajectories)")


def test_what_cannot_be_measured_stays_so() -> None:
    trajectory = torch.arange(6)
    assert str(bootstrap(lambda rows: Measure.missing("nothing ever falls"), trajectory)) == (
        "not measured: nothing ever falls (6 independent trajectories)"
    )
    assert bootstrap(lambda rows: 1.0, torch.zeros(0, dtype=torch.int64)).reason == "no rows"
    assert bootstrap_sums(lambda total: total[:, 0], torch.zeros(0, 1)).reason == "no rows"
    assert bootstrap_sums(lambda total: total[:, 0] / 0.0, torch.ones(6, 1)).value is None


def test_a_statistic_that_is_no_number_is_not_measured() -> None:
    # The correlation of a constant is undefined: a resample that misses the one odd trajectory gives NaN, and so must no end.
    values = torch.tensor([[1.0, 1.0, 1.0, 1.0, 1.0, 2.0], [3.0, 1.0, 4.0, 1.0, 5.0, 9.0]])

    def statistic(rows: torch.Tensor) -> torch.Tensor:
        return torch.corrcoef(values[:, rows])[0, 1]

    interval = bootstrap(statistic, torch.arange(6), resamples=300)
    assert (interval.low, interval.high) == (None, None)
    assert "of 300 resamples could not be measured" in interval.reason
    assert not interval.excludes(0.0)
    assert bootstrap(lambda rows: math.nan, torch.arange(6)).value is None


def test_a_fall_in_one_trajectory_alone_gives_no_interval() -> None:
    # A third of the resamples miss the one trajectory that falls: (1 - 1/6)^6 = 0.335.
    fell = torch.arange(6) == 2

    def statistic(rows: torch.Tensor) -> Measure:
        return Measure.of(torch.tensor(0.9)) if bool(fell[rows].any()) else Measure.missing("nothing ever falls")

    interval = bootstrap(statistic, torch.arange(6), resamples=300)
    assert interval.value == pytest.approx(0.9)
    assert "of 300 resamples could not be measured" in str(interval)
    assert int(interval.reason.split()[0]) == pytest.approx(300 * (5 / 6) ** 6, abs=30)
    by_sums = bootstrap_sums(lambda total: torch.where(total[:, 0] > 0, 0.9, math.nan), fell[:, None].double(), resamples=300)
    assert by_sums == interval


@pytest.mark.parametrize("settings", [{"level": 95.0}, {"resamples": 0}])
def test_senseless_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="level and resamples"):
        bootstrap(lambda rows: 0.0, torch.arange(9), **settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="level and resamples"):
        bootstrap_sums(lambda total: total[:, 0], torch.ones(9, 1), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("number", "least", "most"), [(NEEDED, 0.74, 0.90), (FEW, 0.90, 0.97)])
def test_what_an_interval_of_few_trajectories_really_covers(number, least, most):
    """The caution is deserved below ``FEW``, and not needed from there on: means of normal numbers, whose truth is 0."""
    generator = torch.Generator().manual_seed(0)
    held = 0
    for trial in range(300):
        sums = torch.stack([torch.randn(number, generator=generator).double(), torch.ones(number).double()], dim=1)
        found = bootstrap_sums(lambda total: total[:, 0] / total[:, 1], sums, resamples=300, seed=trial)
        held += not found.excludes(0.0)
        assert ("too narrow" in str(found)) == (number < FEW)
    assert least < held / 300 < most
