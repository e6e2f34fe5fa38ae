"""Scalar uncertainties of one step, from what the members predict; pure functions ``Prediction -> [B]``.

Everything is in normalised state space, so that dimensions of different units may be summed. Where one scalar is to be chosen by
name (a configuration), :func:`uncertainty_estimate` returns it, weighted by dimension and split by groups of dimensions if so
wanted.

**One member has no disagreement.** Every epistemic function returns exactly 0 for one: right for a penalty (base RWM pays none),
wrong for a measurement, where 0 would read as certainty. Whoever measures must ask ``Prediction.num_members`` and say so instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.records import Prediction
from rwmu.settings import choose

Estimate = Callable[[Prediction], Tensor]


def member_variance(prediction: Prediction) -> Tensor:
    """Return the unbiased variance of the members' means, ``[B, D]``; 0 for one member."""
    mean = prediction.mean
    if prediction.num_members == 1:
        return mean.new_zeros(mean.shape[1:])
    # Written out because it is called at every imagined step: torch.var over a leading axis is several times slower on CPUs.
    return (mean - mean.mean(dim=0)).square().sum(dim=0) / (prediction.num_members - 1)


def member_std(prediction: Prediction) -> Tensor:
    """Return the unbiased standard deviation of the members' means, ``[B, D]``; 0 for one member."""
    return member_variance(prediction).sqrt()


def epistemic(prediction: Prediction) -> Tensor:
    """Return how much the members disagree: the unbiased std of their means, summed over dimensions; 0 for one member.

    This is the scalar that RWM-U's code penalises (arXiv:2504.16680; its text writes the variance).
    """
    return member_std(prediction).sum(dim=-1)


def epistemic_variance(prediction: Prediction) -> Tensor:
    """Return the unbiased variance of the members' means, summed over dimensions (arXiv:2504.16680v3, Eq. 4); 0 for one member."""
    return member_variance(prediction).sum(dim=-1)


def epistemic_largest(prediction: Prediction) -> Tensor:
    """Return the unbiased std of the members' means in the dimension where it is largest; 0 for one member."""
    return member_std(prediction).amax(dim=-1)


def epistemic_pairwise(prediction: Prediction) -> Tensor:
    """Return the largest Euclidean distance between two members' means; 0 for one member.

    This is the discrepancy by which MOReL tells known from unknown (arXiv:2005.05951, section 4).
    """
    largest = prediction.mean.new_zeros(prediction.mean.shape[1])
    for index in range(1, prediction.num_members):
        squared = (prediction.mean[index] - prediction.mean[:index]).square().sum(dim=-1)  # [index, B]
        largest = torch.maximum(largest, squared.amax(dim=0))
    return largest.sqrt()


def _sigma(prediction: Prediction) -> Tensor:
    if not _has_spread(prediction):
        raise ValueError("the prediction was made without log standard deviations")
    return prediction.log_std.exp()


def aleatoric(prediction: Prediction) -> Tensor:
    """Return the noise that the members expect: the mean over members of sigma, summed over dimensions, as published."""
    return _sigma(prediction).mean(dim=0).sum(dim=-1)


def aleatoric_largest(prediction: Prediction) -> Tensor:
    """Return the noise that the most pessimistic member expects: the largest sum over dimensions of sigma.

    MOPO (arXiv:2005.13239) takes the maximum over members too, but of sigma's Euclidean norm; the sum has the scale
    of :func:`aleatoric`.
    """
    return _sigma(prediction).sum(dim=-1).amax(dim=0)


def combined(prediction: Prediction) -> Tensor:
    """Return disagreement and expected noise together: the std of the members' Gaussians as one mixture, summed over dimensions."""
    between = prediction.mean.var(dim=0, unbiased=False)
    return (between + _sigma(prediction).square().mean(dim=0)).sqrt().sum(dim=-1)


EPISTEMIC: dict[str, Estimate] = {
    "std": epistemic,
    "variance": epistemic_variance,
    "largest": epistemic_largest,
    "pairwise": epistemic_pairwise,
}
ALEATORIC: dict[str, Estimate] = {"mean": aleatoric, "largest": aleatoric_largest}
NOISE = {"noise": "mean", "noise_largest": "largest"}  # aleatoric estimates, by the names that they have among epistemic ones


def uncertainty_estimate(name: str, weights: Tensor | None = None, sizes: Sequence[int] | None = None) -> Estimate:
    """Return the estimate of a name of ``EPISTEMIC``; or of ``NOISE``, what the members expect of themselves.

    One member expects noise too; these estimates need ``Prediction.log_std``.

    Args:
        weights: ``[D]``, above 0; the members' means are multiplied by them first, so that standard deviations and distances are
            weighted by them, and variances by their squares. One over each dimension's typical std *standardises*.
        sizes: see :func:`by_group`; the estimate then returns ``[B, G]``.

    Raises:
        ConfigError: the name is unknown, or a weight is not above 0 and finite.
    """
    known = EPISTEMIC | {own: ALEATORIC[of] for own, of in NOISE.items()}
    choose("The estimate of uncertainty", name, known)
    estimate = known[name]
    grouped = estimate if sizes is None else by_group(estimate, sizes)
    return grouped if weights is None else _weighted(grouped, weights)


def _has_spread(prediction: Prediction) -> bool:
    return prediction.log_std.shape[-1] == prediction.mean.shape[-1]


def _weighted(estimate: Estimate, weights: Tensor) -> Estimate:
    if weights.ndim != 1 or not bool((weights.isfinite() & (weights > 0.0)).all()):
        raise ConfigError("The weights of an uncertainty estimate must be one number above 0 for each state dimension.")

    def weighted(prediction: Prediction) -> Tensor:
        own = weights.to(prediction.mean)
        log_std = prediction.log_std + own.log() if _has_spread(prediction) else prediction.log_std
        return estimate(replace(prediction, mean=prediction.mean * own, log_std=log_std))

    return weighted


def by_group(estimate: Estimate, sizes: Sequence[int]) -> Estimate:
    """Return the estimate of each group of consecutive dimensions by itself, ``Prediction -> [B, G]``.

    Args:
        sizes: dimensions of each group, in their order; together all of them (the fields of a layout, say).
    """

    def grouped(prediction: Prediction) -> Tensor:
        means = torch.split(prediction.mean, list(sizes), dim=-1)
        spreads = (
            torch.split(prediction.log_std, list(sizes), dim=-1) if _has_spread(prediction) else [prediction.log_std] * len(means)
        )
        pairs = zip(means, spreads, strict=True)
        return torch.stack([estimate(replace(prediction, mean=mean, log_std=log_std)) for mean, log_std in pairs], dim=-1)

    return grouped
