"""The RSSM and the transformer: step is observe, members are independent, they learn, and are saved, unrolled and dreamt in."""

from __future__ import annotations

import pytest
import torch

from rwmu.data.normalizer import Normalizer
from rwmu.dynamics.losses import total_loss
from rwmu.dynamics.rssm import Gaussian, RSSMEnsemble
from rwmu.dynamics.transformer import TransformerEnsemble
from rwmu.dynamics.unroll import predict_rows, unroll, warm_up
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import CheckpointError, ConfigError
from rwmu.imagination.env import ImaginedEnv
from rwmu.imagination.penalty import MopoPenalty
from rwmu.imagination.rules import DreamRules
from rwmu.interfaces import Dynamics
from rwmu.records import Batch, Noise, Window
from tests.dynamics.small import (
    ACTION,
    CONTACT,
    EXTENSION,
    FORECAST,
    HISTORY,
    STATE,
    WEIGHTS,
    assert_all_close,
    assert_close,
    batches,
    loss_settings,
    train,
    windows,
)
from tests.fakes import anymal_d, quiet_task, random_episodes

MEMBERS = 3
SIZES = {"hidden_size": 8, "head_hidden_size": 6}
OPTIONS = {RSSMEnsemble: {"latent_size": 3, "num_layers": 1}, TransformerEnsemble: {"num_heads": 2, "num_layers": 2, "window": 3}}
kinds = pytest.mark.parametrize("kind", OPTIONS, ids=["rssm", "transformer"])


def build(kind, members=MEMBERS, **options):
    return kind(STATE, ACTION, CONTACT, members, **{**SIZES, **OPTIONS[kind], **options}).double()


def settings_of(kind, extension=False, **options):
    weights = WEIGHTS | ({"kl": 0.5} if kind is RSSMEnsemble else {}) | ({"extension": 0.5} if extension else {})
    return loss_settings(weights=weights, **options)


def latent_noise(model, rows=4, seed=0):
    shape = (HISTORY + FORECAST - 1, model.num_members, rows, getattr(model, "num_latents", 0))
    return Noise(latent=torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed)))


@kinds
@pytest.mark.parametrize("copies", [1, MEMBERS])
@torch.no_grad()
def test_step_after_step_is_what_is_observed_at_once(kind, copies):
    model, window = build(kind, extension_dim=EXTENSION), windows(copies, length=9)
    assert isinstance(model, Dynamics)
    carry, observed = model.observe(model.initial_carry(copies, 4), window)
    assert observed.mean.shape == observed.log_std.shape == (MEMBERS, 4, 8, STATE)
    stepped = model.initial_carry(copies, 4)
    for t in range(8):
        stepped, prediction = model.step(stepped, window.state[:, :, t], window.action[:, :, t + 1])
        for name in ("mean", "log_std", "contact", "termination", "extension"):
            assert_close(getattr(prediction, name), getattr(observed, name)[:, :, t])
    assert_all_close({k: v.double() for k, v in vars(stepped).items()}, {k: v.double() for k, v in vars(carry).items()})
    later = predict_rows(model, window, 5)  # in two parts
    assert_close(later.mean, observed.mean[:, :, 4:])
    warm = warm_up(model, window.map(lambda tensor: tensor[:, :, :1]))
    assert all(not value.any() for value in vars(warm).values())


@kinds
def test_members_are_the_same_alone_as_together(kind):
    together, window = build(kind, seed=5), windows(1)
    alone = [build(kind, member + 1, seed=5) for member in range(MEMBERS)]  # each is the last of as many
    expected = unroll(together, window, HISTORY, "mean").mean
    for member, model in enumerate(alone):
        assert_close(unroll(model, window, HISTORY, "mean").mean[:, member], expected[:, member])
    assert not torch.equal(expected[:, 0], expected[:, 1])
    settings, noise = settings_of(kind), latent_noise(together)
    batch = batches("rows", MEMBERS, 1)[0]
    noise = latent_noise(together, batch.num_rows)
    whole = together.losses(batch, settings, noise)
    first = alone[0].losses(batch.of_member(0), settings, noise.of_member(0))
    assert set(whole) == set(settings.weights)
    assert_all_close(first, {name: term[:1] for name, term in whole.items()})


@kinds
def test_rows_of_a_carry_go_on_alone(kind):
    model, window = build(kind), windows(1)
    carry = warm_up(model, window.map(lambda tensor: tensor[:, :, :HISTORY]))
    picks, state, action = torch.tensor([2, 0]), window.state[:, :, HISTORY - 1], window.action[:, :, HISTORY]
    _, whole = model.step(carry, state, action)
    _, part = model.step(carry.take(picks), state[:, picks], action[:, picks])
    assert_close(part.mean, whole.mean[:, picks])
    other = warm_up(model, windows(1, seed=9).map(lambda tensor: tensor[:, :, :HISTORY])).take(torch.arange(4))
    other.put(picks, carry.take(picks))
    _, mixed = model.step(other, state, action)
    assert_close(mixed.mean[:, picks], whole.mean[:, picks])
    assert not torch.allclose(mixed.mean[:, 1], whole.mean[:, 1])


def test_a_transformer_of_one_layer_forgets_what_is_older_than_its_window():
    model, window = build(TransformerEnsemble, num_layers=1, window=3), windows(1)
    older = Window(window.state.clone(), window.action, window.contact, window.termination)
    older.state[:, :, : HISTORY - 3] += 1.0  # the first step reads rows 2, 3 and 4
    first, second = (unroll(model, w, HISTORY).detach().mean for w in (window, older))
    assert_close(first, second)
    older.state[:, :, HISTORY - 3] += 1.0
    assert not torch.allclose(unroll(model, older, HISTORY).mean[0], first[0])


def test_the_divergence_of_gaussians_against_torch():
    one, other = (Gaussian(*torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(s)).unbind()) for s in (0, 1))
    own, reference = (torch.distributions.Normal(g.mean, g.std) for g in (one, other))
    torch.testing.assert_close(one.divergence_from(other), torch.distributions.kl_divergence(own, reference).sum(-1))


def test_free_nats_are_free_and_latents_are_drawn_only_from_noise():
    model, window = build(RSSMEnsemble, free_nats=1e6), windows(1)
    settings = settings_of(RSSMEnsemble)
    free = model.losses(Batch(window), settings)
    assert free["kl"].tolist() == [1e6] * MEMBERS
    total_loss({"kl": free["kl"]}, {"kl": 1.0}).backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    dear = build(RSSMEnsemble, free_nats=0.0)
    again, drawn, other = (
        dear.losses(Batch(window), settings, noise) for noise in (None, latent_noise(dear), latent_noise(dear, seed=1))
    )
    assert_all_close(dear.losses(Batch(window), settings), again)
    assert (again["kl"] > 0.0).all()
    for name in ("state", "history", "contact", "kl"):
        assert len({terms[name][0].item() for terms in (again, drawn, other)}) == 3


@kinds
@pytest.mark.parametrize(("form", "feedback"), [("own", "truth"), ("rows", "mean"), ("weights", "sample")])
def test_they_learn(kind, form, feedback):
    model, settings = build(kind, 2, extension_dim=EXTENSION), settings_of(kind, extension=True, feedback=feedback)
    batch = batches(form, 2, 1, extension=EXTENSION)[0]
    streams = [torch.Generator().manual_seed(member) for member in range(2)]
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}

    def loss():
        noise = Noise(feedback=torch.zeros(FORECAST, 2, batch.num_rows, STATE, dtype=torch.double))
        return total_loss(model.losses(batch, settings, noise), settings.weights).item()

    first = loss()
    train(model, [batch] * 8, settings, streams)
    assert loss() < 0.95 * first
    assert all(not torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="num_heads"):
        build(TransformerEnsemble, hidden_size=9)
    with pytest.raises(ConfigError, match="latent_size"):
        build(RSSMEnsemble, latent_size=0)
    with pytest.raises(ConfigError, match="max_log_std"):
        build(RSSMEnsemble, max_log_std=-7.0)


@kinds
def test_a_world_model_of_it_is_saved_loaded_and_dreamt_in(kind, tmp_path):
    robot, episodes, history = anymal_d(), random_episodes([40, 40]), 4
    dynamics = kind(45, 12, 8, MEMBERS, **SIZES, **OPTIONS[kind])
    name = {RSSMEnsemble: "rssm", TransformerEnsemble: "transformer"}[kind]
    normalizer, layout = Normalizer.fit(episodes.state, robot.state_layout), robot.state_layout.describe()
    model = WorldModel(dynamics, normalizer, history, robot.name, layout, "", {"kind": name, **dynamics.arguments}).freeze()
    model.save(tmp_path / "dynamics.pt")
    loaded = WorldModel.load(tmp_path / "dynamics.pt").freeze()
    assert loaded.content_hash() == model.content_hash()
    with pytest.raises(CheckpointError, match=name):
        WorldModel.load(tmp_path / "dynamics.pt", next(other for other in OPTIONS if other is not kind))
    rules = {"termination": None, "max_tilt": None, "random_start": False, "horizon_steps": 3}
    one, two = (
        ImaginedEnv(m, quiet_task(), episodes, torch.arange(20), MopoPenalty(1.0, 0.02), DreamRules(num_envs=6, **rules))
        for m in (model, loaded)
    )
    actions = torch.randn(8, 6, 12)
    for k in range(4):
        assert torch.equal(one.step(actions[k])[1], two.step(actions[k])[1])
    two.load_state_dict(one.state_dict())
    for k in range(4, 8):  # over a restart of every environment
        (state, reward, *_), (resumed, expected, *_) = one.step(actions[k]), two.step(actions[k])
        assert torch.equal(state["policy"], resumed["policy"])
        assert torch.equal(reward, expected)
        assert reward.isfinite().all()
