"""Rollouts under noise: without it they are the other modules' own, with it errors grow, and recorded noise is what happened."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tensordict import TensorDict

from rwmu.errors import ConfigError
from rwmu.measure.calibration.noise import CELLS, NoiseSettings, NoiseTest, disturbed_stretches
from rwmu.measure.calibration.settings import CalibrationSettings, Selection
from rwmu.measure.calibration.simulated import record_noisy_episodes
from rwmu.measure.calibration.stretches import follow_stretches
from tests.fakes import known_world_model, quiet_task, random_episodes

SETTINGS = CalibrationSettings(horizons=(1, 4, 50), resamples=20, samples=1, stretches=100, short=100)
NOISE = NoiseSettings(scales=(0.0, 0.5), trajectories=50, steps=6)


def selection(seed=0, lengths=(40, 30, 12, 33, 28, 60)):
    episodes = random_episodes(list(lengths), seed=seed)
    return Selection(episodes, torch.arange(len(lengths)))


def test_without_noise_the_rollouts_are_those_of_the_analysis():
    test, model = selection(), known_world_model(3)
    found = disturbed_stretches(model, test, (1, 6), NOISE, 0.0, seed=0)
    expected = follow_stretches(model, test, (1, 6), 100, SETTINGS)
    torch.testing.assert_close(found.error, expected.error, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.disagreement, expected.disagreement, rtol=1e-4, atol=1e-6)
    assert torch.equal(found.valid, expected.valid)
    kept = [expected.steps.index(k) for k in (1, 6)]
    for name in ("mean", "std"):
        mine = getattr(found.spreads["propagated"], name)
        torch.testing.assert_close(mine, getattr(expected.spreads["propagated"], name)[kept], rtol=1e-4, atol=1e-5)


def test_noise_is_on_what_the_model_is_given_and_piles_up():
    # The known model keeps its state but for a drift: after k steps it holds k independent noises (the last is not fed back yet).
    test, model = selection(lengths=[400] * 6), known_world_model(1, drift=0.0)
    # 240 stretches of 45 dimensions: a standard deviation is known to 0.7 %; one noise more or less would make 9 %.
    many = NoiseSettings(trajectories=1000, steps=6)
    clean, noisy = (disturbed_stretches(model, test, (1, 6), many, scale, seed=0) for scale in (0.0, 0.5))
    difference = noisy.spreads["propagated"].mean - clean.spreads["propagated"].mean
    assert difference[0].std().item() == pytest.approx(0.5, rel=0.03)
    assert difference[1].std().item() == pytest.approx(0.5 * 6**0.5, rel=0.03)


def test_every_scale_and_horizon_has_its_cells():
    table = NoiseTest(known_world_model(3), selection(seed=1), NOISE, SETTINGS).given(selection())
    assert list(table) == ["0", "0.5"]
    for row in table.values():
        assert list(row) == ["1", "4"]  # 50 is beyond the rollouts
        assert all(set(CELLS) < set(cells) for cells in row.values())
    assert table["0.5"]["4"]["error"]["value"] > table["0"]["4"]["error"]["value"]
    assert table["0"]["1"]["rollouts"] == 20


def test_what_cannot_be_measured_under_noise_says_why():
    row = NoiseTest(known_world_model(1), None, NOISE, SETTINGS).row(selection())
    assert "one member" in row["4"]["disagreement"]["text"]
    assert "no calibration split" in row["4"]["recalibrated_683"]["text"]
    assert row["4"]["coverage_683"]["value"] is not None
    short = Selection(random_episodes([6]), torch.arange(1))
    row = NoiseTest(known_world_model(2), None, NOISE, SETTINGS).row(short)
    assert "no test episode is long enough" in row["4"]["error"]["text"]


@pytest.mark.parametrize("wrong", [{"scales": (-0.1,)}, {"trajectories": 0}, {"steps": 0}])
def test_noise_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ConfigError):
        NoiseSettings(**wrong)


class CountingEnv:
    """Three environments whose state counts steps: the first falls at step 2, the second diverges at step 3, the third lives on."""

    def __init__(self):
        self.task, self.num_envs, self.count = quiet_task(), 3, 0
        self.memory = SimpleNamespace(command=torch.zeros(3, 3, dtype=torch.float64))
        self.actions = []
        self._write()

    def _write(self):
        self.state = self.final_state = torch.full((3, 45), float(self.count))
        self.final_contact = torch.zeros(3, 8, dtype=torch.bool)
        self.terminated = torch.tensor([self.count == 2, self.count == 3, False])
        self.diverged = torch.tensor([False, self.count == 3, False])

    def get_observations(self):
        return TensorDict({"policy": torch.zeros(3, self.task.num_observations)}, batch_size=[3])

    def step(self, actions):
        self.count += 1
        self.actions.append(actions.clone())
        self._write()
        return self.get_observations(), torch.ones(3), self.terminated.clone(), {}


def test_recorded_episodes_are_what_happened():
    env = CountingEnv()
    test = record_noisy_episodes(env, lambda observation: torch.full((len(observation), 12), 0.25), 0.1, steps=5, seed=3)
    episodes = test.episodes
    # A first row and 2 steps to the fall; a first row and 2 steps, the diverged one left out; a first row and 5 steps.
    assert episodes.lengths.tolist() == [3, 3, 6]
    assert episodes.state[:, 0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4, 5]
    assert episodes.termination.nonzero()[:, 0].tolist() == [2]
    assert torch.equal(episodes.action[7], env.actions[0][2])  # row 1 of the third episode holds the action that led to it
    assert (episodes.action[7:] - 0.25).std().item() == pytest.approx(0.1, rel=0.3)
    again = record_noisy_episodes(CountingEnv(), lambda observation: torch.full((len(observation), 12), 0.25), 0.2, steps=5, seed=3)
    torch.testing.assert_close(again.episodes.action[7:] - 0.25, 2.0 * (episodes.action[7:] - 0.25))
    assert test.ids.tolist() == [0, 1, 2]


def test_recorded_episodes_can_be_tested_on():
    recorded = record_noisy_episodes(CountingEnv(), lambda observation: torch.zeros(len(observation), 12), 0.1, steps=30)
    model = replace(known_world_model(2, history=2))
    row = NoiseTest(model, None, NOISE, SETTINGS).row(recorded)
    assert row["1"]["error"]["value"] is not None
