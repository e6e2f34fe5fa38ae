"""Work in several processes: what comes back, whose mistakes are told, and that nobody is left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import distributed

from rwmu.dynamics.processes import add_up, in_processes, rank_and_number
from rwmu.errors import TrainingError


def add(weights: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Add up what depends on the rank, and write into what was given."""
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    assert rank_and_number() == (rank, 2)
    matrix, number = torch.full((2, 2), 1.0 + rank), torch.tensor(10.0 * rank)
    add_up([matrix, number], share=(0.75, 0.25)[rank])
    weights += rank + 1.0
    distributed.barrier()
    return matrix, weights, torch.get_num_threads()


def test_shares_are_added_up_and_weights_are_copies() -> None:
    weights = torch.zeros(3)
    matrix, written, threads = in_processes(partial(add, weights), 2)
    assert torch.equal(matrix, torch.full((2, 2), 0.75 * 1.0 + 0.25 * 2.0))
    assert written.tolist() == [1.0] * 3, "of the first process alone"
    assert weights.tolist() == [0.0] * 3
    assert threads == 1


def fail(rank: int) -> None:
    if rank == 1:
        raise TrainingError("member 3")
    time.sleep(600.0)


def test_a_mistake_of_any_process_is_the_mistake() -> None:
    with pytest.raises(TrainingError, match="member 3"):
        in_processes(fail, 2)


def wait(folder: Path, rank: int) -> None:
    own = folder / str(os.getpid())
    own.touch()
    try:
        if len(list(folder.iterdir())) == 2:
            os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(600.0)
    except KeyboardInterrupt:
        own.write_text("interrupted")
        raise


@pytest.fixture
def _in_the_background() -> Iterator[None]:
    """Ignore Ctrl-C, as a shell lets the programs that it starts in the background, and take SIGTERM for it, as commands do."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("_in_the_background")
def test_whoever_is_interrupted_leaves_no_process_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        in_processes(partial(wait, tmp_path), 2)
    for path in tmp_path.iterdir():
        assert path.read_text() == "interrupted", "none was killed, which would have lost what it had not written"
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name), 0)


def test_alone_there_is_one() -> None:
    assert rank_and_number() == (0, 1)
