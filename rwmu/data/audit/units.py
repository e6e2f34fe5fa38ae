"""Are the values of the size that their units allow? Warnings all but one: a gravity vector not of unit length is an error."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from rwmu.data.audit.context import Context, spread
from rwmu.data.audit.findings import Finding, warning
from rwmu.data.episodes import Episodes

_MOST_ROWS = 100_000  # looked at for quantiles
_FASTER = 2.5  # times the fastest command, before a speed is suspected of being in km/h (a factor of 3.6)

# field -> (least and most that 99 % of the absolute values reach, unit, what it might be instead). A walking robot's joints stay
# within a turn of their default and below 50 rad/s, its base turns slower than 20 rad/s; its motors give between 2 and 1000 N m
# (torques that are divided by their limit reach exactly 1).
_PLAUSIBLE = {
    "joint_pos": (0.0, 2.0 * math.pi, "rad", "they seem to be in degrees; convert them to radians"),
    "joint_vel": (0.0, 50.0, "rad/s", "they seem to be in degrees per second; convert them to radians"),
    "base_ang_vel": (0.0, 20.0, "rad/s", "they seem to be in degrees per second; convert them to radians"),
    "joint_torque": (2.0, 1000.0, "N m", "they seem to be scaled; record them in N m"),
}


def sizes(episodes: Episodes, context: Context) -> list[Finding]:
    """Look at every field whose plausible size is known."""
    findings = []
    for name, (least, most, unit, words) in _PLAUSIBLE.items():
        if name not in context.fields:
            continue
        size = quantile(context.part(episodes, name).abs(), 0.99)
        if not least <= size <= most:
            bound = f"above {most:.3g}" if size > most else f"below {least:.3g}"
            sentence = f"99 % of the {name} values reach {size:.3g} {unit}, {bound}: {words}."
            findings.append(warning(f"units_{name}", sentence, quantile_99=size))
    return findings


def speed(episodes: Episodes, context: Context) -> list[Finding]:
    """Compare how fast the base is with how fast it can be told to go."""
    fastest = math.hypot(*context.settings.command_range[:2])
    size = quantile(context.part(episodes, "base_lin_vel")[:, :2].norm(dim=-1), 0.95)
    if fastest <= 0.0 or size <= _FASTER * fastest:
        return []
    sentence = (
        f"95 % of the planar speeds reach {size:.3g} m/s, but the fastest command is {fastest:.3g} m/s: base_lin_vel seems to be "
        "in km/h; convert it to m/s, or give the range of your commands."
    )
    return [warning("units_base_lin_vel", sentence, quantile_95=size, fastest_command=fastest)]


def gravity(episodes: Episodes, context: Context) -> list[Finding]:
    """Check that the gravity vector is a direction, and that it points down, for most rows."""
    projected = context.part(episodes, "projected_gravity")
    length, down = quantile(projected.norm(dim=-1), 0.5), quantile(projected[:, 2], 0.5)
    numbers = {"median_length": length, "median_z": down}
    if not 0.8 < length < 1.2:
        sentence = f"projected_gravity has a length of {length:.3g}, but must have 1 (a direction): divide it by its length."
        return [Finding("units_projected_gravity", "error", sentence, numbers)]
    if down > 0.5:
        sentence = "projected_gravity points up in most rows, but its z is -1 for a robot that stands: change its sign."
        return [warning("units_projected_gravity", sentence, **numbers)]
    return []


def posture(episodes: Episodes, context: Context) -> list[Finding]:
    """Find joint angles that are absolute: around the default posture rather than around 0.

    The medians' share of the default posture is -0.3 to 0.3 on data of the simulator (walking, standing, lying), so 0.7 to 1.3
    where angles are absolute.
    """
    position, default = spread(context.part(episodes, "joint_pos"), _MOST_ROWS), context.robot.default_joint_pos
    share = float((position.median(0).values * default).sum() / default.square().sum().clamp(min=1e-9))
    if not 0.6 < share < 1.4:
        return []
    sentence = (
        f"Joints stand around the default posture of '{context.robot.name}' rather than around 0 (medians have {share:.2f} of it): "
        "subtract that posture, to which rewards and policies relate."
    )
    return [warning("absolute_joint_pos", sentence, share_of_default=share)]


def quantile(values: Tensor, share: float) -> float:
    """Return a quantile of values ``[R, ...]``, of some of the rows where there are many."""
    return float(np.quantile(spread(values, _MOST_ROWS).numpy(), share))
