"""The training recipe of the behaviour policies: rsl-rl's PPO, mirrored data, easy rewards first and the exact ones after."""

from __future__ import annotations

import contextlib
import csv
import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rsl_rl.algorithms import PPO
from tensordict import TensorDict
from torch import Tensor

from rwmu.simulators.mujoco import MujocoEnv
from rwmu.tasks.velocity import VelocityTask

# Heavier tracking and a lighter demand for a level base let a gait appear; the exact weights from scratch end in standing or
# falling.
EASY: dict[str, dict[str, float]] = {
    "track_lin_vel_xy_exp": {"weight": 2.0},
    "track_ang_vel_z_exp": {"weight": 1.0},
    "flat_orientation_l2": {"weight": -2.5},
    "feet_air_time": {"threshold_s": 0.3},
}

FIRST_COMMAND_RANGE, WIDENING, WIDEN_ABOVE = 0.5, 0.02, 0.65


@dataclass(frozen=True)
class Phase:
    """One part of the training.

    Attributes:
        name: ``easy`` or ``exact``.
        iterations: of PPO, at most.
        curriculum: easy weights; start with a small share of the command range and widen it while the commands are tracked.
        settle: with a curriculum, end the phase this many iterations after the full range was reached.
    """

    name: str
    iterations: int
    curriculum: bool
    settle: int = 0


def mirror_augmentation(env: MujocoEnv, obs: TensorDict | None = None, actions: Tensor | None = None) -> tuple[Any, Any]:
    """Append the mirror images to a batch, in the form that rsl-rl's symmetry extension calls."""
    mirrors = list(env.task.robot.mirrors.values())
    mirrored_obs = None
    if obs is not None:
        rows = torch.cat([mirror.of(env.task.observation_layout)(obs["policy"]) for mirror in mirrors])
        mirrored_obs = TensorDict({"policy": rows}, batch_size=[len(rows)])
    mirrored_actions = None if actions is None else torch.cat([mirror.action(actions) for mirror in mirrors])
    return mirrored_obs, mirrored_actions


def ppo_config(initial_std: float, steps: int) -> dict[str, Any]:
    """Return rsl-rl's configuration."""
    network = {"class_name": "rsl_rl.models.MLPModel", "hidden_dims": [128, 128, 128], "activation": "elu"}
    gaussian = {
        "class_name": "rsl_rl.modules.distribution.GaussianDistribution",
        "init_std": initial_std,
        "std_type": "log",
        "std_range": (0.05, 2.7),
    }
    algorithm = {
        "class_name": "rsl_rl.algorithms.PPO",
        "num_learning_epochs": 3,
        "num_mini_batches": 4,
        "entropy_coef": 0.005,
        "learning_rate": 1e-3,
        "symmetry_cfg": {"data_augmentation_func": mirror_augmentation, "use_data_augmentation": True},
    }
    return {
        "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
        "num_steps_per_env": steps,
        "multi_gpu": None,
        "actor": network | {"distribution_cfg": gaussian},
        "critic": dict(network),
        "algorithm": algorithm,
    }


class Trainer:
    """Run the phases, write the learning curves, and keep a candidate now and then.

    Args:
        folder: where candidates and ``learning_curves.csv`` go.
        task: the exact one; the easy one differs from it.
        seed: of simulator and networks.
        resume: a candidate to go on from, in its phase and with its command range; the curves are appended to.
        num_envs, steps: of a PPO iteration.
        keep_every: iterations between two candidates.
    """

    def __init__(
        self,
        folder: Path,
        task: VelocityTask,
        seed: int,
        resume: dict[str, Any] | None = None,
        num_envs: int = 512,
        steps: int = 24,
        keep_every: int = 12,
    ) -> None:
        self.folder, self.task, self.seed = folder, task, seed
        self.num_envs, self.steps, self.keep_every = num_envs, steps, keep_every
        torch.manual_seed(seed)
        folder.mkdir(parents=True, exist_ok=True)
        self._curves = (folder / "learning_curves.csv").open("a" if resume else "w", newline="")
        self._writer: csv.DictWriter[str] | None = None
        self._checkpoint = resume
        self._cpu_start = time.process_time() - (resume["infos"]["cpu_s"] if resume else 0.0)
        self.iteration = resume["iter"] if resume else 0
        self.ppo: PPO | None = None

    def run(self, phase: Phase) -> None:
        """Train one phase, going on with the networks of the phase before."""
        half_width = FIRST_COMMAND_RANGE if phase.curriculum else 1.0
        if self._checkpoint is not None and phase.curriculum:
            half_width = self._checkpoint["infos"]["command_range"]
        changes = EASY if phase.curriculum else {}
        env = MujocoEnv(self.task.varied(changes, half_width), self.num_envs, seed=self.seed + self.iteration, random_start=True)
        if self.ppo is None:
            with contextlib.redirect_stdout(io.StringIO()):
                self.ppo = PPO.construct_algorithm(env.get_observations(), env, ppo_config(0.6, self.steps), "cpu")
            if self._checkpoint is not None:
                self.ppo.load(self._checkpoint, None, strict=True)
            else:
                self._keep(half_width)
        self.ppo.train_mode()
        settled = 0
        for _ in range(phase.iterations):
            row = self._iterate(env)
            self.iteration += 1
            tracking = row["track_lin_vel_xy_exp"]
            if phase.curriculum and tracking > WIDEN_ABOVE and half_width < 1.0:
                half_width = min(1.0, half_width + WIDENING)
                env.task.command_range = tuple(half_width * bound for bound in self.task.command_range)
            self._log({"phase": phase.name, "command_range": half_width} | row)
            if self.iteration % self.keep_every == 0:
                self._keep(half_width)
            settled += half_width == 1.0
            if phase.curriculum and settled > phase.settle:
                break
        self._keep(half_width)

    def _iterate(self, env: MujocoEnv) -> dict[str, float]:
        """Collect one batch and learn from it; return the mean of every reward term over the batch."""
        assert self.ppo is not None
        sums: dict[str, float] = dict.fromkeys(env.task.weights, 0.0)
        terminated = reward_sum = 0.0
        observation = env.get_observations()
        with torch.inference_mode():
            for _ in range(self.steps):
                action = self.ppo.act(observation)
                observation, reward, done, extras = env.step(action.clone())
                self.ppo.process_env_step(observation, reward, done, extras)
                terminated += float(env.terminated.float().mean())
                reward_sum += float(reward.mean())
                for name, term in env.last_reward.terms.items():
                    sums[name] += float(term.mean())
            self.ppo.compute_returns(observation)
        losses = self.ppo.update()
        means = {name: total / self.steps for name, total in sums.items()}
        rate = {"reward_rate": reward_sum / self.steps / env.task.step_dt, "terminated": terminated / self.steps}
        return rate | means | {"value_loss": losses["value"], "num_diverged": env.num_diverged}

    def _log(self, row: dict[str, Any]) -> None:
        assert self.ppo is not None
        std = float(self.ppo.actor.distribution.log_std_param.detach().exp().mean())  # type: ignore[union-attr]
        steps = self.iteration * self.num_envs * self.steps
        cpu = time.process_time() - self._cpu_start
        progress = {"iteration": self.iteration, "steps": steps, "cpu_s": round(cpu, 1)}
        row = progress | row | {"action_std": std, "learning_rate": self.ppo.learning_rate}
        row = {name: f"{value:.5g}" if isinstance(value, float) else value for name, value in row.items()}
        if self._writer is None:
            self._writer = csv.DictWriter(self._curves, list(row))
            if self._curves.tell() == 0:
                self._writer.writeheader()
        self._writer.writerow(row)
        self._curves.flush()
        if self.iteration % 10 == 0:
            shown = ("reward_rate", "track_lin_vel_xy_exp", "track_ang_vel_z_exp", "terminated", "command_range", "action_std")
            print(f"{self.iteration:4d} {steps / 1e6:.2f}M {cpu:5.0f}s " + " ".join(f"{n} {row[n]}" for n in shown), flush=True)

    def _keep(self, command_range: float) -> None:
        assert self.ppo is not None
        infos = {"command_range": command_range, "cpu_s": time.process_time() - self._cpu_start}
        checkpoint = self.ppo.save() | {"iter": self.iteration, "infos": infos}
        torch.save(checkpoint, self.folder / f"candidate_{self.iteration:04d}.pt")
