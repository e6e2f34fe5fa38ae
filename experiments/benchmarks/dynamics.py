"""Measure training and imagination of both ensembles against a plain implementation of the published algorithm.

    python -m experiments.benchmarks.dynamics --output experiments/benchmarks/dynamics.json

Every figure comes with its operations and its fraction of the fastest matrix product measured in the same run, at the same threads
and precision. The file is written anew after every figure, so an interrupted run keeps what it has.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from experiments.benchmarks import gemm, ours, plain
from experiments.benchmarks.sizes import KINDS, Kind, Sizes
from experiments.benchmarks.timing import Times, interleave, quartiles, ratio, tensor_memory
from rwmu.files import write_json
from rwmu.runs.card import commit, difference, machine, versions

Build = Callable[[], Callable[[], Any]]


@dataclass(frozen=True)
class Phase:
    """One of the two steps that are measured.

    Attributes:
        name: of the phase. unit: what its amounts count.
        steps: of each implementation. flops: of the plain one (``plain=True``) or the least needed.
    """

    name: str
    unit: str
    steps: dict[str, Callable[[Kind, Sizes, int, str], Callable[[], Any]]]
    flops: Callable[[Kind, Sizes, int, bool], int]


PHASES = (
    Phase("training", "windows", {"plain": plain.training_step, "ours": ours.training_step}, gemm.training_flops),
    Phase("imagination", "environments", {"plain": plain.imagination_step, "ours": ours.imagination_step}, gemm.imagination_flops),
)


@dataclass(frozen=True)
class Plan:
    """What is measured, and how often.

    Attributes:
        amounts: phase -> batches or numbers of environments.
        rounds, seconds, least_seconds: of each comparison, see :func:`~experiments.benchmarks.timing.interleave`.
        shapes: of the matrix products; ``gemm_seconds`` each.
    """

    sizes: Sizes
    amounts: dict[str, tuple[int, ...]]
    rounds: tuple[int, int] = (5, 25)
    seconds: float = 60.0
    least_seconds: float = 0.2
    shapes: tuple[tuple[int, int, int], ...] = gemm.SHAPES
    gemm_seconds: float = 2.0
    kinds: tuple[Kind, ...] = KINDS


FULL = Plan(Sizes(), {"training": (16, 256, 1024), "imagination": (1024, 4096)})
QUICK = Plan(
    Sizes(state=6, action=2, contact=3, hidden=16, head=8, history=2, forecast=2, members=2),
    {"training": (4,), "imagination": (16,)},
    rounds=(2, 2),
    least_seconds=0.005,
    shapes=gemm.QUICK_SHAPES,
    gemm_seconds=0.05,
)


def measure_memory(phase: Phase, kind: Kind, plan: Plan, amount: int, device: str) -> dict[str, Any]:
    """Return the bytes of tensors that each implementation needs, and how many times as many the plain one does."""
    found = {
        name: tensor_memory(partial(step, kind, plan.sizes, amount, device), device=device) for name, step in phase.steps.items()
    }
    return {
        **{name: {"peak_bytes": m.peak, "rise_bytes": m.rise, "standing_bytes": m.standing} for name, m in found.items()},
        "plain_over_ours_peak": found["plain"].peak / max(1, found["ours"].peak),
        "plain_over_ours_rise": found["plain"].rise / max(1, found["ours"].rise),
    }


def measure_time(phase: Phase, kind: Kind, plan: Plan, amount: int, device: str, peak: dict[str, Any]) -> dict[str, Any]:
    """Time both implementations and the fastest matrix product in turns; return each one's figures and the ratios."""
    functions = {name: step(kind, plan.sizes, amount, device) for name, step in phase.steps.items()}
    # The plain one's operations by formula (a test holds it against torch's count): cuDNN's GRU hides them from torch's counter.
    flops = {"plain": phase.flops(kind, plan.sizes, amount, True), "ours": gemm.count_flops(functions["ours"])}
    m, k, n = map(int, peak["fastest_shape"].split("x"))
    neighbour = gemm.gemm((m, k, n), device)
    times = interleave({**functions, "gemm": neighbour}, plan.rounds, plan.seconds, plan.least_seconds, device)
    gemm_rates = [gemm.gemm_flops((m, k, n)) / seconds for seconds in times["gemm"].clock]
    figures: dict[str, Any] = {name: _figure(times[name], flops[name], gemm_rates, peak["flop_per_second"]) for name in functions}
    figures["least_flop"] = phase.flops(kind, plan.sizes, amount, False)
    figures["rounds"] = len(times["gemm"].clock)
    figures["plain_over_ours"] = ratio(times["plain"].clock, times["ours"].clock)
    figures["plain_over_ours_cpu_time"] = ratio(times["plain"].cpu, times["ours"].cpu)
    return figures


def _figure(times: Times, flops: int, gemm_rates: list[float], peak: float) -> dict[str, Any]:
    seconds, cpu_seconds = quartiles(times.clock), quartiles(times.cpu)
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "flop": flops,
        "flop_per_second": flops / seconds["median"],
        "flop_per_cpu_second": flops / cpu_seconds["median"],
        **_fractions(flops / seconds["median"], flops / cpu_seconds["median"], peak),
        # Of what the machine gave to a matrix product in the same round: what load by others takes away is taken from both.
        "fraction_of_neighbouring_gemm": quartiles([flops / s / r for s, r in zip(times.clock, gemm_rates, strict=True)]),
    }


def _fractions(per_second: float, per_cpu_second: float, peak: float) -> dict[str, float]:
    """Return fractions of the peak; the second leaves out the time in which others had the core (for one CPU thread)."""
    return {"fraction_of_gemm_peak": per_second / peak, "fraction_of_gemm_peak_by_cpu_time": per_cpu_second / peak}


def measure_peak(plan: Plan, device: str) -> dict[str, Any]:
    """Return the rates of matrix products, and the fastest of them."""
    rates = gemm.gemm_rates(plan.shapes, device, plan.gemm_seconds)
    fastest = max(rates, key=lambda name: rates[name])
    return {"flop_per_second": rates[fastest], "fastest_shape": fastest, "by_shape": rates}


def measure(plan: Plan, output: Path, device: str, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Measure the whole plan, writing ``output`` after every figure; return what it holds."""
    results: dict[str, Any] = {
        "complete": False,
        "plan": asdict(plan),
        "machine": {**machine(), "device": device, "precision": torch.get_float32_matmul_precision()},
        "versions": {name: versions()[name] for name in ("python", "torch", "rwmu")},
        "commit": commit(),
        "changed_since_commit": bool(difference()),
        "gemm": measure_peak(plan, device),
    }
    say(f"fastest matrix product: {results['gemm']['flop_per_second'] / 1e9:.1f} GFLOP/s ({results['gemm']['fastest_shape']})")
    say(HEADER)
    for phase in PHASES:
        for amount in plan.amounts[phase.name]:
            for kind in plan.kinds:
                cell: dict[str, Any] = {"unit": phase.unit}
                results.setdefault(phase.name, {}).setdefault(str(amount), {})[kind] = cell
                cell["time"] = measure_time(phase, kind, plan, amount, device, results["gemm"])
                write_json(output, results)
                cell["memory"] = measure_memory(phase, kind, plan, amount, device)
                write_json(output, results)
                say(row(phase.name, kind, amount, cell))
    # Once more at the end: a peak taken in a busy minute would flatter every fraction.
    results["gemm_at_the_end"] = measure_peak(plan, device)
    set_fractions(results)
    results["complete"] = True
    write_json(output, results)
    say(f"\nwith the best of two, {results['gemm_peak_flop_per_second'] / 1e9:.1f} GFLOP/s:\n\n{table(results)}")
    return results


def _cells(results: dict[str, Any]) -> list[tuple[str, str, int, dict[str, Any]]]:
    """Return phase, kind, amount and figures of everything that was measured."""
    return [
        (phase.name, kind, int(amount), cell)
        for phase in PHASES
        for amount, kinds in results.get(phase.name, {}).items()
        for kind, cell in kinds.items()
    ]


def set_fractions(results: dict[str, Any]) -> None:
    """Relate every figure to the better of the peaks measured at the start and at the end."""
    peak = max(results["gemm"]["flop_per_second"], results["gemm_at_the_end"]["flop_per_second"])
    results["gemm_peak_flop_per_second"] = peak
    for _, _, _, cell in _cells(results):
        for name in ("plain", "ours"):
            figure = cell["time"][name]
            figure.update(_fractions(figure["flop_per_second"], figure["flop_per_cpu_second"], peak))


def table(results: dict[str, Any]) -> str:
    """Return the whole table of finished results."""
    return "\n".join([HEADER, *(row(*cell) for cell in _cells(results))])


HEADER = (
    "| phase | ensemble | amount | plain, s | ours, s | times faster (quartiles) | by CPU time | plain, GFLOP | ours, GFLOP "
    "| plain, of peak (by CPU time) | ours, of peak (by CPU time) | plain, peak MB | ours, peak MB | times less |\n"
    "|" + " --- |" * 14
)


def row(phase: str, kind: str, amount: int, cell: dict[str, Any]) -> str:
    """Return one row of the table."""
    time, memory = cell["time"], cell["memory"]
    faster = time["plain_over_ours"]
    columns = (
        phase,
        kind,
        str(amount),
        *(f"{time[name]['seconds']['median']:.4g}" for name in ("plain", "ours")),
        f"{faster['median']:.2f} ({faster['lower_quartile']:.2f}-{faster['upper_quartile']:.2f})",
        f"{time['plain_over_ours_cpu_time']['median']:.2f}",
        *(f"{time[name]['flop'] / 1e9:.4g}" for name in ("plain", "ours")),
        *(_percent(time[name]) for name in ("plain", "ours")),
        *(f"{memory[name]['peak_bytes'] / 1e6:.1f}" for name in ("plain", "ours")),
        f"{memory['plain_over_ours_peak']:.2f}",
    )
    return f"| {' | '.join(columns)} |"


def _percent(figure: dict[str, Any]) -> str:
    return f"{100 * figure['fraction_of_gemm_peak']:.0f} % ({100 * figure['fraction_of_gemm_peak_by_cpu_time']:.0f} %)"


def chosen_plan(arguments: argparse.Namespace) -> Plan:
    """Return the plan that the command line describes."""
    plan = QUICK if arguments.quick else FULL
    if torch.device(arguments.device).type == "cuda" and not arguments.quick:
        plan = Plan(plan.sizes, {"training": (16, 256, 1024), "imagination": (1024, 4096, 8192)}, shapes=gemm.GPU_SHAPES)
    amounts = {
        "training": plan.amounts["training"] if arguments.batches is None else tuple(arguments.batches),
        "imagination": plan.amounts["imagination"] if arguments.environments is None else tuple(arguments.environments),
    }
    rounds = plan.rounds if arguments.rounds is None else (arguments.rounds, arguments.rounds)
    return Plan(
        plan.sizes,
        amounts,
        rounds,
        plan.seconds,
        plan.least_seconds,
        plan.shapes,
        plan.gemm_seconds,
        tuple(kind for kind in KINDS if kind in arguments.kinds),
    )


def main(command_line: list[str] | None = None) -> None:
    """Measure, print the table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="a few seconds at toy sizes, to see that everything works")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("highest", "high", "medium"), default="highest")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--batches", type=int, nargs="*", help="of training, instead of 16 256 1024")
    parser.add_argument("--environments", type=int, nargs="*", help="of imagination, instead of 1024 4096")
    parser.add_argument("--rounds", type=int, help="instead of as many as there is time for")
    arguments = parser.parse_args(command_line)
    if torch.device(arguments.device).type == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device {arguments.device}: torch finds no CUDA device here; leave it out to measure the CPU.")
    torch.set_num_threads(arguments.threads)
    torch.set_float32_matmul_precision(arguments.precision)
    measure(chosen_plan(arguments), arguments.output, arguments.device, partial(print, flush=True))


if __name__ == "__main__":
    main()
