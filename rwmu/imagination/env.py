"""The imagined environment: a world model, the task and dataset histories, seen as a vectorised environment.

The state is kept in physical units, which rewards, observations and conditions need; the world model normalises it for itself.
"""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.dynamics.checks import predicted_extension
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import ConfigError, TrainingError
from rwmu.files import json_ready
from rwmu.imagination.rules import DreamRules
from rwmu.imagination.starts import StartPool
from rwmu.interfaces import Penalty
from rwmu.numerics import find_device
from rwmu.records import Carry, Followed, Prediction, Reward
from rwmu.simulators.env import RobotEnv
from rwmu.tasks.velocity import VelocityTask
from rwmu.uncertainty.estimates import epistemic

_ENVIRONMENT = ("state", "contact", "terminated", "member", "episode_length_buf", "age_steps", "_finished_length", "_observation")
_STATUS = ("reward", "penalty", "epistemic", "termination_probability", "terminated", "timed_out", "episode_length_s")


class ImaginedEnv(RobotEnv):
    """B imagined environments.

    Each starts from a dataset history on which all members were warmed up in full, then follows one member, drawn when it starts,
    until it resets. None ever diverges: a state that is not finite is an error.

    Args:
        world_model: the fitted ensemble with its normaliser.
        task: rewards, commands and observations.
        episodes: the dataset.
        start_rows: ``[S]`` int64, first rows of histories within training episodes (``rwmu.data.windows.window_starts``).
        penalty: added to the reward; its boundary ends episodes.
        rules: how many environments, where, and how their episodes go on and end. On another device than the CPU the world model
            is a copy; the dataset stays on the CPU, and histories to start from are moved when the pool is drawn.
        seed: of everything drawn here, on the CPU whatever the device: the dream is the same on all of them, up to rounding.

    Attributes:
        episodes: the dataset that it dreams from.
        last_reward: the task's, without penalty and bonuses. disagreement: ``[B]``, of the latest step.
        member: ``[B]`` int64, the member that each environment follows.
        age_steps: ``[B]`` int64, steps imagined since the environment's true history (``episode_length_buf`` may start higher).
    """

    def __init__(
        self,
        world_model: WorldModel,
        task: VelocityTask,
        episodes: Episodes,
        start_rows: Tensor,
        penalty: Penalty,
        rules: DreamRules | None = None,
        seed: int = 0,
    ) -> None:
        rules = rules or DreamRules()
        self.device = str(find_device(rules.device))
        self.penalty, self.seed = penalty, seed
        self.num_envs, self.num_actions = rules.num_envs, task.num_actions
        self.adapt(task, rules)
        self._generator = torch.Generator().manual_seed(seed)
        self._num_steps = 0
        self.rebind(world_model, episodes, start_rows)

    def rebind(self, world_model: WorldModel, episodes: Episodes, start_rows: Tensor) -> None:
        """Dream with another world model, from other histories: the same environment after a model was fitted anew.

        Every environment starts again; the random streams go on.
        """
        rules = self.rules
        # Whoever else holds the model holds it on the CPU.
        own = world_model if self.device == "cpu" else copy.deepcopy(world_model).to(self.device)
        self.world_model, self.episodes = own, episodes
        size = rules.pool_size or rules.num_envs
        self._pool = StartPool(own, self.task, episodes, start_rows, size, rules.max_tilt, self._generator, self.device)
        self._allocate()
        self.reset()

    def adapt(self, task: VelocityTask, rules: DreamRules, penalty_scale: float = 1.0) -> None:
        """Dream on with other rewards and commands, by other rules, or with the penalty times a scale.

        Environments go on where they are: a command stays until the next is due.

        Args:
            task: of the same robot and reward terms. rules: of the same environments.
        """
        self.task, self.rules, self.penalty_scale = task, rules, penalty_scale
        self.max_episode_length = rules.horizon_steps
        self.cfg = {"imagination": asdict(rules), "penalty_scale": penalty_scale, "seed": self.seed}
        self._needs_spread = bool(rules.sample_aleatoric) or self.penalty.needs_spread
        self._resample_steps = rules.command_resample_steps or task.command_resample_steps
        self._weights = torch.tensor(list(task.weights.values()), device=self.device).unsqueeze(1)
        self._log_names = [f"imagined/{name}" for name in (*task.weights, *_STATUS)]

    def identity(self) -> dict[str, Any]:
        """Return all that decides what a policy meets here, the penalty by its class and its plain attributes."""
        plain = {name: value for name, value in vars(self.penalty).items() if isinstance(value, (str, float, Tensor))}
        return {
            "simulator": "imagination",
            "task": self.task.describe(),
            "model": self.world_model.content_hash(),
            "data": self.episodes.content_hash(),
            "penalty": {"class": type(self.penalty).__qualname__} | json_ready(plain),
            **self.cfg,
        }

    def _allocate(self) -> None:
        batch, starts = self.num_envs, self._pool.starts

        def zeros(*shape: int, dtype: torch.dtype | None = None) -> Tensor:
            return torch.zeros(batch, *shape, dtype=dtype, device=self.device)

        self.memory = self.task.start(batch, self.device)
        self.state = zeros(starts.state.shape[1])
        self.contact = zeros(starts.contact.shape[1], dtype=torch.bool)
        self.terminated, self.diverged = zeros(dtype=torch.bool), zeros(dtype=torch.bool)
        self.member = zeros(dtype=torch.int64)
        self.episode_length_buf = zeros(dtype=torch.int64)
        self.age_steps = zeros(dtype=torch.int64)
        self.disagreement = zeros()
        self.last_reward = Reward(zeros(), {name: zeros() for name in self.task.weights})
        self._finished_length = zeros() + torch.nan  # of the latest finished episode of each environment, steps
        anywhere = torch.zeros(batch, dtype=torch.int64, device=self.device)
        self._carry: Carry = self.world_model.follow(starts.carry.take(anywhere), self.member)  # of the right shapes

    # -- starting ---------------------------------------------------------------------------------------------------------

    def reset(self) -> tuple[TensorDict, dict[str, Any]]:
        """Start every environment anew; see :class:`~rwmu.simulators.env.RobotEnv`."""
        with torch.inference_mode(False), torch.no_grad():
            self._start(torch.arange(self.num_envs, device=self.device))
            if self.rules.random_start:
                self.episode_length_buf = self._integers(self.rules.horizon_steps, self.num_envs)
            self.terminated = torch.zeros_like(self.terminated)
            self.final_state, self.final_contact = self.state.clone(), self.contact.clone()
            self._observe()
        return self.get_observations(), {}

    def _start(self, rows: Tensor) -> None:
        """Put the environments ``rows`` (indices) at the end of histories drawn from the pool."""
        starts, picks = self._pool.starts, self._moved(self._pool.draw(len(rows)))
        self.state[rows] = starts.state[picks]
        self.contact[rows] = starts.contact[picks]
        self.memory.put(rows, starts.memory.take(picks))
        self.member[rows] = self._integers(self.world_model.num_members, len(rows))
        self._followed = Followed(self.member, self.world_model.num_members)
        self._carry.put(rows, self.world_model.follow(starts.carry.take(picks), self.member[rows]))
        self.episode_length_buf[rows] = 0
        self.age_steps[rows] = 0
        self._command(rows)

    def _command(self, rows: Tensor) -> None:
        self.memory.command[rows] = self._moved(self.task.command(torch.rand(len(rows), 4, generator=self._generator)))

    def _uniform(self, *shape: int) -> Tensor:
        return self._moved(torch.rand(*shape, generator=self._generator))

    def _integers(self, limit: int, number: int) -> Tensor:
        return self._moved(torch.randint(limit, (number,), generator=self._generator))

    def _moved(self, drawn: Tensor) -> Tensor:
        """Bring what was drawn on the CPU to the environments, without waiting for them."""
        return drawn.to(self.device, non_blocking=True)

    # -- stepping ---------------------------------------------------------------------------------------------------------

    def get_observations(self) -> TensorDict:
        """Return the current observations, ``policy: [B, O]``; asking again draws no new noise."""
        return TensorDict({"policy": self._observation}, batch_size=[self.num_envs])

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        """Imagine one step of every environment; the rewards are those with penalty and bonuses."""
        # Runners call this in inference mode, whose tensors could not be written to by a later call outside it.
        with torch.inference_mode(False), torch.no_grad():
            return self._step(actions.to(self.device, copy=True))

    def _step(self, action: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        if action.shape != (self.num_envs, self.num_actions):
            raise ValueError(f"actions have shape {tuple(action.shape)}, not {(self.num_envs, self.num_actions)}")
        if self._num_steps and self._num_steps % self.rules.pool_refresh_steps == 0:
            self._pool.refresh()
        carry, prediction = self.world_model.step(self._carry, self.state, action, self._followed, self._needs_spread)
        self._refuse_non_finite(action, prediction.mean)
        self._carry = carry
        probability = self._advance(prediction)
        ended = self.task.ends(self.memory, self.state, action, self.contact)
        self.last_reward = reward = self.task.reward(self.memory, self.state, action, self.contact, self.extension)
        self.disagreement = epistemic(prediction)
        penalty, crossed = self._penalise(prediction, reward)
        self.episode_length_buf = self.episode_length_buf + 1
        self.age_steps = self.age_steps + 1
        self._num_steps += 1
        time_outs = self._end(probability, crossed, ended)
        done = self.terminated | time_outs
        total = reward.total + penalty
        if self.rules.alive_bonus or self.rules.termination_penalty:
            total = total + self.rules.alive_bonus * self.task.step_dt - self.rules.termination_penalty * self.terminated
        self._finished_length = torch.where(done, self.age_steps, self._finished_length)
        log = self._log(reward, penalty, probability, time_outs)
        self.final_state, self.final_contact = self.state.clone(), self.contact.clone()
        self._prepare_next(done)
        return self.get_observations(), total, done, {"time_outs": time_outs, "log": log}

    def _advance(self, prediction: Prediction) -> Tensor:
        """Move to the next state of the member that each environment follows; returns its termination probability ``[B]``."""
        followed = prediction.follow(self.member)
        state = followed.mean[0]
        if self.rules.sample_aleatoric:
            noise = self._moved(torch.randn(state.shape, generator=self._generator))
            state = state + self.rules.sample_aleatoric * followed.log_std[0].exp() * noise
        if self.rules.clip is not None:
            state = state.clamp(-self.rules.clip, self.rules.clip)
        self.state = self.world_model.normalizer.denormalize(state)
        self.contact = followed.contact[0] > 0.0
        if self.task.extension:
            self.extension = predicted_extension(followed, self.world_model.extension_normalizer, self.task.extension)
        return followed.termination[0, :, 0].sigmoid()

    def _penalise(self, prediction: Prediction, reward: Reward) -> tuple[Tensor, Tensor | None]:
        """Return the penalty ``[B]`` and which environments leave the known region, ``[B]`` bool, None where it has no end."""
        penalty, boundary = self.penalty_scale * self.penalty(prediction, self.age_steps), self.penalty.boundary
        if boundary is None:
            return penalty, None
        crossed = boundary.crossed(prediction)
        if boundary.halting_reward is not None:  # in place of the task's reward, which nobody knows out there
            penalty = torch.where(crossed, boundary.halting_reward - reward.total, penalty)
        return penalty, crossed

    def _end(self, probability: Tensor, crossed: Tensor | None, ended: Tensor | None) -> Tensor:
        """Decide which episodes terminate (kept as attribute) and which are cut short (returned), ``[B]`` bool each."""
        rules, boundary = self.rules, self.penalty.boundary
        terminated = torch.zeros_like(self.terminated)
        if rules.termination == "sample":
            terminated = self._uniform(self.num_envs) < probability
        elif rules.termination is not None:
            terminated = probability > rules.termination
        if rules.max_tilt is not None:
            terminated = terminated | (self.task.robot.state_layout.part(self.state, "projected_gravity")[:, 2] > rules.max_tilt)
        if ended is not None:
            terminated = terminated | ended
        time_outs = self.episode_length_buf >= rules.horizon_steps
        if crossed is not None and boundary is not None:
            if boundary.halting_reward is None:
                time_outs = time_outs | crossed
            else:
                terminated = terminated | crossed
        self.terminated = terminated
        return time_outs & ~terminated

    def _prepare_next(self, done: Tensor) -> None:
        """Restart finished episodes, draw due commands, push, observe."""
        due = (self.episode_length_buf % self._resample_steps == 0) & ~done
        flags = torch.stack([done, due]).to("cpu")  # both at once: here a device is waited for
        finished, commanded = (self._moved(flag.nonzero()[:, 0]) for flag in flags)
        if len(finished):
            self._start(finished)
        if len(commanded):
            self._command(commanded)
        self._push()
        self._observe()

    def _push(self) -> None:
        if self.rules.push_interval_s is None:
            return
        pushed = self._uniform(self.num_envs, 1) < self.task.step_dt / self.rules.push_interval_s
        change = self.rules.push_velocity * (2.0 * self._uniform(self.num_envs, 2) - 1.0) * pushed
        self.task.robot.state_layout.part(self.state, "base_lin_vel")[:, :2] += change

    def _observe(self) -> None:
        noisy = self.task.observation_noise != 0.0
        uniform = self._uniform(self.num_envs, self.task.num_observations) if noisy else None
        self._observation = self.task.observe(self.state, self.memory.command, self.memory.last_action, uniform)

    # -- reporting --------------------------------------------------------------------------------------------------------

    def _log(self, reward: Reward, penalty: Tensor, probability: Tensor, time_outs: Tensor) -> dict[str, Tensor]:
        """Return means over the environments as 0-dimensional tensors; rewards, terms (weighted) and penalty as rates a second."""
        dt = self.task.step_dt
        terms = self._weights * torch.stack([reward.terms[name] for name in self.task.weights])
        status = (reward.total / dt, penalty / dt, self.disagreement, probability, self.terminated.float(), time_outs.float())
        means = torch.cat([terms, torch.stack(status)]).mean(dim=1)
        length_s = (self._finished_length * dt).nanmean().view(1)  # NaN until an episode has ended
        return dict(zip(self._log_names, torch.cat([means, length_s]).unbind(), strict=True))

    def _refuse_non_finite(self, action: Tensor, mean: Tensor) -> None:
        """Stop where an action is no number, or what any member predicts: all of them enter the penalty."""
        if bool((action.sum() + mean.sum()).isfinite()):  # one question: a device is waited for
            return
        bad = (~action.isfinite()).any(dim=1).nonzero()[:, 0]
        if len(bad):
            raise ValueError(f"the action of environment {int(bad[0])} is not finite")
        bad = (~mean.isfinite()).any(dim=2).nonzero()
        if len(bad):
            member, env = bad[0].tolist()
            step = int(self.episode_length_buf[env]) + 1
            raise TrainingError(
                f"Member {member} imagined a state that is not finite in environment {env} at step {step} of its episode; bound "
                f"what is imagined (imagination.clip, now {self.rules.clip}), shorten imagination.horizon_steps, or train the "
                "world model for longer."
            )

    # -- resuming ---------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return everything that :meth:`load_state_dict` needs to go on with identical results; copies, on the CPU."""
        tensors = {**self._tensors(), "pool.rows": self._pool.rows, "generator": self._generator.get_state()}
        return {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()} | {"num_steps": self._num_steps}

    def _tensors(self) -> dict[str, Tensor]:
        """Return all that an environment is in the midst of, by name."""
        parts = {name: getattr(self, name) for name in _ENVIRONMENT}
        parts |= {f"memory.{name}": tensor for name, tensor in vars(self.memory).items()}
        parts |= {f"carry.{name}": tensor for name, tensor in vars(self._carry).items()}
        return {name: tensor for name, tensor in parts.items() if tensor is not None}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict` of an environment of the same configuration, data and model."""
        own = self._tensors()
        found = {name: saved[name] for name in saved if name not in ("pool.rows", "generator", "num_steps")}
        if {name: tensor.shape for name, tensor in found.items()} != {name: tensor.shape for name, tensor in own.items()}:
            raise ConfigError(
                "The interrupted imagination had another number of environments or another model; resume with its settings."
            )
        for name, tensor in own.items():
            tensor.copy_(found[name])
        self._followed = Followed(self.member, self.world_model.num_members)
        self._pool.load(saved["pool.rows"].clone())
        self._generator.set_state(saved["generator"])
        self._num_steps = saved["num_steps"]
