"""Threads and precision of the matrix products, for a whole run."""

from __future__ import annotations

import logging

import torch

PRECISIONS = ("highest", "high", "medium")
_FLOAT32_ERROR = 1e-6  # a relative error that float32 itself has
_log = logging.getLogger(__name__)


def set_up(num_threads: int, precision: str = "highest") -> None:
    """Set threads and precision, and log what a lower precision costs on this machine.

    ``medium`` lets torch choose another kernel. What that means depends on the machine: float32 at a higher rate on some CPUs,
    bfloat16 on others, TF32 or bfloat16 on CUDA. So its error is measured rather than assumed.

    Args:
        precision: a name of ``PRECISIONS``.
    """
    torch.set_num_threads(num_threads)
    torch.set_float32_matmul_precision(precision)
    if precision != "highest":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        error = matmul_error(device)
        words = "as accurate as float32" if error < _FLOAT32_ERROR else "less accurate than float32, whose error is about 3e-07"
        _log.info("Matrix products at precision '%s' have a relative error of %.1e on this %s: %s.", precision, error, device, words)


def matmul_error(device: torch.device | str = "cpu", size: int = 512) -> float:
    """Return the relative error of a float32 product of random matrices at the present precision, against float64."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator).to(device) for _ in range(2))
    exact = left.double() @ right.double()
    return float(((left @ right).double() - exact).norm() / exact.norm())
