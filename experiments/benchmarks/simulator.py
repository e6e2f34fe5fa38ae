"""Print the control steps per CPU-second of the embedded simulator: ``python experiments/benchmarks/simulator.py``."""

from __future__ import annotations

import argparse
import json
import time

import torch

from rwmu.simulators.actors import policy_levels
from rwmu.simulators.mujoco import DEFAULT_ENVELOPE, MujocoEnv
from rwmu.simulators.physics import TorqueSpeedEnvelope
from rwmu.tasks.anymal_d import anymal_d
from rwmu.tasks.velocity import VelocityTask


def speed(num_envs: int, level: str | None, envelope: TorqueSpeedEnvelope | None, steps: int) -> float:
    """Return control steps per CPU-second, observation and reward included, the time of the policy left out.

    Args:
        level: the behaviour policy that acts; None for small random actions.
    """
    env = MujocoEnv(VelocityTask(anymal_d()), num_envs, envelope=envelope, random_start=True)
    actor = policy_levels().actor(level) if level else None
    generator = torch.Generator().manual_seed(0)
    elapsed = 0.0
    for step in range(20 + steps):
        noise = 0.3 * torch.randn(num_envs, env.num_actions, generator=generator)
        action = noise if actor is None else actor(env.get_observations()["policy"]) + 0.3 * noise
        start = time.process_time()
        env.step(action)
        elapsed += time.process_time() - start if step >= 20 else 0.0
    return num_envs * steps / elapsed


def main() -> None:
    """Measure a few cases on one thread and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {
        f"{num_envs} environments, {level or 'random actions'}, {'with' if envelope else 'without'} torque-speed envelope": round(
            speed(num_envs, level, envelope, arguments.steps)
        )
        for num_envs in (64, 256, 1024)
        for level in (None, "expert")
        for envelope in (DEFAULT_ENVELOPE, None)
    }
    print(json.dumps({"control_steps_per_cpu_second": results}, indent=1))


if __name__ == "__main__":
    main()
