"""Recalibration against answers worked by hand, and on systems whose true scale is known."""

import json
import math

import pytest
import torch

from rwmu.errors import ConfigError, DataError
from rwmu.robots.anymal_d import anymal_d
from rwmu.uncertainty.calibration_sample import FittedOn, Sample, groups_of
from rwmu.uncertainty.conformal import conformal_quantile
from rwmu.uncertainty.monotone import interpolate, isotonic_knots, pool_adjacent_violators
from rwmu.uncertainty.recalibration import (
    METHODS,
    Conformal,
    Constant,
    Isotonic,
    PerHorizon,
    method_of,
    recalibration_from_dict,
)

STEPS, WINDOWS, TRAJECTORIES = 6, 400, 100


def heteroscedastic(seed=0, scale=None, groups=(("slow", 1), ("fast", 2)), hash_="data"):
    """Return a sample whose error is uncertainty x true scale x standard normal, with the true scale ``[K, G]``."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([[1.0 + k, 10.0 + 5.0 * k] for k in range(STEPS)]) if scale is None else scale
    sizes = torch.tensor([size for _, size in groups])
    uncertainty = 0.1 + torch.rand(STEPS, WINDOWS, int(sizes.sum()), generator=generator)
    noise = torch.randn(uncertainty.shape, generator=generator)
    error = uncertainty * noise * scale.repeat_interleave(sizes, dim=1)[:, None]
    episode = torch.arange(WINDOWS) % TRAJECTORIES
    return Sample(uncertainty, error, episode, hash_, groups), scale


def small(uncertainty, error, **options):
    """Return a sample of two windows of two episodes."""
    return Sample(torch.tensor(uncertainty), torch.tensor(error), torch.tensor([0, 1]), **options)


# -- by hand --------------------------------------------------------------------------------------------------------------------


def test_factors_by_hand():
    # Two steps, two windows, one dimension. Ratios 2, 4 | 6, 8; squares 4, 16, 36, 64 have mean 30.
    sample = small([[[1.0], [2.0]], [[1.0], [2.0]]], [[[2.0], [-8.0]], [[6.0], [16.0]]])
    assert Constant.fit(sample).factor.item() == pytest.approx(30.0**0.5)
    assert Constant.fit(sample, "error").factor.item() == pytest.approx(32.0 / 6.0)
    torch.testing.assert_close(PerHorizon.fit(sample).factor[:, 0], torch.tensor([10.0**0.5, 50.0**0.5], dtype=torch.float64))
    torch.testing.assert_close(PerHorizon.fit(sample, "error").factor[:, 0].float(), torch.tensor([10.0 / 3.0, 22.0 / 3.0]))


def test_groups_have_factors_of_their_own():
    sample = small([[[1.0, 1.0, 2.0]] * 2], [[[2.0, 3.0, 3.0]] * 2], groups=(("a", 1), ("b", 2)))
    torch.testing.assert_close(Constant.fit(sample, "error").factor.float(), torch.tensor([[2.0, 2.0]]))
    ones = torch.ones(1, 5, 3)
    torch.testing.assert_close(Constant.fit(sample, "error").apply(ones), torch.tensor([2.0, 2.0, 2.0]).expand(1, 5, 3))
    fields = groups_of(anymal_d().state_layout)
    assert fields[0] == ("base_lin_vel", 3)
    assert sum(size for _, size in fields) == 45


def test_what_is_recalibrated_together_can_be_chosen():
    layout = anymal_d().state_layout
    assert groups_of(layout, "dimension")[:2] == (("base_lin_vel[0]", 1), ("base_lin_vel[1]", 1))
    assert groups_of(layout, "state") == (("state", 45),)
    with pytest.raises(ConfigError, match=r"'joint'.*field, dimension, state"):
        groups_of(layout, "joint")


def test_dimensions_of_one_field_that_are_off_by_other_factors_come_right_by_themselves_only():
    """Two dimensions of the same uncertainty, one of which errs ten times as far: together, one interval fits neither."""
    generator = torch.Generator().manual_seed(0)
    error = torch.randn(1, 4000, 2, generator=generator) * torch.tensor([1.0, 10.0])
    held = {}
    for name, groups in (("together", (("both", 2),)), ("apart", (("one", 1), ("other", 1)))):
        fitted = Conformal.fit(Sample(torch.ones(1, 2000, 2), error[:, :2000], torch.arange(2000), groups=groups), level=0.68)
        half = fitted.apply(torch.ones(1, 2000, 2))
        held[name] = (error[:, 2000:].abs() <= half).float().mean(dim=1)[0].tolist()
    assert held["apart"] == pytest.approx([0.68, 0.68], abs=0.03)
    assert sum(held["together"]) / 2 == pytest.approx(0.68, abs=0.03), "right on average"
    assert held["together"][0] > 0.99
    assert held["together"][1] < 0.4


def test_every_row_gets_the_factor_of_its_step_and_late_ones_the_last():
    sample = small([[[1.0], [1.0]], [[1.0], [1.0]]], [[[2.0], [2.0]], [[5.0], [5.0]]])
    fitted = PerHorizon.fit(sample)
    rows = torch.full((4, 1), 3.0)
    torch.testing.assert_close(fitted.apply(rows, torch.tensor([1, 0, 2, 99]))[:, 0], torch.tensor([15.0, 6.0, 15.0, 15.0]))
    torch.testing.assert_close(fitted.apply(torch.ones(2, 7, 1))[:, 3, 0], torch.tensor([2.0, 5.0]))
    with pytest.raises(ValueError, match="2 dimensions, but 1 were fitted"):
        fitted.apply(torch.ones(4, 2), torch.zeros(4, dtype=torch.int64))


def test_pool_adjacent_violators_by_hand():
    value = torch.tensor([1.0, 3.0, 2.0, 4.0, 3.0, 2.0, 9.0])
    fitted = pool_adjacent_violators(value, torch.ones(7))
    torch.testing.assert_close(fitted.float(), torch.tensor([1.0, 2.5, 2.5, 3.0, 3.0, 3.0, 9.0]))
    weighted = pool_adjacent_violators(torch.tensor([4.0, 1.0]), torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(weighted.float(), torch.tensor([1.75, 1.75]))


def test_pool_adjacent_violators_is_the_least_squares_answer():
    """The min-max formula of the same regression: the largest over beginnings of the smallest over ends of the mean between."""
    generator = torch.Generator().manual_seed(0)
    value, weight = torch.randn(30, generator=generator).double(), 0.1 + torch.rand(30, generator=generator).double()

    def mean(first, last):
        return float((value[first : last + 1] * weight[first : last + 1]).sum() / weight[first : last + 1].sum())

    expected = [max(min(mean(i, j) for j in range(k, 30)) for i in range(k + 1)) for k in range(30)]
    torch.testing.assert_close(pool_adjacent_violators(value, weight), torch.tensor(expected, dtype=torch.float64))


def test_knots_are_the_ends_of_the_stretches():
    # Two rows at x = 2 average to 4; 4 and 3 are pooled, by 2 rows to 1, into 11 / 3.
    x, y = isotonic_knots(torch.tensor([1.0, 2.0, 2.0, 3.0, 5.0]), torch.tensor([1.0, 5.0, 3.0, 3.0, 9.0]))
    torch.testing.assert_close(x.float(), torch.tensor([1.0, 2.0, 3.0, 5.0]))
    torch.testing.assert_close(y.float(), torch.tensor([1.0, 11.0 / 3.0, 11.0 / 3.0, 9.0]))


def test_between_knots_the_function_is_linear_and_beyond_the_last_it_grows():
    x, y = torch.tensor([1.0, 2.0, 4.0, 4.0]), torch.tensor([1.0, 2.0, 6.0, 6.0])  # the last knot repeated
    points = torch.tensor([0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0])
    expected = torch.tensor([1.0, 1.0, 1.5, 2.0, 4.0, 6.0, 12.0])
    torch.testing.assert_close(interpolate(points, x.expand(7, 4), y.expand(7, 4)), expected)
    alone = torch.tensor([[2.0]])
    torch.testing.assert_close(interpolate(torch.tensor([1.0]), alone, alone), torch.tensor([2.0]))


def test_the_conformal_quantile_of_one_row_a_trajectory_is_the_order_statistic():
    score = torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 8.0, 7.0, 6.0])
    trajectory = torch.arange(9)
    for level in (0.5, 0.6, 0.61, 0.9):
        assert conformal_quantile(score, trajectory, level) == math.ceil(10 * level - 1e-9)
    assert conformal_quantile(score, trajectory, 0.91) == math.inf


def test_trajectories_weigh_alike_in_the_conformal_quantile():
    # Trajectory 0 has four rows of 1/16 each, the other two 1/4 each: 0.25 is reached at 4.0 and 0.5 at 10.
    score, trajectory = torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0, 20.0]), torch.tensor([0, 0, 0, 0, 7, 9])
    assert [conformal_quantile(score, trajectory, level) for level in (0.06, 0.25, 0.26, 0.5, 0.75)] == [1.0, 4.0, 10.0, 10.0, 20.0]


# -- known truth ----------------------------------------------------------------------------------------------------------------


def test_per_horizon_finds_the_true_scale_of_every_group():
    sample, scale = heteroscedastic()
    fitted = PerHorizon.fit(sample)
    torch.testing.assert_close(fitted.factor.float(), scale, rtol=0.12, atol=0)  # 400 rows: 0.035 a standard error
    mean_absolute = PerHorizon.fit(sample, "error").factor.float()
    torch.testing.assert_close(mean_absolute, scale * (2.0 / math.pi) ** 0.5, rtol=0.15, atol=0)


def test_one_constant_is_wrong_at_every_horizon_but_in_the_middle():
    sample, scale = heteroscedastic(groups=(("fast", 1),), scale=torch.tensor([[2.0**k] for k in range(STEPS)]))
    factor = float(Constant.fit(sample).factor)
    assert factor == pytest.approx(float(scale.square().mean().sqrt()), rel=0.1)
    test, _ = heteroscedastic(seed=1, groups=(("fast", 1),), scale=scale)

    def coverage(fitted):
        return (test.error.abs() <= fitted.apply(test.uncertainty)).float().mean((1, 2))

    assert float((coverage(PerHorizon.fit(sample)) - 0.6827).abs().max()) < 0.08
    assert float((coverage(Constant.fit(sample)) - 0.6827).abs().max()) > 0.25


@pytest.mark.parametrize("target", ["std", "error"])
def test_isotonic_finds_a_curve_that_no_factor_can(target):
    generator = torch.Generator().manual_seed(0)
    uncertainty = torch.rand(3, 3000, 1, generator=generator) + 0.05
    error = uncertainty.square() * torch.randn(uncertainty.shape, generator=generator)  # its std is the square
    sample = Sample(uncertainty, error, torch.arange(3000))
    fitted = Isotonic.fit(sample, target)
    assert fitted.steps == 3
    points = torch.tensor([0.2, 0.5, 0.9]).expand(3, 3).unsqueeze(-1)
    expected = points.square() * (1.0 if target == "std" else (2.0 / math.pi) ** 0.5)
    torch.testing.assert_close(fitted.apply(points), expected, rtol=0.4, atol=0.01)
    ordered = fitted.apply(uncertainty.sort(dim=1).values)
    assert bool((ordered.diff(dim=1) >= -1e-6).all())
    torch.testing.assert_close(fitted.apply(torch.full((3, 1, 1), 8.0)), 2.0 * fitted.apply(torch.full((3, 1, 1), 4.0)))


def test_conformal_coverage_is_within_its_finite_sample_bound():
    """Over many calibration splits of 19 trajectories, coverage is between 0.8 and 0.8 + 1 / 20, whatever the distribution."""
    generator = torch.Generator().manual_seed(0)
    splits, trajectories = 600, 19
    score = torch.randn(splits, trajectories + 1, generator=generator).abs() ** 3  # heavy tails
    scale = 0.5 + torch.rand(splits, trajectories + 1, generator=generator)
    covered = []
    for uncertainty, ratio in zip(scale, score, strict=True):
        known = Sample(uncertainty[None, :-1, None], (uncertainty * ratio)[None, :-1, None], torch.arange(trajectories))
        width = Conformal.fit(known, level=0.8).apply(uncertainty[-1].view(1, 1, 1))
        covered.append(bool(uncertainty[-1] * ratio[-1] <= width))
    found, noise = sum(covered) / splits, 3.0 * math.sqrt(0.8 * 0.2 / splits)
    assert 0.8 - noise <= found <= 0.8 + 1.0 / (trajectories + 1) + noise


def test_conformal_holds_for_trajectories_of_many_alike_rows_where_counting_rows_does_not():
    # Each trajectory has 30 rows of one score. At a level of 0.7, the largest of 4 scores holds 4 of 5 futures; 120 rows, taken for
    # independent, choose the second largest, which holds 3 of 5.
    generator = torch.Generator().manual_seed(0)
    covered, by_rows = [], []
    for _ in range(400):
        score = torch.rand(5, generator=generator) + 0.1
        error = score[:4].repeat_interleave(30)[None, :, None]
        episode = torch.arange(4).repeat_interleave(30)
        factor = Conformal.fit(Sample(torch.ones_like(error), error, episode), level=0.7).factor
        covered.append(float(score[4]) <= float(factor))
        alone = Sample(torch.ones_like(error), error, torch.arange(120))
        by_rows.append(float(score[4]) <= float(Conformal.fit(alone, level=0.7).factor))
    assert sum(covered) / 400 == pytest.approx(0.8, abs=0.06)
    assert sum(by_rows) / 400 == pytest.approx(0.6, abs=0.06)


# -- what it remembers and refuses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_saved_as_plain_values_it_comes_back_to_the_last_bit(name, tmp_path):
    sample, _ = heteroscedastic()
    fitted = method_of(name).fit(sample)
    saved = fitted.to_dict()
    torch.save(saved, tmp_path / "recalibration.pt")
    for plain in (json.loads(json.dumps(saved, allow_nan=False)), torch.load(tmp_path / "recalibration.pt", weights_only=True)):
        again = recalibration_from_dict(plain)
        assert type(again) is type(fitted)
        assert again.to_dict() == saved
        assert (again.fitted_on, again.groups, again.target) == (fitted.fitted_on, fitted.groups, fitted.target)
        assert torch.equal(again.apply(sample.uncertainty), fitted.apply(sample.uncertainty))


@pytest.mark.parametrize("name", METHODS)
def test_it_is_never_scored_on_what_it_was_fitted_on(name):
    sample, _ = heteroscedastic()
    fitted = method_of(name).fit(sample)
    assert fitted.fitted_on.trajectories == TRAJECTORIES
    assert "100 independent trajectories (400 windows)" in str(fitted)
    with pytest.raises(DataError, match=r"fitted on 2 of these episodes \(3, 99\).*test split"):
        fitted.check_unseen(torch.tensor([200, 3, 3, 99]), "data")
    with pytest.raises(DataError, match="fitted on 1 of these"):
        fitted.check_unseen([3])  # of unknown data: refused too
    fitted.check_unseen(torch.arange(TRAJECTORIES, 200), "data")
    fitted.check_unseen([3], "other data")


def test_too_few_trajectories_are_said_plainly():
    one = Sample(torch.ones(2, 8, 1), torch.ones(2, 8, 1), torch.zeros(8, dtype=torch.int64))
    for method in (Constant, PerHorizon):
        with pytest.raises(DataError, match="needs 2 independent trajectories, but the calibration split has 1"):
            method.fit(one)
    two = small([[[1.0], [1.0]]], [[[1.0], [1.0]]])
    with pytest.raises(DataError, match="'isotonic' needs 5 independent trajectories, but the calibration split has 2"):
        Isotonic.fit(two)
    with pytest.raises(DataError, match=r"'conformal' needs 9 independent .* has 2.*or lower the level of 0\.9"):
        Conformal.fit(two, level=0.9)
    Conformal.fit(two, level=2.0 / 3.0)


def test_steps_that_too_few_live_to_see_are_treated_as_the_last_that_enough_do():
    valid = torch.tensor([[True, True], [True, True], [True, False]])
    sample = small([[[1.0], [1.0]]] * 3, [[[2.0], [2.0]], [[3.0], [3.0]], [[50.0], [float("nan")]]], valid=valid)
    fitted = PerHorizon.fit(sample)
    assert fitted.steps == 2
    torch.testing.assert_close(fitted.apply(torch.ones(3, 1, 1)).flatten(), torch.tensor([2.0, 3.0, 3.0]))
    assert Constant.fit(sample, "error").factor.item() == pytest.approx((2 + 2 + 3 + 3 + 50) / 5)


def test_windows_that_live_to_see_no_step_are_not_remembered():
    valid = torch.tensor([[True, False], [True, False]])
    assert small([[[1.0], [1.0]]] * 2, [[[1.0], [1.0]]] * 2, valid=valid).fitted_on() == FittedOn("", (0,), 1)


def test_useless_samples_are_refused():
    ones, episode = torch.ones(1, 2, 1), torch.tensor([0, 1])
    with pytest.raises(DataError, match="one member has no disagreement"):
        Sample(torch.zeros(1, 2, 1), ones, episode)
    with pytest.raises(DataError, match=r"it is 0 in 1 of 2 rows: look for columns of the state that never change"):
        Sample(torch.tensor([[[1.0], [0.0]]]), ones, episode)
    exploding = torch.tensor([[[1.0], [1.0]], [[1.0], [torch.inf]]])
    with pytest.raises(DataError, match=r"The error on the calibration episodes is not finite in 1 of 4 rows, first at step 2"):
        Sample(torch.ones(2, 2, 1), exploding, episode)
    with pytest.raises(DataError, match="nothing to recalibrate on"):
        Sample(ones, ones, episode, valid=torch.zeros(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"\[K, B, D\]"):
        Sample(ones[0], ones, episode)
    with pytest.raises(ValueError, match="do not add up"):
        Sample(ones, ones, episode, groups=(("a", 2),))


def test_unknown_choices_are_refused_by_name():
    sample = small([[[1.0], [1.0]]], [[[1.0], [1.0]]])
    with pytest.raises(ConfigError, match="constant, per_horizon, isotonic, conformal"):
        method_of("temperature")
    with pytest.raises(ConfigError, match="std, error"):
        Constant.fit(sample, "variance")
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Conformal.fit(sample, level=1.0)
