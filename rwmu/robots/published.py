"""What the published datasets and checkpoints do not say of themselves: whose they are, and how their states are scaled."""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.robots.layout import StateLayout

ROBOT = "anymal_d"


def state_scale(layout: StateLayout) -> tuple[Tensor, Tensor]:
    """Return mean and deviation ``[D]`` of the published configuration of ANYmal D; set by hand, not fitted to data."""
    mean, std = torch.zeros(layout.size), torch.zeros(layout.size)
    mean[layout["projected_gravity"]] = torch.tensor([0.0, 0.0, -1.0])
    mean[layout["joint_torque"]] = torch.tensor([-2.0, -2.0, 2.0, 2.0, -6.0, 8.0, -6.0, 8.0, 12.0, -12.0, 12.0, -12.0])
    std[layout["base_lin_vel"]] = torch.tensor([0.5, 0.5, 0.1])
    std[layout["base_ang_vel"]] = torch.tensor([0.3, 0.3, 0.5])
    std[layout["projected_gravity"]] = torch.tensor([0.02, 0.02, 0.04])
    std[layout["joint_pos"]] = 0.15
    std[layout["joint_vel"]] = torch.tensor([1.0, 1.5, 2.5]).repeat_interleave(4)  # HAA, HFE, KFE
    std[layout["joint_torque"]] = 15.0
    return mean, std
