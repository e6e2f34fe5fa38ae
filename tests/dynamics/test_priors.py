"""Randomised prior functions: what they leave alone, and the disagreement that they keep away from data."""

from __future__ import annotations

import pytest
import torch

from rwmu.dynamics.losses import TERMS, LossSettings
from rwmu.dynamics.recurrent import RecurrentEnsemble
from rwmu.dynamics.unroll import unroll
from rwmu.errors import ConfigError
from rwmu.records import Batch, Window
from rwmu.uncertainty.estimates import epistemic
from tests.dynamics.small import HISTORY, assert_close, assert_same_bits, batches, build, loss_settings, train, windows

MEMBERS = 3


@pytest.mark.parametrize("kind", ["shared", "independent"])
def test_switching_them_on_changes_no_other_weight(kind):
    options = {"auxiliary_base": "separate", "extension_dim": 2, "seed": 5}
    without, with_priors = (
        build(kind, MEMBERS, **options).state_dict(),
        build(kind, MEMBERS, prior_scale=0.5, **options).state_dict(),
    )
    assert_same_bits({name: value for name, value in with_priors.items() if "prior" not in name}, without)
    assert {name for name in with_priors if "prior" in name} == set(with_priors) - set(without) != set()


def test_they_are_fixed_perceptrons_of_the_latest_row_added_to_the_mean():
    without, model = build("independent", MEMBERS), build("independent", MEMBERS, prior_scale=0.5, prior_hidden_size=6)
    rows = windows(length=HISTORY + 1)
    before, after = unroll(without, rows, HISTORY).detach(), unroll(model, rows, HISTORY).detach()
    function, row = model.state_head.prior.function, torch.cat([rows.state[0, :, HISTORY - 1], rows.action[0, :, HISTORY]], dim=-1)
    for member in range(MEMBERS):
        hidden = torch.relu(row @ function.weight_hidden[member].T + function.bias_hidden[member])
        value = hidden @ function.weight_output[member].T + function.bias_output[member]
        assert_close(after.mean[0, member] - before.mean[0, member], 0.5 * value)
    assert_close(after.log_std, before.log_std)
    assert_close(after.contact, before.contact)
    assert not torch.equal(function.weight_hidden[0], function.weight_hidden[1])


@pytest.mark.parametrize("kind", ["shared", "independent"])
@pytest.mark.parametrize("one_by_one", [False, True])
def test_training_never_changes_them(kind, one_by_one):
    model = build(kind, MEMBERS, prior_scale=1.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, batches("own", MEMBERS, 5), loss_settings(), one_by_one=one_by_one)
    for name, value in model.state_dict().items():
        fixed = "prior" in name or "log_delta" in name or "min_log_std" in name
        assert torch.equal(value, before[name]) == fixed


def disagreement(model, scale, history):
    """Return how much the members disagree, on average, on what follows rows ``scale`` from zero."""
    generator = torch.Generator().manual_seed(3)
    signs = torch.randn(1, 64, history + 1, model.state_dim + model.action_dim, generator=generator).sign().double()
    state, action = (scale * signs).split([model.state_dim, model.action_dim], dim=-1)
    flags = torch.zeros(1, 64, history + 1, 1, dtype=torch.double)
    with torch.no_grad():
        return float(epistemic(unroll(model, Window(state, action, flags, flags), history).at(0)).mean())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["shared", "independent"])
def test_untrained_members_disagree_more_the_farther_from_zero(kind, seed):
    model = build(kind, 5, prior_scale=1.0, prior_hidden_size=16, seed=seed)
    near, middle, far = (disagreement(model, scale, HISTORY) for scale in (0.5, 3.0, 20.0))
    assert 1.5 * near < middle
    assert 3.0 * middle < far
    assert far > 1.5 * disagreement(build(kind, 5, seed=seed), 20.0, HISTORY)


def test_away_from_the_data_members_with_priors_disagree_more():
    """All see the same data of s' = 0.7 s + 0.3 a within +-1, and fit it; beyond, their priors differ."""
    history, found = 2, {}
    settings = LossSettings(
        history, {**dict.fromkeys(TERMS, 0.0), "state": 1.0, "history": 1.0}, "squared_error", history_burn_in=0
    )

    def batch(step):
        generator = torch.Generator().manual_seed(step)
        action = 2.0 * torch.rand(1, 64, history + 2, 1, generator=generator, dtype=torch.double) - 1.0
        state = [2.0 * torch.rand(1, 64, 1, generator=generator, dtype=torch.double) - 1.0]
        for t in range(1, history + 2):
            state.append(0.7 * state[-1] + 0.3 * action[:, :, t])
        flags = torch.zeros_like(action)
        return Batch(Window(torch.stack(state, dim=2), action, flags, flags))

    for scale in (0.0, 2.0):
        sizes = {"hidden_size": 8, "num_layers": 1, "head_hidden_size": 16, "prior_hidden_size": 16}
        model = RecurrentEnsemble(1, 1, 1, 5, num_bases=1, prior_scale=scale, **sizes).double()
        train(model, (batch(step) for step in range(100)), settings)
        found[scale] = [disagreement(model, x, history) for x in (0.5, 4.0)]
    (near_without, far_without), (near, far) = found[0.0], found[2.0]
    assert max(near, near_without) < 0.1  # both have learnt the system
    assert far > 2.5 * far_without
    assert far > 10.0 * near


def test_a_negative_scale_is_refused():
    with pytest.raises(ConfigError, match=r"dynamics\.prior_scale is -1"):
        build("shared", 1, prior_scale=-1.0)
