"""The embedded simulator: the velocity task on MuJoCo, as an rsl-rl environment.

Semantics are those of Isaac Lab's flat velocity task. Results depend on the seed alone, to the last bit: not on the number of
threads, and environment ``i`` does the same whatever the number of environments.
"""

from __future__ import annotations

import hashlib
from importlib import metadata
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import InstanceOf
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.files import json_ready
from rwmu.robots.mjcf import ModelSettings, model_xml
from rwmu.settings import checked
from rwmu.simulators.physics import Physics
from rwmu.simulators.simulated import (  # noqa: F401  # run folders know Push and StartState by this module
    CONTACT_HISTORY,
    Placement,
    Push,
    Reached,
    SimulatedEnv,
    StartState,
    physics_steps,
)
from rwmu.tasks.velocity import VelocityTask


class MujocoEnv(SimulatedEnv):
    """Parallel environments in MuJoCo.

    Args:
        task, num_envs, device, episodes: see :class:`~rwmu.simulators.simulated.SimulatedEnv`; the only device is the CPU.
        num_threads: CPU threads of the simulation; they change nothing but the time it takes.
        model: gains and limits other than the robot's, friction and solver settings.
        envelope: ``motors`` lets torque fall with speed as the motors' does, at every physics substep; ``none`` leaves the effort
            limits alone.
        random_start: let the first episodes begin at random ages, so that time-outs do not come all at once.
    """

    name = "mujoco"

    @checked("simulator")
    def __init__(
        self,
        task: InstanceOf[VelocityTask],
        num_envs: int,
        device: Any = "cpu",
        num_threads: int = 1,
        model: InstanceOf[ModelSettings] | None = None,
        envelope: Literal["motors", "none"] = "motors",
        random_start: bool = False,
        **episodes: Any,
    ) -> None:
        if torch.device(device).type != "cpu":
            raise ConfigError(f"The embedded simulator runs on the CPU, not on {device}.")
        self.model, self.envelope = model or ModelSettings(), envelope
        substeps = physics_steps(task.step_dt, self.model.timestep)
        self.physics = Physics(task.robot, num_envs, num_threads, self.model, envelope == "motors", substeps)
        super().__init__(task, num_envs, **episodes)
        self.begin(random_start)

    def identity(self) -> dict[str, Any]:
        """Return all that decides what a policy meets here; threads and batched company decide nothing."""
        return super().identity() | {
            "xml": hashlib.sha256(model_xml(self.task.robot, self.model).encode()).hexdigest(),
            "model": json_ready(vars(self.model)),
            "envelope": self.envelope,
            "versions": {name: metadata.version(name) for name in ("mujoco", "numpy")},
        }

    def poses(self) -> NDArray[np.float64]:
        """Return where the robots are, ``[B, 7 + A]``: base position (m), quaternion (w first), joint angles (rad)."""
        return self.physics.poses()

    def _advance(self, targets: Tensor) -> Reached:
        sensors = self.physics.advance(targets.numpy())[-CONTACT_HISTORY:]
        groups = self.task.robot.contacts
        terminating, undesired, feet = np.split(sensors, np.cumsum([len(groups.terminating), len(groups.undesired)]), axis=-1)
        contact = np.concatenate([undesired.any(0), feet[-1]], 1)
        flags = (torch.from_numpy(values) for values in (contact, terminating.any((0, 2)), self.physics.diverged()))
        return Reached(self._physical_state(), *flags)

    def _physical_state(self) -> Tensor:
        linear, angular, gravity = self.physics.base_motion()
        parts = {
            "base_lin_vel": linear,
            "base_ang_vel": angular,
            "projected_gravity": gravity,
            "joint_pos": self.physics.joint_pos - self._default_joint_pos,
            "joint_vel": self.physics.joint_vel,
            "joint_torque": self.physics.torque,
        }
        columns = [parts[field.name] for field in self.task.robot.state_layout.fields]
        return torch.from_numpy(np.concatenate(columns, 1).astype(np.float32))

    def _place(self, envs: NDArray[np.int64], placement: Placement) -> None:
        self.physics.place(envs, *placement)

    def _kick(self, envs: NDArray[np.int64], change: NDArray[np.float64]) -> None:
        self.physics.qvel[envs, :2] += change
