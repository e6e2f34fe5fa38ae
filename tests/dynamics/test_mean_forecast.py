"""The forecast of means in one operation: against finite differences, and against the loop that it stands for."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from rwmu.dynamics import recurrent_rollout
from rwmu.dynamics.mean_forecast import MeanForecast
from rwmu.dynamics.unroll import unroll, unroll_by_steps
from tests.dynamics.small import (
    EXTENSION,
    FORECAST,
    HISTORY,
    KINDS,
    WEIGHTS,
    assert_all_close,
    batches,
    build,
    draw_noise,
    loss_and_gradients,
    loss_settings,
    windows,
)

MEMBERS, ROWS, WIDTH, UNITS, STATE, ACTION = 2, 3, 4, 5, 3, 2
WEIGHT_SHAPES = [
    (3 * WIDTH, STATE + ACTION),
    (3 * WIDTH, WIDTH),
    (3 * WIDTH,),
    (3 * WIDTH,),
    (UNITS, WIDTH + STATE + ACTION),
    (UNITS,),
    (STATE, UNITS),
    (STATE,),
]
ONE_LAYER = {"num_layers": 1}
COVERED = {
    "default": {},
    "no skip": {"skip": False},
    "separate auxiliary base": {"auxiliary_base": "separate"},
    "published": {"auxiliary_base": "separate", "skip": False, "learn_bounds": True},
    "extension": {"extension_dim": EXTENSION, "side_head_hidden_size": 3},
}
covered = pytest.mark.parametrize("options", COVERED.values(), ids=COVERED.keys())
kinds = pytest.mark.parametrize("kind", KINDS)


def arguments(steps):
    generator = torch.Generator().manual_seed(steps)
    shapes = [(ROWS, STATE), (ROWS, WIDTH), (steps, ROWS, ACTION), *WEIGHT_SHAPES]
    return [torch.randn(MEMBERS, *s, dtype=torch.double, generator=generator, requires_grad=True) for s in shapes]


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_gradients_against_finite_differences(steps):
    tight = {"eps": 1e-6, "atol": 1e-7, "rtol": 1e-5, "fast_mode": True}
    assert gradcheck(lambda *inputs: MeanForecast.apply(True, *inputs)[:2], arguments(steps), **tight)
    for output in (0, 1):  # the other one unused
        assert gradcheck(lambda *inputs, output=output: MeanForecast.apply(True, *inputs)[output], arguments(steps), **tight)


def test_data_get_no_gradient_and_nothing_is_kept_without_need():
    state, hidden, action, *weights = arguments(3)
    states, features, *kept = MeanForecast.apply(True, state.detach(), hidden.detach(), action.detach(), *weights)
    assert not any(tensor.requires_grad for tensor in kept)
    (states.sum() + features.square().sum()).backward()
    assert all(weight.grad is not None for weight in weights)
    again = MeanForecast.apply(False, state, hidden, action, *weights)
    assert len(again) < len(kept) + 2
    assert torch.equal(again[0], states)


def test_it_can_be_differentiated_once_only():
    inputs = arguments(2)
    (first,) = torch.autograd.grad(MeanForecast.apply(True, *inputs)[0].square().sum(), inputs[0], create_graph=True)
    with pytest.raises(NotImplementedError, match="once"):
        first.square().sum().backward()


def both_ways(monkeypatch, compute):
    """Return what a function computes with the one operation, and what it does with the loop."""
    at_once = compute()
    monkeypatch.setattr(recurrent_rollout, "_base_to_unroll", lambda *_: None)
    return at_once, compute()


@covered
@kinds
@pytest.mark.parametrize("form", ["own", "rows", "weights"])
def test_losses_and_gradients_are_those_of_the_loop(monkeypatch, kind, form, options):
    weights = {**WEIGHTS, "extension": 0.7} if "extension_dim" in options else WEIGHTS
    model = build(kind, 3, **ONE_LAYER, **options)
    (batch,) = batches(form, 3, 1, extension=options.get("extension_dim", 0))
    settings = loss_settings(feedback="mean", weights=weights, decay=0.9)
    (losses, gradients), (expected, by_loop) = both_ways(monkeypatch, lambda: loss_and_gradients(model, batch, settings))
    assert_all_close(losses, expected)
    assert_all_close(gradients, by_loop)


@covered
@kinds
@pytest.mark.parametrize("copies", [1, 3])
def test_a_rollout_is_that_of_single_steps(kind, copies, options):
    model, window = build(kind, 3, **ONE_LAYER, **options), windows(copies, length=HISTORY + FORECAST)
    found = unroll(model, window, HISTORY, "mean")
    assert found.mean.requires_grad
    expected = unroll_by_steps(model, window, HISTORY, "mean")
    for name in ("mean", "log_std", "contact", "termination", "feedback"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "feedback", "expected"),
    [
        ({}, "mean", True),
        ({"auxiliary_base": "separate"}, "mean", True),
        ({}, "sample", False),
        ({"prior_scale": 0.5}, "mean", False),
        ({"num_layers": 2}, "mean", False),
        ({"backbone": "mlp"}, "mean", False),
    ],
)
def test_what_it_covers(monkeypatch, options, feedback, expected):
    calls = []
    apply = MeanForecast.apply
    monkeypatch.setattr(MeanForecast, "apply", lambda *inputs: calls.append(1) or apply(*inputs))
    model = build("independent", 2, **{**ONE_LAYER, **options})
    (batch,) = batches("own", 2, 1)
    settings = loss_settings(feedback=feedback)
    loss_and_gradients(model, batch, settings, draw_noise(settings, 2))
    assert bool(calls) == expected
