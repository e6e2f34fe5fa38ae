"""Measure training and imagination of both ensembles against a plain implementation, and the speed of the embedded simulator.

    python -m experiments.benchmarks.run dynamics      # dynamics.json and the README's table; twenty minutes on one core
    python -m experiments.benchmarks.run forecast      # forecast.json and its table; a minute
    python -m experiments.benchmarks.run simulator     # simulator.json
    python -m experiments.benchmarks.run summarise     # the README's tables of both

Every figure comes with its operations and its fraction of the fastest matrix product measured in the same run, at the same threads
and precision. The file is written anew after every figure, so an interrupted run keeps what it has.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch

from experiments.benchmarks import ours, plain, timing
from experiments.benchmarks.plain import KINDS, Kind, Sizes
from experiments.generated import markdown, rewrite
from rwmu.files import write_json
from rwmu.robots.anymal_d import anymal_d
from rwmu.runs.card import commit, difference, machine, versions
from rwmu.simulators.actors import policy_levels
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.tasks.velocity import VelocityTask

HERE = Path(__file__).parent
COMMAND = "python -m experiments.benchmarks.run summarise"
STEPS: dict[str, dict[str, Callable[[Kind, Sizes, int, str], timing.Function]]] = {
    "training": {"plain": plain.training_step, "ours": ours.training_step},
    "imagination": {"plain": plain.imagination_step, "ours": ours.imagination_step},
}
# What was aimed at: (phase, ensemble, amount) -> times faster than the plain implementation.
AIMS = {("training", "shared", "256"): 3.5, ("training", "shared", "1024"): 3.5, ("training", "independent", "16"): 1.4}
AIMS |= {("training", "independent", amount): 1.05 for amount in ("256", "1024")}
AIMS |= {("imagination", "shared", amount): 1.35 for amount in ("1024", "4096")}
AIMS |= {("imagination", "independent", amount): 1.8 for amount in ("1024", "4096")}
WAYS = ("loop", "at_once")  # of making a forecast


@dataclass(frozen=True)
class Plan:
    """What is measured, and how often.

    Attributes:
        amounts: phase -> batches, or numbers of environments. rounds, least_seconds: see :func:`timing.interleave`.
        shapes: of the matrix products.
    """

    sizes: Sizes
    amounts: Mapping[str, tuple[int, ...]]
    rounds: tuple[int, int] = (5, 25)
    least_seconds: float = 0.2
    shapes: tuple[tuple[int, int, int], ...] = timing.SHAPES


FULL = Plan(Sizes(), {"training": (16, 256, 1024), "imagination": (1024, 4096)})
TOY = Sizes(state=6, action=2, contact=3, hidden=16, head=8, history=2, forecast=2, members=2)
QUICK = Plan(TOY, {"training": (4,), "imagination": (16,)}, (2, 2), 0.005, ((128, 128, 128), (256, 256, 256)))


def surroundings(device: str) -> dict[str, Any]:
    """Return what figures depend on beside what is measured."""
    return {
        "machine": {**machine(), "device": device, "precision": torch.get_float32_matmul_precision()},
        "versions": {name: versions()[name] for name in ("python", "torch", "rwmu")},
        "commit": commit(),
        "changed_since_commit": bool(difference()),
    }


def measure_time(phase: str, kind: Kind, plan: Plan, amount: int, device: str, peak: float) -> dict[str, Any]:
    """Time both implementations in turns; return each one's figures and how many times faster ours is."""
    functions = {name: step(kind, plan.sizes, amount, device) for name, step in STEPS[phase].items()}
    times = timing.interleave(functions, plan.rounds, least_seconds=plan.least_seconds, device=device)
    figures: dict[str, Any] = {"rounds": len(times["ours"].clock)}
    for name, function in functions.items():
        seconds, flops = timing.quartiles(times[name].clock), timing.count_flops(function)
        figures[name] = {"seconds": seconds, "cpu_seconds": timing.quartiles(times[name].cpu), "flop": flops}
        figures[name]["fraction_of_gemm_peak"] = flops / seconds["median"] / peak
    return figures | {"plain_over_ours": timing.ratio(times["plain"].clock, times["ours"].clock)}


def measure_forecasts(sizes: Sizes, batch: int, forecasts: tuple[int, ...], rounds: tuple[int, int]) -> dict[str, Any]:
    """Time the package's default training step with the forecast as one operation and as a loop, in turns."""
    results: dict[str, Any] = {**surroundings("cpu"), "training": {}}
    for kind, forecast in product(KINDS, forecasts):
        steps = {
            name: ours.default_step(kind, replace(sizes, forecast=forecast), batch, at_once=name == "at_once") for name in WAYS
        }
        times = timing.interleave(steps, rounds)
        cell: dict[str, Any] = {name: timing.quartiles(times[name].clock) for name in WAYS}
        cell |= {"rounds": len(times["loop"].cpu), "loop_over_at_once": timing.ratio(times["loop"].cpu, times["at_once"].cpu)}
        results["training"].setdefault(kind, {})[str(forecast)] = cell
    return results


def times_faster(found: Mapping[str, float]) -> str:
    """Return a ratio with its quartiles."""
    return f"{found['median']:.2f} ({found['lower_quartile']:.2f}-{found['upper_quartile']:.2f})"


def forecast_table(results: Mapping[str, Any]) -> list[str]:
    """Return one row a cell of forecast.json."""
    rows = [
        [kind, steps, *(f"{1000 * cell[name]['median']:.0f}" for name in WAYS), times_faster(cell["loop_over_at_once"])]
        for kind, cells in results["training"].items()
        for steps, cell in cells.items()
    ]
    return markdown(["ensemble", "forecast", "loop, ms", "one operation, ms", "times faster (quartiles)"], rows)


def measure_memory(phase: str, kind: Kind, plan: Plan, amount: int, device: str) -> dict[str, Any]:
    """Return the bytes of tensors that each implementation needs, and how many times as many the plain one does."""
    steps = {name: partial(step, kind, plan.sizes, amount, device) for name, step in STEPS[phase].items()}
    found = {name: timing.tensor_memory(build, device=device) for name, build in steps.items()}
    each = {name: {"peak_bytes": m.peak, "rise_bytes": m.rise, "standing_bytes": m.standing} for name, m in found.items()}
    return each | {"plain_over_ours_peak": found["plain"].peak / max(1, found["ours"].peak)}


def measure(plan: Plan, output: Path, device: str = "cpu") -> dict[str, Any]:
    """Measure the whole plan, writing ``output`` after every figure; return what it holds."""
    rates = timing.gemm_rates(plan.shapes, device, plan.rounds[1])
    results: dict[str, Any] = {
        "complete": False,
        **surroundings(device),
        "gemm": {"flop_per_second": max(rates.values()), "by_shape": rates},
    }
    for phase, amounts in plan.amounts.items():
        for amount, kind in product(amounts, KINDS):
            cell: dict[str, Any] = {}
            results.setdefault(phase, {}).setdefault(str(amount), {})[kind] = cell
            cell["time"] = measure_time(phase, kind, plan, amount, device, max(rates.values()))
            write_json(output, results)
            cell["memory"] = measure_memory(phase, kind, plan, amount, device)
            write_json(output, results)
            print(table(results)[-1], flush=True)
    results["complete"] = True
    write_json(output, results)
    return results


def _rows(results: Mapping[str, Any]) -> Iterator[list[str]]:
    for phase in STEPS:
        for amount, kinds in results.get(phase, {}).items():
            for kind, cell in kinds.items():
                time_, times = cell["time"], times_faster(cell["time"]["plain_over_ours"])
                seconds = [f"{time_[name]['seconds']['median']:.3g}" for name in ("plain", "ours")]
                aim, of_peak = AIMS.get((phase, kind, amount)), f"{100 * time_['ours']['fraction_of_gemm_peak']:.0f} %"
                memory = f"{cell['memory']['plain_over_ours_peak']:.2f}" if "memory" in cell else ""
                yield [phase, kind, amount, *seconds, times, "" if aim is None else f"{aim:g}", of_peak, memory]


def table(results: Mapping[str, Any]) -> list[str]:
    """Return one row a cell that has been measured."""
    header = ["step", "ensemble", "batch or environments", "plain, s", "ours, s", "times faster (quartiles)", "aim"]
    return markdown([*header, "of the GEMM peak", "memory, times less"], _rows(results))


def summarise() -> None:
    """Write the tables of dynamics.json and forecast.json into README.md beside them."""
    dynamics, forecast = (json.loads((HERE / f"{name}.json").read_text()) for name in ("dynamics", "forecast"))
    rewrite(HERE / "README.md", COMMAND, {"results": table(dynamics), "forecast": forecast_table(forecast)})


# -- the simulator ----------------------------------------------------------------------------------------------------------------


def speed(num_envs: int, level: str | None, envelope: Literal["motors", "none"], steps: int = 100) -> float:
    """Return control steps per CPU-second, observation and reward included, the time of the policy left out: the median step.

    Args:
        level: the behaviour policy that acts; None for small random actions.
    """
    env = MujocoEnv(VelocityTask(anymal_d()), num_envs, envelope=envelope, random_start=True)
    actor = policy_levels().actor(level) if level else None
    generator = torch.Generator().manual_seed(0)
    times = []
    for _ in range(20 + steps):
        noise = 0.3 * torch.randn(num_envs, env.num_actions, generator=generator)
        action = noise if actor is None else actor(env.get_observations()["policy"]) + 0.3 * noise
        start = time.process_time()
        env.step(action)
        times.append(time.process_time() - start)
    return num_envs / statistics.median(times[20:])


def simulator() -> dict[str, int]:
    """Return the speed of a few cases, by their description."""
    found = {}
    for num_envs, level, envelope in product((64, 256), (None, "expert"), ("motors", "none")):
        limits = f"{'with' if envelope == 'motors' else 'without'} torque-speed envelope"
        found[f"{num_envs} environments, {level or 'random actions'}, {limits}"] = round(speed(num_envs, level, envelope))
    return found


def main(command_line: list[str] | None = None) -> None:
    """Measure what the command line names, or write the table of what has been measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("dynamics", "forecast", "simulator", "summarise"))
    parser.add_argument("--output", type=Path, help="instead of the committed file")
    parser.add_argument("--quick", action="store_true", help="a few seconds at toy sizes, to see that everything works")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(command_line)
    if torch.device(given.device).type == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device {given.device}: torch finds no CUDA device here; leave it out to measure the CPU.")
    torch.set_num_threads(given.threads)
    if given.what == "simulator":
        write_json(given.output or HERE / "simulator.json", {"control_steps_per_cpu_second": simulator()}, indent=1)
    elif given.what == "dynamics":
        measure(QUICK if given.quick else FULL, given.output or HERE / "dynamics.json", given.device)
    elif given.what == "forecast":
        quick = replace(TOY, layers=1), 4, (2,), (2, 2)
        found = measure_forecasts(*(quick if given.quick else (ours.LAPTOP, 32, (8, 32), (7, 15))))
        write_json(given.output or HERE / "forecast.json", found)
    if given.what != "simulator" and given.output is None:
        summarise()


if __name__ == "__main__":
    main()
