"""Our robots' tasks for Isaac Lab's own scripts; it imports this by the entry point ``isaaclab.tasks``."""

from __future__ import annotations

import gymnasium

gymnasium.register(
    id="Rwmu-Velocity-Flat-AnymalD",
    entry_point="isaaclab.envs:ManagerBasedRLEnv",
    disable_env_checker=True,
    kwargs={
        "env_cfg_entry_point": "rwmu.simulators.isaaclab_play:AnymalDFlatEnvCfg",
        "rsl_rl_cfg_entry_point": "rwmu.simulators.isaaclab_play:AnymalDFlatPPORunnerCfg",
        "default_agent": "rsl_rl",
    },
)
