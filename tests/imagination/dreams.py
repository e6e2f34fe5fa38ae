"""Small imagined environments around a model whose answers are known."""

import torch

from rwmu.data.windows import window_starts
from rwmu.imagination.env import ImaginedEnv
from rwmu.imagination.penalty import MopoPenalty
from rwmu.imagination.rules import DreamRules
from tests.fakes import known_world_model, quiet_task, random_episodes

HISTORY, BATCH = 4, 16


def build(members=3, weight=1.0, task=None, episodes=None, known=None, history=HISTORY, num_envs=BATCH, seed=0, **rules):
    episodes = episodes or random_episodes([30, 12, 25])
    starts = window_starts(episodes.lengths, torch.arange(episodes.num_episodes), history)
    rules = {"termination": None, "max_tilt": None, **rules}
    model = known_world_model(members, history, **(known or {}))
    task = task or quiet_task()
    penalty = MopoPenalty(weight, task.step_dt)
    return ImaginedEnv(model, task, episodes, starts, penalty, DreamRules(num_envs=num_envs, **rules), seed)


def actions(number, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(BATCH, 12, generator=generator) for _ in range(number)]


def origin(env):
    """Return the row of the dataset whose state each environment is in."""
    distance = (env.state[:, None] - env._pool._episodes.state[None]).abs().amax(dim=-1)
    assert float(distance.min(dim=1).values.max()) == 0.0
    return distance.argmin(dim=1)
