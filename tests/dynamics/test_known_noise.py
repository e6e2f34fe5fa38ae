"""A system whose noise is known: which objectives teach sigma, and which make it collapse."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from rwmu.dynamics.losses import LossSettings
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.dynamics.unroll import unroll
from rwmu.records import Batch, Window
from tests.dynamics.small import train

HISTORY, LENGTH, ROWS, STEPS = 2, 4, 64, 210
SIGMA = 0.2
WEIGHTS = {"state": 1.0, "history": 1.0, "bound": 0.0, "contact": 0.0, "termination": 0.0}


def batch(seed):
    """Draw s_t = 0.5 a_t + 0.2 noise."""
    generator = torch.Generator().manual_seed(seed)
    action, noise = torch.randn(2, 1, ROWS, LENGTH, 1, generator=generator)
    flags = torch.zeros_like(action)
    return Batch(Window(0.5 * action + SIGMA * noise, action, flags, flags))


@cache
def learnt(state_loss, feedback):
    """Return sigma and the error of the mean on new rows, before and after each third of the training."""
    settings = LossSettings(HISTORY, WEIGHTS, state_loss, feedback=feedback, history_burn_in=0)
    torch.manual_seed(0)
    model = SharedEnsemble(1, 1, 1, 1, hidden_size=8, num_layers=1, head_hidden_size=8)
    model.state_head.log_std.bias_output.data.zero_()  # sigma starts near 1, far from the truth
    test, found = batch(10**6).window, []
    for third in range(4):
        if third:
            train(model, (batch(STEPS * third + step) for step in range(STEPS // 3)), settings)
        rollout = unroll(model, test, HISTORY).detach()
        error = rollout.mean[:, 0] - 0.5 * test.action[0, :, HISTORY:].transpose(0, 1)
        found.append((float(rollout.log_std.exp().mean()), float(error.square().mean().sqrt())))
    return found


@pytest.mark.parametrize(("state_loss", "feedback"), [("gaussian_nll", "mean"), ("gaussian_nll", "sample"), ("beta_nll", "mean")])
def test_a_likelihood_learns_the_noise(state_loss, feedback):
    sigma, error = learnt(state_loss, feedback)[-1]
    assert sigma == pytest.approx(SIGMA, rel=0.1)
    assert error < 0.25 * SIGMA


def test_the_published_objective_makes_sigma_collapse():
    """E (s - mu - sigma noise)^2 = (s - mu)^2 + sigma^2 is least at sigma = 0, whatever the noise of the system."""
    thirds = learnt("sampled_squared_error", "sample")
    sigmas, (_, error) = [sigma for sigma, _ in thirds], thirds[-1]
    assert error < 0.25 * SIGMA  # of the mean, which is learnt as well as with a likelihood
    assert sigmas[0] > 2.0 * SIGMA
    assert sigmas[1] < 0.25 * SIGMA
    assert sigmas[1] > sigmas[2] > sigmas[3]  # and still falling, towards the lower bound exp(-6)
    assert sigmas[3] < 0.05 * SIGMA


def test_a_squared_error_of_the_mean_teaches_no_sigma_at_all():
    thirds = learnt("squared_error", "mean")
    assert thirds[-1][1] < 0.25 * SIGMA
    assert all(sigma > 2.0 * SIGMA for sigma, _ in thirds)
