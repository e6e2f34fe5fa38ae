"""What the world model makes of a robot that moves: its forecast of the next row, and a dream of every member.

All in one batch. Each member's dream goes on from that member's own predictions, as imagination's do; one more row is the robot
itself, forecast anew from every true row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rwmu.dynamics.world_model import WorldModel
from rwmu.records import Carry, Window
from rwmu.robots.layout import StateLayout
from rwmu.uncertainty.estimates import Estimate


@dataclass(frozen=True)
class Watched:
    """One step, as the model sees it; disagreement as the run's penalty has it, errors normalised.

    Attributes:
        state: ``[E, D]``, what each dream has come to, physical units.
        disagreement, error: of each dream, ``[E]``: the members' about its latest step; its distance from the robot, root mean
            square over dimensions.
        next_disagreement, next_error: of the forecast of the robot's row from the true rows before it; root mean square over
            dimensions and members.
    """

    state: Tensor
    disagreement: Tensor
    error: Tensor
    next_disagreement: float
    next_error: float


class Dream:
    """E dreams that begin with the robot's history, and the robot itself; E members.

    Args:
        estimate: of the disagreement. clip: as of imagination, the normalised state fed back is within +-clip; None for any.

    Attributes:
        state: ``[E, D]``, physical units. age_steps: since the history.
    """

    def __init__(self, world_model: WorldModel, estimate: Estimate, clip: float | None) -> None:
        self.world_model, self._estimate, self._clip = world_model, estimate, clip
        self.num_members, self.age_steps = world_model.num_members, 0
        self._member = torch.arange(self.num_members + 1) % self.num_members
        self._carry: Carry
        self._rows: Tensor  # [E + 1, D], the robot's last

    @property
    def state(self) -> Tensor:
        """Return what each dream has come to, ``[E, D]``, physical units."""
        return self._rows[:-1]

    @torch.no_grad()
    def begin(self, history: Window) -> None:
        """Begin anew from a history ``[1, H, .]``, physical units."""
        every = torch.zeros(self.num_members + 1, dtype=torch.int64)
        self._carry, self._rows, self.age_steps = self.world_model.warm_up(history).take(every), history.state[every, -1], 0

    def push(self, change: Tensor) -> None:
        """Change the base's velocity in each dream, and of the robot, by ``[E + 1, 3]``, m/s in the base's frame."""
        layout = StateLayout.from_description(self.world_model.layout)
        self._rows = self._rows.clone()
        layout.part(self._rows, "base_lin_vel").add_(change)

    @torch.no_grad()
    def step(self, action: Tensor, robot_action: Tensor, robot_state: Tensor) -> Watched:
        """Go on by a step.

        Args:
            action: ``[E, A]``, what is done in each dream. robot_action: ``[A]``. robot_state: ``[D]``, where it took the robot.
        """
        actions = torch.cat([action, robot_action[None]])
        self._carry, prediction = self.world_model.step(self._carry, self._rows, actions)
        truth = self.world_model.normalizer.normalize(robot_state)
        dreamt = prediction.follow(self._member).mean[0, :-1]
        if self._clip is not None:
            dreamt = dreamt.clamp(-self._clip, self._clip)
        self._rows = torch.cat([self.world_model.normalizer.denormalize(dreamt), robot_state[None]])
        self.age_steps += 1
        disagreement = self._estimate(prediction)
        return Watched(
            state=self.state,
            disagreement=disagreement[:-1],
            error=(dreamt - truth).square().mean(-1).sqrt(),
            next_disagreement=float(disagreement[-1]),
            next_error=float((prediction.mean[:, -1] - truth).square().mean().sqrt()),
        )
