"""Isaac Lab's own flat velocity task with rwmu's ANYmal D in it: its gains, its order of joints, no file of a server."""

from __future__ import annotations

import torch
from isaaclab.utils import configclass
from isaaclab_tasks.core.velocity.config.anymal_d import flat_env_cfg
from isaaclab_tasks.core.velocity.config.anymal_d.agents import rsl_rl_ppo_cfg

from rwmu.robots.anymal_d import anymal_d
from rwmu.simulators.isaaclab_config import put_robot


@configclass
class AnymalDFlatEnvCfg(flat_env_cfg.AnymalDFlatEnvCfg):  # type: ignore[misc]
    """The task: observations and actions have rwmu's order, so that its policies fit."""

    def __post_init__(self) -> None:
        """Put the robot in."""
        super().__post_init__()
        robot = anymal_d()
        put_robot(self, robot, robot.motors, "dc_motor", own_asset=True)
        self.scene.robot.joint_ordering = robot.joint_names


@configclass
class AnymalDFlatPPORunnerCfg(rsl_rl_ppo_cfg.AnymalDFlatPPORunnerCfg):  # type: ignore[misc]
    """The agent that plays it; its networks are those of ``policy.ppo``'s defaults."""

    def __post_init__(self) -> None:
        """Choose the device: Isaac Lab's own option does not reach the agent."""
        super().__post_init__()
        self.device = "cuda:0" if torch.cuda.is_available() else "cpu"
