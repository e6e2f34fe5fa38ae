"""A robot with known rows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rwmu.view.sources import Row
from tests.fakes import quiet_task

TASK = quiet_task()
LAYOUT = TASK.robot.state_layout


class Standing:
    """A robot that stands at (1, 2) and heads along y; it falls at the step ``fall_at``, and has no rows after ``last``."""

    def __init__(self, fall_at: int | None = None, last: int | None = None) -> None:
        self.fall_at, self.last, self.steps, self.pushes = fall_at, last, 0, []

    def begin(self) -> Row:
        self.steps = 0
        return self._row()

    def advance(self) -> Row | None:
        self.steps += 1
        return None if self.last is not None and self.steps > self.last else self._row()

    def push(self, change: Tensor) -> None:
        self.pushes.append(change)

    def _row(self) -> Row:
        state = torch.zeros(LAYOUT.size)
        LAYOUT.part(state, "projected_gravity")[2] = -1.0
        pose = np.concatenate([[1.0, 2.0, 0.6, np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)], TASK.robot.default_joint_pos.numpy()])
        contact, action = torch.zeros(TASK.robot.contact_layout.size), torch.full((TASK.num_actions,), float(self.steps))
        return Row(state, action, contact, torch.zeros(3), self.steps == self.fall_at, pose)
