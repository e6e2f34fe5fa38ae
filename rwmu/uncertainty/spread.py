"""The distribution that sampled trajectories make together: moments of an equally weighted mixture of Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Spread:
    """What all paths say together about each step, normalised.

    Attributes:
        mean, std: ``[K, B, D]`` of the mixture. paths: how many there are, members x samples.
    """

    mean: Tensor
    std: Tensor
    paths: int


def mixture(mean: Tensor, log_std: Tensor) -> Spread:
    """Return the moments of the mixture of P Gaussians.

    The variance is the mean of the paths' variances and the variance of their means (the law of total variance; for one step,
    Lakshminarayanan et al. 2017, arXiv:1612.01474, section 2.4). That uses each path's own Gaussian at the last step, which has
    less noise of sampling than the spread of the samples themselves. It is the variance of the distribution that the paths are, so
    it is divided by P, and a single path has its own sigma.

    Args:
        mean, log_std: ``[K, P, B, D]``.
    """
    center = mean.mean(dim=1)
    between = (mean - center.unsqueeze(1)).square().mean(dim=1)
    within = (2.0 * log_std).exp().mean(dim=1)
    return Spread(center, (between + within).sqrt(), mean.shape[1])
