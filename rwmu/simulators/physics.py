"""The robot in MuJoCo, many at a time: joint targets in, states and contact flags out. No task, no randomness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rwmu.errors import ConfigError
from rwmu.robots.mjcf import ModelSettings, model_xml
from rwmu.robots.robot import Robot
from rwmu.simulators.batch import make_batch
from rwmu.simulators.extra import import_mujoco

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

CONTACT_FORCE_N = 1.0  # Isaac Lab's threshold
MAX_SPEED = 200.0  # m/s or rad/s; a simulation beyond it has diverged


class Physics:
    """Batched simulation of one robot.

    Args:
        num_threads: that share the simulations; results do not depend on it. substeps: physics steps a control step.
        envelope: let torque fall with speed as the motors' does, before every physics substep; else effort limits alone.

    Attributes:
        torque: ``[B, A]`` joint torques of the last substep, N m.
    """

    def __init__(
        self, robot: Robot, num_envs: int, num_threads: int, settings: ModelSettings, envelope: bool, substeps: int
    ) -> None:
        if num_envs < 1 or num_threads < 1:
            raise ConfigError(f"The simulator needs at least one environment and one thread, not {num_envs} and {num_threads}.")
        mujoco = import_mujoco()
        self.model = mujoco.MjModel.from_xml_string(model_xml(robot, settings))
        self._batch = make_batch(self.model, num_envs, num_threads)
        self._batch.reset(stage=0)
        self.substeps = substeps
        self.qpos, self.qvel = self._batch.bind("qpos"), self._batch.bind("qvel")
        self._control, self._sensors = self._batch.bind("ctrl"), self._batch.bind("sensordata")
        self._actuator_force = self._batch.bind("actuator_force")
        motors = settings.motors(robot)
        self._effort, self._saturation = np.asarray(motors.effort_limit), np.asarray(motors.saturation_torque)
        self._speed_limit = np.asarray(motors.velocity_limit)
        self._force_range = self._batch.expand("actuator_forcerange") if envelope else None
        # The model's joints come body by body, ours in the robot's order; so do its actuators.
        joints = [self.model.joint(name) for name in robot.joint_names]
        self._position_columns = np.array([int(joint.qposadr[0]) for joint in joints])
        self._velocity_columns = np.array([int(joint.dofadr[0]) for joint in joints])
        self._num_contacts = len(robot.contacts.names)
        self.torque = np.zeros((num_envs, robot.num_joints))
        warning = mujoco.mjtWarning
        self._bad = [int(kind) for kind in (warning.mjWARN_BADQPOS, warning.mjWARN_BADQVEL, warning.mjWARN_BADQACC)]

    @property
    def joint_pos(self) -> Floats:
        """Return joint angles ``[B, A]``, rad."""
        return np.asarray(self.qpos[:, self._position_columns])

    @property
    def joint_vel(self) -> Floats:
        """Return joint speeds ``[B, A]``, rad/s."""
        return np.asarray(self.qvel[:, self._velocity_columns])

    def place(self, envs: NDArray[np.int64], base_pose: Floats, base_velocity: Floats, joint_pos: Floats) -> None:
        """Place simulations, joints at rest: pose ``[n, 7]`` (m, quaternion w first), velocity ``[n, 6]``, joints ``[n, A]``."""
        self._batch.reset(ids=envs.astype(np.int32), stage=0)
        pose = np.zeros((len(envs), self.qpos.shape[1]))
        pose[:, :7] = base_pose
        pose[:, self._position_columns] = joint_pos
        velocity = np.zeros((len(envs), self.qvel.shape[1]))
        velocity[:, :6] = base_velocity
        self.qpos[envs] = pose
        self.qvel[envs] = velocity
        self.torque[envs] = 0.0
        self._batch.warning[envs] = 0

    def advance(self, targets: Floats) -> Flags:
        """Follow joint targets ``[B, A]`` for one control step; return ground contacts ``[substeps, B, G]``."""
        self._control[:] = targets
        contacts = np.empty((self.substeps, len(targets), self._num_contacts), dtype=bool)
        for substep in range(self.substeps):
            self._limit_torque()
            self._batch.step()
            force = self._sensors.reshape(len(targets), self._num_contacts, 3)
            contacts[substep] = np.einsum("bsx,bsx->bs", force, force) > CONTACT_FORCE_N**2
        self.torque[:] = self._actuator_force
        return contacts

    def _limit_torque(self) -> None:
        if self._force_range is None:
            return
        slope = self.joint_vel * (self._saturation / self._speed_limit)
        self._force_range[..., 1] = np.clip(self._saturation - slope, 0.0, self._effort)
        self._force_range[..., 0] = np.clip(-self._saturation - slope, -self._effort, 0.0)

    def diverged(self) -> Flags:
        """Return ``[B]``: whose simulation has gone wrong since it was placed."""
        warned = (self._batch.warning[:, self._bad] > 0).any((1, 2))
        speed = np.abs(self.qvel).max(1)
        return np.asarray(warned | ~np.isfinite(self.qpos).all(1) | ~(speed < MAX_SPEED))

    def poses(self) -> Floats:
        """Return base position (m), quaternion (w first) and joint angles (rad), ``[B, 7 + A]``."""
        return np.concatenate([self.qpos[:, :7], self.joint_pos], 1)

    def base_motion(self) -> tuple[Floats, Floats, Floats]:
        """Return linear velocity, angular velocity and gravity direction in the base frame, each ``[B, 3]``."""
        w, x, y, z = (self.qpos[:, column] for column in range(3, 7))
        row_x = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], 1)
        row_y = np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], 1)
        row_z = np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], 1)
        velocity = self.qvel
        linear = row_x * velocity[:, 0:1] + row_y * velocity[:, 1:2] + row_z * velocity[:, 2:3]
        return linear, velocity[:, 3:6].copy(), -row_z
