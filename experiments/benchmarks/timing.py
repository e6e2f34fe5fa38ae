"""Time, memory and operations of functions, compared honestly on a machine that others use too.

Operations are those of matrix products alone, two for a multiplication and its addition; what is done elementwise takes time but
counts for nothing, so that a fraction of the fastest matrix product is never flattered.
"""

from __future__ import annotations

import gc
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

Function = Callable[[], Any]
# (m, k, n) of [m, k] @ [k, n]: squares, and the recurrence of a GRU of 256 units at the benchmark's batches.
SHAPES = ((512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048), (1024, 256, 768), (5120, 256, 768), (1280, 512, 768))


@dataclass
class Times:
    """Seconds a call, one entry a round: on the clock, and of the process's CPU time (all threads)."""

    clock: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return lower quartile, median and upper quartile, interpolated linearly."""
    low, middle, high = torch.quantile(torch.tensor(values, dtype=torch.float64), torch.tensor([0.25, 0.5, 0.75]).double()).tolist()
    return {"median": middle, "lower_quartile": low, "upper_quartile": high}


def ratio(slow: Sequence[float], fast: Sequence[float]) -> dict[str, float]:
    """Return median and quartiles of how many times as long ``slow`` took as ``fast``, each measured next to the other."""
    return quartiles([s / f for s, f in zip(slow, fast, strict=True)])


def synchronize(device: str) -> None:
    """Wait for an accelerator."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def _once(function: Function, calls: int, device: str) -> tuple[float, float]:
    """Return seconds on the clock and of CPU time a call."""
    synchronize(device)
    cpu, clock = time.process_time(), time.perf_counter()
    for _ in range(calls):
        function()
    synchronize(device)
    return (time.perf_counter() - clock) / calls, (time.process_time() - cpu) / calls


def interleave(
    functions: Mapping[str, Function],
    rounds: tuple[int, int] = (5, 25),
    seconds: float = 60.0,
    least_seconds: float = 0.2,
    device: str = "cpu",
) -> dict[str, Times]:
    """Time all functions in every round, one right after the other, so that a busy neighbour hits them alike.

    Every other round goes backwards, so that none is always the first. Each function is called before it is timed, and in a round
    so often that it takes about ``least_seconds``. Python's garbage is collected between the rounds and not within them.

    Args:
        rounds: fewest and most; between them, as many as last about ``seconds`` in all.
    """
    calls, a_round = {}, 0.0
    for name, function in functions.items():
        once, _ = _once(function, 1, device)
        # The first call of what is short says little about the second; what is long has been called for long enough.
        once = max(1e-7, once if once > least_seconds else _once(function, 1, device)[0])
        calls[name] = max(1, round(least_seconds / once))
        a_round += calls[name] * once
    times = {name: Times() for name in functions}
    fewest, most = rounds
    with _new_garbage_only():
        for r in range(min(most, max(fewest, int(seconds / a_round)))):
            gc.collect()
            for name in list(functions)[:: 1 if r % 2 == 0 else -1]:
                clock, cpu = _once(functions[name], calls[name], device)
                times[name].clock.append(clock)
                times[name].cpu.append(cpu)
    return times


@contextmanager
def _new_garbage_only() -> Iterator[None]:
    """Let Python collect garbage only when told, and then look only through what is new: the rest takes a tenth of a second."""
    enabled, frozen = gc.isenabled(), gc.get_freeze_count()
    gc.collect()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        if not frozen:
            gc.unfreeze()
        if enabled:
            gc.enable()


@dataclass(frozen=True)
class Memory:
    """Bytes of tensors.

    Attributes:
        peak: the most at any time of building the function and calling it, weights, optimiser and data included.
        standing: what is there between two calls.
    """

    peak: int
    standing: int

    @property
    def rise(self) -> int:
        """Return what a call needs on top of what stands."""
        return self.peak - self.standing


def tensor_memory(build: Callable[[], Function], calls: int = 2, device: str = "cpu") -> Memory:
    """Return the memory of building a function and of calling it ``calls`` times (twice: the optimiser has its moments then).

    Tensors are what is counted, from torch's own account of every allocation: on CUDA the caching allocator's, on CPU the
    profiler's. It is exact and repeats to the byte, where the resident set (``ru_maxrss``) depends on what the process did before
    and on what the C library keeps for later, which is too coarse for a small batch. What it leaves out is the scratch space of the
    matrix library, a few MB. Building is part of it, so that a buffer kept for good is not got for nothing.
    """
    if torch.device(device).type == "cuda":
        return _cuda_memory(build, calls)
    with _new_garbage_only(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function = build()
        for _ in range(calls):
            function()
        gc.collect()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        memory = memory_of_trace(json.loads(path.read_text())["traceEvents"])
    del function
    return memory


def memory_of_trace(events: Sequence[Mapping[str, Any]]) -> Memory:
    """Return peak and last of the running sum of a trace's allocations on the CPU."""
    changes = [event for event in events if event.get("name") == "[memory]" and event["args"]["Device Type"] == 0]
    total = peak = 0
    for event in sorted(changes, key=lambda event: (event["ts"], event["args"]["Ev Idx"])):
        total += event["args"]["Bytes"]
        peak = max(peak, total)
    return Memory(peak, total)


def _cuda_memory(build: Callable[[], Function], calls: int) -> Memory:
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    function = build()
    for _ in range(calls):
        function()
    torch.cuda.synchronize()
    return Memory(torch.cuda.max_memory_allocated() - before, torch.cuda.memory_allocated() - before)


def gemm(shape: tuple[int, int, int], device: str = "cpu") -> Function:
    """Return a function that multiplies two float32 matrices of ``shape`` (m, k, n), without allocating anything."""
    m, k, n = shape
    left, right, out = torch.randn(m, k, device=device), torch.randn(k, n, device=device), torch.empty(m, n, device=device)
    return lambda: torch.mm(left, right, out=out)


def gemm_rates(shapes: Sequence[tuple[int, int, int]] = SHAPES, device: str = "cpu", rounds: int = 25) -> dict[str, float]:
    """Return the best rate of each shape, in operations a second; the largest of them is the peak.

    The best and not the median: load of other programs can only lower it. Threads and precision are those in force.
    """
    functions = {"x".join(map(str, shape)): gemm(shape, device) for shape in shapes}
    times = interleave(functions, (rounds, rounds), least_seconds=0.02, device=device)
    return {name: 2 * math.prod(map(int, name.split("x"))) / min(found.clock) for name, found in times.items()}


def count_flops(function: Function) -> int:
    """Return the operations of one call as torch counts them; it is blind to kernels that hide theirs (cuDNN's GRU)."""

    def product(added: Any, left: Sequence[int], right: Sequence[int], *_: Any, **__: Any) -> int:
        return 2 * math.prod(left) * right[-1]  # [..., m, k] @ [..., k, n]

    # Torch counts products that make a new tensor, but not those that add to one.
    added = {torch.ops.aten.addmm_: product, torch.ops.aten.baddbmm_: product}
    with FlopCounterMode(display=False, custom_mapping=added) as counter:
        function()
    return int(counter.get_total_flops())
