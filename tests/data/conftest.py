"""Recordings that several tests of the data share; none of them writes into one."""

from __future__ import annotations

import pytest

from rwmu.data.episodes import Episodes
from rwmu.simulators.behaviour import Recipe
from rwmu.simulators.collect import collect_dataset
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.tasks.velocity import VelocityTask
from tests.data.planted import sound_episodes
from tests.data.walking import ROBOT


@pytest.fixture(scope="session")
def sound() -> Episodes:
    """Return 80 walks of 60 rows, of which every fourth falls, with nothing to be said against them."""
    return sound_episodes()


@pytest.fixture(scope="session")
def simulated() -> Episodes:
    """Return half a minute of the simulated robot walking as well as it can, with the noise of training."""
    recipe = Recipe({"good": 1.0}, noise_scales=(1.0,))
    return collect_dataset(MujocoEnv, VelocityTask(ROBOT, episode_length_s=2.0), recipe, 1500, seed=0)
