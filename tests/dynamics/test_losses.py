"""Losses against values worked by hand or taken from torch, and what weights, decay, teacher forcing and scoring mean."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, gaussian_nll_loss, mse_loss

from rwmu.dynamics.losses import STATE_LOSSES, TERMS, LossSettings, _binary_cross_entropy, decay_weights, total_loss
from rwmu.dynamics.unroll import unroll
from rwmu.errors import ConfigError
from rwmu.records import Batch
from tests.dynamics.small import (
    EXTENSION,
    FEEDBACKS,
    FORECAST,
    HISTORY,
    LOSSES,
    WEIGHTS,
    assert_all_close,
    assert_close,
    batches,
    build,
    draw_noise,
    loss_and_gradients,
    loss_settings,
    train,
    windows,
)

# Two dimensions: errors 1 and -2, sigmas 1 and 2, noise 0.5 and -1 (samples: 0.5 and 3 + 2 x -1 = 1).
MEAN, STD = torch.tensor([[0.0, 3.0]], dtype=torch.double), torch.tensor([[1.0, 2.0]], dtype=torch.double)
TARGET, NOISE = torch.tensor([[1.0, 1.0]], dtype=torch.double), torch.tensor([[0.5, -1.0]], dtype=torch.double)
HALF_LOG_TWO_PI = 0.9189385332046727
BY_HAND = {
    "squared_error": 1.0 + 4.0,
    "sampled_squared_error": 0.5**2 + 0.0,
    "gaussian_nll": (0.5 + HALF_LOG_TWO_PI) + (0.5 + math.log(2.0) + HALF_LOG_TWO_PI),
    "beta_nll": 1.0 * (0.5 + HALF_LOG_TWO_PI) + 2.0 * (0.5 + math.log(2.0) + HALF_LOG_TWO_PI),  # times sigma, at beta 0.5
}


@pytest.mark.parametrize("name", LOSSES)
def test_state_losses_by_hand(name):
    found = STATE_LOSSES[name](MEAN, STD.log(), TARGET, NOISE)
    assert found.shape == (1,)
    assert found.item() == pytest.approx(BY_HAND[name], rel=1e-14)


def test_state_losses_against_torch():
    mean, log_std, target, noise = torch.randn(4, 6, 5, 3, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    nll = gaussian_nll_loss(mean, target, log_std.exp().square(), full=True, reduction="none").sum(-1)
    expected = {
        "gaussian_nll": nll,
        "squared_error": mse_loss(mean, target, reduction="none").sum(-1),
        "sampled_squared_error": mse_loss(mean + log_std.exp() * noise, target, reduction="none").sum(-1),
        "beta_nll": -(log_std.exp() * torch.distributions.Normal(mean, log_std.exp()).log_prob(target)).sum(-1),
    }
    assert_all_close({name: STATE_LOSSES[name](mean, log_std, target, noise) for name in LOSSES}, expected)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_the_gradient_of_beta_nll_is_seitzers(beta):
    """Eq. 5 of arXiv:2203.09168: sigma^(2 beta) times (mu - y) / sigma^2, and times (sigma^2 - (y - mu)^2) / (2 sigma^4)."""
    mean, target = torch.randn(2, 4, 3, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    mean.requires_grad_()
    variance = (torch.rand(4, 3, dtype=torch.double) + 0.2).requires_grad_()
    settings = loss_settings(state_loss="beta_nll", beta=beta)
    settings.loss(mean, 0.5 * variance.log(), target, None).sum().backward()
    of_mean = variance**beta * (mean - target) / variance
    of_variance = variance**beta * (variance - (target - mean) ** 2) / (2.0 * variance**2)
    assert_close(mean.grad, of_mean)
    assert_close(variance.grad, of_variance)


def test_beta_nll_is_the_nll_at_0_and_teaches_the_mean_like_a_squared_error_at_1():
    model, batch = build("independent", 2), Batch(windows())
    zero = loss_and_gradients(model, batch, loss_settings(state_loss="beta_nll", beta=0.0))
    nll = loss_and_gradients(model, batch, loss_settings(state_loss="gaussian_nll"))
    for found, expected in zip(zero, nll, strict=True):
        assert_all_close(found, expected)
    # From true rows alone: through a mean that is fed back, later sigmas reach it too.
    one = loss_and_gradients(model, batch, loss_settings(state_loss="beta_nll", beta=1.0, feedback="truth"))[1]
    squared = loss_and_gradients(model, batch, loss_settings(state_loss="squared_error", feedback="truth"))[1]
    assert_close(one["state_head.mean.weight_output"], 0.5 * squared["state_head.mean.weight_output"])


@pytest.mark.parametrize("kind", ["shared", "independent"])
@pytest.mark.parametrize("feedback", FEEDBACKS)
@pytest.mark.parametrize("state_loss", LOSSES)
def test_weights_of_integers_are_repeated_rows(kind, feedback, state_loss):
    model, window = build(kind, 2, auxiliary_base="separate"), windows()
    rows = torch.tensor([[0, 0, 2, 3], [1, 1, 1, 3]])
    counts = torch.tensor([[2, 0, 1, 1], [0, 3, 0, 1]], dtype=torch.double)
    settings = loss_settings(feedback=feedback, state_loss=state_loss, decay=0.9)
    noise = draw_noise(settings, 2)
    same_rows = noise.map(lambda tensor: torch.stack([tensor[:, member, rows[member]] for member in range(2)], dim=1))
    weighted = loss_and_gradients(model, Batch(window, weight=counts), settings, noise)
    repeated = loss_and_gradients(model, Batch(window, rows=rows), settings, same_rows)
    for found, expected in zip(weighted, repeated, strict=True):
        assert_all_close(found, expected)
    ones = model.losses(Batch(window, weight=torch.ones(2, 4, dtype=torch.double)), settings, noise)
    assert_all_close(ones, model.losses(Batch(window), settings, noise))
    every = torch.arange(4).expand(2, -1)
    assert_all_close(model.losses(Batch(window, rows=every), settings, noise), ones)


@pytest.mark.parametrize("auxiliary_base", ["shared", "separate"])
def test_teacher_forcing_is_one_step_prediction(auxiliary_base):
    model, window = build("independent", 2, auxiliary_base=auxiliary_base), windows(2)
    settings = loss_settings(feedback="truth", state_loss="squared_error", decay=0.5)
    found = model.losses(window, settings)
    steps = [unroll(model, window.map(lambda t, end=t: t[:, :, : end + 1]), t, "mean").at(0) for t in range(3, HISTORY + FORECAST)]
    errors = torch.stack([(s.mean - window.state[:, :, t]).square().sum(-1).mean(-1) for t, s in enumerate(steps, 3)])
    assert_close(found["history"], errors[:2].mean(0))
    assert_close(found["state"], (errors[2] + 0.5 * errors[3] + 0.25 * errors[4]) / 1.75)
    flags = window.contact.double()
    entropy = [binary_cross_entropy_with_logits(s.contact[1], flags[1, :, t]) for t, s in enumerate(steps, 3)]
    weighed = sum(w * h for w, h in zip((1.0, 1.0, 1.0, 0.5, 0.25), entropy, strict=True)) / 3.75
    assert found["contact"][1].item() == pytest.approx(weighed.item(), rel=1e-12)


@pytest.mark.parametrize("forecast", [1, 2, 3])
@pytest.mark.parametrize("form", ["own", "rows"])
def test_a_separate_auxiliary_base_trains_on_true_rows_whatever_is_fed_back(form, forecast):
    model, (batch,) = build("shared", 2, auxiliary_base="separate"), batches(form, 2, 1)
    batch = replace(batch, window=batch.window.map(lambda tensor: tensor[:, :, : HISTORY + forecast]))
    truth, mean = (model.losses(batch, loss_settings(feedback=feedback, decay=0.5)) for feedback in ("truth", "mean"))
    for name in ("contact", "termination"):
        assert_close(mean[name], truth[name])


def test_decay_weighs_the_steps_of_the_forecast():
    assert decay_weights(4, 0.5, torch.zeros(1)).tolist() == [1.0, 0.5, 0.25, 0.125]
    assert decay_weights(3, 0.0, torch.zeros(1)).tolist() == [1.0, 0.0, 0.0]
    model, window = build("shared", 2), windows(2)
    rollout = unroll(model, window, HISTORY, "mean")
    by_step = (rollout.mean - window.state[:, :, HISTORY:].movedim(2, 0)).square().sum(-1).mean(-1)
    for decay in (1.0, 0.5, 0.0):
        found = model.losses(window, loss_settings(decay=decay, state_loss="squared_error"))["state"]
        expected = (by_step[0] + decay * by_step[1] + decay**2 * by_step[2]) / (1.0 + decay + decay**2)
        assert_close(found, expected)


def test_the_extension_is_scored_like_the_flags():
    weights = {**WEIGHTS, "extension": 0.5}
    model, window = build("independent", 2, extension_dim=EXTENSION), windows(2, extension=EXTENSION)
    settings = loss_settings(weights=weights, decay=0.5)
    losses = model.losses(window, settings)
    _, history = model.observe(model.initial_carry(2, 4), window)
    ahead = unroll(model, window, HISTORY, "mean").extension
    errors = [(history.extension[:, :, t - 1] - window.extension[:, :, t]).square().sum(-1).mean(-1) for t in (3, 4)]
    errors += [(ahead[k] - window.extension[:, :, HISTORY + k]).square().sum(-1).mean(-1) for k in range(3)]
    expected = sum(w * e for w, e in zip((1.0, 1.0, 1.0, 0.5, 0.25), errors, strict=True)) / 3.75
    assert_close(losses["extension"], expected)
    with pytest.raises(ConfigError, match="extension"):
        total_loss(losses, WEIGHTS)


def test_without_a_weight_the_history_is_not_scored_by_any_head():
    model, window = build("independent", 2), windows(2)
    losses = model.losses(window, loss_settings(weights={**WEIGHTS, "history": 0.0}))
    assert losses["history"].tolist() == [0.0, 0.0]
    rollout = unroll(model, window, HISTORY, "mean")
    flags = window.termination[:, :, HISTORY:].movedim(2, 0).double()
    assert losses["termination"][1].item() == pytest.approx(
        binary_cross_entropy_with_logits(rollout.termination[:, 1], flags[:, 1]).item(), rel=1e-12
    )


def test_the_bound_term_is_the_width_between_the_bounds():
    model = build("independent", 2, min_log_std=-4.0, max_log_std=0.5)
    assert model.losses(windows(), loss_settings())["bound"].tolist() == pytest.approx([4.5, 4.5], rel=1e-6)
    model.state_head.log_delta_log_std.data[1, 0] = torch.tensor([0.0, math.log(2.0), math.log(3.0)])
    assert model.losses(windows(), loss_settings())["bound"].tolist() == pytest.approx([4.5, 2.0], rel=1e-6)


@pytest.mark.parametrize("kind", ["shared", "independent"])
@pytest.mark.parametrize("one_by_one", [False, True])
def test_a_frozen_auxiliary_branch_stays_while_the_rest_learns(kind, one_by_one):
    model = build(kind, 2, auxiliary_base="separate", extension_dim=EXTENSION)
    model.freeze_auxiliary()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    settings = loss_settings(weights={**WEIGHTS, "extension": 1.0})
    train(model, batches("weights", 2, 3, extension=EXTENSION), settings, one_by_one=one_by_one)
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    bounds = {"state_head.min_log_std", "state_head.log_delta_log_std"}
    assert moved == {name for name in before if name.startswith(("state_base", "state_head"))} - bounds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": dict.fromkeys(TERMS[:-1], 1.0)}, "termination"),
        ({"weights": {**WEIGHTS, "contact": -1.0}}, "weights"),
        ({"state_loss": "nll"}, "state_loss"),
        ({"feedback": "member"}, "feedback"),
        ({"history_burn_in": HISTORY}, "history_burn_in"),
        ({"history_burn_in": HISTORY - 1}, "history_burn_in"),
        ({"decay": 1.5}, "decay"),
        ({"beta": -0.1}, "beta"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        LossSettings(**{"history": HISTORY, "weights": WEIGHTS, "history_burn_in": 2, **changes})


def test_noise_that_is_needed_is_asked_for():
    model = build("shared", 2)
    for settings in (loss_settings(feedback="sample"), loss_settings(state_loss="sampled_squared_error")):
        with pytest.raises(ValueError, match="needs standard normal noise"):
            model.losses(windows(), settings)


def test_scored_rows_are_counted_in_the_last_rows_weight():
    weights = dict.fromkeys(TERMS, 1.0)
    assert LossSettings(history=5, weights=weights, history_burn_in=1).scored_rows(4) == 3 + 4
    assert LossSettings(history=5, weights={**weights, "history": 0.0}).scored_rows(4) == 4
    decayed = LossSettings(history=5, weights=weights, history_burn_in=1, decay=0.5).scored_rows(3)
    assert decayed == pytest.approx((3 + 1 + 0.5 + 0.25) / 0.25)
    assert LossSettings(history=5, weights=weights, history_burn_in=2, decay=0.0).scored_rows(3) == math.inf


def test_no_contacts_cost_nothing():
    """Not a mean over nothing, which is no number and was blamed on the learning rate."""
    nothing = torch.zeros(3, 2, 0)
    assert torch.equal(_binary_cross_entropy(nothing, nothing), torch.zeros(3, 2))
