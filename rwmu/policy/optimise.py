"""Improve a policy by PPO, in any environment that can be resumed: rsl-rl's update, and what a run needs around it.

The loop is that of rsl-rl's runner, over its PPO, with what it lacks: a critic that warms up before a cloned actor moves, an
optional pull towards a reference policy, one row of metrics an iteration, and checkpoints from which an interrupted run goes on
with identical results.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rsl_rl.algorithms import PPO
from torch import Tensor
from tqdm import tqdm

from rwmu.errors import CheckpointError, TrainingError
from rwmu.files import write_torch
from rwmu.loggers import EveryLogger
from rwmu.policy.curriculum import Progress
from rwmu.policy.rsl_rl import copy_to_cpu, load_checkpoint, read_checkpoint, save_checkpoint
from rwmu.simulators.env import RobotEnv

RESUME_FILE, AVERAGED = "resume.pt", "averaged.pt"


@dataclass
class PolicyOptimiser:
    """PPO in an environment, iteration by iteration; :meth:`improve` may be called again, in another environment too.

    Attributes:
        ppo: of :func:`rwmu.policy.rsl_rl.build_ppo`.
        checkpoints: gets ``model_<iteration>.pt`` for rsl-rl's runner and ``resume.pt``; None saves nothing.
        logger: gets one row of metrics an iteration.
        save_every: iterations between two checkpoints.
        critic_warmup_iterations: how many of the first leave the actor as it is.
        infos: plain values saved with each ``model_<iteration>.pt``.
        progress: show a progress bar. before_iteration: called before each.
        phases: of a curriculum, which changes the environment as the policy learns; training ends with the last.
        iteration: how many have been run, those before a resumption included.
    """

    ppo: PPO
    checkpoints: Path | None = None
    logger: EveryLogger | None = None
    save_every: int = 25
    critic_warmup_iterations: int = 0
    infos: Mapping[str, Any] = field(default_factory=dict)
    progress: bool = False
    before_iteration: Callable[[], None] | None = None
    phases: Progress | None = None
    iteration: int = 0

    def improve(self, env: RobotEnv, iterations: int) -> list[dict[str, float]]:
        """Iterate until there have been ``iterations`` in all, or the last phase has ended.

        Interrupted (Ctrl-C), it writes ``resume.pt`` at the last whole iteration.

        Returns:
            One row of metrics an iteration run here, as given to the logger.
        """
        rows: list[dict[str, float]] = []
        snapshot: dict[str, Any] = {}
        bar = tqdm(total=iterations, initial=self.iteration, desc="imagination", unit="it", disable=not self.progress)
        try:
            with bar:
                while self.iteration < iterations and not self._finished:
                    if self.before_iteration is not None:
                        self.before_iteration()
                    if self.checkpoints is not None:
                        snapshot = self._snapshot(env)
                    row = _iterate(env, self.ppo, freeze_actor=self.iteration < self.critic_warmup_iterations)
                    if self.phases is not None:
                        row |= self.phases.metrics()
                        self.phases.advance(env, self.ppo, row)
                    rows.append(row)
                    if self.logger is not None:
                        self.logger.log_metrics(row, self.iteration)
                    self.iteration += 1
                    bar.update()
                    bar.set_postfix(self._shown(row))
                    if self.iteration % self.save_every == 0 or self.iteration == iterations or self._finished:
                        self._save(env)
        except KeyboardInterrupt:
            if snapshot:
                self._keep(snapshot)
            raise
        return rows

    def _save(self, env: RobotEnv) -> None:
        if self.checkpoints is not None:
            infos = {**self.infos, **({} if self.phases is None else {"phases": self.phases.state_dict()})}
            save_checkpoint(self.checkpoints / f"model_{self.iteration}.pt", self.ppo, self.iteration, infos)
            self._keep(self._snapshot(env))

    def _keep(self, snapshot: dict[str, Any]) -> None:
        """Write ``resume.pt``, and before it the metrics of all iterations that will not be run again."""
        if self.checkpoints is not None:
            if self.logger is not None:
                self.logger.save()
            write_torch(self.checkpoints / RESUME_FILE, snapshot)

    @property
    def _finished(self) -> bool:
        return self.phases is not None and self.phases.finished

    def _shown(self, row: Mapping[str, float]) -> dict[str, str]:
        """Return what the progress bar shows."""
        phase = {} if self.phases is None else {"phase": self.phases.name, "commands": f"{self.phases.share:.0%}"}
        return {"reward": f"{row.get('imagined/reward', math.nan):.2f}", "kl": f"{row['policy/kl']:.3f}", **phase}

    def _snapshot(self, env: RobotEnv) -> dict[str, Any]:
        """Copy everything that decides what comes after the last whole iteration, to the CPU."""
        streams = {"torch_rng": torch.get_rng_state()}
        if (device := torch.device(self.ppo.device)).type != "cpu":
            streams["device_rng"] = torch.get_device_module(device).get_rng_state(device)
        phases = {} if self.phases is None else {"phases": self.phases.state_dict()}
        return {**copy_to_cpu(self.ppo.save()), "iter": self.iteration, "infos": {}, "env": env.state_dict(), **streams, **phases}

    def resume(self, env: RobotEnv) -> None:
        """Put ``env`` and PPO where ``resume.pt`` left them, if there is one."""
        path = None if self.checkpoints is None else self.checkpoints / RESUME_FILE
        if path is None or not path.is_file():
            return
        self.iteration = load_checkpoint(path, self.ppo)
        content = read_checkpoint(path)
        if lacking := {"env", "torch_rng", *(() if self.phases is None else ("phases",))} - set(content):
            raise CheckpointError(f"{path} lacks '{min(lacking)}', so no training can go on from it.")
        if self.phases is not None:
            self.phases.load_state_dict(content["phases"])
            self.phases.apply(env, self.ppo)
        env.load_state_dict(content["env"])
        torch.set_rng_state(content["torch_rng"])
        if (device := torch.device(self.ppo.device)).type != "cpu" and "device_rng" in content:  # absent where it began on the CPU
            torch.get_device_module(device).set_rng_state(content["device_rng"], device)


def _refuse_non_finite(what: str, tensors: Iterable[Tensor]) -> None:
    """Stop before a policy of NaNs is kept."""
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        cure = "lower policy.ppo.learning_rate, or policy.ppo.max_grad_norm if you raised it"
        raise TrainingError(f"The policy's {what} are no longer finite; {cure}.")


def _iterate(env: RobotEnv, ppo: PPO, freeze_actor: bool) -> dict[str, float]:
    """Collect one rollout and update once; returns the metrics."""
    started = time.perf_counter()
    ppo.train_mode()
    with torch.inference_mode():
        observation = env.get_observations()
        logs: list[dict[str, Any]] = []
        for _ in range(ppo.storage.num_transitions_per_env):
            # The storage copies the very tensor that act() returned only after the step: the environment gets its own.
            action = ppo.act(observation)
            _refuse_non_finite("actions", [action])
            following, reward, done, extras = env.step(action.clone())
            ppo.process_env_step(following, reward, done, extras)
            logs.append(extras["log"])
            observation = following
        ppo.compute_returns(observation)
        value_variance = ppo.storage.returns.var()
        explained = 1.0 - (ppo.storage.returns - ppo.storage.values).var() / value_variance.clamp(min=1e-12)
    collected = time.perf_counter()
    losses = _update(ppo, freeze_actor)
    _refuse_non_finite("weights", [*ppo.actor.parameters(), *ppo.critic.parameters()])
    row = _mean_logs(logs)
    divergence = losses.pop("symmetry", 0.0)  # the extension's place in rsl-rl, see RegularisedBatches
    row |= {f"loss/{name}": float(value) for name, value in losses.items()}
    row |= {
        "policy/kl": _policy_change(ppo),
        "policy/anchor_kl": float(divergence),
        "policy/learning_rate": float(ppo.learning_rate),
        "policy/std": float(ppo.actor.output_std.detach().mean()),
        "policy/explained_variance": float(explained),
        "time/collect_s": collected - started,
        "time/update_s": time.perf_counter() - collected,
    }
    return row


def _update(ppo: PPO, freeze_actor: bool) -> dict[str, float]:
    """Update PPO; a frozen actor gets no gradient, and no say in the learning rate."""
    if not freeze_actor:
        losses: dict[str, float] = ppo.update()
        return losses
    schedule, trained = ppo.schedule, [p for p in ppo.actor.parameters() if p.requires_grad]
    ppo.schedule = "fixed"
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        losses = ppo.update()
    finally:
        ppo.schedule = schedule
        for parameter in trained:
            parameter.requires_grad_(True)
    return losses


@torch.no_grad()
def _policy_change(ppo: PPO) -> float:
    """Return the mean KL(before the update || after it) over the last step's observations."""
    old = tuple(parameter[-1] for parameter in ppo.storage.distribution_params)
    ppo.actor.distribution.update(ppo.actor.mlp(ppo.actor.get_latent(ppo.storage.observations[-1])))
    return float(ppo.actor.get_kl_divergence(old, ppo.actor.output_distribution_params).mean())


def _mean_logs(logs: list[dict[str, Any]]) -> dict[str, float]:
    """Average each entry over the steps, leaving out NaN."""
    names = list(logs[0])
    table = torch.stack([torch.stack([torch.as_tensor(log[name], dtype=torch.float32) for name in names]) for log in logs])
    return dict(zip(names, table.nanmean(dim=0).tolist(), strict=True))


# -- the policy that is deployed: the mean of the last weights, steadier than the last alone (Polyak and Juditsky, 1992) ----------


def averaged(checkpoints: Path, last: int, number: int) -> Path:
    """Write ``averaged.pt`` beside the checkpoints: the last, whose actor has the mean weights of up to ``number`` of the last.

    Only those of the last one's phase count: the others are of another task.

    Args:
        checkpoints: folder of ``model_<iteration>.pt``. last: iteration of the last one.
    """
    read = [read_checkpoint(path) for iteration, path in kept(checkpoints).items() if iteration <= last][-number:]
    newest = read[-1]
    alike = [content for content in read if _phase(content) == _phase(newest)]
    actors = [content["actor_state_dict"] for content in alike]
    mean = {name: torch.stack([actor[name] for actor in actors]).mean(0) for name in actors[-1]}
    infos = {**newest["infos"], "averaged_iterations": [content["iter"] for content in alike]}
    write_torch(checkpoints / AVERAGED, {**newest, "actor_state_dict": mean, "infos": infos})
    return checkpoints / AVERAGED


def kept(checkpoints: Path) -> dict[int, Path]:
    """Return iteration -> checkpoint of all that training has kept in a folder, in their order."""
    found = {int(path.stem.rpartition("_")[2]): path for path in checkpoints.glob("model_*[0-9].pt")}
    return dict(sorted(found.items()))


def _phase(content: dict[str, object]) -> object:
    """Return the name of the phase that a checkpoint is of, None without a curriculum."""
    infos = content["infos"]
    return infos.get("phases", {}).get("name") if isinstance(infos, dict) else None
