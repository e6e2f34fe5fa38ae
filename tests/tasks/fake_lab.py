"""A task of Isaac Lab's kind, without Isaac Lab: configurations and functions written as Isaac Lab's are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class SceneEntityCfg:
    """What a term names of the scene, found before it runs."""

    name: str
    joint_names: Any = None
    body_names: Any = None
    joint_ids: Any = field(default_factory=lambda: slice(None))
    body_ids: Any = field(default_factory=lambda: slice(None))

    def resolve(self, scene: Any) -> None:
        entity = scene[self.name]
        if self.joint_names is not None:
            self.joint_ids, _ = entity.find_joints(self.joint_names, preserve_order=False)
        if self.body_names is not None:
            find = entity.find_sensors if hasattr(entity, "find_sensors") else entity.find_bodies
            self.body_ids, _ = find(self.body_names, preserve_order=False)


@dataclass
class TermCfg:
    func: Any
    weight: float = 1.0
    params: dict[str, Any] = field(default_factory=dict)


WHOLE_ROBOT = SceneEntityCfg("robot")
FEET = SceneEntityCfg("contact_forces", body_names=".*FOOT")
THIGHS = SceneEntityCfg("contact_forces", body_names=[".*THIGH"])


def track_lin_vel_xy_exp(env: Any, std: float, command_name: str, asset_cfg: Any = WHOLE_ROBOT) -> Tensor:
    asset = env.scene[asset_cfg.name]
    command = env.command_manager.get_command(command_name)
    error = torch.sum(torch.square(command[:, :2] - asset.data.root_link_lin_vel_b.torch[:, :2]), dim=1)
    return torch.exp(-error / std**2)


def lin_vel_z_l2(env: Any, asset_cfg: Any = WHOLE_ROBOT) -> Tensor:
    return torch.square(env.scene[asset_cfg.name].data.root_lin_vel_b.torch[:, 2])


def joint_vel_l2(env: Any, asset_cfg: Any = WHOLE_ROBOT) -> Tensor:
    return torch.sum(torch.square(env.scene[asset_cfg.name].data.joint_vel[:, asset_cfg.joint_ids]), dim=1)


def joint_acc_l2(env: Any, asset_cfg: Any = WHOLE_ROBOT) -> Tensor:
    return torch.sum(torch.square(env.scene[asset_cfg.name].data.joint_acc.torch[:, asset_cfg.joint_ids]), dim=1)


def joint_deviation_l1(env: Any, asset_cfg: Any = WHOLE_ROBOT) -> Tensor:
    data = env.scene[asset_cfg.name].data
    angle = data.joint_pos.torch[:, asset_cfg.joint_ids] - data.default_joint_pos.torch[:, asset_cfg.joint_ids]
    return torch.sum(torch.abs(angle), dim=1)


def joint_torques_l2(env: Any, asset_cfg: Any = WHOLE_ROBOT) -> Tensor:
    return torch.sum(torch.square(env.scene[asset_cfg.name].actuators.applied_effort.torch[:, asset_cfg.joint_ids]), dim=1)


def action_rate_l2(env: Any) -> Tensor:
    return torch.sum(torch.square(env.action_manager.action - env.action_manager.prev_action), dim=1)


def feet_air_time(env: Any, command_name: str, sensor_cfg: Any, threshold: float) -> Tensor:
    sensor = env.scene.sensors[sensor_cfg.name]
    first_contact = sensor.compute_first_contact(env.step_dt).torch[:, sensor_cfg.body_ids]
    last_air_time = sensor.data.last_air_time.torch[:, sensor_cfg.body_ids]
    reward = torch.sum((last_air_time - threshold) * first_contact, dim=1)
    reward *= torch.linalg.norm(env.command_manager.get_command(command_name)[:, :2], dim=1) > 0.1
    return reward


def undesired_contacts(env: Any, threshold: float, sensor_cfg: Any) -> Tensor:
    forces = env.scene.sensors[sensor_cfg.name].data.net_normal_forces_w_history.torch
    return torch.sum(torch.max(torch.norm(forces[:, :, sensor_cfg.body_ids], dim=-1), dim=1)[0] > threshold, dim=1)


def illegal_contact(env: Any, threshold: float, sensor_cfg: Any) -> Tensor:
    return undesired_contacts(env, threshold, sensor_cfg) > 0


def base_height_l2(env: Any, target_height: float, asset_cfg: Any = WHOLE_ROBOT) -> Tensor:
    return torch.square(env.scene[asset_cfg.name].data.root_pos_w.torch[:, 2] - target_height)


def root_height_below_minimum(env: Any, minimum_height: float, asset_cfg: Any = WHOLE_ROBOT) -> Tensor:
    return env.scene[asset_cfg.name].data.root_pos_w.torch[:, 2] < minimum_height


def bad_orientation(env: Any, limit_angle: float, asset_cfg: Any = WHOLE_ROBOT) -> Tensor:
    return torch.acos(-env.scene[asset_cfg.name].data.projected_gravity_b.torch[:, 2]).abs() > limit_angle


def is_terminated(env: Any) -> Tensor:
    return env.termination_manager.terminated.float()


def height_scan(env: Any, sensor_cfg: Any) -> Tensor:
    return env.scene.sensors[sensor_cfg.name].data.ray_hits_w.torch[..., 2].mean(1)


class Remembering:
    """A term with a memory of its own."""

    def __init__(self, cfg: Any, env: Any) -> None:
        self.count = torch.zeros(1)

    def __call__(self, env: Any) -> Tensor:
        self.count += 1
        return self.count.expand(env.num_envs).clone()


class Scaled:
    """A term that is made once, and keeps no memory."""

    def __init__(self, cfg: Any, env: Any) -> None:
        self.sensor, self.scale = env.scene.sensors["contact_forces"], cfg.params["scale"]

    def __call__(self, env: Any, scale: float) -> Tensor:
        return self.scale * self.sensor.data.current_air_time.torch[:, self.sensor.find_sensors(".*foot")[0]].sum(1)


def rewards() -> dict[str, TermCfg]:
    """Return terms that rows can compute, with weights of their own."""
    return {
        "track_lin_vel_xy_exp": TermCfg(track_lin_vel_xy_exp, 1.0, {"std": 0.5, "command_name": "base_velocity"}),
        "lin_vel_z_l2": TermCfg(lin_vel_z_l2, -2.0),
        "joint_vel_l2": TermCfg(joint_vel_l2, -0.1, {"asset_cfg": SceneEntityCfg("robot", joint_names=".*HAA")}),
        "dof_torques_l2": TermCfg(joint_torques_l2, -2.5e-5),
        "dof_acc_l2": TermCfg(joint_acc_l2, -2.5e-7),
        "action_rate_l2": TermCfg(action_rate_l2, -0.01),
        "feet_air_time": TermCfg(feet_air_time, 0.5, {"sensor_cfg": FEET, "command_name": "base_velocity", "threshold": 0.5}),
        "undesired_contacts": TermCfg(undesired_contacts, -1.0, {"sensor_cfg": THIGHS, "threshold": 1.0}),
        "deviation": TermCfg(joint_deviation_l1, -0.1),
    }


def terminations() -> dict[str, TermCfg]:
    """Return the robot's own (its base touches the ground), and one of posture."""
    base = SceneEntityCfg("contact_forces", body_names="base")
    return {
        "base_contact": TermCfg(illegal_contact, params={"sensor_cfg": base, "threshold": 1.0}),
        "bad_orientation": TermCfg(bad_orientation, params={"limit_angle": 1.0}),
    }
