"""Base RWM is no special case: at size 1 both ensembles and their bare class give the same bits, and a plain model's numbers."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from rwmu.dynamics.module import DynamicsModule, OptimizerSettings
from rwmu.dynamics.unroll import unroll
from rwmu.records import Batch
from tests.dynamics.plain_rwm import pairs, plain_copy, plain_losses, plain_rollout, plain_training
from tests.dynamics.small import (
    FEEDBACKS,
    FORECAST,
    HISTORY,
    KINDS,
    LOSSES,
    SIZES,
    STATE,
    assert_all_close,
    assert_close,
    assert_same_bits,
    batches,
    build,
    draw_noise,
    loss_and_gradients,
    loss_settings,
    windows,
)

STEPS, BATCHES = 14, 7


@pytest.mark.parametrize("options", [{}, {"auxiliary_base": "separate"}, {"skip": False}, {"backbone": "mlp", "window": 3}])
def test_one_member_gives_the_same_outputs_to_the_last_bit(options):
    shared, independent, single = (build(kind, 1, seed=3, **options) for kind in KINDS)
    rows, noise, member = windows(), torch.randn(FORECAST, 1, 4, STATE, dtype=torch.double), torch.zeros(4, dtype=torch.int64)
    for feedback in ("sample", "mean", "ensemble_mean", "member"):
        found = [vars(unroll(model, rows, HISTORY, feedback, noise, member)) for model in (shared, independent, single)]
        present = [{name: tensor for name, tensor in rollout.items() if tensor is not None} for rollout in found]
        assert_same_bits(present[1], present[0])
        assert_same_bits(present[2], present[0])


@pytest.mark.parametrize("form", ["own", "rows", "weights"])
@pytest.mark.parametrize("feedback", FEEDBACKS)
def test_one_member_gives_the_same_losses_and_gradients_to_the_last_bit(form, feedback):
    (batch,) = batches(form, 1, 1)
    for state_loss in LOSSES:
        settings = loss_settings(feedback=feedback, state_loss=state_loss, decay=0.9)
        noise = draw_noise(settings, 1, batch.num_rows)
        found = [loss_and_gradients(build(kind, 1, learn_bounds=True), batch, settings, noise) for kind in KINDS]
        for losses, gradients in found[1:]:
            assert_same_bits(losses, found[0][0])
            assert_same_bits(gradients, found[0][1])


def test_the_plain_model_predicts_the_same():
    model, rows = build("independent", 1, seed=5), windows()
    expected = plain_rollout(plain_copy(model, SIZES), rows.state[0, :, :HISTORY], rows.action[0], HISTORY)
    rollout = unroll(model, rows, HISTORY, "mean").detach()
    for name in ("mean", "log_std", "contact", "termination"):
        assert_close(getattr(rollout, name)[:, 0], torch.stack([getattr(step, name) for step in expected]).detach())


@pytest.mark.parametrize("feedback", FEEDBACKS)
@pytest.mark.parametrize("state_loss", LOSSES)
def test_the_plain_model_has_the_same_losses_and_gradients(state_loss, feedback):
    settings = loss_settings(feedback=feedback, state_loss=state_loss, decay=0.8)
    model, rows, noise = build("shared", 1, seed=5), windows(), draw_noise(settings, 1)
    losses, gradients = loss_and_gradients(model, Batch(rows), settings, noise)
    plain = plain_copy(model, SIZES)

    def own_noise(purpose, k):
        return getattr(noise, purpose)[k, 0]

    expected = plain_losses(plain, rows.map(lambda t: t[0]), HISTORY, state_loss, feedback, 2, 0.8, own_noise)
    assert_all_close({name: term[0] for name, term in losses.items()}, {name: term.detach() for name, term in expected.items()})
    sum(settings.weights[name] * term for name, term in expected.items()).backward()
    named = dict(model.named_parameters())
    compared = set()
    for _, own, other in pairs(plain, model):
        if other.grad is None:
            assert own.grad is None or not own.requires_grad or not own.grad.any()
            continue
        compared.add(id(other))
        # With a squared error of the mean, nothing teaches the log standard deviation.
        assert_close(other.grad[0], torch.zeros_like(own) if own.grad is None else own.grad)
    assert compared == {id(named[name]) for name in gradients}


def train_with_lightning(model, feedback, state_loss):
    """Train on some batches in turn, as the command does."""
    settings = loss_settings(feedback=feedback, state_loss=state_loss)
    module = DynamicsModule(
        model, settings, STEPS, OptimizerSettings(1e-2, 1e-3, gradient_clip=0.5, warmup_steps=5), validation_horizon=FORECAST
    )
    validation = windows(seed=99).map(lambda tensor: tensor[0])
    trainer = Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=2,
    )
    trainer.fit(module, DataLoader(batches("own", 1, BATCHES), batch_size=None), DataLoader([validation], batch_size=None))
    assert trainer.global_step == STEPS
    return model


def train_plain(model, feedback, state_loss):
    """Do the same with the plain model."""
    data, stream = batches("own", 1, BATCHES), torch.Generator().manual_seed(7_368_787)  # member 0's of seed 0

    def loss(step):
        drawn = {}
        scored = {"feedback": FORECAST, "loss": FORECAST, "history": 2}
        for purpose in ["feedback"] * (feedback == "sample") + ["loss", "history"] * (state_loss == "sampled_squared_error"):
            drawn[purpose] = torch.randn(scored[purpose], 4, STATE, generator=stream).double()
        window = data[step % BATCHES].window.map(lambda tensor: tensor[0])
        terms = plain_losses(model, window, HISTORY, state_loss, feedback, 2, noise=lambda purpose, k: drawn[purpose][k])
        return sum(loss_settings().weights[name] * term for name, term in terms.items())

    plain_training(model, loss, STEPS, 1e-2, 1e-3, clip=0.5, warmup=5)
    return model


@pytest.mark.parametrize(
    ("kinds", "feedback", "state_loss"), [(KINDS, "sample", "sampled_squared_error"), (["shared"], "mean", "gaussian_nll")]
)
def test_many_optimiser_steps_give_the_same_weights(kinds, feedback, state_loss):
    start = build("shared", 1, seed=7)
    plain = plain_copy(start, SIZES)
    trained = [train_with_lightning(build(kind, 1, seed=7), feedback, state_loss) for kind in kinds]
    for other in trained[1:]:
        assert_same_bits(other.state_dict(), trained[0].state_dict())
    for before, after in zip(start.parameters(), trained[0].parameters(), strict=True):
        assert torch.equal(before, after) != before.requires_grad
    train_plain(plain, feedback, state_loss)
    for _, own, other in pairs(plain, trained[0]):
        assert_close(other.detach()[0], own.detach())  # 1e-12 of the largest weight; about 1e-15 is seen
