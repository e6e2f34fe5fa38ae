"""A dynamics model with known answers, and episodes that any task can take: what imagination and policy are tested with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.data.normalizer import Normalizer
from rwmu.dynamics.world_model import WorldModel
from rwmu.records import Carry, Prediction, Window
from rwmu.robots.anymal_d import anymal_d
from rwmu.robots.robot import Robot
from rwmu.tasks.velocity import VelocityTask


@dataclass(frozen=True)
class Counter(Carry):
    """``[1, B]`` each: how many rows were consumed, and the sum of everything consumed."""

    rows: Tensor
    total: Tensor


class KnownDynamics:
    """An ensemble whose members are told apart: member e adds ``drift * (e + 1)`` to every column of the normalised state.

    Its log standard deviation is -3, and ``spread_slope`` more with each further member. The carry counts.
    """

    def __init__(
        self, robot: Robot, num_members: int, drift: float = 0.01, termination_logit: float = -50.0, spread_slope: float = 0.0
    ) -> None:
        self.state_dim, self.action_dim = robot.state_layout.size, robot.num_joints
        self.contact_dim = robot.contact_layout.size
        self.num_members, self.drift, self.termination_logit = num_members, drift, termination_logit
        self.log_std = -3.0 + spread_slope * torch.arange(num_members).view(-1, 1, 1)

    def state_dict(self) -> dict[str, Tensor]:
        return {"log_std": self.log_std, "drift": torch.tensor(self.drift)}

    def initial_carry(self, num_inputs: int, batch: int) -> Counter:
        return Counter(torch.zeros(1, batch), torch.zeros(1, batch))

    def mean(self, state: Tensor, action: Tensor) -> Tensor:
        """Return what each member predicts, ``[E, N, D]``."""
        return state + self.drift * torch.arange(1, self.num_members + 1, dtype=state.dtype).view(-1, 1, 1)

    def step(self, carry: Counter, state: Tensor, action: Tensor) -> tuple[Counter, Prediction]:
        mean = self.mean(state, action)
        contact = torch.where(mean[..., : self.contact_dim] > 0.0, 5.0, -5.0)
        termination = torch.full((*mean.shape[:2], 1), self.termination_logit)
        consumed = (state.sum(-1) + action.sum(-1)).mean(0, keepdim=True)
        carry = Counter(carry.rows + 1.0, carry.total + consumed)
        return carry, Prediction(mean, self.log_std.expand_as(mean), contact, termination)

    def observe(self, carry: Counter, window: Window) -> tuple[Counter, Prediction]:
        predictions = []
        for t in range(window.length - 1):
            carry, prediction = self.step(carry, window.state[:, :, t], window.action[:, :, t + 1])
            predictions.append(prediction)
        names = ("mean", "log_std", "contact", "termination")
        return carry, Prediction(*(torch.stack([getattr(p, name) for p in predictions], dim=2) for name in names))


def known_world_model(num_members: int, history: int = 4, **known: float) -> WorldModel:
    """Return a world model around :class:`KnownDynamics` and a normaliser that changes something."""
    robot = anymal_d()
    size = robot.state_layout.size
    normalizer = Normalizer(torch.linspace(-0.1, 0.1, size), torch.linspace(0.5, 2.0, size))
    dynamics: Any = KnownDynamics(robot, num_members, **known)
    return WorldModel(dynamics, normalizer, history, robot.name, robot.state_layout.describe(), data_hash="", architecture={})


def random_episodes(lengths: list[int], seed: int = 0, robot: Robot | None = None, terminated: tuple[int, ...] = ()) -> Episodes:
    """Return upright episodes of smooth noise; the episodes ``terminated`` end in a fall."""
    robot = robot or anymal_d()
    generator = torch.Generator().manual_seed(seed)
    rows, sizes = sum(lengths), torch.tensor(lengths)

    def draw(size: int) -> Tensor:
        return torch.randn(rows, size, generator=generator)

    state = 0.3 * draw(robot.state_layout.size)
    gravity = torch.cat([0.05 * draw(2), -torch.ones(rows, 1) + 0.01 * draw(1)], dim=1)
    state[:, robot.state_layout["projected_gravity"]] = gravity
    action, reward, first = 0.5 * draw(robot.num_joints), draw(1)[:, 0], sizes.cumsum(0) - sizes
    action[first], reward[first] = 0.0, 0.0
    termination = torch.zeros(rows, dtype=torch.bool)
    termination[(first + sizes - 1)[list(terminated)]] = True
    return Episodes(
        state=state,
        action=action,
        contact=draw(robot.contact_layout.size) > 0.0,
        termination=termination,
        command=torch.rand(rows, 3, generator=generator) * 2.0 - 1.0,
        reward=reward,
        lengths=sizes,
        levels=["fake"] * len(lengths),
        seeds=torch.arange(len(lengths)),
        attributes={"robot": robot.name, "layout": robot.state_layout.describe(), "step_dt": 0.02, "seed": seed},
    )


def quiet_task(**options: float) -> VelocityTask:
    """Return the velocity task of ANYmal D without observation noise."""
    return VelocityTask(anymal_d(), observation_noise=0.0, **options)  # type: ignore[arg-type]
