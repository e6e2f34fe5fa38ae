"""Where imagined episodes begin: whole histories, upright, and others from time to time."""

import itertools

import pytest
import torch

from rwmu.errors import ConfigError
from rwmu.imagination.env import ImaginedEnv
from rwmu.imagination.penalty import MopoPenalty
from tests.fakes import known_world_model, quiet_task, random_episodes
from tests.imagination.dreams import BATCH, HISTORY, actions, build, origin


def test_starts_and_resets_are_warmed_up_with_the_whole_history():
    env = build(horizon_steps=3, random_start=False)
    episodes, normalizer = env._pool._episodes, env.world_model.normalizer
    for _ in range(3):
        last = origin(env)
        assert torch.equal(env._carry.rows[0], torch.full((BATCH,), HISTORY - 1.0))
        rows = last[:, None] - HISTORY + 1 + torch.arange(HISTORY)
        consumed = normalizer.normalize(episodes.state[rows[:, :-1]]).sum((1, 2)) + episodes.action[rows[:, 1:]].sum((1, 2))
        torch.testing.assert_close(env._carry.total[0], consumed, rtol=1e-4, atol=1e-4)
        for action in actions(3):
            env.step(action)


def test_the_pool_is_drawn_anew_when_due():
    env = build(pool_refresh_steps=3)
    pools = [env._pool.rows]
    for action in actions(7):
        env.step(action)
        pools.append(env._pool.rows)
    changed = [not torch.equal(one, other) for one, other in itertools.pairwise(pools)]
    assert changed == [False, False, False, True, False, False, True]


def test_histories_that_end_fallen_are_not_started_from():
    episodes = random_episodes([HISTORY, HISTORY], terminated=(1,))
    assert set(origin(build(episodes=episodes)).tolist()) == {HISTORY - 1}
    episodes.state[HISTORY - 1, 8] = -0.2
    with pytest.raises(ConfigError, match="All 2 histories end with a fallen robot"):
        build(episodes=episodes, max_tilt=-0.5)


def test_histories_that_leave_their_episode_are_refused():
    episodes = random_episodes([6, 6])
    model, task = known_world_model(1, HISTORY), quiet_task()
    with pytest.raises(ValueError, match="leave their episode"):
        ImaginedEnv(model, task, episodes, torch.tensor([4]), MopoPenalty(0.0, 0.02))
    with pytest.raises(ConfigError, match="no history of 4 rows"):
        ImaginedEnv(model, task, episodes, torch.tensor([], dtype=torch.int64), MopoPenalty(0.0, 0.02))
