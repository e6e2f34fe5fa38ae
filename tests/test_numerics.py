"""Threads and precision of a run."""

from __future__ import annotations

import logging

import pytest
import torch

from rwmu import numerics
from rwmu.numerics import ThreadGuard, matmul_error


@pytest.fixture(autouse=True)
def restored():
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)


def test_the_error_of_float32_products_is_that_of_float32() -> None:
    torch.set_float32_matmul_precision("highest")
    assert 1e-8 < matmul_error() < 1e-6


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_a_lower_precision_is_set_and_its_error_told(precision: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        numerics.Machine(1, precision).set_up()
    assert torch.get_float32_matmul_precision() == precision
    assert torch.get_num_threads() == 1
    assert ("relative error" in caplog.text) == (precision != "highest")
    if precision != "highest":
        assert f"{matmul_error():.1e}" in caplog.text


class Machine:
    """A clock and a probe: seconds that the probe takes with one thread and with two."""

    def __init__(self, alone: float, together: float) -> None:
        self.now, self.alone, self.together, self.probes = 0.0, alone, together, 0
        self.together_next: list[float] = []

    def clock(self) -> float:
        return self.now

    def probe(self) -> None:
        self.probes += 1
        if torch.get_num_threads() == 1:
            self.now += self.alone
        else:
            self.now += self.together_next.pop(0) if self.together_next else self.together


def watched(machine: Machine) -> ThreadGuard:
    torch.set_num_threads(2)
    return ThreadGuard(interval_s=5.0, probe=machine.probe, clock=machine.clock)


def test_what_comes_after_has_all_threads_again() -> None:
    guard = watched(Machine(alone=1.0, together=9.0))
    guard.check()
    assert torch.get_num_threads() == 1
    guard.restore()
    assert torch.get_num_threads() == 2


def test_a_free_machine_keeps_its_threads() -> None:
    machine = Machine(alone=0.010, together=0.006)
    guard = watched(machine)
    for _ in range(10):
        machine.now += 6.0
        guard.check()
        assert torch.get_num_threads() == 2
    assert machine.probes == 20  # with one thread and with two, each time


def test_one_slow_probe_is_not_enough() -> None:
    machine = Machine(alone=0.010, together=0.5)
    guard = watched(machine)
    machine.together_next = [0.5, 0.006]
    guard.check()
    assert torch.get_num_threads() == 2


def test_a_busy_machine_gets_one_thread_until_it_is_free() -> None:
    machine = Machine(alone=0.010, together=0.5)
    guard = watched(machine)
    seen = []
    for together in (0.006, 0.5, 0.5, 0.012, 0.006, 0.5):
        machine.together = together
        machine.now += 6.0
        guard.check()
        seen.append(torch.get_num_threads())
    assert seen == [2, 1, 1, 1, 2, 1]  # a probe that is merely no faster does not bring two back


def test_probes_are_rare_and_one_thread_needs_none() -> None:
    machine = Machine(alone=0.010, together=0.5)
    guard = watched(machine)
    guard.check()
    machine.now += 4.0
    probes = machine.probes
    guard.check()
    assert machine.probes == probes
    torch.set_num_threads(1)
    alone = ThreadGuard(interval_s=5.0, probe=machine.probe, clock=machine.clock)
    machine.now += 100.0
    alone.check()
    assert machine.probes == probes
