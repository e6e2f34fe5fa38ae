"""Sound data, and one planted fault of each kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from rwmu.data.audit import AuditSettings, Finding, examine
from rwmu.data.audit.findings import Findings
from rwmu.data.audit.view import View
from rwmu.data.episodes import Episodes, concatenate
from rwmu.data.formats import csv
from rwmu.data.replay import replay
from rwmu.robots.anymal_d import STATE_LAYOUT
from rwmu.robots.robot import Robot
from rwmu.tasks.velocity import OBSERVATION_NOISE, VelocityTask
from tests.data import walking
from tests.data.walking import ROBOT, STEP_DT, walking_episodes

Plant = Callable[[Episodes], Episodes]


def sound_episodes(number: int = 80, length: int = 60) -> Episodes:
    """Return walking episodes with commands over the whole range and the task's rewards; every fourth falls."""
    episodes = walking_episodes([length] * number, falling=range(0, number, 4))
    generator = torch.Generator().manual_seed(0)
    command = 2.0 * torch.rand(episodes.num_rows, 3, generator=generator) - 1.0
    episodes = replace(episodes, command=command)
    led_to = torch.ones(episodes.num_rows, dtype=torch.bool)
    led_to[episodes.offsets] = False
    reward = torch.zeros(episodes.num_rows)
    reward[led_to] = replay(episodes, VelocityTask(ROBOT), led_to.nonzero().squeeze(-1)).total.float()
    return replace(episodes, reward=reward)


def view(episodes: Episodes, robot: Robot = ROBOT, task: VelocityTask | None = None) -> View:
    return View(episodes, robot, AuditSettings(task=task))


def said(
    check: Callable[[View], Findings], episodes: Episodes, robot: Robot = ROBOT, task: VelocityTask | None = None
) -> list[Finding]:
    """Return what one check finds."""
    return list(check(view(episodes, robot, task)))


def found(episodes: Episodes, settings: AuditSettings | None = None) -> dict[str, Finding]:
    """Return the findings by name, and check that no name comes twice."""
    findings = examine(episodes, ROBOT, settings)
    assert len({finding.name for finding in findings}) == len(findings)
    return {finding.name: finding for finding in findings}


def table_of(episodes: Episodes) -> Episodes:
    """Return the episodes as they come back from the published table."""
    return csv.split_table(walking.table(episodes), ROBOT, STEP_DT)


def with_state(episodes: Episodes, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Episodes:
    state = episodes.state.clone()
    state[:, STATE_LAYOUT[name]] = change(state[:, STATE_LAYOUT[name]])
    return replace(episodes, state=state)


def noisy(episodes: Episodes) -> Episodes:
    generator = torch.Generator().manual_seed(0)
    for name, half_width in OBSERVATION_NOISE.items():
        episodes = with_state(
            episodes, name, lambda v, w=half_width: v + w * (2.0 * torch.rand(v.shape, generator=generator) - 1.0)
        )
    return episodes


def scaled(name: str, factor: float) -> Plant:
    return lambda episodes: with_state(episodes, name, lambda values: factor * values)


def shifted(lag: int) -> Plant:
    """Let row t hold the action that produced the state of row t - ``lag``."""

    def plant(episodes: Episodes) -> Episodes:
        action = torch.roll(episodes.action, lag, dims=0)
        action[episodes.offsets] = 0.0
        return replace(episodes, action=action)

    return plant


def constant_gravity(episodes: Episodes) -> Episodes:
    return with_state(episodes, "projected_gravity", lambda values: torch.tensor([0.0, 0.0, -1.0]).expand_as(values))


def dead_action(episodes: Episodes) -> Episodes:
    action = episodes.action.clone()
    action[:, 3] = 0.0
    return replace(episodes, action=action)


def stuck_torque(episodes: Episodes) -> Episodes:
    state = episodes.state.clone()
    state[70:120, STATE_LAYOUT["joint_torque"].start + 2] = 7.0
    return replace(episodes, state=state)


def no_fall(episodes: Episodes) -> Episodes:
    return replace(episodes, termination=torch.zeros_like(episodes.termination))


def foot(value: bool) -> Plant:
    def plant(episodes: Episodes) -> Episodes:
        contact = episodes.contact.clone()
        contact[:, ROBOT.contact_layout["foot"].start + 1] = value
        return replace(episodes, contact=contact)

    return plant


def random_actions(episodes: Episodes) -> Episodes:
    action = torch.randn(episodes.action.shape, generator=torch.Generator().manual_seed(9))
    action[episodes.offsets] = 0.0
    return replace(episodes, action=action)


def thinned(episodes: Episodes) -> Episodes:
    """Keep every second row."""
    kept = torch.arange(0, episodes.num_rows, 2)
    rows = {name: getattr(episodes, name)[kept] for name in episodes.row_arrays}
    return replace(episodes, **rows, lengths=episodes.lengths // 2)


def copied_episode(episodes: Episodes) -> Episodes:
    return concatenate([episodes, episodes.select(torch.tensor([5]))])


def copied_stretch(episodes: Episodes) -> Episodes:
    state = episodes.state.clone()
    state[70:100] = state[2005:2035]
    return replace(episodes, state=state)


def hung(episodes: Episodes) -> Episodes:
    """Repeat every tenth row."""
    state = episodes.state.clone()
    state[5::10] = state[4::10]
    return replace(episodes, state=state)


FAULTS: dict[str, tuple[Plant, str, str]] = {
    "constant gravity": (constant_gravity, "constant_state", "error"),
    "dead action": (dead_action, "constant_action", "warning"),
    "no fall": (no_fall, "no_termination", "warning"),
    "foot never on": (foot(False), "contact_never_on", "warning"),
    "foot always on": (foot(True), "contact_always_on", "warning"),
    "joints in degrees": (scaled("joint_pos", 57.3), "units_joint_pos", "error"),
    "velocities in degrees": (scaled("joint_vel", 57.3), "units_joint_vel", "warning"),
    "base turning in degrees": (scaled("base_ang_vel", 57.3), "units_base_ang_vel", "warning"),
    "speed in km/h": (scaled("base_lin_vel", 3.6), "units_base_lin_vel", "warning"),
    "torques normalised": (scaled("joint_torque", 1 / 80.0), "units_joint_torque", "warning"),
    "torques in N mm": (scaled("joint_torque", 1000.0), "units_joint_torque", "warning"),
    "gravity of 9.81": (scaled("projected_gravity", 9.81), "units_projected_gravity", "error"),
    "gravity upwards": (scaled("projected_gravity", -1.0), "units_projected_gravity", "warning"),
    "actions a row early": (shifted(-1), "action_lag", "warning"),
    "actions two rows early": (shifted(-2), "action_lag", "warning"),
    "actions a row late": (shifted(1), "action_lag", "warning"),
    "actions of another robot": (random_actions, "actions_explain_nothing", "warning"),
    "copied episode": (copied_episode, "duplicated_episodes", "warning"),
}
