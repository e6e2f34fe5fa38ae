"""Device, threads and precision of the matrix products, for a whole run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

from rwmu.errors import ConfigError
from rwmu.settings import Count, settings

_FLOAT32_ERROR = 1e-6  # a relative error that float32 itself has
_log = logging.getLogger(__name__)


@settings("machine")
class Machine:
    """What a run may use of the machine.

    Attributes:
        num_threads: CPU threads of everything.
        matmul_precision: ``highest``, or ``high`` or ``medium`` for another kernel, faster on some machines; its error is logged.
        progress: show progress bars.
    """

    num_threads: Count = 2
    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    progress: bool = True

    def set_up(self) -> None:
        """Set threads and precision, and log what a lower precision costs on this machine.

        ``medium`` lets torch choose another kernel. What that means depends on the machine: float32 at a higher rate on some CPUs,
        bfloat16 on others, TF32 or bfloat16 on CUDA. So its error is measured rather than assumed.
        """
        torch.set_num_threads(self.num_threads)
        torch.set_float32_matmul_precision(self.matmul_precision)
        if self.matmul_precision != "highest":
            device = "cuda" if torch.cuda.is_available() else "cpu"
            error = matmul_error(device)
            words = "as accurate as float32" if error < _FLOAT32_ERROR else "less accurate than float32 (about 3e-07)"
            told = "Matrix products at precision '%s' have a relative error of %.1e on this %s, %s."
            _log.info(told, self.matmul_precision, error, device, words)


def find_device(name: str) -> torch.device:
    """Return the device of imagination: ``cpu``, ``cuda``, or ``auto`` for CUDA if torch can use it, else the CPU.

    Raises:
        ConfigError: CUDA is asked for and cannot be used.
    """
    usable = torch.cuda.is_available()
    if name == "cuda" and not usable:
        raise ConfigError(
            "imagination.device is 'cuda', but torch finds no CUDA device here; give imagination.device=cpu or auto (a run to be "
            "resumed has it in its config.yaml), or install a torch built for CUDA."
        )
    return torch.device("cuda" if usable and name != "cpu" else "cpu")


def stream(*entropy: int) -> torch.Generator:
    """Return a stream of random numbers, on the CPU, of its own for every sequence of whole numbers."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]))


def check_accelerator(name: str, devices: int = 1) -> None:
    """Refuse a ``trainer.accelerator`` that is not here, or too many ``trainer.devices``, before the data are collected.

    Raises:
        ConfigError: says which, or how many, there are.
    """
    here = {"auto": True, "cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    here["gpu"] = here["cuda"] or here["mps"]
    if not here.get(name, False):
        there_are = ", ".join(found for found, usable in here.items() if usable)
        raise ConfigError(f"trainer.accelerator is '{name}', but here there are only: {there_are}.")
    most = torch.cuda.device_count() if here["cuda"] else 1
    if name != "cpu" and here["gpu"] and devices > most:
        raise ConfigError(f"trainer.devices is {devices}, but of accelerators there are {most} here; give no more than that.")


class ThreadGuard:
    """Go on with one thread while other work keeps the machine busy.

    Threads wait for one another at every operation. Where one must wait for another program, all do: two threads were seen
    to be more than ten times slower than one. So every few seconds a small probe is timed with one thread and with all. On a
    machine with nothing else to do this changes nothing, not even the last bit of a result.

    Args:
        interval_s: between two probes.
        probe: what is timed. clock: seconds.
    """

    def __init__(
        self,
        interval_s: float = 5.0,
        probe: Callable[[], object] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._all = self._current = torch.get_num_threads()
        self._interval_s, self._probe, self._clock = interval_s, probe or small_products, clock
        self._due = clock()

    def check(self) -> None:
        """Probe if it is time to, and set the threads."""
        if self._all == 1 or self._clock() < self._due:
            return
        # One slow probe may be a chance; two in a row are not. The way back is taken when all threads are faster again.
        if self._current > 1 and self._slowdown() > 2.0 and self._slowdown() > 2.0:
            self._current = 1
            _log.info("Other work keeps this machine busy: going on with one thread.")
        elif self._current == 1 and self._slowdown() < 1.0:
            self._current = self._all
            _log.info("The machine is free again: going on with %d threads.", self._all)
        torch.set_num_threads(self._current)
        self._due = self._clock() + self._interval_s

    def restore(self) -> None:
        """Set the threads that there were at the start, for whatever comes after what was watched."""
        torch.set_num_threads(self._all)

    def _slowdown(self) -> float:
        """Return how many times longer the probe takes with all threads than with one."""
        return self._seconds(self._all) / self._seconds(1)

    def _seconds(self, threads: int) -> float:
        torch.set_num_threads(threads)
        started = self._clock()
        self._probe()
        return self._clock() - started


def small_products(number: int = 20) -> None:
    """Multiply matrices of the size of a training step."""
    left, right = torch.ones(5, 32, 128), torch.ones(5, 128, 384)
    for _ in range(number):
        torch.bmm(left, right).sigmoid_()


def matmul_error(device: torch.device | str = "cpu", size: int = 512) -> float:
    """Return the relative error of a float32 product of random matrices at the present precision, against float64."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator).to(device) for _ in range(2))
    exact = left.double() @ right.double()
    return float(((left @ right).double() - exact).norm() / exact.norm())
