"""Evaluating only the member that each row follows is evaluating all of them and picking."""

from __future__ import annotations

import pytest
import torch

from rwmu.data.normalizer import Normalizer
from rwmu.data.windows import gather
from rwmu.dynamics.gru import GRU
from rwmu.dynamics.heads import MemberMLP
from rwmu.dynamics.unroll import unroll, warm_up
from rwmu.dynamics.window_mlp import WindowMLP
from rwmu.dynamics.world_model import WorldModel
from rwmu.imagination.env import ImaginedEnv
from rwmu.imagination.penalty import MopoPenalty
from rwmu.imagination.rules import DreamRules
from rwmu.records import Followed, Window, follow
from tests.dynamics.small import ACTION, HISTORY, KINDS, STATE, build, windows
from tests.fakes import anymal_d, quiet_task, random_episodes

MEMBERS, ROWS = 3, 7
# Mixed; sorted; one member without a row; all rows of one member.
FOLLOWED = ([2, 0, 1, 1, 2, 0, 0], [0, 0, 1, 1, 1, 2, 2], [2, 0, 0, 2, 0, 2, 2], [1] * ROWS)
followed_members = pytest.mark.parametrize("member", FOLLOWED)


def generators(number):
    return [torch.Generator().manual_seed(seed) for seed in range(number)]


def randn(*shape):
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(len(shape)))


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


@followed_members
def test_the_order_and_the_way_back(member):
    followed = Followed(torch.tensor(member), MEMBERS)
    assert followed.member[followed.order].tolist() == sorted(member)
    assert followed.order[followed.inverse].tolist() == list(range(ROWS))
    assert followed.sizes == [member.count(e) for e in range(MEMBERS)]


@followed_members
@pytest.mark.parametrize(("members", "copies"), [(1, 1), (MEMBERS, 1), (MEMBERS, MEMBERS)])
def test_heads(member, members, copies):
    head = MemberMLP(4, 5, 2, generators(members)).double()
    index, features = torch.tensor(member) if members > 1 else torch.zeros(ROWS, dtype=torch.int64), randn(copies, ROWS, 4)
    found = head.followed(features, Followed(index, members))
    assert found.shape == (1, ROWS, 2)
    same(found, follow(head(features), index))


@followed_members
@pytest.mark.parametrize("groups", [1, MEMBERS])
@pytest.mark.parametrize("gradients", [False, True])
def test_a_gru(member, groups, gradients):
    gru, index = GRU(3, 4, 2, groups, generators(groups)).double(), torch.tensor(member)
    x, hidden = randn(1, ROWS, 3), randn(2, MEMBERS, ROWS, 4)
    picked = torch.stack([follow(layer, index) for layer in hidden])
    kept = x.clone(), picked.clone()
    with torch.set_grad_enabled(gradients):
        output, new = gru.step_followed(x, picked, Followed(index, MEMBERS))
        all_outputs, all_new = gru.step(x.expand(MEMBERS, -1, -1), hidden)
    same(output, follow(all_outputs, index))
    same(new, torch.stack([follow(layer, index) for layer in all_new]))
    assert torch.equal(x, kept[0])
    assert torch.equal(picked, kept[1])


@followed_members
@pytest.mark.parametrize("groups", [1, MEMBERS])
def test_a_window_mlp(member, groups):
    mlp, index = WindowMLP(3, 4, 2, groups, generators(groups), window=3).double(), torch.tensor(member)
    x, hidden = randn(1, ROWS, 3), randn(1, 1, ROWS, 6)
    output, carried = mlp.step_followed(x, hidden, Followed(index, MEMBERS))
    all_outputs, expected = mlp.step(x, hidden)
    same(output, follow(all_outputs, index))
    same(carried, expected)


@followed_members
@pytest.mark.parametrize("kind", ["shared", "independent"])
@pytest.mark.parametrize("backbone", ["gru", "mlp"])
@pytest.mark.parametrize("auxiliary_base", ["shared", "separate"])
@torch.no_grad()
def test_steps_of_whole_ensembles(member, kind, backbone, auxiliary_base):
    options = {"backbone": backbone, "window": 3, "auxiliary_base": auxiliary_base, "extension_dim": 2}
    model, index = build(kind, MEMBERS, **options), torch.tensor(member)
    followed, window = Followed(index, MEMBERS), windows(1, ROWS)
    carry = warm_up(model, window.map(lambda tensor: tensor[:, :, :HISTORY]))
    own = model.follow(carry, index)
    state = window.state[:, :, HISTORY - 1]
    for _ in range(3):
        action = randn(1, ROWS, ACTION)
        carry, expected = model.step(carry, state, action)
        own, found = model.step_followed(own, state, action, followed, True)
        same(found.mean, expected.mean)  # of all members: the penalty wants their disagreement
        same(found.log_std, expected.log_std)
        picked = expected.follow(index)
        for name in ("contact", "termination", "extension"):
            assert getattr(found, name).shape[0] == 1
            same(getattr(found, name), getattr(picked, name))
        same(own.state, carry.state)
        if auxiliary_base == "separate":
            assert own.auxiliary.shape[1] == 1
            same(own.auxiliary, torch.stack([follow(layer, index) for layer in carry.auxiliary]))
        state = follow(expected.mean, index)
        assert state.shape == (1, ROWS, STATE)


@pytest.mark.parametrize("kind", ["shared", "independent"])
@pytest.mark.parametrize("backbone", ["gru", "mlp"])
def test_the_imagined_environment_with_a_separate_auxiliary_base(kind, backbone):
    """Contacts and terminations of several imagined episodes are those of an unroll of all members, picked afterwards."""
    robot, episodes, history, horizon = anymal_d(), random_episodes([40]), 5, 4
    sizes = {"hidden_size": 8, "head_hidden_size": 8, "backbone": backbone, "window": 4, "auxiliary_base": "separate"}
    dynamics = KINDS[kind](45, 12, 8, MEMBERS, **sizes)
    normalizer = Normalizer.fit(episodes.state, robot.state_layout)
    model = WorldModel(dynamics, normalizer, history, robot.name, robot.state_layout.describe(), "", {}).freeze()
    predicted, world_step = [], model.step

    def spy(*arguments):
        carry, prediction = world_step(*arguments)
        predicted.append(prediction)
        return carry, prediction

    model.step = spy
    rules = {"termination": None, "max_tilt": None, "clip": None, "random_start": False, "horizon_steps": horizon}
    env = ImaginedEnv(model, quiet_task(), episodes, torch.arange(20), MopoPenalty(1.0, 0.02), DreamRules(num_envs=6, **rules))
    for _ in range(3):  # episodes, between which every environment starts anew
        start = (env.state[:, None] - episodes.state[None]).abs().amax(dim=-1).argmin(dim=1) - history + 1
        member, past = env.member.clone(), gather(episodes, start, history)
        actions = torch.randn(6, horizon, 12)
        predicted.clear()
        contacts = []
        for k in range(horizon):
            env.step(actions[:, k])
            contacts.append(env.final_contact)
        future = torch.zeros(6, horizon, 1)
        state = torch.cat([normalizer.normalize(past.state), future.expand(-1, -1, 45)], dim=1)
        window = Window(state[None], torch.cat([past.action, actions], dim=1)[None], future[None], future[None])
        rollout = unroll(dynamics, window, history, "member", member=member)
        for k, prediction in enumerate(predicted):
            expected = rollout.at(k)
            torch.testing.assert_close(prediction.mean, expected.mean, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(prediction.contact, expected.follow(member).contact, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(prediction.termination, expected.follow(member).termination, rtol=1e-4, atol=1e-4)
            assert torch.equal(contacts[k], prediction.contact[0] > 0.0)
