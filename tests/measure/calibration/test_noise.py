"""Rollouts under noise: without it they are the other modules' own, with it errors grow, and recorded noise is what happened."""

import pytest
import torch

from rwmu.errors import ConfigError
from rwmu.measure.calibration.noise import CELLS, NoiseSettings, NoiseTest, disturbed_stretches
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.calibration.stretches import follow_stretches
from rwmu.measure.deployment import StandingStill
from rwmu.measure.windows import Selection
from tests.fakes import known_world_model, random_episodes
from tests.measure.exploit.worlds import WholeEnv

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
    table = NoiseTest(known_world_model(3), selection(seed=1), NOISE, SETTINGS).given(selection())["scales"]
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


def test_what_noise_on_actions_led_to_is_tested_on_as_it_happened():
    test = NoiseTest(known_world_model(2, history=2), None, NOISE, SETTINGS)
    found = test.simulated(lambda: WholeEnv([3, None, 1], {0: [0.5, 0.0, 0.0]}), StandingStill(12), "nobody")
    assert list(found["scales"]) == ["0", "0.5"]
    # Rows 0..3 to a fall and rows 0..7: both allow a history of two and a step, and one of them four; one ends with its first row.
    assert [found["scales"]["0.5"][k]["rollouts"] for k in ("1", "4")] == [2, 1]
    assert found["scales"]["0"]["1"]["error"]["value"] is not None
