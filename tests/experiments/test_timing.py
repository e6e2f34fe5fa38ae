from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from experiments.benchmarks import timing
from tests.experiments import SlowingMachine


def test_neighbours_are_compared_on_a_machine_that_slows_down(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = SlowingMachine(monkeypatch)
    functions = {"slow": machine.function("slow", 3.0), "fast": machine.function("fast", 1.0)}
    times = timing.interleave(functions, rounds=(40, 40), least_seconds=0.5)
    assert machine.calls[2:8] == ["slow", "fast", "fast", "slow", "slow", "fast"]
    assert times["slow"].clock[-1] / times["fast"].clock[0] > 6  # apart, they would be misjudged
    found = timing.ratio(times["slow"].clock, times["fast"].clock)
    assert found["median"] == pytest.approx(3.0, rel=0.011)
    assert found["upper_quartile"] - found["lower_quartile"] < 0.07
    assert times["slow"].cpu == pytest.approx([seconds / 2 for seconds in times["slow"].clock])


def test_short_functions_are_called_often(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = SlowingMachine(monkeypatch)
    times = timing.interleave({"short": machine.function("short", 0.1)}, rounds=(1, 1), least_seconds=1.0)
    assert len(machine.calls) == 2 + 10
    assert 0.1 < times["short"].clock[0] < 0.12  # of one call, not of ten


@pytest.mark.parametrize(("seconds", "rounds"), [(1.0, 3), (20.0, 5), (1000.0, 7)])
def test_as_many_rounds_as_there_is_time_for(monkeypatch: pytest.MonkeyPatch, seconds: float, rounds: int) -> None:
    machine = SlowingMachine(monkeypatch)
    functions = {"slow": machine.function("slow", 3.0), "fast": machine.function("fast", 0.8)}
    times = timing.interleave(functions, (3, 7), seconds, least_seconds=0.5)
    assert len(times["slow"].clock) == len(times["fast"].clock) == rounds


def test_quartiles_by_hand() -> None:
    assert timing.quartiles([5.0, 1.0, 2.0, 4.0, 3.0]) == {"median": 3.0, "lower_quartile": 2.0, "upper_quartile": 4.0}
    assert timing.ratio([2.0, 9.0], [1.0, 3.0])["median"] == 2.5


def test_memory_is_exact_and_counts_what_is_kept() -> None:
    def build() -> Callable[[], torch.Tensor]:
        kept = torch.ones(250_000)  # 1 MB for good

        def function() -> torch.Tensor:
            first = torch.zeros(750_000)  # 3 MB
            second = torch.empty(500_000)  # 2 MB at the same time
            del first
            return second[:1] + kept[:1]

        return function

    memory = timing.tensor_memory(build)
    assert memory.peak == pytest.approx(6_000_000, abs=1000)
    assert memory.standing == pytest.approx(1_000_000, abs=1000)
    assert memory.rise == memory.peak - memory.standing
    assert timing.tensor_memory(build) == memory


def test_memory_of_a_trace_by_hand() -> None:
    sizes = [100, 50, -100, 20, -50]
    events: list[dict[str, Any]] = [
        {"name": "[memory]", "ts": time, "args": {"Bytes": size, "Device Type": 0, "Ev Idx": time}}
        for time, size in enumerate(sizes)
    ]
    events.append({"name": "[memory]", "ts": 1, "args": {"Bytes": 10**9, "Device Type": 1, "Ev Idx": 9}})  # of another device
    assert timing.memory_of_trace([{"name": "aten::add"}, *reversed(events)]) == timing.Memory(peak=150, standing=20)
