"""What it costs that time-outs are worth V(s_t) instead of V(s_{t+1}): ``python -m experiments.walking.bootstrap MODEL.pt``.

rsl-rl adds the value of the state before the last step, because the one after it is lost in the reset. Here both are known: rows of
a rollout of 24 steps that goes on are taken for time-outs at random, as often as dreams of 200 steps have them, and the advantages
(GAE, gamma 0.99, lambda 0.95) are computed either way.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from rwmu.files import write_json
from rwmu.policy.rsl_rl import PpoSettings, build_ppo, load_checkpoint
from rwmu.robots.anymal_d import anymal_d
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.tasks.velocity import VelocityTask

ENVS, STEPS, HORIZON, SETTLE = 512, 24, 200, 50
GAMMA, LAMBDA = 0.99, 0.95
RESULT = Path(__file__).with_name("bootstrap.json")


def advantages(rewards: Tensor, values: Tensor, ended: Tensor, last: Tensor) -> Tensor:
    """Return GAE ``[T, B]``; an end at t is worth ``last[t]``, values are ``[T + 1, B]``."""
    found, carried = torch.zeros_like(rewards), torch.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        after = torch.where(ended[t], last[t], values[t + 1])
        carried = rewards[t] + GAMMA * after - values[t] + GAMMA * LAMBDA * ~ended[t] * carried
        found[t] = carried
    return found


@torch.no_grad()
def main() -> None:
    """Measure both on rollouts of the policy in the simulator, and write the result."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    env = MujocoEnv(VelocityTask(anymal_d()), ENVS)
    ppo = build_ppo(env, PpoSettings())
    load_checkpoint(Path(sys.argv[1]), ppo)
    observations, rewards, values = env.get_observations(), [], []
    for _ in range(SETTLE + STEPS):
        values.append(ppo.critic(observations).flatten())
        observations, reward, _, _ = env.step(ppo.actor(observations, stochastic_output=True))
        rewards.append(reward)
    values.append(ppo.critic(observations).flatten())
    paid, worth = torch.stack(rewards[SETTLE:]), torch.stack(values[SETTLE:])
    ended = torch.rand(STEPS, ENVS) < 1.0 / HORIZON
    after, before = (advantages(paid, worth, ended, last) for last in (worth[1:], worth[:-1]))
    change = worth[1:] - worth[:-1]
    result = {
        "std of the value": worth.std(),
        "mean change of the value in a step": change.mean(),
        "std of the change of the value in a step": change.std(),
        "correlation of the advantages": torch.corrcoef(torch.stack((after.flatten(), before.flatten())))[0, 1],
        "rms difference over std of the advantages": (after - before).square().mean().sqrt() / after.std(),
    }
    write_json(RESULT, {name: float(f"{float(value):.3g}") for name, value in result.items()})
    print(json.dumps(json.loads(RESULT.read_text()), indent=1))


if __name__ == "__main__":
    main()
