"""Measure training and imagination of ``scale=paper`` on a GPU, as a whole and step by step, in a few minutes.

    python -m experiments.benchmarks.gpu      # gpu.json

A step is measured as it is called and, where torch can capture it, as a CUDA graph; where it cannot, the file says why.
"""

from __future__ import annotations

import time
import warnings
from itertools import product
from typing import Any

import torch

from experiments.benchmarks import ours, run, timing
from experiments.benchmarks.plain import KINDS
from rwmu import api
from rwmu.files import write_json

AIMS = {"training_seconds": 60.0, "imagined_steps_a_minute": 20e6}
STEPS = {"training_published": ours.training_step, "training_default": ours.default_step, "imagination": ours.imagination_step}
# Few data do: of six million rows none would be slower to draw.
PAPER = ("scale=paper", "data.num_transitions=20000", "trainer.max_steps=200", "trainer.validate_every=200")


def captured(function: timing.Function) -> timing.Function:
    """Return a CUDA graph of a function, to be replayed; RuntimeError where torch cannot capture it."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def measure_step(function: timing.Function, device: str, rounds: tuple[int, int]) -> dict[str, Any]:
    """Return the seconds of a call and of its graph, and how often a call makes the CPU wait for the GPU."""

    def seconds(timed: timing.Function) -> dict[str, float]:
        return timing.quartiles(timing.interleave({"": timed}, rounds, 10.0, device=device)[""].clock)

    found: dict[str, Any] = {"seconds": seconds(function)}
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True, action="always") as waits:
            function()
        torch.cuda.set_sync_debug_mode("default")
        found["waits"] = len(waits)
        try:
            found["graph_seconds"] = seconds(captured(function))
        except RuntimeError as error:
            found["no_graph"] = str(error).splitlines()[0]
    return found


def whole(overrides: tuple[str, ...], device: str, rounds: tuple[int, int]) -> dict[str, Any]:
    """Return how long a fit takes, windows and Lightning included, and a step of dreams, rewards and restarts included."""
    plan = api.configure("+experiment=mopo_shared5", *overrides, f"imagination.device={device}", "machine.progress=false")
    episodes, seconds = api.collect_episodes(plan), 0.0
    for _ in range(2):  # the first warms up
        start = time.perf_counter()
        model = api.fit(plan, episodes)
        seconds = time.perf_counter() - start
    dream = api.imagine(plan, model, episodes)
    action = torch.zeros(dream.num_envs, dream.num_actions, device=dream.device)
    step = measure_step(lambda: dream.step(action), device, rounds)
    rate = 60.0 * dream.num_envs / step["seconds"]["median"]
    training = seconds * api.configure("scale=paper").trainer.max_steps / plan.trainer.max_steps
    return {"training_seconds": training, "imagined_steps_a_minute": rate, "imagined_step": step}


def main(plan: run.Plan = run.FULL, overrides: tuple[str, ...] = PAPER, device: str = "cuda") -> None:
    """Measure the largest amounts of a plan, or say in a sentence that there is no GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        print("Nothing is measured: torch finds no CUDA device here.")
        return
    results = {**run.surroundings(device), "aims": AIMS, "whole": whole(overrides, device, plan.rounds), "steps": {}}
    for kind, (name, step) in product(KINDS, STEPS.items()):
        function = step(kind, plan.sizes, plan.amounts[name.partition("_")[0]][-1], device)
        results["steps"][f"{name}, {kind}"] = measure_step(function, device, plan.rounds)
        write_json(run.HERE / "gpu.json", results)  # every figure is kept as soon as it is there


if __name__ == "__main__":
    main()
