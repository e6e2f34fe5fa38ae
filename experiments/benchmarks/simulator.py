"""Print the control steps per CPU-second of the embedded simulator: ``python experiments/benchmarks/simulator.py``."""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from rwmu.robots.anymal_d import anymal_d
from rwmu.simulators.actors import policy_levels
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.tasks.velocity import VelocityTask


def speed(num_envs: int, level: str | None, envelope: str, steps: int) -> float:
    """Return control steps per CPU-second, observation and reward included, the time of the policy left out: the median step.

    Args:
        level: the behaviour policy that acts; None for small random actions.
    """
    env = MujocoEnv(VelocityTask(anymal_d()), num_envs, envelope=envelope, random_start=True)
    actor = policy_levels(env.task).actor(level) if level else None
    generator = torch.Generator().manual_seed(0)
    times = []
    for _ in range(20 + steps):
        noise = 0.3 * torch.randn(num_envs, env.num_actions, generator=generator)
        action = noise if actor is None else actor(env.get_observations()["policy"]) + 0.3 * noise
        start = time.process_time()
        env.step(action)
        times.append(time.process_time() - start)
    return num_envs / statistics.median(times[20:])


def main() -> None:
    """Measure a few cases on one thread and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {
        f"{num_envs} environments, {level or 'random actions'}, {words} torque-speed envelope": round(
            speed(num_envs, level, envelope, arguments.steps)
        )
        for num_envs in (64, 256)
        for level in (None, "expert")
        for envelope, words in (("motors", "with"), ("none", "without"))
    }
    print(json.dumps({"control_steps_per_cpu_second": results}, indent=1))


if __name__ == "__main__":
    main()
