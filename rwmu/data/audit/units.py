"""Are the values of the size that their units allow? Warnings all but one: a gravity vector not of unit length is an error."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from rwmu.data.audit.findings import Finding
from rwmu.data.audit.joints import scale_between
from rwmu.data.episodes import Episodes
from rwmu.robots.layout import StateLayout
from rwmu.robots.robot import Robot

_MOST_ROWS = 100_000  # looked at for quantiles
_DEGREES = 180.0 / math.pi
_FASTER = 2.5  # times the fastest command, before a speed is suspected of being in km/h (a factor of 3.6)
_TOGETHER = 3.0  # the two factors' quotient is 1 / (correlation squared)

# field -> (quantile of the absolute values, least, most, what it might be instead). A walking robot's joints stay within a turn of
# their default and below 50 rad/s, its base turns slower than 20 rad/s; its motors give between 2 and 1000 N m
# (torques that are divided by their limit reach exactly 1).
_PLAUSIBLE = {
    "joint_pos": (0.99, 0.0, 2.0 * math.pi, "rad", "they seem to be in degrees; convert them to radians"),
    "joint_vel": (0.99, 0.0, 50.0, "rad/s", "they seem to be in degrees per second; convert them to radians"),
    "base_ang_vel": (0.99, 0.0, 20.0, "rad/s", "they seem to be in degrees per second; convert them to radians"),
    "joint_torque": (0.99, 2.0, 1000.0, "N m", "they seem to be scaled; record them in N m"),
}


def units(episodes: Episodes, layout: StateLayout, step_dt: float | None, command_range: tuple[float, ...]) -> list[Finding]:
    """Look at every field that is known by name.

    Args:
        command_range: half-widths of the commanded velocities, m/s, m/s, rad/s.
    """
    state = episodes.state[:: max(1, episodes.num_rows // _MOST_ROWS)]
    known = {field.name for field in layout.fields}
    findings = []
    for name, (share, least, most, unit, words) in _PLAUSIBLE.items():
        if name not in known:
            continue
        size = quantile(layout.part(state, name).abs(), share)
        if least <= size <= most:
            continue
        bound = f"above {most:.3g}" if size > most else f"below {least:.3g}"
        sentence = f"99 % of the {name} values reach {size:.3g} {unit}, {bound}: {words}."
        findings.append(Finding(f"units_{name}", "warning", sentence, {"quantile_99": size}))
    if "base_lin_vel" in known:
        findings += speed(layout.part(state, "base_lin_vel"), command_range)
    if "projected_gravity" in known:
        findings += gravity(layout.part(state, "projected_gravity"))
        if "base_ang_vel" in known and step_dt is not None and not findings:
            findings += turning(episodes, layout, step_dt)
    return findings


def posture(episodes: Episodes, robot: Robot) -> list[Finding]:
    """Find joint angles that are absolute: around the default posture rather than around 0.

    The medians' share of the default posture is -0.3 to 0.3 on data of the simulator (walking, standing, lying), so 0.7 to 1.3
    where angles are absolute.

    Args:
        robot: whose layout has ``joint_pos``.
    """
    position = robot.state_layout.part(episodes.state, "joint_pos")[:: max(1, episodes.num_rows // _MOST_ROWS)]
    default = robot.default_joint_pos
    share = float((position.median(0).values * default).sum() / default.square().sum().clamp(min=1e-9))
    if not 0.6 < share < 1.4:
        return []
    sentence = (
        f"Joints stand around the default posture of '{robot.name}' rather than around 0 (medians have {share:.2f} of it): angles "
        "seem to be absolute; subtract the default posture, to which rewards and policies relate."
    )
    return [Finding("absolute_joint_pos", "warning", sentence, {"share_of_default": share})]


def quantile(values: Tensor, share: float) -> float:
    """Return a quantile of all values."""
    return float(np.quantile(values.numpy(), share))


def speed(base_lin_vel: Tensor, command_range: tuple[float, ...]) -> list[Finding]:
    """Compare how fast the base is with how fast it can be told to go."""
    fastest = math.hypot(*command_range[:2])
    size = quantile(base_lin_vel[:, :2].norm(dim=-1), 0.95)
    if fastest <= 0.0 or size <= _FASTER * fastest:
        return []
    sentence = (
        f"95 % of the planar speeds reach {size:.3g} m/s, but the fastest command is {fastest:.3g} m/s: base_lin_vel seems to be "
        "in km/h or scaled; convert it to m/s, or give the range of your commands."
    )
    return [Finding("units_base_lin_vel", "warning", sentence, {"quantile_95": size, "fastest_command": fastest})]


def gravity(projected: Tensor) -> list[Finding]:
    """Check that the gravity vector ``[R, 3]`` is a direction, and that it points down, for most rows."""
    length = quantile(projected.norm(dim=-1), 0.5)
    down = quantile(projected[:, 2], 0.5)
    numbers = {"median_length": length, "median_z": down}
    if not 0.8 < length < 1.2:
        sentence = (
            f"projected_gravity has a length of {length:.3g}, but must have 1 (a direction): divide it by its length, "
            "for rewards and falls are computed from it."
        )
        return [Finding("units_projected_gravity", "error", sentence, numbers)]
    if down > 0.5:
        sentence = "projected_gravity points up in most rows, but its z is -1 for a robot that stands: change its sign."
        return [Finding("units_projected_gravity", "warning", sentence, numbers)]
    return []


def turning(episodes: Episodes, layout: StateLayout, step_dt: float) -> list[Finding]:
    """Compare how gravity turns in the base with how fast the base turns: dg/dt = -w x g."""
    direction, rate = (layout.part(episodes.state, name) for name in ("projected_gravity", "base_ang_vel"))
    turned = -step_dt * torch.linalg.cross(0.5 * (rate[1:] + rate[:-1]), 0.5 * (direction[1:] + direction[:-1]))
    low, high = scale_between(episodes, turned, direction.diff(dim=0))
    scale = math.sqrt(low * high) if math.isfinite(high) else 0.0
    if high > _TOGETHER * low or not 0.6 < scale * _DEGREES < 1.6:
        return []
    sentence = (
        f"Gravity turns {scale:.3g} times as fast in the base as base_ang_vel says, which seems to be in degrees per second; "
        "convert it to radians."
    )
    return [Finding("units_base_ang_vel", "warning", sentence, {"turned_per_rate": scale})]
