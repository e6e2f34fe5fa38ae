"""torch.func is the oracle: stacked single models, vmapped calls and a Python loop agree with the fast ensemble and its views."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call, grad, stack_module_state, vmap

from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.losses import total_loss
from rwmu.dynamics.members import MemberViews
from rwmu.dynamics.recurrent_rollout import encode
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.dynamics.unroll import unroll, unroll_by_steps, warm_up
from rwmu.dynamics.vectorised import VectorisedEnsemble
from rwmu.interfaces import Dynamics, UnrollsFast
from rwmu.records import Batch, Prediction, Window, follow
from tests.dynamics.small import (
    EXTENSION,
    FEEDBACKS,
    FORECAST,
    HISTORY,
    LOSSES,
    STATE,
    WEIGHTS,
    assert_all_close,
    bare,
    batches,
    build,
    draw_noise,
    loss_and_gradients,
    loss_settings,
    stack_members,
    take_member,
    windows,
)

MEMBERS = 3
NAMES = ("mean", "log_std", "contact", "termination", "extension")
ARCHITECTURES = {
    "default": {},
    "separate auxiliary base": {"auxiliary_base": "separate"},
    "no skip": {"skip": False, "auxiliary_base": "separate", "num_layers": 1},
    "mlp": {"backbone": "mlp", "window": 3},
    "mlp separate": {"backbone": "mlp", "window": 1, "auxiliary_base": "separate", "skip": False},
    "extension": {"extension_dim": EXTENSION, "side_head_hidden_size": 3},
    "prior": {"prior_scale": 0.7, "prior_hidden_size": 3},
    "all": {"auxiliary_base": "separate", "extension_dim": EXTENSION, "prior_scale": 0.7, "learn_bounds": True},
}
architectures = pytest.mark.parametrize("options", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())


class Single(torch.nn.Module):
    """An ensemble of one as the vectorised ensemble wants its members: without an axis for them."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.state_dim, self.action_dim, self.contact_dim = STATE, model.action_dim, model.contact_dim
        self.extension_dim = model.extension_dim

    def initial_carry(self, batch):
        return self.model.initial_carry(1, batch)

    def read(self, carry, state, action):
        history = encode(self.model, state.unsqueeze(0), action.unsqueeze(0), carry)
        return history.carry, history.predict(self.model).map(lambda tensor: tensor[0])


def vectorised(models):
    return VectorisedEnsemble([Single(take_member(model, 0)) for model in models])


def singles(options):
    return [build(bare, 1, seed=seed, **options) for seed in (3, 1, 4)]


def settings_for(options, **changes):
    weights = {**WEIGHTS, "extension": 0.7} if "extension_dim" in options else WEIGHTS
    return loss_settings(weights=weights, **changes)


def present(record):
    return {name: getattr(record, name) for name in (*NAMES, "feedback") if getattr(record, name, None) is not None}


def loop_rollout(models, window, feedback, noise, follows):
    """Step every single model by itself, in Python, and put together what the ensemble would."""
    own = [window.map(lambda t, e=e: t if len(t) == 1 else t[e : e + 1]) for e in range(len(models))]
    carries = [warm_up(m, w.map(lambda t: t[:, :, :HISTORY])) for m, w in zip(models, own, strict=True)]
    states, steps = [w.state[:, :, HISTORY - 1] for w in own], []
    for k in range(FORECAST):
        parts = zip(models, states, own, carries, strict=True)
        stepped = [model.step(carry, state, w.action[:, :, HISTORY + k]) for model, state, w, carry in parts]
        carries = [carry for carry, _ in stepped]
        parts = [present(prediction) for _, prediction in stepped]
        joined = Prediction(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})
        mean = joined.mean
        fed = {
            "sample": mean + joined.log_std.exp() * noise[k],
            "mean": mean,
            "ensemble_mean": (sum(mean) / len(models)).unsqueeze(0),
            "member": follow(mean, follows),
        }[feedback]
        states = list(fed.split(1)) if len(fed) > 1 else [fed] * len(models)
        steps.append({**present(joined), "feedback": fed})
    return {name: torch.stack([one[name] for one in steps]).detach() for name in steps[0]}


@architectures
@pytest.mark.parametrize("copies", [1, MEMBERS])
def test_rollouts_in_every_mode(options, copies):
    models, window = singles(options), windows(copies)
    fast, mapped = stack_members(models), vectorised(models)
    assert isinstance(fast, IndependentEnsemble)
    assert isinstance(mapped, Dynamics)
    assert not isinstance(mapped, UnrollsFast)
    noise, follows = torch.randn(FORECAST, MEMBERS, 4, STATE, dtype=torch.double), torch.tensor([1, 0, 2, 1])
    for feedback in ("sample", "mean", "ensemble_mean", "member"):
        expected = loop_rollout(models, window, feedback, noise, follows)
        for gradients in (True, False):  # without gradients there are faster ways
            with torch.set_grad_enabled(gradients):
                found = [way(fast, window, HISTORY, feedback, noise, follows) for way in (unroll, unroll_by_steps)]
            assert found[0].mean.requires_grad == gradients
            for rollout in found:
                assert_all_close(present(rollout), expected)
        assert_all_close(present(unroll(mapped, window, HISTORY, feedback, noise, follows)), expected)


@architectures
@pytest.mark.parametrize("form", ["own", "rows"])
def test_losses_and_gradients_against_the_loop(options, form):
    models = singles(options)
    fast, settings = stack_members(models), settings_for(options, feedback="sample", state_loss="sampled_squared_error")
    (batch,) = batches(form, MEMBERS, 1, extension=options.get("extension_dim", 0))
    noise = draw_noise(settings, MEMBERS, batch.num_rows)
    losses, gradients = loss_and_gradients(fast, batch, settings, noise)
    alone = [loss_and_gradients(m, batch.of_member(e), settings, noise.of_member(e)) for e, m in enumerate(models)]
    assert_all_close(losses, {name: torch.cat([terms[name] for terms, _ in alone]) for name in losses})
    assert_all_close(gradients, {name: torch.cat([grads[name] for _, grads in alone]) for name in gradients})
    assert set(gradients) == {name for name, p in fast.named_parameters() if p.requires_grad}


@architectures
@pytest.mark.parametrize("form", ["own", "rows", "weights"])
def test_losses_and_gradients_against_vmap(options, form):
    options = {**options, "learn_bounds": False}  # the oracle knows nothing of bounds
    models = singles(options)
    fast, mapped = stack_members(models), vectorised(models)
    # A separate auxiliary base has a training of its own: it reads true rows even where predictions are fed back.
    feedback = "truth" if options.get("auxiliary_base") == "separate" else "mean"
    settings = settings_for(options, feedback=feedback, decay=0.9)
    (batch,) = batches(form, MEMBERS, 1, extension=options.get("extension_dim", 0))
    losses, gradients = loss_and_gradients(fast, batch, settings)
    found = mapped.losses(batch, settings)
    assert_all_close({**found, "bound": losses["bound"]}, losses)
    (total_loss(found, settings.weights) * MEMBERS).backward()
    parameters = {name.removeprefix("member.model.model."): p for name, p in mapped.named_parameters()}
    by_name = {name: p.grad.squeeze(1) for name, p in parameters.items() if p.grad is not None}
    assert_all_close(by_name, gradients)


class Loss(torch.nn.Module):
    """The loss of a single model as a function of plain tensors, as ``functional_call`` wants it."""

    def __init__(self, model, settings):
        super().__init__()
        self.model, self.settings = model, settings

    def forward(self, state, action, contact, termination):
        window = Window(*(tensor.unsqueeze(0) for tensor in (state, action, contact, termination)))
        return total_loss(self.model.losses(window, self.settings), self.settings.weights)


@pytest.mark.parametrize("options", [{}, ARCHITECTURES["no skip"], ARCHITECTURES["mlp"]], ids=["default", "no skip", "mlp"])
@pytest.mark.parametrize("state_loss", [name for name in LOSSES if name != "sampled_squared_error"])
@pytest.mark.parametrize("feedback", [name for name in FEEDBACKS if name != "sample"])
def test_vmap_of_grad_over_functional_call(options, state_loss, feedback):
    options = {**options, "learn_bounds": True}
    models, settings = singles(options), loss_settings(state_loss=state_loss, feedback=feedback)
    _, expected = loss_and_gradients(stack_members(models), Batch(windows(MEMBERS)), settings)
    template = Loss(models[0], settings)
    stacked, _ = stack_module_state([Loss(model, settings) for model in models])
    weights = {name: tensor.detach() for name, tensor in stacked.items()}

    def loss(weights, *window):
        return functional_call(template, weights, window)

    window = windows(MEMBERS)
    tensors = (window.state, window.action, window.contact.double(), window.termination.double())
    found = vmap(grad(loss))(weights, *tensors)
    by_name = {name.removeprefix("model."): value.squeeze(1) for name, value in found.items()}
    untaught = {name: torch.zeros_like(value) for name, value in by_name.items() if name not in expected}
    assert set(untaught) <= {name for name in by_name if "log_std" in name and state_loss == "squared_error"}
    assert_all_close(by_name, {**expected, **untaught})
    assert_all_close(grad(lambda every: vmap(loss)(every, *tensors).sum())(weights), found)


@pytest.mark.parametrize("copies", [1, MEMBERS])
def test_a_member_of_a_shared_ensemble_predicts_alone_what_it_did(copies):
    ensemble, window = build(SharedEnsemble, MEMBERS, auxiliary_base="separate"), windows(copies)
    noise, follows = torch.randn(FORECAST, MEMBERS, 4, STATE, dtype=torch.double), torch.tensor([1, 0, 2, 1])
    models = [take_member(ensemble, member) for member in range(MEMBERS)]
    for feedback in ("sample", "mean", "ensemble_mean", "member"):
        expected = loop_rollout(models, window, feedback, noise, follows)
        for gradients in (True, False):
            with torch.set_grad_enabled(gradients):
                assert_all_close(present(unroll(ensemble, window, HISTORY, feedback, noise, follows)), expected)


@architectures
def test_views_are_the_ensemble_in_the_same_memory(options):
    ensemble = build(IndependentEnsemble, MEMBERS, **options)
    views, settings = MemberViews(ensemble), settings_for(options)
    assert len(list(views)) == MEMBERS
    (batch,) = batches("own", MEMBERS, 1, extension=options.get("extension_dim", 0))
    views.zero_grad()
    _, expected = loss_and_gradients(ensemble, batch, settings)  # which leaves gradients that the views know nothing of
    views.zero_grad()
    for member, view in enumerate(views):
        for own, whole in zip(view.parameters(), ensemble.parameters(), strict=True):
            assert own.data_ptr() == whole[member].data_ptr()
            assert own.shape == whole[member : member + 1].shape
        total_loss(view.losses(batch.of_member(member), settings), settings.weights).backward()
    gradients = {name: p.grad for name, p in ensemble.named_parameters() if p.grad is not None}
    assert_all_close(gradients, expected)
    next(iter(views)).state_head.mean.bias_output.data += 1.0
    assert ensemble.state_head.mean.bias_output[:, 0].tolist() == [1.0, 0.0, 0.0]


def test_views_of_weights_that_lie_elsewhere_by_now_are_refused():
    ensemble = build(IndependentEnsemble, 2)
    views = MemberViews(ensemble)
    ensemble.float()
    with pytest.raises(RuntimeError, match="weights lie elsewhere"):
        views.zero_grad()
