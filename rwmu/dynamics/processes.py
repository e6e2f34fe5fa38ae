"""The same work in several processes of one machine: of the whole program, only the training of a world model is ever done so.

Every process has all weights, data and random streams, and takes its part of each batch; gradients are added up. So the number of
processes changes results by rounding alone, none of them has anything of its own to be kept, and a run may be resumed with more.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor, distributed
from torch.multiprocessing.spawn import ProcessException, spawn

from rwmu.errors import UserError
from rwmu.numerics import Machine

_POLL_S = 0.5
_PATIENCE_S = 10.0  # with processes that are asked to end


def in_processes(work: Callable[[int], Any], number: int) -> Any:
    """Return what ``work(0)`` returns, done at once with ``work(1)`` to ``work(number - 1)``, each in a new process.

    They find one another by the variables that Lightning and ``torch.distributed`` read, and share the threads of this process.
    None outlives this call.

    Args:
        work: like what it returns, picklable.

    Raises:
        UserError, OSError: of one of the processes. KeyboardInterrupt: here, or in all of them.
    """
    queue = get_context("spawn").SimpleQueue()
    answers: dict[int, Any] = {}
    threads = max(1, torch.get_num_threads() // number)
    # Pickled here and there, tensors are copied; torch would let the processes share them, and write into each other's weights.
    arguments = (pickle.dumps(work), _free_port(), threads, torch.get_float32_matmul_precision(), queue)

    def read() -> None:
        while not queue.empty():
            rank, answer = pickle.loads(queue.get())
            answers[rank] = answer

    running = spawn(_take_part, arguments, nprocs=number, join=False, daemon=True)  # type: ignore[no-untyped-call]
    try:
        while not running.join(timeout=_POLL_S):
            read()
    except ProcessException as failure:
        read()
        raise next((answer for answer in answers.values() if isinstance(answer, Exception)), failure) from None
    finally:
        _stop(running.processes)
    read()
    if 0 not in answers:
        raise KeyboardInterrupt
    return answers[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _take_part(rank: int, work: bytes, port: int, threads: int, precision: Any, queue: Any) -> None:
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    os.environ.update(address, OMP_NUM_THREADS=str(threads))  # whatever a cluster says
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever a shell says that starts programs in the background
    Machine(threads, precision).set_up()
    try:
        queue.put(pickle.dumps((rank, pickle.loads(work)(rank))))
    except (UserError, OSError) as error:
        queue.put(pickle.dumps((rank, error)))
        raise


def _stop(processes: Sequence[Any]) -> None:
    """End what still runs: by Ctrl-C, so that it writes what it has logged, and by force if that takes too long."""
    running = [process for process in processes if process.is_alive()]
    for process in running:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)
    for process in running:
        process.join(_PATIENCE_S)
        process.kill()
        process.join()


def rank_and_number() -> tuple[int, int]:
    """Return which of how many processes this one is that train together: 0 of 1 where it trains alone."""
    together = distributed.is_available() and distributed.is_initialized()
    return (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)


def add_up(tensors: Sequence[Tensor], share: float) -> None:
    """Replace tensors by their sums over all processes, each weighted by its ``share``, in one message."""
    total = share * torch.cat([tensor.reshape(-1) for tensor in tensors])
    distributed.all_reduce(total)
    for tensor, summed in zip(tensors, torch.split(total, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(summed.view_as(tensor))
