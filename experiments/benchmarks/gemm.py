"""The limit: the fastest matrix product of this machine, and how many operations a step takes.

Operations are those of matrix products alone, two for a multiplication and its addition, counted as
``torch.utils.flop_counter.FlopCounterMode`` counts them; what is done elementwise takes time but counts for nothing, so that a
fraction of the limit is never flattered.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmarks.sizes import Kind, Sizes

# (m, k, n) of [m, k] @ [k, n]: squares, and the recurrence of a GRU of 256 units at the benchmark's batches.
SHAPES = ((512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048), (1024, 256, 768), (5120, 256, 768), (1280, 512, 768))
QUICK_SHAPES = ((128, 128, 128), (256, 256, 256))
GPU_SHAPES = (*SHAPES, (4096, 4096, 4096), (8192, 8192, 8192))


def synchronize(device: str) -> None:
    """Wait for an accelerator."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def gemm(shape: tuple[int, int, int], device: str = "cpu") -> Callable[[], None]:
    """Return a function that multiplies two float32 matrices of ``shape`` (m, k, n), without allocating anything."""
    m, k, n = shape
    left, right, out = torch.randn(m, k, device=device), torch.randn(k, n, device=device), torch.empty(m, n, device=device)

    def multiply() -> None:
        torch.mm(left, right, out=out)

    return multiply


def gemm_flops(shape: tuple[int, int, int]) -> int:
    """Return the operations of a matrix product (m, k, n)."""
    m, k, n = shape
    return 2 * m * k * n


def gemm_rates(shapes: Sequence[tuple[int, int, int]], device: str = "cpu", seconds: float = 0.5) -> dict[str, float]:
    """Return the best rate of each shape, in operations a second, over ``seconds`` of trying; the largest of them is the peak.

    The best and not the median: load of other programs can only lower it. Threads and precision are those in force.
    """
    rates = {}
    for shape in shapes:
        multiply = gemm(shape, device)
        multiply()
        calls = _calls_in(multiply, 0.02, device)
        best, end = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < end:
            best = min(best, _seconds(multiply, calls, device) / calls)
        rates["x".join(map(str, shape))] = gemm_flops(shape) / best
    return rates


def _seconds(function: Callable[[], Any], calls: int, device: str) -> float:
    synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        function()
    synchronize(device)
    return time.perf_counter() - start


def _calls_in(function: Callable[[], Any], seconds: float, device: str) -> int:
    """Return how many calls take about ``seconds``, at least 1."""
    return max(1, round(seconds / max(_seconds(function, 1, device), 1e-7)))


def count_flops(function: Callable[[], Any]) -> int:
    """Return the operations of one call as torch counts them.

    Blind to kernels that hide their products (cuDNN's GRU, CUDA graphs): there, the closed formulas are what is to be used.
    """
    # Torch counts products that make a new tensor, but not those that add to one.
    added = {torch.ops.aten.addmm_: _product_flops, torch.ops.aten.baddbmm_: _product_flops}
    with FlopCounterMode(display=False, custom_mapping=added) as counter:
        function()
    return int(counter.get_total_flops())


def _product_flops(added: Any, left: Sequence[int], right: Sequence[int], *_: Any, **__: Any) -> int:
    """Return the operations of ``[..., m, k] @ [..., k, n]``, given the shapes."""
    return 2 * math.prod(left) * right[-1]


def _layers(sizes: Sizes) -> list[int]:
    """Return the input size of every layer of a base."""
    return [sizes.state + sizes.action] + [sizes.hidden] * (sizes.layers - 1)


def base_flops(sizes: Sizes) -> int:
    """Return the operations of advancing one base by one row, forward."""
    return sum(2 * 3 * sizes.hidden * (inputs + sizes.hidden) for inputs in _layers(sizes))


def _perceptron_flops(sizes: Sizes, outputs: int) -> int:
    return 2 * sizes.head * (sizes.hidden + outputs)


def state_head_flops(sizes: Sizes) -> int:
    """Return the operations of one member's mean and log standard deviation of one row, forward."""
    return 2 * _perceptron_flops(sizes, sizes.state)


def auxiliary_head_flops(sizes: Sizes) -> int:
    """Return the operations of one member's contact and termination logits of one row, forward."""
    return _perceptron_flops(sizes, sizes.contact) + _perceptron_flops(sizes, 1)


def distinct_windows(batch: int) -> int:
    """Return how many distinct windows a resample of ``batch`` of as many is expected to hold, about 0.63 of them."""
    return round(batch * (1.0 - (1.0 - 1.0 / batch) ** batch))


def training_flops(kind: Kind, sizes: Sizes, batch: int, plain: bool = True, distinct: int | None = None) -> int:
    """Return the operations of a training step, forward and backward.

    A backward pass costs each product twice over: once for the weight, once for what went in, unless that is data and has no
    gradient. Data are the rows of the history, the true states that the auxiliary base reads, and the hidden state at the start.

    Args:
        plain: whether every member runs the bases over all rows of its resample, as the plain implementation does. Else the least
            that is needed: the history and the auxiliary base once a window, for all members where they share a base, else for
            each of the windows that a member has drawn.
        distinct: how many those are; None for the expected number.
    """
    members = batch * sizes.members
    own = distinct_windows(batch) if distinct is None else distinct
    once = members if plain else batch if kind == "shared" else own * sizes.members
    input_flops = 2 * 3 * sizes.hidden * _layers(sizes)[0]
    start_flops = 2 * 3 * sizes.hidden * sizes.hidden * sizes.layers
    row, later = base_flops(sizes), sizes.forecast - 1
    state_base = once * (3 * row * sizes.history - input_flops * sizes.history - start_flops) + members * 3 * row * later
    auxiliary_base = once * ((3 * row - input_flops) * (sizes.history + later) - start_flops)
    heads = 3 * members * sizes.forecast * (state_head_flops(sizes) + auxiliary_head_flops(sizes))
    return state_base + auxiliary_base + heads


def imagination_flops(kind: Kind, sizes: Sizes, envs: int, plain: bool = True) -> int:
    """Return the operations of advancing ``envs`` environments by one step.

    Args:
        plain: whether every member predicts log standard deviations, contacts and terminations too, as in the plain
            implementation. Else the least: every member's mean, and the auxiliary base and head of the member followed.
    """
    bases = sizes.members if kind == "independent" else 1
    if plain:
        heads = state_head_flops(sizes) + auxiliary_head_flops(sizes)
        return envs * (2 * bases * base_flops(sizes) + sizes.members * heads)
    means = sizes.members * _perceptron_flops(sizes, sizes.state)
    return envs * ((bases + 1) * base_flops(sizes) + means + auxiliary_head_flops(sizes))
