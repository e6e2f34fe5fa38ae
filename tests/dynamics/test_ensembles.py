"""The two ensembles behind one interface: shapes, independence, equality at one member, saving and loading."""

import pytest
import torch

from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.losses import TERMS, LossSettings, gaussian_nll, member_losses, total_loss
from rwmu.dynamics.module import clip_gradient_norm_per_member
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.dynamics.unroll import encode, step, unroll, warm_up
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
def test_stepping_from_a_warm_carry_is_the_unroll(kind, auxiliary_base):
    model = build(kind, 3, auxiliary_base=auxiliary_base)
    rows = window(1)
    rollout = unroll(model, rows, history=5, feedback="ensemble_mean")
    carry = warm_up(model, rows.state[:, :, :5], rows.action[:, :, :5])
    state = rows.state[:, :, 4]
    for k in range(4):
        prediction, carry = step(model, state, rows.action[:, :, 5 + k], carry)
        torch.testing.assert_close(prediction.mean, rollout.mean[k], rtol=0, atol=1e-13)
        torch.testing.assert_close(prediction.contact, rollout.contact[k], rtol=0, atol=1e-13)
        state = prediction.mean.mean(0, keepdim=True)
        torch.testing.assert_close(state, rollout.feedback[k], rtol=0, atol=1e-13)


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


def test_one_member_shared_and_independent_are_the_same_to_the_last_bit():
    shared, independent = build(SharedEnsemble, 1, seed=3), build(IndependentEnsemble, 1, seed=3)
    settings = LossSettings(history=5, weights=WEIGHTS)
    results = []
    for model in (shared, independent):
        loss = total_loss(member_losses(model, window(1), settings), WEIGHTS)
        loss.backward()
        results.append([loss, *[p.grad for p in model.parameters() if p.grad is not None]])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_independent_members_trained_together_are_members_trained_alone():
    settings = LossSettings(history=5, weights=WEIGHTS)
    together = build(IndependentEnsemble, 3, seed=1)
    rows = window(3)
    losses = member_losses(together, rows, settings)
    sum(term.sum() for term in losses.values()).backward()
    clip_gradient_norm_per_member(together, 0.5, 3)
    for member in range(3):
        alone = build(IndependentEnsemble, 1)
        state = {name: value[member : member + 1] for name, value in together.state_dict().items()}
        alone.load_state_dict(state)
        own = member_losses(alone, rows.map(lambda t, m=member: t[m : m + 1]), settings)
        sum(term.sum() for term in own.values()).backward()
        clip_gradient_norm_per_member(alone, 0.5, 1)
        for name in TERMS:
            torch.testing.assert_close(own[name][0], losses[name][member], rtol=1e-12, atol=1e-12)
        for one, all_of_them in zip(alone.parameters(), together.parameters(), strict=True):
            if one.grad is not None:
                torch.testing.assert_close(one.grad[0], all_of_them.grad[member], rtol=1e-10, atol=1e-12)


def test_a_nan_in_one_member_stays_there():
    model = build(IndependentEnsemble, 3)
    model.state_base.weight_hh[0].data[1, 0, 0] = torch.nan
    rollout = unroll(model, window(1), history=5, feedback="mean")
    assert rollout.mean[:, 1].isnan().any()
    assert not rollout.mean[:, [0, 2]].isnan().any()


def test_odds_of_termination_are_corrected():
    model, rows = build(SharedEnsemble, 2), window(1)
    before = unroll(model, rows, history=5).termination
    model.correct_termination_odds(6.0)
    odds = (before - unroll(model, rows, history=5).termination).exp()
    torch.testing.assert_close(odds, torch.full_like(odds, 6.0))


def test_gaussian_nll_against_torch_distributions():
    mean, log_std, target = torch.randn(3, 7, 4, dtype=torch.double)
    expected = -torch.distributions.Normal(mean, log_std.exp()).log_prob(target).sum(-1)
    torch.testing.assert_close(gaussian_nll(mean, log_std, target), expected)


def test_history_loss_is_the_teacher_forced_loss():
    model = build(SharedEnsemble, 2)
    rows = window(2)
    settings = LossSettings(history=5, weights=WEIGHTS, history_burn_in=2)
    encoded = encode(model, rows.state[:, :, :5], rows.action[:, :, 1:6])
    predicted = encoded.predict(model)
    by_row = gaussian_nll(predicted.mean, predicted.log_std, rows.state[:, :, 1:6])[:, :, 2:4]  # row 5 is the forecast's
    torch.testing.assert_close(member_losses(model, rows, settings)["history"], by_row.mean((1, 2)))


def test_decay_weighs_the_steps():
    model, rows = build(SharedEnsemble, 1), window(1)
    plain = unroll(model, rows, history=5, feedback="mean")
    per_step = gaussian_nll(plain.mean, plain.log_std, rows.state[:, :, 5:].movedim(2, 0)).mean(-1)[:, 0]
    weights = 0.5 ** torch.arange(4)
    loss = member_losses(model, rows, LossSettings(history=5, weights=WEIGHTS, decay=0.5))["state"][0]
    torch.testing.assert_close(loss, (weights * per_step).sum() / weights.sum())


def test_loss_settings_refuse_wrong_terms():
    with pytest.raises(ConfigError, match="contact"):
        LossSettings(history=5, weights={"state": 1.0})
    with pytest.raises(ConfigError, match="history_burn_in"):
        LossSettings(history=5, weights=WEIGHTS, history_burn_in=5)


def test_known_noise_is_learnt_as_aleatoric_uncertainty():
    torch.manual_seed(0)
    settings = LossSettings(history=3, weights={**WEIGHTS, "contact": 0.0, "termination": 0.0, "bound": 0.0}, history_burn_in=0)
    model = SharedEnsemble(1, 1, 1, 1, hidden_size=8, num_layers=1, head_hidden_size=8)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(400):
        action = torch.randn(1, 128, 6, 1)
        state = 0.5 * action + 0.2 * torch.randn(1, 128, 6, 1)  # s_t follows from a_t alone, with sigma 0.2
        rows = Window(state, action, torch.zeros(1, 128, 6, 1), torch.zeros(1, 128, 6, 1))
        loss = total_loss(member_losses(model, rows, settings), settings.weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    sigma = unroll(model, rows, history=3).log_std.exp().mean().item()
    assert sigma == pytest.approx(0.2, rel=0.1)
