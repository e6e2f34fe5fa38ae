"""What validation logs of the uncertainty: worked by hand, over batches, and left out where there is none."""

import math

import pytest
import torch

from rwmu.dynamics.monitor import UncertaintyMonitor
from rwmu.records import Rollout


def rollout(mean, std=1.0):
    """Return a rollout of means ``[K, E, B, D]`` whose mean over members is fed back."""
    nothing = mean.new_zeros(*mean.shape[:3], 1)
    return Rollout(mean, torch.full_like(mean, math.log(std)), nothing, nothing, mean.mean(dim=1, keepdim=True))


def test_scores_of_the_members_own_gaussians_one_step_ahead():
    """Standard normals at 0 and 2, truth 0: errors 0 and 2; the second step, far off, counts in none of the three."""
    mean = torch.zeros(2, 2, 3, 1)
    mean[0, 1], mean[1] = 2.0, 100.0
    monitor = UncertaintyMonitor()
    monitor.update(rollout(mean), torch.zeros(2, 3, 1))
    found = monitor.found()
    assert found["validation/nll"] == pytest.approx(0.5 * math.log(2 * math.pi) + 0.5 * (0.0 + 2.0**2) / 2)
    assert found["validation/coverage_683"] == pytest.approx(0.5)
    # CRPS of N(0, 1) at z: z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi).
    score = [
        z * math.erf(z / 2**0.5) + 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi) - 1 / math.sqrt(math.pi) for z in (0.0, 2.0)
    ]
    assert found["validation/crps"] == pytest.approx(sum(score) / 2, abs=1e-6)


def test_disagreement_is_ranked_with_the_error_of_the_mean_over_batches_and_anew_each_time():
    """Members at e - d and e + d, truth 0: error e, disagreement proportional to d; d grows with e, then against it."""
    error = torch.arange(1.0, 9.0).view(1, 1, 8, 1).expand(3, 1, 8, 1)
    monitor = UncertaintyMonitor()
    for apart, expected in ((0.1 * error, 1.0), (1.0 / error, -1.0)):
        both = rollout(torch.cat([error - apart, error + apart], dim=1))
        for rows in (slice(0, 5), slice(5, 8)):
            monitor.update(both.map(lambda tensor, rows=rows: tensor[:, :, rows]), torch.zeros(3, len(range(8)[rows]), 1))
        assert monitor.found()["validation/rank_correlation"] == pytest.approx(expected)
        monitor.on_validation_epoch_start(None, None)


def test_one_member_has_scores_but_no_disagreement():
    monitor = UncertaintyMonitor()
    monitor.update(rollout(torch.zeros(2, 1, 8, 3)), torch.zeros(2, 8, 3))
    assert set(monitor.found()) == {"validation/nll", "validation/crps", "validation/coverage_683"}
