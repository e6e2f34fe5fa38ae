"""The spread of trajectories, on a random walk whose spread is known, and against trajectories rolled out one by one."""

import pytest
import torch

from rwmu.dynamics.unroll import unroll
from rwmu.errors import ConfigError, DataError
from rwmu.imagination import trajectories
from rwmu.imagination.trajectories import member_streams, trajectory_spread
from rwmu.records import Window
from rwmu.uncertainty.spread import mixture
from tests.dynamics.small import HISTORY, build, windows
from tests.fakes import known_world_model

MEMBERS, STEPS, SIGMA = 3, 6, 0.049787  # exp(-3), what the members of the fake predict


def walk_window(batch=40):
    size, contacts, joints = 45, 8, 12
    shapes = {"state": size, "action": joints, "contact": contacts, "termination": 1}
    return Window(**{name: torch.zeros(1, batch, 4 + STEPS, columns) for name, columns in shapes.items()})


def spread_of_walk(feedback, samples, drift=0.02, **options):
    return trajectory_spread(known_world_model(MEMBERS, drift=drift).dynamics, walk_window(), 4, samples, feedback, **options)


def test_a_random_walk_spreads_as_it_must():
    """Member e goes e + 1 drifts a step and diffuses: k steps give a variance of k sigma^2 about the member's own way."""
    k, drift = torch.arange(1.0, STEPS + 1.0), 0.02
    between = (drift * k).square() * 2.0 / 3.0  # of 1, 2, 3 drifts
    sampled = spread_of_walk("sample", 20)
    assert sampled.paths == 60
    torch.testing.assert_close(sampled.mean.mean((1, 2)), 2.0 * drift * k, rtol=0.02, atol=0)
    torch.testing.assert_close(sampled.std.square().mean((1, 2)), between + k * SIGMA**2, rtol=0.03, atol=0)
    means = spread_of_walk("mean", 1)
    torch.testing.assert_close(means.mean, (2.0 * drift * k).view(-1, 1, 1).expand(STEPS, 40, 45))
    torch.testing.assert_close(means.std[:, 0, 0], (between + SIGMA**2).sqrt(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("kind", ["shared", "independent"])
@pytest.mark.parametrize("options", [{}, {"auxiliary_base": "separate"}, {"backbone": "mlp", "window": 3}])
def test_folding_samples_into_the_batch_is_rolling_them_out_one_by_one(kind, options):
    model, window, samples = build(kind, 2, **options), windows(batch=4), 3
    steps, size = window.length - HISTORY, window.state.shape[-1]
    streams = member_streams(5, 2)
    noise = torch.stack([torch.randn(steps, 4 * samples, size, generator=stream) for stream in streams], dim=1).double()
    alone = [unroll(model, window, HISTORY, "sample", noise[:, :, s::samples]) for s in range(samples)]
    expected = mixture(*(torch.cat([getattr(one, name) for one in alone], dim=1) for name in ("mean", "log_std")))
    found = trajectory_spread(model, window, HISTORY, samples, seed=5)
    torch.testing.assert_close(found.mean, expected.mean, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.std, expected.std, rtol=1e-9, atol=1e-12)
    assert not found.std.requires_grad


def test_windows_in_several_parts_have_the_same_distribution(monkeypatch):
    whole = spread_of_walk("sample", 20)
    monkeypatch.setattr(trajectories, "_ROWS", 100)
    parts = spread_of_walk("sample", 20)
    assert parts.std.shape == whole.std.shape
    torch.testing.assert_close(parts.std.mean((1, 2)), whole.std.mean((1, 2)), rtol=0.02, atol=0)
    monkeypatch.setattr(trajectories, "_ROWS", 1)
    torch.testing.assert_close(spread_of_walk("mean", 1).std, spread_of_walk("mean", 1, seed=3).std, rtol=0, atol=0)


def test_a_members_noise_is_its_own():
    two, five = member_streams(0, 2), member_streams(0, 5)
    draws = [torch.randn(4, generator=stream) for stream in (*two, *five)]
    assert torch.equal(draws[0], draws[2])
    assert torch.equal(draws[1], draws[3])
    assert len({tuple(draw.tolist()) for draw in draws}) == 5
    assert not torch.equal(torch.randn(4, generator=member_streams(1, 1)[0]), draws[0])


def test_the_same_seed_spreads_the_same():
    one, two, other = (spread_of_walk("sample", 2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.std, two.std)
    assert not torch.equal(one.std, other.std)


def test_impossible_choices_are_refused():
    with pytest.raises(ConfigError, match="samples is 0"):
        spread_of_walk("sample", 0)
    with pytest.raises(ConfigError, match="all the same"):
        spread_of_walk("mean", 2)
    with pytest.raises(ConfigError, match="must be sample or mean"):
        spread_of_walk("ensemble_mean", 1)
    with pytest.raises(DataError, match="history"):
        trajectory_spread(known_world_model(2).dynamics, walk_window(), 4 + STEPS)
