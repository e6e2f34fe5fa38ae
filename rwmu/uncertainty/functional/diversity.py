"""Diversity: how much do the members of an ensemble differ, in what they say and in how they err?

From second moments over rows, which add up over draws of episodes: matrices ``[..., E, E]`` of one entry a pair of members. What is
not defined is nan.
"""

from __future__ import annotations

import torch
from torch import Tensor

ONE_MEMBER = "one member: there is no other to compare it with"


def pair_mean(matrix: Tensor) -> Tensor:
    """Return the mean over pairs of different members of symmetric ``[..., E, E]``: ``[...]``."""
    members = matrix.shape[-1]
    total = matrix.sum(dim=(-1, -2)) - matrix.diagonal(dim1=-1, dim2=-2).sum(dim=-1)
    return total / (members * (members - 1))


def cosine(products: Tensor) -> Tensor:
    """Return the cosine between members' flattened outputs, from their Gram matrix: ``[..., E, E]``."""
    own = products.diagonal(dim1=-1, dim2=-2)
    scale = torch.where(own > 0, own, torch.nan).sqrt()
    return (products / (scale[..., :, None] * scale[..., None, :])).clamp(-1.0, 1.0)


def disagreement(deviation_products: Tensor, count: Tensor) -> Tensor:
    """Return the root mean squared difference between members, ``[..., E, E]``, in the unit of the outputs.

    Args:
        deviation_products: ``[..., E, E]``, the Gram matrix of deviations from the members' mean (from the outputs themselves,
            nearly equal members would cancel to noise).
        count: ``[...]``, how many numbers of each member were summed.
    """
    own = deviation_products.diagonal(dim1=-1, dim2=-2)
    squared = (own[..., :, None] + own[..., None, :] - 2.0 * deviation_products).clamp(min=0.0)
    return (squared / count[..., None, None]).sqrt()


def error_correlation(covariation: Tensor, count: Tensor) -> Tensor:
    """Return the linear correlation between members' errors, ``[..., E, E]``, from sums of products of centred errors.

    Args:
        count: ``[...]``, how many errors of each member were summed; of fewer than 3 there is none.
    """
    return torch.where((count < 3)[..., None, None], torch.nan, cosine(covariation))


def effective_members(correlation: Tensor) -> Tensor:
    """Return how many members of independent errors would average as well as these: ``[...]``, from their correlations.

    E / (1 + (E - 1) r), r the mean over pairs: the variance of a mean of E equally correlated errors (Kish's design effect). E of
    independent members, 1 of copies, more than E where errors offset each other; nan where they cancel.
    """
    members = correlation.shape[-1]
    inflation = 1.0 + (members - 1) * pair_mean(correlation)
    return members / torch.where(inflation <= 1e-9, torch.nan, inflation)
