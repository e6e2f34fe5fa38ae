"""What mjlab is told of our robots, by name: entity, motors, contact sensors, actions, floor. Needs mjlab."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from xml.etree import ElementTree

import mujoco
import torch
from mjlab.actuator import BuiltinPositionActuatorCfg
from mjlab.entity import EntityArticulationInfoCfg, EntityCfg
from mjlab.envs import ManagerBasedRlEnv, ManagerBasedRlEnvCfg
from mjlab.envs.mdp.actions import JointPositionAction, JointPositionActionCfg
from mjlab.managers.event_manager import EventTermCfg
from mjlab.managers.scene_entity_config import SceneEntityCfg
from mjlab.scene import SceneCfg
from mjlab.sensor import ContactMatch, ContactSensorCfg
from mjlab.sim import MujocoCfg, SimulationCfg
from mjlab.tasks.velocity.velocity_env_cfg import make_velocity_env_cfg
from mjlab.terrains import TerrainEntityCfg
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.robots.mjcf import ModelSettings, model_xml
from rwmu.robots.robot import Motors, Robot
from rwmu.simulators.lab import Conditions
from rwmu.simulators.simulated import CONTACT_HISTORY, physics_steps

ENTITY, CONTACTS, ACTION, COMMAND = "robot", "ground_contact", "joint_pos", "twist"
_FLOOR = "terrain"  # mjlab's name of its plane
_MOST_CONTACTS, _MOST_CONSTRAINTS = 64, 400  # of one robot on a plane, for which memory is set aside


def environment(
    robot: Robot, num_envs: int, step_dt: float, model: ModelSettings, envelope: bool, conditions: Conditions
) -> ManagerBasedRlEnvCfg:
    """Return a scene of robots on a plane that knows no task: it is given joint targets, and ends nothing by itself.

    Args:
        envelope: let torque fall with speed as the motors' does.
        conditions: ``simulator`` for the starts, pushes, commands and randomisation of mjlab's flat velocity task; else ``rwmu``.
    """
    cfg = ManagerBasedRlEnvCfg(
        decimation=physics_steps(step_dt, model.timestep),
        scene=SceneCfg(
            num_envs=num_envs,
            terrain=TerrainEntityCfg(terrain_type="plane"),
            entities={ENTITY: entity(robot, model)},
            sensors=(contact_sensor(robot, robot.contacts.names),),
        ),
        actions={ACTION: JointTargetsCfg.of(robot, model.motors(robot) if envelope else None)},
        events={},
        sim=simulation(model),
        auto_reset=False,
    )
    if conditions == "simulator":
        cfg.events, cfg.commands = events(robot), make_velocity_env_cfg().commands
        cfg.commands[COMMAND].debug_vis = False
    return cfg


def simulation(model: ModelSettings) -> SimulationCfg:
    """Return the options of the embedded simulator's model."""
    options = MujocoCfg(
        timestep=model.timestep,
        impratio=model.impedance_ratio,
        iterations=model.iterations,
        ls_iterations=model.line_search_iterations,
        tolerance=model.tolerance,
        disableflags=("eulerdamp", "island"),
    )
    return SimulationCfg(nconmax=_MOST_CONTACTS, njmax=_MOST_CONSTRAINTS, mujoco=options)


def robot_spec(robot: Robot, model: ModelSettings) -> mujoco.MjSpec:
    """Return the model that mjlab simulates of a robot: mjlab's own, or ours less what mjlab brings.

    Raises:
        ConfigError: it lacks joints or contacts that the robot names; both lists.
    """
    spec = _our_spec(robot, model) if robot.mjlab is None else _asset(robot).spec_fn()
    robot.check_model([joint.name for joint in spec.joints], [geom.name for geom in spec.geoms])
    return spec


def _our_spec(robot: Robot, model: ModelSettings) -> mujoco.MjSpec:
    """Return the robot's MJCF less options, floor, actuators and sensors."""
    root = ElementTree.fromstring(model_xml(robot, model))
    world = root.find("worldbody")
    for parent, name in ((root, "option"), (root, "actuator"), (root, "sensor"), (world, "geom")):
        parent.remove(parent.find(name))  # type: ignore[union-attr, arg-type]
    spec = mujoco.MjSpec.from_string(ElementTree.tostring(root, encoding="unicode"))
    for geom in spec.geoms:
        geom.priority = 1  # friction and softness of a contact are the robot's, not the floor's
    return spec


def _asset(robot: Robot) -> EntityCfg:
    """Return mjlab's own robot, by the name that ours has of it."""
    assert robot.mjlab is not None
    module, _, function = robot.mjlab.entity.rpartition(".")
    return getattr(importlib.import_module(module), function)()


def entity(robot: Robot, model: ModelSettings) -> EntityCfg:
    """Return the robot with MuJoCo's own position actuators, integrated implicitly as in the embedded simulator, one a joint.

    A robot of mjlab's own keeps what touches what, and how.

    Raises:
        ConfigError: another friction is asked of a robot that brings its own.
    """
    if robot.mjlab is not None and model.friction != ModelSettings.friction:
        raise ConfigError(
            f"simulator.model.friction is {model.friction}, but contacts of '{robot.name}' are mjlab's; leave it out."
        )
    motors = model.motors(robot)
    actuators = tuple(
        BuiltinPositionActuatorCfg(
            target_names_expr=(exactly(name),),
            stiffness=stiffness,
            damping=damping,
            effort_limit=limit,
            armature=None if robot.mjlab is None else armature,  # which our model has at its joints
        )
        for name, stiffness, damping, limit, armature in zip(
            robot.joint_names,
            *(robot.per_joint(values) for values in (motors.stiffness, motors.damping, motors.effort_limit, motors.armature)),
            strict=True,
        )
    )
    posture = dict(zip(map(exactly, robot.joint_names), robot.default_joint_pos.tolist(), strict=True))
    cfg = EntityCfg(articulation=EntityArticulationInfoCfg()) if robot.mjlab is None else _asset(robot)
    return replace(
        cfg,
        spec_fn=partial(robot_spec, robot, model),
        init_state=EntityCfg.InitialStateCfg(pos=(0.0, 0.0, robot.base_height), joint_pos=posture),
        articulation=replace(cfg.articulation, actuators=actuators),
    )


def contact_sensor(robot: Robot, contacts: Sequence[str], name: str = CONTACTS) -> ContactSensorCfg:
    """Return the sensor of the net forces between the geoms of some contacts and the floor, in the latest physics steps."""
    return ContactSensorCfg(
        name=name,
        primary=ContactMatch(mode="geom", pattern=_geoms(robot, contacts), entity=ENTITY),
        secondary=ContactMatch(mode="body", pattern=_FLOOR),
        fields=("force",),
        reduce="netforce",
        history_length=CONTACT_HISTORY,
    )


def events(robot: Robot) -> dict[str, EventTermCfg]:
    """Return the starts, pushes and randomisation of mjlab's flat velocity task, for this robot."""
    terms: dict[str, EventTermCfg] = make_velocity_env_cfg().events
    terms["foot_friction"].params["asset_cfg"] = SceneEntityCfg(ENTITY, geom_names=_geoms(robot, robot.contacts.feet))
    terms["base_com"].params["asset_cfg"] = SceneEntityCfg(ENTITY, body_names=(exactly(base_of(robot)),))
    return terms


def base_of(robot: Robot) -> str:
    """Return the name of the robot's base, its first body."""
    return str(robot_spec(robot, ModelSettings()).bodies[1].name)  # the world is the one before


def exactly(name: str) -> str:
    """Return the regular expression of one name, as mjlab takes expressions for names."""
    return f"{re.escape(name)}$"


def _geoms(robot: Robot, contacts: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{robot.geoms_of(contact)}$" for contact in contacts)


@dataclass(kw_only=True)
class JointTargetsCfg(JointPositionActionCfg):  # type: ignore[misc]  # mjlab need not be here
    """Joint positions in the robot's order of joints; mjlab's own has the model's.

    Attributes:
        motors: whose torque falls with speed; None for effort limits alone.
    """

    motors: Motors | None = None

    @classmethod
    def of(cls, robot: Robot, motors: Motors | None, scaled: bool = False) -> JointTargetsCfg:
        """Return the action that is joint targets, rad; or, ``scaled``, what policies give: relative to the posture."""
        names = tuple(map(exactly, robot.joint_names))
        scale: Any = dict(zip(names, robot.action_scale.tolist(), strict=True)) if scaled else 1.0
        return cls(entity_name=ENTITY, actuator_names=names, scale=scale, use_default_offset=scaled, motors=motors)

    def build(self, env: ManagerBasedRlEnv) -> JointTargets:
        """Return the term."""
        return JointTargets(self, env)


class JointTargets(JointPositionAction):  # type: ignore[misc]
    """See :class:`JointTargetsCfg`."""

    def __init__(self, cfg: JointTargetsCfg, env: ManagerBasedRlEnv) -> None:
        super().__init__(cfg=cfg, env=env)
        self._motors = cfg.motors
        if cfg.motors is None:
            return
        env.sim.expand_model_fields(("actuator_forcerange",))
        self._ranges = self._entity.indexing.ctrl_ids  # one actuator a joint, made in the robot's order
        limits = (cfg.motors.effort_limit, cfg.motors.saturation_torque, cfg.motors.velocity_limit)
        self._effort, self._saturation, self._speed = (torch.tensor(limit, device=self.device) for limit in limits)

    def _find_targets(self, cfg: JointPositionActionCfg) -> tuple[list[int], list[str]]:
        found: tuple[list[int], list[str]] = self._entity.find_joints(cfg.actuator_names, preserve_order=True)
        return found

    def apply_actions(self) -> None:
        """Set the targets before a physics step, and what torque is left at the present speed."""
        super().apply_actions()
        if self._motors is not None:
            slope = self._entity.data.joint_vel[:, self._target_ids] * (self._saturation / self._speed)
            high = torch.minimum((self._saturation - slope).clamp(min=0.0), self._effort)
            low = -torch.minimum((self._saturation + slope).clamp(min=0.0), self._effort)
            self._env.sim.model.actuator_forcerange[:, self._ranges] = torch.stack([low, high], -1)


def columns_of(env: ManagerBasedRlEnv, robot: Robot) -> list[list[int]]:
    """Return which of the contact sensor's columns make up each contact of the robot."""
    geoms = env.scene[CONTACTS].primary_names
    return [[i for i, geom in enumerate(geoms) if re.fullmatch(robot.geoms_of(name), geom)] for name in robot.contacts.names]


def forces_of(env: ManagerBasedRlEnv, columns: list[list[int]]) -> Tensor:
    """Return the net forces ``[B, G, CONTACT_HISTORY]`` of contacts in the latest physics steps, the latest first, N."""
    history = env.scene[CONTACTS].data.force_history
    forces: Tensor = torch.stack([history[:, own].sum(1) for own in columns], 1).norm(dim=-1)
    return forces
