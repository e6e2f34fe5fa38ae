"""The two ensembles behind one interface: shapes, independence, equality at one member, saving and loading."""

import pytest
import torch

from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.losses import TERMS, LossSettings, gaussian_nll
from rwmu.dynamics.recurrent_rollout import encode, forecast
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.dynamics.unroll import predict_rows, unroll, warm_up
from rwmu.errors import ConfigError
from rwmu.interfaces import Dynamics
from rwmu.records import Window

STATE, ACTION, CONTACT = 4, 2, 3
SIZES = {"hidden_size": 6, "num_layers": 2, "head_hidden_size": 5}
WEIGHTS = dict.fromkeys(TERMS, 1.0)
KINDS = [SharedEnsemble, IndependentEnsemble]


def build(kind, members, **options):
    return kind(STATE, ACTION, CONTACT, members, **{**SIZES, **options}).double()


def window(members, batch=3, length=9, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(size):
        return torch.randn(members, batch, length, size, dtype=torch.double, generator=generator)

    return Window(draw(STATE), draw(ACTION), draw(CONTACT) > 0, draw(1) > 0)


def first(rows, number):
    return rows.map(lambda tensor: tensor[:, :, :number])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("auxiliary_base", ["shared", "separate"])
@pytest.mark.parametrize("rows", [1, 5])
def test_rollout_shapes_and_interface(kind, auxiliary_base, rows):
    model = build(kind, 5, auxiliary_base=auxiliary_base)
    assert isinstance(model, Dynamics)
    rollout = unroll(model, window(rows), history=5, feedback="mean")
    assert rollout.mean.shape == rollout.log_std.shape == (4, 5, 3, STATE)
    assert rollout.contact.shape == (4, 5, 3, CONTACT)
    assert rollout.termination.shape == (4, 5, 3, 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("auxiliary_base", ["shared", "separate"])
@pytest.mark.parametrize("backbone", ["gru", "mlp"])
def test_stepping_from_a_warm_carry_is_the_unroll(kind, auxiliary_base, backbone):
    model = build(kind, 3, auxiliary_base=auxiliary_base, backbone=backbone)
    rows = window(1)
    rollout = unroll(model, rows, history=5, feedback="ensemble_mean")
    carry = warm_up(model, first(rows, 5))
    state = rows.state[:, :, 4]
    for k in range(4):
        carry, prediction = model.step(carry, state, rows.action[:, :, 5 + k])
        torch.testing.assert_close(prediction.mean, rollout.mean[k], rtol=0, atol=1e-13)
        torch.testing.assert_close(prediction.contact, rollout.contact[k], rtol=0, atol=1e-13)
        state = prediction.mean.mean(0, keepdim=True)
        torch.testing.assert_close(state, rollout.feedback[k], rtol=0, atol=1e-13)


def test_of_two_rows_the_first_warms_up():
    model, rows = build(SharedEnsemble, 2, auxiliary_base="separate"), window(1)
    warm, (observed, _) = warm_up(model, first(rows, 2)), model.observe(model.initial_carry(1, 3), first(rows, 2))
    assert torch.equal(warm.state, observed.state)
    assert torch.equal(warm.auxiliary, observed.auxiliary)
    assert warm.state.abs().min() > 0.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reads", ["truth", "feedback"])
def test_a_separate_auxiliary_base_in_a_forecast_against_a_loop(kind, reads):
    model, rows = build(kind, 2, auxiliary_base="separate"), window(1)
    history = encode(model, rows.state[:, :, :5], rows.action[:, :, 1:6])
    ahead = rows.action[:, :, 6:]
    side = model.auxiliary_sequence(rows.state[:, :, 5:-1], ahead, history.carry) if reads == "truth" else None
    found = forecast(model, history, ahead, "mean", side=side)
    carry, state = warm_up(model, first(rows, 5)), rows.state[:, :, 4]
    for k in range(4):
        carry, prediction = model.step(carry, state, rows.action[:, :, 5 + k])
        torch.testing.assert_close(found.contact[k], prediction.contact, rtol=0, atol=1e-13)
        torch.testing.assert_close(found.termination[k], prediction.termination, rtol=0, atol=1e-13)
        state = rows.state[:, :, 5 + k] if reads == "truth" else prediction.mean


@pytest.mark.parametrize("kind", KINDS)
def test_the_future_does_not_reach_the_past(kind):
    model = build(kind, 2)
    rows = window(1)
    changed = Window(rows.state.clone(), rows.action.clone(), rows.contact, rows.termination)
    changed.action[:, :, 7] += 1.0  # produces row 7
    changed.state[:, :, 5:] += 1.0  # to be predicted, never read
    before, after = (unroll(model, w, history=5) for w in (rows, changed))
    assert torch.equal(before.mean[:2], after.mean[:2])  # rows 5 and 6
    assert not torch.equal(before.mean[2], after.mean[2])  # row 7


def test_odds_of_termination_are_corrected():
    model, rows = build(SharedEnsemble, 2), window(1)
    before = unroll(model, rows, history=5).termination
    model.correct_termination_odds(6.0)
    odds = (before - unroll(model, rows, history=5).termination).exp()
    torch.testing.assert_close(odds, torch.full_like(odds, 6.0))


def test_history_loss_is_the_teacher_forced_loss():
    model = build(SharedEnsemble, 2)
    rows = window(2)
    settings = LossSettings(history=5, weights=WEIGHTS, history_burn_in=2)
    predicted = predict_rows(model, first(rows, 5), 3)
    by_row = gaussian_nll(predicted.mean, predicted.log_std, rows.state[:, :, 3:5])
    torch.testing.assert_close(model.losses(rows, settings)["history"], by_row.mean((1, 2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head_hidden_size": 0}, "head_hidden_size is 0"),
        ({"side_head_hidden_size": 0}, "side_head_hidden_size is 0"),
        ({"prior_hidden_size": 0}, "prior_hidden_size is 0"),
        ({"min_log_std": 1.0, "max_log_std": 1.0}, "min_log_std is 1.0"),
    ],
)
def test_impossible_architectures_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        build(SharedEnsemble, 2, **options)
