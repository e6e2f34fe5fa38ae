"""What the streaming classes say: the means of their functions, torchmetrics' own numbers for heads, and reasons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.functional.classification import binary_calibration_error, binary_recall

from rwmu.errors import ConfigError, DataError
from rwmu.uncertainty import metrics
from rwmu.uncertainty.functional import calibration, diversity, ranking, scores
from tests.uncertainty.forecasts import ALL, LABELS, LEVELS, LOGITS, LOWER, MEAN, SIZES, STD, TRUTH, UPPER, VALID, B, D, E, K
from tests.uncertainty.oracles import outside


def pit() -> Tensor:
    return calibration.gaussian_pit(MEAN, STD, TRUTH)


def value(metric: Metric, *arguments: Tensor, **settings: Any) -> Tensor:
    metric.update(*arguments, **settings)
    return metric.compute().tensor()


def test_scores_are_the_means_of_their_functions() -> None:
    double = [tensor.double() for tensor in (MEAN, STD, TRUTH)]
    keep = ("member", "dim")
    torch.testing.assert_close(
        value(metrics.GaussianNLL(K, D, E, keep), MEAN, STD, TRUTH), scores.gaussian_nll(*double).mean((1, 2))
    )
    torch.testing.assert_close(value(metrics.GaussianCRPS(K, D, E), MEAN, STD, TRUTH), scores.gaussian_crps(*double).mean())
    torch.testing.assert_close(value(metrics.Sharpness(K, D, E, ("step",)), STD), double[1].square().mean((0, 2, 3)).sqrt())
    sampled = scores.sample_crps(double[0], double[2])
    torch.testing.assert_close(value(metrics.SampleCRPS(K, D, ("step",)), MEAN, TRUTH), sampled.mean((1, 2)))
    energy = scores.energy_score(double[0], double[2])
    torch.testing.assert_close(value(metrics.EnergyScore(K, D, ("step",)), MEAN, TRUTH), energy.mean(1))
    inside = scores.inside(LOWER, UPPER, TRUTH).double().mean((2, 3, 4))
    torch.testing.assert_close(value(metrics.Coverage(LEVELS, K, D, E, ("member",)), LOWER, UPPER, TRUTH), inside)
    width = (UPPER - LOWER).double().mean((1, 3, 4))
    torch.testing.assert_close(
        value(metrics.IntervalWidth(LEVELS, K, D, E, ("step",)), LOWER, UPPER, TRUTH), width, rtol=1e-6, atol=1e-6
    )


def test_sharpness_agrees_with_uncertainty_toolbox() -> None:
    theirs = outside("uncertainty_toolbox.metrics_calibration").sharpness(STD.double().flatten().numpy())
    assert float(value(metrics.Sharpness(K, D, E), STD)) == pytest.approx(theirs, rel=1e-12)


def test_steps_with_more_rows_count_more() -> None:
    metric = metrics.GaussianNLL(K, D, E)
    metric.update(MEAN, STD, TRUTH, VALID)
    every = scores.gaussian_nll(MEAN.double(), STD.double(), TRUTH.double())
    assert float(metric.compute()) == pytest.approx(float(every[:, VALID].mean()), rel=1e-12)


def test_calibration_metrics_are_their_functions_and_share_one_update() -> None:
    settings = {**SIZES, "keep": ("dim",)}
    together = MetricCollection(
        {
            "curve": metrics.CalibrationCurve(**settings),
            "error": metrics.QuantileCalibrationError(**settings),
            "area": metrics.MiscalibrationArea(**settings),
        }
    )
    together.update(pit())
    together.update(pit())
    assert len(together.compute_groups) == 1
    levels = torch.tensor(calibration.LEVELS, dtype=torch.float64)
    place = (2.0 * pit() - 1.0).abs()
    observed = (place[..., None] <= levels).double().mean((0, 1, 2)).T
    result = together.compute()
    torch.testing.assert_close(result["curve"].tensor(), observed)
    torch.testing.assert_close(result["error"].tensor(), calibration.calibration_error(observed, levels))
    torch.testing.assert_close(result["area"].tensor(), calibration.miscalibration_area(observed, levels))


@pytest.mark.parametrize(
    ("first", "second", "inputs"),
    [
        (metrics.GaussianNLL(**SIZES), metrics.GaussianCRPS(**SIZES), (MEAN, STD, TRUTH)),
        (metrics.Coverage(LEVELS, **SIZES), metrics.IntervalWidth(LEVELS, **SIZES), (LOWER, UPPER, TRUTH)),
        (metrics.SampleCRPS(K, D), metrics.SampleCRPS(K, D, estimator="plain"), (MEAN, TRUTH)),
        (metrics.CalibrationCurve(**SIZES), metrics.CalibrationCurve(**SIZES, kind="quantile"), (pit(),)),
        (metrics.HeadRate(K, D, E), metrics.HeadRate(K, D, E, threshold=0.9), (LOGITS, LABELS)),
        (metrics.OutputCosine(E, K, D), metrics.PairwiseDisagreement(E, K, D), (MEAN,)),
    ],
    ids=["scores", "intervals", "estimators", "kinds", "thresholds", "pairs"],
)
def test_a_first_batch_of_which_no_row_counts_makes_no_two_metrics_one(
    first: Metric, second: Metric, inputs: tuple[Tensor, ...]
) -> None:
    together = MetricCollection({"first": first.clone(), "second": second.clone()})
    together.update(*inputs, valid=torch.zeros(K, B, dtype=torch.bool))
    together.update(*inputs, valid=VALID)
    result = together.compute()
    for name, metric in (("first", first), ("second", second)):
        torch.testing.assert_close(result[name].tensor(), value(metric, *inputs, valid=VALID))
    assert not torch.equal(result["first"].tensor(), result["second"].tensor())


def test_a_score_of_intervals_is_not_taken_for_their_width_where_all_hold() -> None:
    together = MetricCollection({"width": metrics.IntervalWidth((0.9,), 1), "score": metrics.IntervalScore((0.9,), 1)})
    ends = -torch.ones(1, 1, 2, 1), torch.ones(1, 1, 2, 1)
    together.update(*ends, torch.zeros(1, 2, 1))  # inside: the score is the width, 2
    together.update(*ends, torch.full((1, 2, 1), 2.0))  # outside by 1: the score is 2 + (2 / 0.1) * 1
    result = together.compute()
    assert float(result["width"]) == pytest.approx(2.0)
    assert float(result["score"]) == pytest.approx((2.0 + 22.0) / 2)


def test_ence_by_hand() -> None:
    """Four rows of one step in two bins by ascending spread, whatever their order; a fifth does not count.

    Spreads 1 and 7 have root mean square sqrt((1 + 49) / 2) = 5, their errors 2 and 14 have sqrt((4 + 196) / 2) = 10:
    |5 - 10| / 5 = 1. Spreads 17 and 31 have sqrt((289 + 961) / 2) = 25, their errors 5 and 5: |25 - 5| / 25 = 0.8. The mean of both
    bins is 0.9. A second dimension says half of every spread, and errs alike: |2.5 - 10| / 2.5 = 3 and |12.5 - 5| / 12.5 = 0.6,
    mean 1.8. Pooled, the spreads in order are 0.5 1 3.5 7 | 8.5 15.5 17 31 with errors 2 2 14 14 | 5 5 5 5: root mean squares
    sqrt(62.5 / 4) = 3.9528 and 10, sqrt(1562.5 / 4) = 19.7642 and 5; (1.5298 + 0.7470) / 2 = 1.1384.
    """
    std = torch.tensor([31.0, 1.0, 2.0, 17.0, 7.0])[None, :, None] * torch.tensor([1.0, 0.5])
    error = torch.tensor([5.0, -2.0, 1e6, -5.0, 14.0])[None, :, None].expand(1, 5, 2)
    truth, valid = torch.full((1, 5, 2), 3.0), torch.tensor([[True, True, False, True, True]])
    settings = {"steps": 1, "dims": 2, "num_bins": 2}
    by_dim = value(metrics.ENCE(**settings, keep=("dim",)), truth + error, std, truth, valid)
    torch.testing.assert_close(by_dim, torch.tensor([0.9, 1.8], dtype=torch.float64))
    assert float(value(metrics.ENCE(**settings), truth + error, std, truth, valid)) == pytest.approx(1.1384, abs=1e-4)


def test_adversarial_groups_end_at_the_error_of_all_rows() -> None:
    found = value(metrics.AdversarialGroupCalibration(K, D, E, fractions=(0.05, 1.0), keep=("member",)), pit())
    whole = value(metrics.QuantileCalibrationError(K, D, E, ("member",)), pit())
    assert found.shape == (2, 2, E)
    torch.testing.assert_close(found[0, 1], whole)
    assert bool((found[0, 0] > whole).all())


def test_adversarial_groups_of_every_cell_are_drawn_anew() -> None:
    alike, settings = pit()[0, :1, :, :1], {"fractions": (0.2,), "keep": ("dim",)}
    first, second = value(metrics.AdversarialGroupCalibration(1, 2, **settings), alike.expand(1, B, 2))[0, 0]
    assert first != second
    assert second == value(metrics.AdversarialGroupCalibration(1, **settings, seed=1), alike)[0, 0, 0]


def test_two_rows_are_enough_for_an_adversarial_group() -> None:
    # Both truths are the median: every central interval holds them, where half of them should on average over levels.
    found = value(metrics.AdversarialGroupCalibration(1, fractions=(1.0,)), torch.full((1, 2, 1), 0.5))
    assert found.flatten().tolist() == pytest.approx([0.5, 0.0])


@pytest.mark.parametrize("relation", ranking.RELATIONS)
def test_correlations_with_a_kept_axis_are_their_functions(relation: ranking.Relation) -> None:
    error = (MEAN - TRUTH).abs()
    settings = {**SIZES, "relation": relation}
    flat = [tensor.permute(0, 3, 2, 1) for tensor in (STD, error, torch.arange(K)[None, :, None, None].expand(E, K, B, D))]
    rows = [tensor.reshape(E, D, -1) for tensor in flat]
    every = torch.ones(E, D, B * K, dtype=torch.bool)
    keep = ("member", "dim")
    overall = value(metrics.ErrorCorrelation(**settings, keep=keep), STD, error)
    torch.testing.assert_close(overall, ranking.correlation(*rows[:2], every, relation).tensor())
    partial = value(metrics.ErrorCorrelation(**settings, keep=keep, depth="partial"), STD, error)
    torch.testing.assert_close(partial, ranking.partial_correlation(*rows, every, relation).tensor())
    counter = value(metrics.ErrorCorrelation(**settings, keep=keep, depth="step_counter"), STD, error)
    torch.testing.assert_close(counter, ranking.correlation(rows[2], rows[1], every, relation).tensor())
    # Every step counts alike here, for all rows are valid: the mean of the correlations at each step.
    by_step = value(metrics.ErrorCorrelation(**settings, keep=ALL), STD, error)
    for kept_axes in ((), ("dim",), ("member", "dim")):
        within = value(metrics.ErrorCorrelation(**settings, keep=kept_axes, depth="within_step"), STD, error)
        if kept_axes == keep:
            torch.testing.assert_close(within, by_step.mean(1))
    weighted = metrics.ErrorCorrelation(**settings, keep=keep, depth="within_step", weights=(0.0, 1.0, 0.0, 0.0))
    torch.testing.assert_close(value(weighted, STD, error), by_step[:, 1])


def test_the_scalar_of_the_penalty_needs_no_axis_of_dimensions() -> None:
    scalar, error = STD.sum((0, 3)), (MEAN.mean(0) - TRUTH).square().sum(-1)
    expected = ranking.correlation(scalar, error, torch.ones(K, B, dtype=torch.bool)).tensor()
    torch.testing.assert_close(value(metrics.ErrorCorrelation(K, keep=("step",)), scalar, error), expected)


def test_one_member_does_not_disagree_and_says_so() -> None:
    zero, error = torch.zeros(K, B), torch.rand(K, B)
    correlation = metrics.ErrorCorrelation(K)
    correlation.update(zero, error)
    assert correlation.compute().plain() == "not measured: the uncertainty is the same in every row"
    for metric in (metrics.SampleCRPS(K, D, ("step",)), metrics.EnergyScore(K, D, ("step",))):
        metric.update(MEAN[:1], TRUTH)
        assert set(metric.compute().plain()) == {"not measured: one sample (or member): the fair estimator compares two or more"}
    unseen = metrics.SampleCRPS(K, D)
    unseen.update(MEAN[:1], TRUTH, torch.zeros(K, B, dtype=torch.bool))  # a lone sample of nothing that counts
    assert value(unseen, MEAN, TRUTH) == value(metrics.SampleCRPS(K, D), MEAN, TRUTH)
    plain = metrics.SampleCRPS(K, D, estimator="plain")
    assert float(value(plain, MEAN[:1], TRUTH)) == pytest.approx(float((MEAN[0] - TRUTH).abs().double().mean()))
    for pairs in (metrics.OutputCosine(1, K, D), metrics.PairwiseDisagreement(1, K, D)):
        pairs.update(MEAN[:1])
        assert pairs.compute().plain() == f"not measured: {diversity.ONE_MEMBER}"


def test_heads_are_judged_by_torchmetrics() -> None:
    probability, truth = LOGITS.double().sigmoid(), LABELS.long().expand(E, K, B, D)
    recall = value(metrics.HeadRate(K, D, E, ("dim",)), LOGITS, LABELS)
    error = value(metrics.HeadCalibrationError(K, D, E, ("dim",)), LOGITS, LABELS)
    for head in range(D):
        flat = probability[..., head].flatten(), truth[..., head].flatten()
        assert float(recall[head]) == pytest.approx(float(binary_recall(*flat)), rel=1e-6)
        assert float(error[head]) == pytest.approx(
            float(binary_calibration_error(*(x.contiguous() for x in flat), n_bins=15)), rel=1e-6
        )


def test_heads_by_hand() -> None:
    # Of four true rows three are found; of three false ones, two are false alarms. Probabilities 0.5 + 0.4 or 0.1.
    truth = torch.tensor([1.0, 1, 1, 1, 0, 0, 0]).reshape(1, 7, 1)
    logits = torch.tensor([0.9, 0.9, 0.9, 0.1, 0.9, 0.9, 0.1]).logit().reshape(1, 7, 1)
    for rate, expected in (("recall", 3 / 4), ("specificity", 1 / 3), ("precision", 3 / 5)):
        assert float(value(metrics.HeadRate(1, rate=rate), logits, truth)) == pytest.approx(expected)
    # 0.9 five times and right three times; 0.1 twice and true once.
    assert float(value(metrics.HeadCalibrationError(1), logits, truth)) == pytest.approx((5 * 0.3 + 2 * 0.4) / 7)


def test_a_head_with_nothing_to_find_says_so() -> None:
    quiet = torch.zeros(K, B, D)
    for rate, reason in (("recall", "no positive row, so nothing to be found"), ("precision", "never predicted")):
        metric = metrics.HeadRate(K, D, E, rate=rate)
        metric.update(-LOGITS.abs() - 1.0, quiet)
        assert reason in metric.compute().plain()
    with pytest.raises(ValueError, match="must be 0 or 1"):
        metrics.HeadRate(K, D, E).update(LOGITS, quiet + 0.5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: metrics.GaussianNLL(0), "must be at least 1"),
        (lambda: metrics.GaussianNLL(K, keep=("episode",)), "names of axes out of member, step, dim"),
        (lambda: metrics.GaussianNLL(K, keep="step"), "must be a list"),
        (lambda: metrics.EnergyScore(K, D, keep=("dim",)), "names of axes out of member, step"),
        (lambda: metrics.SampleCRPS(K, estimator="best"), "fair, plain"),
        (lambda: metrics.ErrorCorrelation(K, depth="deep"), "within_step"),
        (lambda: metrics.ErrorCorrelation(K, depth="partial", keep=("step",)), "nothing to hold constant"),
        (lambda: metrics.ErrorCorrelation(K, weights=(1.0,)), "weights must be 4 numbers"),
        (lambda: metrics.HeadRate(K, rate="f1"), "recall, specificity, precision"),
        (lambda: metrics.ENCE(K, num_bins=0), "num_bins is 0"),
        (lambda: metrics.HeadCalibrationError(K, num_bins=0), "num_bins is 0"),
        (lambda: metrics.AdversarialGroupCalibration(K, trials=1), "two trials or more"),
        (lambda: metrics.OutputCosine(0), "must be at least 1"),
    ],
)
def test_senseless_settings_are_refused(build: Callable[[], Metric], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


def test_values_that_make_no_sense_are_refused() -> None:
    with pytest.raises(DataError, match="not above 0"):
        metrics.GaussianNLL(K, D, E).update(MEAN, -STD, TRUTH)
    with pytest.raises(DataError, match="negative values"):
        metrics.AUSE(K, D, E).update(STD, MEAN - TRUTH)
    with pytest.raises(ValueError, match="outside 0 and 1"):
        metrics.CalibrationCurve(K, D, E).update(MEAN)
    with pytest.raises(ValueError, match="above its upper end"):
        metrics.Coverage(LEVELS, K, D, E).update(UPPER, LOWER, TRUTH)
    with pytest.raises(ValueError, match=r"\[3, 4, B, 2\], not \(4, 24, 2\)"):
        metrics.GaussianNLL(K, D, E).update(MEAN[0], STD, TRUTH)
