"""Scalar uncertainties of one step, from what the members predict; pure functions ``Prediction -> [B]``.

Everything is in normalised state space, so that dimensions of different units may be summed.
"""

from __future__ import annotations

from torch import Tensor

from rwmu.records import Prediction


def epistemic(prediction: Prediction) -> Tensor:
    """Return how much the members disagree: the unbiased std of their means, summed over dimensions; 0 for one member.

    This is the scalar that RWM-U's code penalises (arXiv:2504.16680; its text writes the variance).
    """
    mean = prediction.mean
    if prediction.num_members == 1:
        return mean.new_zeros(mean.shape[1])
    # Written out because it is called at every imagined step: torch.std over a leading axis is several times slower on CPUs.
    squared = (mean - mean.mean(dim=0)).square().sum(dim=0)
    return (squared / (prediction.num_members - 1)).sqrt().sum(dim=-1)


def aleatoric(prediction: Prediction) -> Tensor:
    """Return the noise that the members expect: the mean over members of sigma, summed over dimensions, as published."""
    if prediction.log_std.shape[-1] != prediction.mean.shape[-1]:
        raise ValueError("the prediction was made without log standard deviations")
    return prediction.log_std.exp().mean(dim=0).sum(dim=-1)
