"""The imagined environment around real ensembles: it is the one autoregressive loop, environment by environment."""

import pytest
import torch

from rwmu.data.normalizer import Normalizer
from rwmu.data.windows import gather
from rwmu.dynamics.unroll import unroll
from rwmu.dynamics.world_model import WorldModel, build_ensemble
from rwmu.imagination import starts
from rwmu.imagination.env import ImaginedEnv
from rwmu.imagination.penalty import MopoPenalty
from rwmu.imagination.rules import DreamRules
from rwmu.records import Window, follow
from tests.fakes import anymal_d, quiet_task, random_episodes

HISTORY, BATCH, STEPS = 5, 6, 7


@pytest.mark.parametrize("kind", ["shared", "independent"])
@pytest.mark.parametrize("auxiliary_base", ["shared", "separate"])
@pytest.mark.parametrize("members", [1, 3])
def test_an_imagined_episode_is_an_unroll_that_follows_one_member(kind, auxiliary_base, members, monkeypatch):
    monkeypatch.setattr(starts, "_CHUNK", 4)  # so that the pool is warmed up in two calls
    robot, episodes = anymal_d(), random_episodes([40])
    architecture = {"kind": kind, "state_dim": 45, "action_dim": 12, "contact_dim": 8, "num_members": members, "hidden_size": 8}
    architecture |= {"head_hidden_size": 8, "auxiliary_base": auxiliary_base}
    normalizer = Normalizer.fit(episodes.state, robot.state_layout)
    model = WorldModel(
        build_ensemble(architecture), normalizer, HISTORY, robot.name, robot.state_layout.describe(), "", architecture
    ).freeze()
    rules = {"termination": None, "max_tilt": None, "clip": None, "random_start": False}
    env = ImaginedEnv(model, quiet_task(), episodes, torch.arange(20), MopoPenalty(1.0, 0.02), DreamRules(num_envs=BATCH, **rules))
    start = (env.state[:, None] - episodes.state[None]).abs().amax(dim=-1).argmin(dim=1) - HISTORY + 1
    member = env.member.clone()
    action = torch.randn(STEPS, BATCH, 12, generator=torch.Generator().manual_seed(0))
    reached, contacts = [], []
    for k in range(STEPS):
        env.step(action[k])
        reached.append(env.final_state)
        contacts.append(env.final_contact)
    history = gather(episodes, start, HISTORY)
    future = torch.zeros(BATCH, STEPS, 1)
    window = Window(
        state=torch.cat([normalizer.normalize(history.state), future.expand(-1, -1, 45)], dim=1)[None],
        action=torch.cat([history.action, action.transpose(0, 1)], dim=1)[None],
        contact=future[None],
        termination=future[None],
    )
    with torch.no_grad():
        rollout = unroll(model.dynamics, window, HISTORY, feedback="member", member=member)
    expected = torch.stack([normalizer.denormalize(follow(mean, member)[0]) for mean in rollout.mean])
    torch.testing.assert_close(torch.stack(reached), expected, rtol=1e-4, atol=1e-4)
    expected = torch.stack([follow(logits, member)[0] > 0.0 for logits in rollout.contact])
    assert torch.equal(torch.stack(contacts), expected)
