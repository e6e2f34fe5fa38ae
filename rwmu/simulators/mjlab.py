"""The velocity task on mjlab (MuJoCo Warp), on CPUs and NVIDIA GPUs: mjlab moves the robots, the task is ours."""

from __future__ import annotations

import hashlib
from importlib import metadata
from typing import Any, Literal

import numpy as np
import torch
from pydantic import InstanceOf
from torch import Tensor

from rwmu.files import json_ready
from rwmu.robots.mjcf import ModelSettings, model_xml
from rwmu.settings import checked
from rwmu.simulators.extra import importing_mjlab, quiet
from rwmu.simulators.lab import LabEnv
from rwmu.simulators.physics import CONTACT_FORCE_N, MAX_SPEED
from rwmu.simulators.simulated import Floats, Indices, Placement, Reached
from rwmu.tasks.velocity import VelocityTask

with importing_mjlab():
    import mjlab  # noqa: F401  # first: it imports the tasks that we register, and they need it whole
    import warp
    from mjlab.envs import ManagerBasedRlEnv
    from mjlab.managers.event_manager import EventTermCfg
    from mjlab.utils.lab_api.math import quat_apply, quat_apply_inverse

    from rwmu.simulators import mjlab_config

    warp.config.log_level = warp.LOG_WARNING
    warp.init()


class MjlabEnv(LabEnv):
    """Parallel environments in mjlab.

    Args:
        task, num_envs, episodes: see :class:`~rwmu.simulators.lab.LabEnv`; the device is ``cpu``, or ``cuda:0`` and the like.
            mjlab's own conditions randomise friction, encoders and the centre of mass.
        num_threads: of the machine's, has no effect: mjlab uses one of a CPU.
        model, envelope, random_start: see :class:`~rwmu.simulators.mujoco.MujocoEnv`; motors are MuJoCo's implicit position
            actuators.
    """

    name = "mjlab"

    @checked("simulator")
    def __init__(
        self,
        task: InstanceOf[VelocityTask],
        num_envs: int,
        num_threads: int = 1,
        model: InstanceOf[ModelSettings] | None = None,
        envelope: Literal["motors", "none"] = "motors",
        random_start: bool = False,
        **episodes: Any,
    ) -> None:
        self.model, self.envelope = model or ModelSettings(), envelope
        super().__init__(task, num_envs, **episodes)
        cfg = mjlab_config.environment(task.robot, num_envs, task.step_dt, self.model, envelope == "motors", self.conditions)
        # Within a step, before anything pushes a robot; not the method itself, since mjlab copies what it is told, owners and all.
        cfg.events = {"rows": EventTermCfg(func=lambda *_: self._read(), mode="step"), **cfg.events}
        with self.own_draws(), quiet():
            self.simulation = ManagerBasedRlEnv(cfg, str(self.device))
        self._robot = self.simulation.scene[mjlab_config.ENTITY]
        self._joints, _ = self._robot.find_joints(list(map(mjlab_config.exactly, task.robot.joint_names)), preserve_order=True)
        self._columns = mjlab_config.columns_of(self.simulation, task.robot)
        self._torque = torch.zeros(num_envs, task.num_actions, device=self.device)
        self.begin(random_start)

    def identity(self) -> dict[str, Any]:
        """Return all that decides what a policy meets here."""
        return super().identity() | {
            "xml": hashlib.sha256(self._xml().encode()).hexdigest(),
            "model": json_ready(vars(self.model)),
            "envelope": self.envelope,
            "versions": {name: metadata.version(name) for name in ("mjlab", "mujoco", "mujoco-warp", "torch", "warp-lang")},
        }

    def _xml(self) -> str:
        robot = self.task.robot
        if robot.mjlab is None:
            return model_xml(robot, self.model)
        return str(mjlab_config.robot_spec(robot, self.model).to_xml())

    def poses(self) -> Floats:
        """Return where the robots are, ``[B, 7 + A]``: base position (m), quaternion (w first), joint angles (rad)."""
        poses = torch.cat([self._base_pose, self._robot.data.joint_pos[:, self._joints]], 1)
        return np.asarray(poses.double().cpu().numpy())

    # -- the physics ------------------------------------------------------------------------------------------------------------

    def _advance(self, targets: Tensor) -> Reached:
        with self.own_draws():
            self.simulation.step(targets.float())
        return self._reached

    def _read(self) -> None:
        """Keep the rows that a step has reached; mjlab calls it."""
        self._torque = self._robot.data.qfrc_actuator[:, self._joints].clone()
        groups = self.task.robot.contacts
        touches = mjlab_config.forces_of(self.simulation, self._columns) > CONTACT_FORCE_N  # [B, G, history]
        sizes = [len(groups.terminating), len(groups.undesired), len(groups.feet)]
        terminating, undesired, feet = torch.split(touches, sizes, dim=1)
        contact = torch.cat([undesired.any(-1), feet[..., 0]], 1)
        data = self.simulation.sim.data
        sound = torch.isfinite(data.qpos).all(1) & (data.qvel.abs().amax(1) < MAX_SPEED)  # no NaN is less than anything
        self._reached = Reached(self._physical_state(), contact, terminating.any(-1).any(-1), ~sound)

    @property
    def _base_pose(self) -> Tensor:
        """Return position (m) and quaternion (w first) of the bases, ``[B, 7]``: as integrated, not of the physics step before."""
        pose: Tensor = self.simulation.sim.data.qpos[:, self._robot.indexing.free_joint_q_adr]
        return pose

    def _physical_state(self) -> Tensor:
        joints, quaternion = self._robot.data, self._base_pose[:, 3:]
        velocity = self.simulation.sim.data.qvel[:, self._robot.indexing.free_joint_v_adr]
        parts = {
            "base_lin_vel": quat_apply_inverse(quaternion, velocity[:, :3]),
            "base_ang_vel": velocity[:, 3:],
            "projected_gravity": quat_apply_inverse(quaternion, joints.gravity_vec_w),
            "joint_pos": joints.joint_pos_biased[:, self._joints] - self._tensor(self._default_joint_pos),
            "joint_vel": joints.joint_vel[:, self._joints],
            "joint_torque": self._torque,
        }
        return torch.cat([parts[field.name] for field in self.task.robot.state_layout.fields], 1).float()

    def _place(self, envs: Indices, placement: Placement) -> None:
        rows = self._tensor(envs)
        self.simulation.reset(env_ids=rows)
        pose, velocity, joint_pos = (self._tensor(part).float() for part in placement)
        spin = quat_apply(pose[:, 3:], velocity[:, 3:])  # mjlab has it in the world's axes
        self._robot.write_root_link_pose_to_sim(pose, env_ids=rows)
        self._robot.write_root_link_velocity_to_sim(torch.cat([velocity[:, :3], spin], 1), env_ids=rows)
        joints = torch.tensor(self._joints, device=self.device)
        self._robot.write_joint_state_to_sim(joint_pos, torch.zeros_like(joint_pos), joint_ids=joints, env_ids=rows)
        self._torque[rows] = 0.0

    def _kick(self, envs: Indices, change: Floats) -> None:
        columns = self._robot.indexing.free_joint_v_adr[:2]
        self.simulation.sim.data.qvel[self._tensor(envs)[:, None], columns] += self._tensor(change).float()

    # -- mjlab's own conditions -------------------------------------------------------------------------------------------------

    def _lab_start(self, envs: Indices) -> None:
        rows = self._tensor(envs)
        self.simulation.reset(env_ids=rows)
        self._torque[rows] = 0.0

    def _lab_commands(self) -> Tensor:
        command: Tensor = self.simulation.command_manager.get_command(mjlab_config.COMMAND)
        return command
