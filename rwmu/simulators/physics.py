"""The robot in MuJoCo, many at a time: joint targets in, states and contact flags out. No task, no randomness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rwmu.errors import ConfigError, MissingExtraError
from rwmu.robots.robot_model import CONTACT_BODIES, JOINT_TYPES, LEGS, ModelSettings, model_xml

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

CONTACT_FORCE_N = 1.0  # Isaac Lab's threshold
MAX_SPEED = 200.0  # m/s or rad/s; a simulation beyond it has diverged


@dataclass(frozen=True)
class TorqueSpeedEnvelope:
    """A DC motor's limit: the torque that is left falls linearly with speed and is zero at ``velocity_limit``.

    Attributes:
        saturation_torque: torque at standstill before the effort limit cuts it, N m.
        velocity_limit: speed without load, rad/s.
    """

    saturation_torque: float = 120.0
    velocity_limit: float = 7.5


def import_mujoco() -> Any:
    """Import MuJoCo, or say how to install it."""
    try:
        import mujoco
        import mujoco.batch
    except ImportError:
        raise MissingExtraError(
            "The embedded simulator needs MuJoCo 4; install it with: pip install '.[mujoco]' in rwmu's folder"
        ) from None
    mujoco.MjLogConfig.set(_silent(mujoco))
    return mujoco


def _silent(mujoco: Any) -> Any:
    """Return a log configuration that writes no file and prints nothing: divergence is counted and reported by the caller."""
    config = mujoco.MjLogConfig.get()
    config.logto_file = False
    config.logto_console = False
    return config


class Physics:
    """Batched simulation of one robot model.

    Args:
        num_envs: simulations.
        num_threads: threads that share them; results do not depend on it.
        settings: of the model.
        envelope: torque-speed envelope, applied before every physics substep; None for effort limits alone.
        substeps: physics steps a control step.

    Attributes:
        torque: ``[B, 12]`` joint torques of the last substep, N m.
    """

    def __init__(
        self, num_envs: int, num_threads: int, settings: ModelSettings, envelope: TorqueSpeedEnvelope | None, substeps: int
    ) -> None:
        if num_envs < 1 or num_threads < 1:
            raise ConfigError(f"The simulator needs at least one environment and one thread, not {num_envs} and {num_threads}.")
        mujoco = import_mujoco()
        self.model = mujoco.MjModel.from_xml_string(model_xml(settings))
        self._batch = mujoco.batch.Batch(self.model, nsim=num_envs, nthread=num_threads)
        self._batch.reset(stage=0)
        self.substeps = substeps
        self._settings, self._envelope = settings, envelope
        self.qpos, self.qvel = self._batch.bind("qpos"), self._batch.bind("qvel")
        self._control, self._sensors = self._batch.bind("ctrl"), self._batch.bind("sensordata")
        self._actuator_force = self._batch.bind("actuator_force")
        self._force_range = self._batch.expand("actuator_forcerange") if envelope else None
        # The model's joints are leg by leg, ours type by type.
        order = [len(JOINT_TYPES) * leg + joint for joint in range(len(JOINT_TYPES)) for leg in range(len(LEGS))]
        self._position_columns, self._velocity_columns = 7 + np.array(order), 6 + np.array(order)
        self.torque = np.zeros((num_envs, len(order)))
        warning = mujoco.mjtWarning
        self._bad = [int(kind) for kind in (warning.mjWARN_BADQPOS, warning.mjWARN_BADQVEL, warning.mjWARN_BADQACC)]

    @property
    def joint_pos(self) -> Floats:
        """Return joint angles ``[B, 12]``, rad."""
        return np.asarray(self.qpos[:, self._position_columns])

    @property
    def joint_vel(self) -> Floats:
        """Return joint speeds ``[B, 12]``, rad/s."""
        return np.asarray(self.qvel[:, self._velocity_columns])

    def place(self, envs: NDArray[np.int64], base_pose: Floats, base_velocity: Floats, joint_pos: Floats) -> None:
        """Place simulations, joints at rest: pose ``[n, 7]`` (m, quaternion w first), velocity ``[n, 6]``, joints ``[n, 12]``."""
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
        """Follow joint targets ``[B, 12]`` for one control step; return ground contacts ``[substeps, B, bodies]``."""
        self._control[:] = targets
        contacts = np.empty((self.substeps, len(targets), len(CONTACT_BODIES)), dtype=bool)
        for substep in range(self.substeps):
            self._limit_torque()
            self._batch.step()
            force = self._sensors.reshape(len(targets), len(CONTACT_BODIES), 3)
            contacts[substep] = np.einsum("bsx,bsx->bs", force, force) > CONTACT_FORCE_N**2
        self.torque[:] = self._actuator_force
        return contacts

    def _limit_torque(self) -> None:
        if self._force_range is None or self._envelope is None:
            return
        effort, saturation = self._settings.effort_limit, self._envelope.saturation_torque
        slope = self.joint_vel * (saturation / self._envelope.velocity_limit)
        self._force_range[..., 1] = np.clip(saturation - slope, 0.0, effort)
        self._force_range[..., 0] = np.clip(-saturation - slope, -effort, 0.0)

    def diverged(self) -> Flags:
        """Return ``[B]``: whose simulation has gone wrong since it was placed."""
        warned = (self._batch.warning[:, self._bad] > 0).any((1, 2))
        speed = np.abs(self.qvel).max(1)
        return np.asarray(warned | ~np.isfinite(self.qpos).all(1) | ~(speed < MAX_SPEED))

    def base_motion(self) -> tuple[Floats, Floats, Floats]:
        """Return linear velocity, angular velocity and gravity direction in the base frame, each ``[B, 3]``."""
        w, x, y, z = (self.qpos[:, column] for column in range(3, 7))
        row_x = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], 1)
        row_y = np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], 1)
        row_z = np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], 1)
        velocity = self.qvel
        linear = row_x * velocity[:, 0:1] + row_y * velocity[:, 1:2] + row_z * velocity[:, 2:3]
        return linear, velocity[:, 3:6].copy(), -row_z
