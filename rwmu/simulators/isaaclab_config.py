"""Isaac Lab's configuration of a scene: one of its tasks, with rwmu's robot in it. Imports Isaac Lab, so import it late."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
from isaaclab.actuators import DCMotorCfg, ImplicitActuatorCfg
from isaaclab.envs.mdp import JointPositionActionCfg
from isaaclab.managers import RecorderManagerBaseCfg, RecorderTerm, RecorderTermCfg
from isaaclab.managers.recorder_manager import DatasetExportMode
from isaaclab.utils import configclass

from rwmu.errors import ConfigError
from rwmu.files import write_text
from rwmu.robots.robot import Motors, PerJoint, Robot
from rwmu.simulators.simulated import CONTACT_HISTORY
from rwmu.simulators.usd import GROUND, robot_usd
from rwmu.tasks.stand_in import CONTACTS, ROBOT

_PHYSICS = "newton_mjwarp"  # the preset that needs no Isaac Sim
_OURS = ("observations", "rewards", "terminations", "curriculum")
_KEPT_EVENTS = ("physics_material",)  # sets friction; everything else draws


class Rows(RecorderTerm):  # type: ignore[misc]  # Isaac Lab ships no types
    """Let the environment's ``reader`` take the rows that a step has reached, before anything is pushed or reset."""

    def record_post_step(self) -> tuple[None, None]:
        """Take the rows; record nothing."""
        self._env.reader()
        return None, None


@configclass
class NothingCfg:
    """Configure no term at all."""


@configclass
class RowsCfg(RecorderTermCfg):  # type: ignore[misc]
    """Configure :class:`Rows`."""

    class_type: type = Rows


@configclass
class RecordersCfg(RecorderManagerBaseCfg):  # type: ignore[misc]
    """Take rows, and write no file."""

    rows = RowsCfg()
    dataset_export_mode = DatasetExportMode.EXPORT_NONE


def of_task(name: str, setting: str = "simulator.lab_task") -> Any:
    """Return the configuration of one of Isaac Lab's tasks, with Newton as its physics.

    Args:
        setting: that names it, for the error.

    Raises:
        ConfigError: Isaac Lab has no such task.
    """
    import isaaclab_tasks  # noqa: F401  # registers them
    from isaaclab_tasks.utils import load_cfg_from_registry, resolve_presets

    try:
        cfg = load_cfg_from_registry(name, "env_cfg_entry_point")
    except gymnasium.error.Error as error:
        raise ConfigError(f"{setting} names no task of Isaac Lab ({error}); isaaclab list_envs shows them.") from None
    return resolve_presets(cfg, [_PHYSICS]) or cfg


def put_robot(cfg: Any, robot: Robot, motors: Motors, actuator: str, own_asset: bool) -> None:
    """Put a robot into the configuration of one of Isaac Lab's velocity tasks, in place.

    Args:
        motors: gains and limits. actuator, own_asset: see :class:`~rwmu.simulators.isaaclab.IsaacLabEnv`.
    """
    articulation, names = cfg.scene.robot, robot.joint_names
    articulation.init_state.pos = (0.0, 0.0, robot.base_height)
    articulation.init_state.joint_pos = dict(zip(names, robot.default_joint_pos.tolist(), strict=True))
    if actuator != "task":
        articulation.actuators = {"joints": _actuator(robot, motors, actuator)}
    cfg.actions.joint_pos.joint_names, cfg.actions.joint_pos.preserve_order = list(names), True
    cfg.actions.joint_pos.scale = dict(zip(names, robot.action_scale.tolist(), strict=True))
    if own_asset:
        articulation.spawn.usd_path = _stored(f"{robot.name}.usda", robot_usd(robot))
        for properties in articulation.spawn.articulation_props:  # the model's shapes touch the ground only
            for name in ("enabled_self_collisions", "self_collision_enabled"):
                if hasattr(properties, name):
                    setattr(properties, name, False)
        cfg.scene.terrain.terrain_type, cfg.scene.terrain.usd_path = "usd", _stored("ground.usda", GROUND)
        cfg.scene.sky_light = None


def leave_physics(cfg: Any, lab_conditions: bool) -> None:
    """Leave of a task's configuration what rwmu's task does not do itself, in place: physics, and joint angles as actions.

    Args:
        lab_conditions: leave Isaac Lab's commands, randomisation, starts and pushes too.
    """
    joint_names = list(cfg.actions.joint_pos.joint_names)
    angles = JointPositionActionCfg(asset_name=ROBOT, joint_names=joint_names, preserve_order=True, use_default_offset=False)
    cfg.actions.joint_pos = angles
    for name in _OURS:
        setattr(cfg, name, NothingCfg())
    cfg.recorders = RecordersCfg()
    getattr(cfg.scene, CONTACTS).history_length = CONTACT_HISTORY
    if lab_conditions:
        for name in vars(cfg.commands):
            getattr(cfg.commands, name).debug_vis = False
    else:
        cfg.commands = NothingCfg()
        cfg.events = {name: getattr(cfg.events, name) for name in _KEPT_EVENTS if hasattr(cfg.events, name)}


def _actuator(robot: Robot, motors: Motors, kind: str) -> Any:
    def of_joints(value: PerJoint) -> float | Mapping[str, float]:
        return dict(zip(robot.joint_names, value, strict=True)) if isinstance(value, tuple) else value

    common = {
        "joint_names_expr": list(robot.joint_names),
        "stiffness": of_joints(motors.stiffness),
        "damping": of_joints(motors.damping),
        "armature": of_joints(motors.armature),
        "actuator_velocity_limit": of_joints(motors.velocity_limit),
    }
    effort = of_joints(motors.effort_limit)
    if kind == "implicit":
        return ImplicitActuatorCfg(**common, joint_effort_limit=effort)
    return DCMotorCfg(**common, actuator_effort_limit=effort, saturation_effort=of_joints(motors.saturation_torque))


def _stored(name: str, text: str) -> str:
    """Return the path of a file with this text, written unless it is there; another text is another file."""
    path = Path(tempfile.gettempdir()) / "rwmu" / hashlib.sha256(text.encode()).hexdigest()[:16] / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return str(path)
