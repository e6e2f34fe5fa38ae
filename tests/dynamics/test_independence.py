"""Independent means independent: of the other members' data, order, noise and failures, in training as in prediction."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.module import DynamicsModule, OptimizerSettings, clip_gradient_norm_per_member
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.dynamics.unroll import unroll
from rwmu.records import Batch, Noise
from tests.dynamics.small import (
    FORECAST,
    HISTORY,
    STATE,
    assert_all_close,
    batches,
    build,
    draw_noise,
    loss_and_gradients,
    loss_settings,
    take_member,
    train,
    windows,
)

MEMBERS, STEPS = 3, 16
FORMS = {"own": "gaussian_nll", "rows": "sampled_squared_error", "weights": "squared_error"}
CLIPS = {"own": 100.0, "rows": 6.5, "weights": 6.5}


def streams(members=MEMBERS):
    return [torch.Generator().manual_seed(50 + member) for member in range(members)]


@pytest.mark.parametrize(("form", "state_loss"), FORMS.items())
def test_training_together_is_training_each_alone(form, state_loss, monkeypatch):
    """All at once, and in turn with all rows of a member or two of its 4 or 5."""
    # Means that are fed back with their squared error leave the log standard deviation without any gradient.
    feedback = "mean" if state_loss == "squared_error" else "sample"
    settings, clip = loss_settings(feedback=feedback, state_loss=state_loss), CLIPS[form]
    options = {"seed": 4, "num_layers": 1, "learn_bounds": True, "prior_scale": 0.5, "extension_dim": 2}
    options |= {"auxiliary_base": "separate"} if form == "rows" else {}
    settings = replace(settings, weights={**settings.weights, "extension": 0.5})
    data = batches(form, MEMBERS, STEPS, extension=2)
    together = [build(IndependentEnsemble, MEMBERS, **options) for _ in range(3)]
    singles = [take_member(together[0], member) for member in range(MEMBERS)]
    start = {name: value.clone() for name, value in together[0].state_dict().items()}
    all_norms = []
    for ensemble, in_turn, rows_at_once in zip(together, (False, True, True), (128, 128, 2), strict=True):
        monkeypatch.setattr("rwmu.dynamics.module._LEAST_ROWS_AT_ONCE", rows_at_once)
        all_norms.append(train(ensemble, data, settings, streams(), in_turn, clip))
    for member, alone in enumerate(singles):
        own = train(alone, [batch.of_member(member) for batch in data], settings, streams()[member : member + 1], None, clip)
        assert (own > clip).any()
        assert (own < clip).any()  # some steps are clipped, and some are not
        for ensemble, norms in zip(together, all_norms, strict=True):
            torch.testing.assert_close(norms[:, member], own[:, 0], rtol=1e-10, atol=0.0)
            trained = {name: value[member : member + 1] for name, value in ensemble.state_dict().items()}
            assert_all_close(trained, alone.state_dict(), 1e-10)
    assert all(torch.equal(start[name], value) == ("prior" in name) for name, value in together[0].state_dict().items())


@pytest.mark.parametrize("form", FORMS)
def test_the_terms_of_members_in_turn_and_of_their_rows_in_parts_are_those_of_all_at_once(form, monkeypatch):
    monkeypatch.setattr("rwmu.dynamics.module._LEAST_ROWS_AT_ONCE", 2)  # of 4 or 5 rows
    settings = loss_settings(feedback="sample", state_loss="sampled_squared_error")
    model, (batch,) = build(IndependentEnsemble, MEMBERS), batches(form, MEMBERS, 1)
    noise, terms = draw_noise(settings, MEMBERS, batch.num_rows), []
    for one_by_one in (False, True):
        module = DynamicsModule(model, settings, 10, OptimizerSettings(one_by_one=one_by_one))
        terms.append(module.gradients(batch, noise))
    assert_all_close(terms[1], terms[0])


@pytest.mark.parametrize("form", FORMS)
def test_a_member_starts_alike_however_many_there_are(form):
    few, many = build(IndependentEnsemble, 1, seed=9), build(IndependentEnsemble, 5, seed=9)
    assert_all_close(few.state_dict(), {name: value[:1] for name, value in many.state_dict().items()}, 0.0)
    data = batches(form, 5, 10)
    settings = loss_settings(feedback="sample", state_loss=FORMS[form])
    train(many, data, settings)
    train(few, [batch.of_member(0) for batch in data], settings)  # its own noise is the module's for member 0
    assert_all_close(few.state_dict(), {name: value[:1] for name, value in many.state_dict().items()}, 1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_permuting_the_members_permutes_everything(form):
    order = torch.tensor([2, 0, 1])
    settings = loss_settings(feedback="sample", state_loss="sampled_squared_error")
    (batch,) = batches(form, MEMBERS, 1)
    noise = draw_noise(settings, MEMBERS, batch.num_rows)
    window = batch.window.map(lambda tensor: tensor[order]) if form == "own" else batch.window
    permuted = Batch(window, *(None if t is None else t[order] for t in (batch.rows, batch.weight)))
    for kind in (IndependentEnsemble, SharedEnsemble):
        model, other = build(kind, MEMBERS, seed=1), build(kind, MEMBERS, seed=1)

        def permute(tensors):
            return {name: tensor[order] if tensor.shape[0] == MEMBERS else tensor for name, tensor in tensors.items()}

        other.load_state_dict(permute(model.state_dict()))
        losses, gradients = loss_and_gradients(model, batch, settings, noise)
        found = loss_and_gradients(other, permuted, settings, noise.map(lambda tensor: tensor[:, order]))
        assert_all_close(found[0], permute(losses))
        assert_all_close(found[1], permute(gradients))
        rollouts = [unroll(m, windows(), HISTORY, "mean").detach() for m in (model, other)]
        for name in ("mean", "log_std", "contact", "termination", "feedback"):
            before, after = (getattr(rollout, name) for rollout in rollouts)
            torch.testing.assert_close(after, before[:, order], rtol=0, atol=1e-13)


def test_the_ensemble_mean_does_not_depend_on_the_order():
    model, other = build(IndependentEnsemble, MEMBERS), build(IndependentEnsemble, MEMBERS)
    other.load_state_dict({name: value.flip(0) for name, value in model.state_dict().items()})
    found = [unroll(m, windows(), HISTORY, "ensemble_mean").feedback for m in (model, other)]
    torch.testing.assert_close(*found, rtol=0, atol=1e-13)


def poison(model, name, member):
    parameter = dict(model.named_parameters())[name]
    parameter.data[member] = torch.nan


POISONED = ["state_base.weight_hh.0", "state_head.mean.weight_hidden", "state_head.log_std.bias_output", "contact_head.bias_hidden"]


@pytest.mark.parametrize("name", POISONED)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("one_by_one", [False, True])
def test_a_nan_in_one_member_reaches_no_other(name, form, one_by_one):
    settings = loss_settings(feedback="sample", state_loss="gaussian_nll")
    (batch,) = batches(form, MEMBERS, 1)
    noise = draw_noise(settings, MEMBERS, batch.num_rows)
    sound, sick = (build(IndependentEnsemble, MEMBERS, learn_bounds=True) for _ in range(2))
    poison(sick, name, 1)
    results = []
    for model in (sound, sick):
        module = DynamicsModule(model, settings, 10, OptimizerSettings(one_by_one=one_by_one))
        losses = module.gradients(batch, noise)
        norms = clip_gradient_norm_per_member(model, 0.1, MEMBERS)
        results.append({**losses, "norms": norms, **{n: p.grad.clone() for n, p in model.named_parameters()}})
    healthy = torch.tensor([0, 2])
    assert any(value[1].isnan().any() for value in results[1].values())
    for key, value in results[0].items():
        assert torch.equal(results[1][key][healthy], value[healthy]), key


@pytest.mark.parametrize("feedback", ["sample", "mean", "member"])
def test_a_nan_in_one_member_reaches_no_other_members_rollout(feedback):
    sound, sick = (build(IndependentEnsemble, MEMBERS, auxiliary_base="separate") for _ in range(2))
    for name in ("state_base.weight_hh.0", "auxiliary_base.weight_ih.1"):
        poison(sick, name, 1)
    noise, follows = torch.randn(FORECAST, MEMBERS, 4, STATE, dtype=torch.double), torch.tensor([0, 1, 2, 0])
    expected, found = (unroll(m, windows(), HISTORY, feedback, noise, follows).detach() for m in (sound, sick))
    assert found.mean[:, 1].isnan().any()
    rows = torch.tensor([0, 2, 3]) if feedback == "member" else torch.arange(4)  # row 1 follows the sick member itself
    for name in ("mean", "log_std", "contact", "termination"):
        for member in (0, 2):
            assert torch.equal(getattr(found, name)[:, member, rows], getattr(expected, name)[:, member, rows])


def test_a_nan_in_one_members_data_reaches_no_other():
    (batch,) = batches("own", MEMBERS, 1)
    window = batch.window.map(lambda tensor: tensor.clone())
    window.state[1, 0, 2, 0] = torch.nan
    for kind in (IndependentEnsemble, SharedEnsemble):
        model = build(kind, MEMBERS)
        expected, _ = loss_and_gradients(model, batch, loss_settings())
        found, gradients = loss_and_gradients(model, Batch(window), loss_settings())
        assert found["state"][1].isnan()
        for name in expected:
            torch.testing.assert_close(found[name][[0, 2]], expected[name][[0, 2]], rtol=1e-12, atol=0.0)
        assert not gradients["state_head.mean.weight_output"][[0, 2]].isnan().any()
        # A base that all members share is the one thing that they can spoil for each other.
        assert gradients["state_base.weight_hh.0"][0].isnan().any() == (kind is SharedEnsemble)


def test_a_nan_in_one_head_reaches_no_other_on_a_shared_base():
    model = build(SharedEnsemble, MEMBERS)
    expected = {name: term.detach() for name, term in model.losses(Batch(windows()), loss_settings()).items()}
    poison(model, "state_head.mean.weight_output", 1)
    found, gradients = loss_and_gradients(model, Batch(windows()), loss_settings())
    for name in expected:
        assert torch.equal(found[name][[0, 2]], expected[name][[0, 2]])
    assert not any(value[[0, 2]].isnan().any() for name, value in gradients.items() if not name.startswith("state_base"))


def test_a_members_noise_does_not_depend_on_how_many_there_are():
    settings = loss_settings(feedback="sample", state_loss="sampled_squared_error")
    drawn = {}
    for members in (1, 2, 5):
        module = DynamicsModule(build(IndependentEnsemble, members), settings, 10, seed=3)
        batch = Batch(windows(), rows=torch.zeros(members, 6, dtype=torch.int64))
        drawn[members] = [module._draw_noise(batch) for _ in range(2)]
    for members in (1, 2):
        for few, many in zip(drawn[members], drawn[5], strict=True):
            for name in ("feedback", "loss", "history"):
                assert getattr(few, name).shape[1:] == (members, 6, STATE)
                assert torch.equal(getattr(few, name), getattr(many, name)[:, :members])
    first, second = drawn[5]
    different = [first.feedback[:, 0], first.feedback[:, 1], first.loss[:, 0], second.feedback[:, 0]]
    assert all(not torch.equal(a, b) for i, a in enumerate(different) for b in different[:i])
    assert module._draw_noise(Batch(windows())).loss.dtype == torch.double
    quiet = DynamicsModule(build(IndependentEnsemble, 2), loss_settings(), 10)._draw_noise(Batch(windows()))
    assert quiet == Noise()
