"""Our robots' tasks for mjlab's own scripts; mjlab imports this module itself (entry point ``mjlab.tasks``).

``play Rwmu-Velocity-Flat-AnymalD --checkpoint-file policy.pt`` plays what was trained here: observations, actions and joints have
our order. ``train`` learns from those of our rewards that mjlab has, which is not our task to the letter.
"""

from __future__ import annotations

from typing import Any

from mjlab.envs import ManagerBasedRlEnvCfg, mdp
from mjlab.managers.observation_manager import ObservationGroupCfg, ObservationTermCfg
from mjlab.managers.reward_manager import RewardTermCfg
from mjlab.managers.scene_entity_config import SceneEntityCfg
from mjlab.managers.termination_manager import TerminationTermCfg
from mjlab.rl import RslRlModelCfg, RslRlOnPolicyRunnerCfg
from mjlab.tasks.registry import register_mjlab_task
from mjlab.tasks.velocity import mdp as velocity
from mjlab.tasks.velocity.mdp import UniformVelocityCommandCfg
from mjlab.utils.noise import UniformNoiseCfg
from mjlab.viewer import ViewerConfig

from rwmu.robots import robot_named
from rwmu.robots.mjcf import ModelSettings
from rwmu.simulators.mjlab_config import (
    ACTION,
    COMMAND,
    ENTITY,
    JointTargetsCfg,
    base_of,
    contact_sensor,
    environment,
    events,
    exactly,
)
from rwmu.simulators.physics import CONTACT_FORCE_N
from rwmu.tasks.velocity import OBSERVATION_NOISE, VelocityTask

ROBOTS = ("anymal_d", "go1")
_FALLS = "terminating_contact"


def task_id(robot: str) -> str:
    """Return the name under which mjlab knows a robot's task."""
    return f"Rwmu-Velocity-Flat-{''.join(word.capitalize() for word in robot.split('_'))}"


def velocity_environment(task: VelocityTask, play: bool = False) -> ManagerBasedRlEnvCfg:
    """Return the task as mjlab's managers know tasks; ``play`` leaves the noise out."""
    robot = task.robot
    cfg = environment(robot, 1, task.step_dt, ModelSettings(), True, "rwmu")
    cfg.actions = {ACTION: JointTargetsCfg.of(robot, robot.motors, scaled=True)}
    cfg.scene.sensors += (contact_sensor(robot, robot.contacts.terminating, _FALLS),)
    terms = {field.name: _observation(task, field.name) for field in task.observation_layout.fields}
    cfg.observations = {group: ObservationGroupCfg(terms=terms, enable_corruption=not play) for group in ("actor", "critic")}
    cfg.rewards = _rewards(task)
    cfg.terminations = {
        "time_out": TerminationTermCfg(func=mdp.time_out, time_out=True),
        "fall": TerminationTermCfg(
            func=velocity.illegal_contact, params={"sensor_name": _FALLS, "force_threshold": CONTACT_FORCE_N}
        ),
    }
    cfg.events = {name: term for name, term in events(robot).items() if term.mode == "reset"}
    cfg.commands = {COMMAND: _commands(task)}
    cfg.viewer = ViewerConfig(origin_type=ViewerConfig.OriginType.ASSET_BODY, entity_name=ENTITY, body_name=base_of(robot))
    cfg.episode_length_s, cfg.auto_reset = task.max_episode_steps * task.step_dt, True
    return cfg


def _observation(task: VelocityTask, name: str) -> ObservationTermCfg:
    """Return one of the observations of our policies, joints in the robot's order."""
    joints = SceneEntityCfg(ENTITY, joint_names=tuple(map(exactly, task.robot.joint_names)), preserve_order=True)
    functions: dict[str, tuple[Any, dict[str, Any]]] = {
        "base_lin_vel": (mdp.base_lin_vel, {}),
        "base_ang_vel": (mdp.base_ang_vel, {}),
        "projected_gravity": (mdp.projected_gravity, {}),
        "command": (mdp.generated_commands, {"command_name": COMMAND}),
        "joint_pos": (mdp.joint_pos_rel, {"asset_cfg": joints}),
        "joint_vel": (mdp.joint_vel_rel, {"asset_cfg": joints}),
        "last_action": (mdp.last_action, {}),
    }
    function, parameters = functions[name]
    bound = task.observation_noise * OBSERVATION_NOISE.get(name, 0.0)
    return ObservationTermCfg(func=function, params=parameters, noise=UniformNoiseCfg(n_min=-bound, n_max=bound) if bound else None)


def _rewards(task: VelocityTask) -> dict[str, RewardTermCfg]:
    following = {"command_name": COMMAND, "std": 0.5}
    base = SceneEntityCfg(ENTITY, body_names=(exactly(base_of(task.robot)),))
    terms: dict[str, tuple[Any, dict[str, Any]]] = {
        "track_lin_vel_xy_exp": (velocity.track_linear_velocity, following),
        "track_ang_vel_z_exp": (velocity.track_angular_velocity, following),
        "ang_vel_xy_l2": (velocity.body_angular_velocity_penalty, {"asset_cfg": base}),
        "dof_torques_l2": (mdp.joint_torques_l2, {}),
        "dof_acc_l2": (mdp.joint_acc_l2, {}),
        "action_rate_l2": (mdp.action_rate_l2, {}),
        "flat_orientation_l2": (mdp.flat_orientation_l2, {}),
    }
    return {
        name: RewardTermCfg(func=function, weight=task.weights[name], params=parameters)
        for name, (function, parameters) in terms.items()
        if name in task.weights
    }


def _commands(task: VelocityTask) -> UniformVelocityCommandCfg:
    interval_s = task.command_resample_steps * task.step_dt
    x, y, yaw = ((-half_width, half_width) for half_width in task.command_range)
    return UniformVelocityCommandCfg(
        entity_name=ENTITY,
        resampling_time_range=(interval_s, interval_s),
        rel_standing_envs=task.standing_fraction,
        ranges=UniformVelocityCommandCfg.Ranges(lin_vel_x=x, lin_vel_y=y, ang_vel_z=yaw),
        debug_vis=True,
    )


def learning(name: str) -> RslRlOnPolicyRunnerCfg:
    """Return the sizes of our policies, as mjlab's runner takes them."""
    noise = {"class_name": "GaussianDistribution", "init_std": 1.0, "std_type": "scalar"}
    actor, critic = RslRlModelCfg(distribution_cfg=noise), RslRlModelCfg()
    return RslRlOnPolicyRunnerCfg(actor=actor, critic=critic, experiment_name=name, logger="tensorboard", upload_model=False)


for robot_name in ROBOTS:
    its_task = VelocityTask(robot_named(robot_name))
    register_mjlab_task(
        task_id(robot_name), velocity_environment(its_task), velocity_environment(its_task, play=True), learning(robot_name)
    )
