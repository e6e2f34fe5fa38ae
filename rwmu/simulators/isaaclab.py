"""The velocity task in Isaac Lab 3, without Isaac Sim: Isaac Lab moves the robots (Newton, on CPUs and GPUs), the task is ours.

Everything is found by name: joints, bodies of the contact sensor, terms of Isaac Lab's configuration. Nothing of Isaac Lab is
imported before environments are made, which takes seconds.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import InstanceOf
from torch import Tensor

from rwmu.errors import ConfigError, MissingExtraError
from rwmu.files import json_ready
from rwmu.robots.mjcf import MotorSettings, model_xml
from rwmu.settings import checked
from rwmu.simulators.extra import quiet
from rwmu.simulators.lab import LabEnv
from rwmu.simulators.physics import CONTACT_FORCE_N, MAX_SPEED
from rwmu.simulators.simulated import Floats, Indices, Placement, Reached, physics_steps
from rwmu.tasks.lab import LabTask, Overlay, Simulated
from rwmu.tasks.stand_in import CONTACTS, ROBOT
from rwmu.tasks.velocity import VelocityTask

PYTHON = (3, 12)  # Isaac Lab 3's only one
_PACKAGES = ("isaaclab", "newton", "mujoco-warp", "warp-lang", "torch")


def require_isaaclab() -> None:
    """Say how to install Isaac Lab where it is not, without importing it.

    Raises:
        MissingExtraError: one sentence.
    """
    if util.find_spec("isaaclab") is None:
        version = ".".join(map(str, PYTHON))
        here = "" if sys.version_info[:2] == PYTHON else f" (this is {sys.version_info.major}.{sys.version_info.minor})"
        raise MissingExtraError(
            f"simulator=isaaclab, and Isaac Lab's tasks, need Isaac Lab and Python {version}{here}; in an environment of its own: "
            "pip install -c constraints-isaaclab.txt '.[isaaclab]' in rwmu's folder"
        )


require_isaaclab()


@dataclass
class _Simulation:
    """The one simulation of this process: Isaac Lab has no room for two.

    Attributes:
        setup: how it was made; environments of the same setup take it over. user: whose it is.
    """

    setup: dict[str, Any]
    lab: Any
    user: IsaacLabEnv | None = None


_RUNNING: list[_Simulation] = []


class IsaacLabEnv(LabEnv):
    """Parallel environments in Isaac Lab: one set of them at a time in a process, the one that was made last.

    The same seed and number of environments give the same bits. Another number does not: all robots stand in one world, in single
    precision, at places that depend on their number.

    Args:
        task, num_envs, episodes: see :class:`~rwmu.simulators.lab.LabEnv`; the device is ``cpu``, or ``cuda:0`` and the like.
        num_threads: of the machine's, has no effect: Newton uses one of a CPU.
        lab_task: whose scene, solver and (``conditions=simulator``) starts, pushes, commands and randomisation are Isaac Lab's.
        asset: ``own`` for the robot's MuJoCo model as USD (:mod:`rwmu.simulators.usd`); ``remote`` for the files of ``lab_task``.
        actuator: ``dc_motor``, whose torque falls with speed; ``implicit``, integrated by the solver; or ``task``, that of
            ``lab_task``, such as a network.
        motors: gains and limits other than the robot's.
    """

    name = "isaaclab"
    computes_terms = True

    @checked("simulator")
    def __init__(
        self,
        task: InstanceOf[VelocityTask],
        num_envs: int,
        num_threads: int = 1,
        lab_task: str = "Isaac-Velocity-Flat-AnymalD",
        asset: Literal["own", "remote"] = "own",
        actuator: Literal["dc_motor", "implicit", "task"] = "dc_motor",
        motors: InstanceOf[MotorSettings] | None = None,
        **episodes: Any,
    ) -> None:
        self._setup = {
            "lab_task": lab_task,
            "xml": hashlib.sha256(model_xml(task.robot).encode()).hexdigest(),
            "motors": json_ready(vars(motors or MotorSettings())),
            "asset": asset,
            "actuator": actuator,
        }
        super().__init__(task, num_envs, **episodes)
        sized = {"num_envs": num_envs, "step_dt": task.step_dt, "device": str(self.device), "conditions": self.conditions}
        if self.conditions == "simulator":  # some of its properties are drawn once, when it is made
            sized["seed"] = self.cfg["seed"]
        self._simulation = _take_over(self._setup | sized, self, lambda: self._made(motors or MotorSettings()))
        self._substeps = physics_steps(task.step_dt, self.lab.physics_dt)
        self._find_by_name()
        self.begin()

    def identity(self) -> dict[str, Any]:
        """Return all that decides what a policy meets here."""
        return super().identity() | self._setup | {"versions": {name: metadata.version(name) for name in _PACKAGES}}

    def poses(self) -> NDArray[np.float64]:
        """Return where the robots are, ``[B, 7 + A]``: base position (m), quaternion (w first), joint angles (rad)."""
        data = self.lab.scene[ROBOT].data
        position, quaternion = data.root_link_pos_w.torch - self.lab.scene.env_origins, data.root_link_quat_w.torch
        poses = torch.cat([position, quaternion.roll(1, -1), data.joint_pos.torch[:, self._joints]], 1)
        return np.asarray(poses.double().cpu().numpy())

    @property
    def lab(self) -> Any:
        """Return Isaac Lab's environment.

        Raises:
            RuntimeError: environments that were made later have taken its place.
        """
        if self._simulation.user is not self:
            raise RuntimeError("Isaac Lab simulates one set of environments in a process, and another one was made after these.")
        return self._simulation.lab

    # -- making it ------------------------------------------------------------------------------------------------------------

    def _made(self, motors: MotorSettings) -> Any:
        """Return a fresh environment of Isaac Lab."""
        with self.own_draws():
            cfg = self._configuration(motors)
            envs: Any = importlib.import_module("isaaclab.envs")
            try:
                return envs.ManagerBasedRLEnv(cfg)
            except (OSError, ValueError) as error:
                raise mistake(error) or error from None

    def _configuration(self, motors: MotorSettings) -> Any:
        configuration: Any = importlib.import_module("rwmu.simulators.isaaclab_config")
        setup, robot = self._setup, self.task.robot
        cfg = configuration.of_task(setup["lab_task"])
        configuration.put_robot(cfg, robot, motors.motors(robot), setup["actuator"], setup["asset"] == "own")
        configuration.leave_physics(cfg, self.conditions == "simulator")
        physics_steps(self.task.step_dt, cfg.sim.dt)  # before what takes long
        # Of several physics steps at a time Newton tells the last one's contacts only.
        cfg.decimation = cfg.sim.render_interval = 1
        cfg.sim.device, cfg.scene.num_envs, cfg.seed = str(self.device), self.num_envs, None
        return cfg

    def _find_by_name(self) -> None:
        """Find joints and bodies of the running simulation, whatever their order."""
        scene, groups = self.lab.scene, self.task.robot.contacts
        sensors = [name.rsplit("/", 1)[-1] for name in scene.sensors[CONTACTS].sensor_names]
        joints = scene[ROBOT].joint_names
        self._joints = torch.tensor(places("joints", self.task.robot.joint_names, joints), device=self.device)
        self._feet, self._undesired, self._terminating = (
            torch.tensor(places("contacts", names, sensors), device=self.device)
            for names in (groups.feet, groups.undesired, groups.terminating)
        )
        self.lab.reader = self._read
        self._torque = torch.zeros(self.num_envs, self.num_actions, device=self.device)
        self._targets = self._tensor(self._default_joint_pos).expand(self.num_envs, -1)
        self._terms = self.task.simulated(self._beside_our_task()) if isinstance(self.task, LabTask) else Simulated(None, [], [])

    def _beside_our_task(self) -> Overlay:
        """Return Isaac Lab's environment with actions, commands and lengths of ours: its terms are computed on it."""
        default, scale = self._tensor(self._default_joint_pos), self._tensor(self._action_scale)
        actions = Overlay(
            None,
            {
                "action": lambda: ((self._targets - default) / scale).float(),
                "prev_action": lambda: self.memory.last_action.float(),
            },
        )
        commands = Overlay(None, {"get_command": lambda: lambda name: self.memory.command.float()})
        return Overlay(
            self.lab,
            {
                "action_manager": lambda: actions,
                "command_manager": lambda: commands,
                "step_dt": lambda: self.task.step_dt,
                "max_episode_length": lambda: self.max_episode_length,
                "episode_length_buf": lambda: self.episode_length_buf + 1,
            },
        )

    # -- the physics ----------------------------------------------------------------------------------------------------------

    def _advance(self, targets: Tensor) -> Reached:
        with self.own_draws():
            self._targets = targets
            for step in range(self._substeps):
                self._is_last = step == self._substeps - 1
                self.lab.step(targets.float())
        return self._reached

    def _read(self) -> None:
        """Keep the rows that a physics step has reached; Isaac Lab calls it before it pushes anybody."""
        articulation = self.lab.scene[ROBOT]
        forces = self.lab.scene.sensors[CONTACTS].data
        self._torque = articulation.actuators.applied_effort.torch[:, self._joints].clone()
        recently = (forces.net_normal_forces_w_history.torch.norm(dim=-1) > CONTACT_FORCE_N).any(1)  # in its last steps
        now = forces.net_normal_forces_w.torch.norm(dim=-1) > CONTACT_FORCE_N
        contact = torch.cat([recently[:, self._undesired], now[:, self._feet]], 1)
        state = self._physical_state()
        speeds = torch.cat([articulation.data.root_link_vel_w.torch, articulation.data.joint_vel.torch], 1)
        sound = (speeds.abs().amax(1) < MAX_SPEED) & torch.isfinite(state).all(1)  # no NaN is less than anything
        self._reached = Reached(state, contact, recently[:, self._terminating].any(1), ~sound)
        if self._is_last:
            self._reached = self._reached._replace(extension=self._terms.extension(), ended=self._terms.ended())

    def _physical_state(self) -> Tensor:
        data = self.lab.scene[ROBOT].data
        parts = {
            "base_lin_vel": data.root_link_lin_vel_b.torch,  # of the link's origin; Isaac Lab observes that of the centre of mass
            "base_ang_vel": data.root_link_ang_vel_b.torch,
            "projected_gravity": data.projected_gravity_b.torch,
            "joint_pos": data.joint_pos.torch[:, self._joints] - self._tensor(self._default_joint_pos),
            "joint_vel": data.joint_vel.torch[:, self._joints],
            "joint_torque": self._torque,
        }
        return torch.cat([parts[field.name] for field in self.task.robot.state_layout.fields], 1).float()

    def _place(self, envs: Indices, placement: Placement) -> None:
        rows, robot = self._tensor(envs), self.lab.scene[ROBOT]
        pose, velocity, joint_pos = (self._tensor(part).float() for part in placement)
        position, quaternion = pose[:, :3] + self.lab.scene.env_origins[rows], pose[:, 3:].roll(-1, -1)
        math: Any = importlib.import_module("isaaclab.utils.math")
        spin = math.quat_apply(quaternion, velocity[:, 3:])  # Isaac Lab has it in the world's axes
        self.lab.scene.reset(rows)
        robot.write_root_link_pose_to_sim_index(root_pose=torch.cat([position, quaternion], 1), env_ids=rows)
        robot.write_root_link_velocity_to_sim_index(root_velocity=torch.cat([velocity[:, :3], spin], 1), env_ids=rows)
        robot.write_joint_state_to_sim_index(
            position=joint_pos, velocity=torch.zeros_like(joint_pos), joint_ids=self._joints, env_ids=rows
        )
        self.lab.sim.forward()
        self._terms.restart(rows)
        self._torque[rows] = 0.0

    def _kick(self, envs: Indices, change: Floats) -> None:
        rows, robot = self._tensor(envs), self.lab.scene[ROBOT]
        velocity = robot.data.root_link_vel_w.torch[rows].clone()
        velocity[:, :2] += self._tensor(change).float()
        robot.write_root_link_velocity_to_sim_index(root_velocity=velocity, env_ids=rows)

    # -- Isaac Lab's own conditions -------------------------------------------------------------------------------------------

    def _lab_start(self, envs: Indices) -> None:
        rows = self._tensor(envs)
        self.lab.reset(env_ids=rows)
        self._terms.restart(rows)
        self._torque[rows] = 0.0

    def _lab_commands(self) -> Tensor:
        manager = self.lab.command_manager
        command: Tensor = manager.get_command(manager.active_terms[0])
        return command


def places(what: str, wanted: Sequence[str], there: Sequence[str]) -> list[int]:
    """Return where names stand in a list; capitals do not matter.

    Raises:
        ConfigError: some do not; both lists.
    """
    lower = [name.lower() for name in there]
    if missing := [name for name in wanted if name.lower() not in lower]:
        raise ConfigError(f"Isaac Lab's robot has no {what} {', '.join(missing)}; it has {', '.join(there)}.")
    return [lower.index(name.lower()) for name in wanted]


def mistake(error: Exception) -> ConfigError | None:
    """Return what a user can mend where Isaac Lab cannot make an environment, or None where it is something else."""
    told = " ".join(str(error).split())
    if isinstance(error, FileNotFoundError | ConnectionError):
        need_none = "simulator.asset=own and simulator.actuator=dc_motor need none"
        return ConfigError(f"A file of Isaac Lab's task is not found ({told}); {need_none}.")
    if "regular expressions" in told:  # with both lists
        return ConfigError(f"The task simulator.lab_task asks for names that its robot does not have: {told}")
    return None


def end_running() -> None:
    """End the simulation of this process, if there is one; whoever has it can go on no more."""
    for simulation in _RUNNING:
        simulation.user = None
        with quiet():
            simulation.lab.close()
    _RUNNING.clear()


def _take_over(setup: dict[str, Any], user: IsaacLabEnv, make: Callable[[], Any]) -> _Simulation:
    """Return the running simulation, if it is of this setup; else end it, and make another one."""
    if not (_RUNNING and _RUNNING[0].setup == setup):
        end_running()
        with quiet():
            _RUNNING.append(_Simulation(setup, make()))
    _RUNNING[0].user = user
    return _RUNNING[0]
