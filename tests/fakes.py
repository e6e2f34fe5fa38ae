"""A dynamics model with known answers, and episodes that any task can take: what imagination and policy are tested with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.data.normalizer import Normalizer
from rwmu.dynamics.world_model import WorldModel
from rwmu.records import Carry, Features, Followed, follow
from rwmu.robots.anymal_d import anymal_d
from rwmu.robots.robot import Robot
from rwmu.tasks.velocity import VelocityTask


class KnownDynamics:
    """An ensemble whose members are told apart: member e adds ``drift * (e + 1)`` to every column of the normalised state.

    Its log standard deviation is -3, and ``spread_slope`` more with each further member. The carry counts: its first unit is the
    number of rows consumed, its second the sum of everything consumed.
    """

    def __init__(
        self, robot: Robot, num_members: int, drift: float = 0.01, termination_logit: float = -50.0, spread_slope: float = 0.0
    ) -> None:
        self.state_dim, self.action_dim = robot.state_layout.size, robot.num_joints
        self.contact_dim = robot.contact_layout.size
        self.num_members, self.drift, self.termination_logit = num_members, drift, termination_logit
        self.log_std = -3.0 + spread_slope * torch.arange(num_members).view(-1, 1, 1)

    def initial_carry(self, num_inputs: int, batch: int) -> Carry:
        return Carry(torch.zeros(1, num_inputs, batch, 2))

    def sequence(self, state: Tensor, action: Tensor, carry: Carry, last: int | None = None) -> tuple[Features, Carry]:
        consumed = torch.full(state.shape[:2], float(state.shape[2]))
        total = state.sum(dim=(2, 3)) + action.sum(dim=(2, 3))
        features = Features(state, torch.cat([state, action.expand(*state.shape[:-1], -1)], dim=-1))
        if last is not None:
            features = features.map(lambda tensor: tensor[:, :, -last:])
        return features, Carry(carry.state + torch.stack([consumed, total], dim=-1)[None])

    def auxiliary_sequence(self, state: Tensor, action: Tensor, carry: Carry) -> Tensor:
        raise NotImplementedError

    def advance(self, state: Tensor, action: Tensor, carry: Carry, followed: Followed | None = None) -> tuple[Features, Carry]:
        features, carry = self.sequence(state.unsqueeze(2), action.unsqueeze(2), carry)
        return features.map(lambda tensor: tensor[:, :, 0]), carry

    def _means(self, state: Tensor) -> Tensor:
        return state + self.drift * torch.arange(1, self.num_members + 1, dtype=state.dtype).view(-1, 1, 1)

    def predict_state(self, features: Features, state: Tensor, spread: bool = True) -> tuple[Tensor, Tensor]:
        mean = self._means(state)
        return mean, self.log_std.expand_as(mean)

    def predict_spread(self, features: Features) -> Tensor:
        return self.log_std.expand_as(self._means(features.state))

    def predict_side(self, side: Tensor, followed: Followed | None = None) -> tuple[Tensor, Tensor, None]:
        mean = self._means(side)
        contact = torch.where(mean[..., : self.contact_dim] > 0.0, 5.0, -5.0)
        termination = torch.full((*mean.shape[:2], 1), self.termination_logit)
        if followed is not None:
            return follow(contact, followed.member), follow(termination, followed.member), None
        return contact, termination, None


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
