"""Diversity: how much do the members of an ensemble differ, in what they say and in how they err?

From second moments over rows, which add up over batches and processes: matrices ``[..., E, E]`` of one entry a pair of members.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.uncertainty.measure import Measure

ONE_MEMBER = "one member: there is no other to compare it with"


def gram(first: Tensor) -> Tensor:
    """Return the inner products over rows of what members say, ``[E, K, B, D]`` -> ``[K, D, E, E]``, float64."""
    rows = first.double().permute(1, 3, 0, 2)
    return rows @ rows.transpose(-1, -2)


def pair_mean(matrix: Tensor) -> Tensor:
    """Return the mean over pairs of different members of symmetric ``[..., E, E]``: ``[...]``."""
    members = matrix.shape[-1]
    total = matrix.sum(dim=(-1, -2)) - matrix.diagonal(dim1=-1, dim2=-2).sum(dim=-1)
    return total / max(members * (members - 1), 1)


def normalized(products: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``[..., E, E]`` products divided by the two members' own, and where a member's own is 0: ``[...]`` bool."""
    own = products.diagonal(dim1=-1, dim2=-2)
    zero = own <= 0
    scale = torch.where(zero, torch.ones_like(own), own).sqrt()
    return (products / (scale[..., :, None] * scale[..., None, :])).clamp(-1.0, 1.0), zero.any(dim=-1)


def cosine(products: Tensor) -> Measure:
    """Return the cosine between members' flattened outputs, from their Gram matrix: ``[..., E, E]``."""
    result, zero = normalized(products)
    if products.shape[-1] < 2:
        return Measure.missing(ONE_MEMBER, result.shape)
    return Measure.of(result, (zero[..., None, None].expand(result.shape), "a member's output is 0 throughout"))


def disagreement(deviation_products: Tensor, count: Tensor) -> Measure:
    """Return the root mean squared difference between members, ``[..., E, E]``, in the unit of the outputs.

    Args:
        deviation_products: ``[..., E, E]``, the Gram matrix of deviations from the members' mean (from the outputs themselves,
            nearly equal members would cancel to noise).
        count: ``[...]``, how many numbers of each member were summed.
    """
    own = deviation_products.diagonal(dim1=-1, dim2=-2)
    squared = (own[..., :, None] + own[..., None, :] - 2.0 * deviation_products).clamp(min=0.0)
    result = (squared / count.clamp(min=1)[..., None, None]).sqrt()
    if deviation_products.shape[-1] < 2:
        return Measure.missing(ONE_MEMBER, result.shape)
    return Measure.of(result, ((count == 0)[..., None, None].expand(result.shape), "no rows"))


def error_correlation(covariation: Tensor, count: Tensor) -> Measure:
    """Return the linear correlation between members' errors, ``[..., E, E]``, from sums of products of centred errors."""
    result, zero = normalized(covariation)
    if covariation.shape[-1] < 2:
        return Measure.missing(ONE_MEMBER, result.shape)
    shape = result.shape
    return Measure.of(
        result,
        ((count < 3)[..., None, None].expand(shape), "fewer rows than the 3 needed"),
        (zero[..., None, None].expand(shape), "a member's error is the same in every row"),
    )


def effective_members(correlation: Measure) -> Measure:
    """Return how many members of independent errors would average as well as these: ``[...]``, from their correlations.

    E / (1 + (E - 1) r), r the mean over pairs: the variance of a mean of E equally correlated errors (Kish's design effect). E of
    independent members, 1 of copies, more than E where errors offset each other.
    """
    members = correlation.shape[-1]
    missing = (~correlation.available).any(dim=-1).any(dim=-1)
    inflation = 1.0 + (members - 1) * pair_mean(correlation.filled(0.0))
    offset = inflation <= 1e-9
    return Measure.of(
        members / torch.where(offset, torch.ones_like(inflation), inflation),
        (missing, correlation.reason()),
        (offset, "the members' errors cancel: no number of independent members would do as well"),
    )
