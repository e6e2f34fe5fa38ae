"""Timing, memory and operations by hand, and the benchmark's command at toy sizes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.benchmarks import gpu, ours, plain, run, timing
from experiments.benchmarks.plain import KINDS, Kind, Sizes
from tests.experiments import SlowingMachine

TINY = Sizes(state=6, action=2, contact=3, hidden=16, head=8, history=4, forecast=3, members=3)

# -- the command ------------------------------------------------------------------------------------------------------------------


def test_the_command_writes_a_complete_file_and_prints_a_row_a_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "figures.json"
    run.main(["dynamics", "--quick", "--output", str(output)])
    results, printed = json.loads(output.read_text()), capsys.readouterr().out
    assert results["complete"] is True
    assert (results["machine"]["torch_threads"], results["machine"]["precision"]) == (1, "highest")
    for phase, (amount,) in run.QUICK.amounts.items():
        for kind in KINDS:
            assert_complete(results[phase][str(amount)][kind], results["gemm"]["flop_per_second"])
            assert f"| {phase} | {kind} | {amount} |" in printed


def assert_complete(cell: dict[str, Any], peak: float) -> None:
    for name in ("plain", "ours"):
        figure = cell["time"][name]
        assert figure["fraction_of_gemm_peak"] == pytest.approx(figure["flop"] / figure["seconds"]["median"] / peak)
        assert 0 < cell["memory"][name]["rise_bytes"] <= cell["memory"][name]["peak_bytes"]
    assert cell["time"]["plain_over_ours"]["median"] > 0
    assert cell["memory"]["plain_over_ours_peak"] > 0


def test_both_ways_of_a_forecast_are_timed_in_pairs(tmp_path: Path) -> None:
    output = tmp_path / "forecast.json"
    run.main(["forecast", "--quick", "--output", str(output)])
    results = json.loads(output.read_text())
    assert set(results["training"]) == set(KINDS)
    for cell in (cells["2"] for cells in results["training"].values()):
        assert cell["rounds"] == 2
        assert 0 < cell["loop_over_at_once"]["median"] < math.inf
    assert len(run.forecast_table(results)) == 2 + 2


@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_of_a_forecast_take_the_same_step(kind: Kind) -> None:
    """Nearly: the operation asks for no gradient of the actions, so it is not the loop under another name."""
    sizes = replace(TINY, layers=1)
    loop, at_once = (timing.count_flops(ours.default_step(kind, sizes, 4, at_once=way)) for way in (False, True))
    assert 0.8 * loop < at_once < loop


def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "measure_memory", stop)
    with pytest.raises(KeyboardInterrupt):
        run.main(["dynamics", "--quick", "--output", str(tmp_path / "figures.json")])
    results = json.loads((tmp_path / "figures.json").read_text())
    assert results["complete"] is False
    assert results["training"]["4"]["shared"]["time"]["plain"]["seconds"]["median"] > 0


def test_what_is_for_a_gpu_works_at_toy_sizes(tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(gpu.api, "collect_episodes", lambda plan: gpu.api.load_episodes(shared_data / "smoke.h5"))
    gpu.main(run.QUICK, ("scale=smoke", "trainer.accelerator=cpu"), "cpu")
    results = json.loads((tmp_path / "gpu.json").read_text())
    seconds = results["whole"]["imagined_step"]["seconds"]["median"]
    assert results["whole"]["imagined_steps_a_minute"] == pytest.approx(60.0 * 32 / seconds)
    assert len(results["steps"]) == len(gpu.STEPS) * len(KINDS)
    assert all(0.0 < cell["seconds"]["median"] < math.inf for cell in results["steps"].values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_without_a_gpu_one_sentence_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main()
    assert capsys.readouterr().out.count("CUDA") == 1
    assert not (run.HERE / "gpu.json").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_missing_accelerator_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["dynamics", "--device", "cuda", "--output", str(tmp_path / "figures.json")])
    assert "CUDA" in capsys.readouterr().err


def test_the_pages_table_is_that_of_the_committed_figures() -> None:
    lines = run.table(json.loads((run.HERE / "dynamics.json").read_text()))
    assert len(lines) == 2 + 2 * 3 + 2 * 2
    assert "\n".join(lines) in (run.HERE / "README.md").read_text()
    lines = run.forecast_table(json.loads((run.HERE / "forecast.json").read_text()))
    assert len(lines) == 2 + 2 * 2
    assert "\n".join(lines) in (run.HERE / "README.md").read_text()


# -- operations -------------------------------------------------------------------------------------------------------------------


def test_operations_by_hand() -> None:
    assert timing.count_flops(timing.gemm((2, 3, 5))) == 60
    single = Sizes(state=1, action=1, contact=1, hidden=1, layers=1, head=1, history=2, forecast=2, members=2)
    base, heads = 2 * (3 * 2 + 3 * 1), 2 * 4 + 2 * 4  # mean, log-std; contact, termination: two products of one element each
    assert timing.count_flops(plain.imagination_step("shared", single, envs=1)) == 2 * base + 2 * heads
    # Rows are 2 of history and 1 of forecast. No gradient: 12 a row of data (inputs), 6 at the start (hidden state).
    state, auxiliary = 3 * 3 * base - 2 * 12 - 6, 3 * 3 * base - 3 * 12 - 6
    assert timing.count_flops(plain.training_step("shared", single, batch=1)) == 2 * (state + auxiliary + 3 * 2 * heads)


@pytest.mark.parametrize(("kind", "training", "imagination"), [("shared", 0.5, 0.9), ("independent", 0.9, 0.9)])
def test_ours_takes_fewer_operations_than_the_plain_implementation(kind: Kind, training: float, imagination: float) -> None:
    for steps, most in (("training", training), ("imagination", imagination)):
        counted = {name: timing.count_flops(step(kind, TINY, 16, "cpu")) for name, step in run.STEPS[steps].items()}
        assert counted["ours"] < most * counted["plain"], steps


def test_rates_of_matrix_products_are_the_best_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SlowingMachine(monkeypatch)
    monkeypatch.setattr(timing, "gemm", lambda shape, device: clock.function("gemm", 0.01))
    rate = timing.gemm_rates([(10, 10, 10)], rounds=3)["10x10x10"]
    # The first two calls say how many a round are; of the rounds of two the first is the fastest.
    assert rate == pytest.approx(2000 / (0.01 * (1.01**2 + 1.01**3) / 2))


# -- time and memory --------------------------------------------------------------------------------------------------------------


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
