"""Each check by itself: where a fault is, what is no fault, and figures worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rwmu.data.audit import AuditSettings, Finding, audit, brief, examine, require_sound
from rwmu.data.audit.actions import LAGS, action_lag, regressed_rows, unexplained
from rwmu.data.audit.findings import table
from rwmu.data.audit.motion import motion_scale
from rwmu.data.audit.recording import cell_share, row_hashes
from rwmu.data.episodes import Episodes, concatenate
from rwmu.data.normalizer import Normalizer
from rwmu.errors import DataError
from rwmu.robots.anymal_d import STATE_LAYOUT
from rwmu.robots.layout import Field, StateLayout
from rwmu.robots.robot import Robot
from rwmu.tasks.velocity import VelocityTask
from tests.data.planted import constant_gravity, found, said, shifted, sound_episodes, view, with_state
from tests.data.walking import ROBOT, STEP_DT, walking_episode


def test_the_simulated_robot_gives_no_suspicion(simulated: Episodes) -> None:
    """Few commands and episodes are true of so short a recording; nothing else is said."""
    settings = AuditSettings(step_dt=STEP_DT, task=VelocityTask(ROBOT))
    assert set(found(simulated, settings)) <= {
        "command_coverage",
        "few_episodes",
        "short_episodes",
        "contact_never_on",
        "no_termination",
    }


# -- where things are ---------------------------------------------------------------------------------------------------------


def test_a_seam_within_an_episode_is_named_by_its_row() -> None:
    """Seven rows of a walk are missing."""
    walk = walking_episode(507, seed=3)
    kept = torch.tensor([i for i in range(507) if not 250 <= i < 257])
    rows = {name: getattr(walk, name)[kept] for name in walk.row_arrays}
    episodes = concatenate([walking_episode(100, seed=1), replace(walk, **rows, lengths=torch.tensor([500]))])
    finding = found(episodes)["seams"]
    assert finding.severity == "warning"
    assert finding.numbers == {"count": 1, "episode_and_row": [[1, 250]]}


def test_rows_out_of_order_are_found(sound: Episodes) -> None:
    order = torch.randperm(sound.num_rows, generator=torch.Generator().manual_seed(0))
    finding = found(replace(sound, state=sound.state[order]))["joints_do_not_follow"]
    assert finding.severity == "warning"


def test_a_termination_before_the_last_row_is_named(sound: Episodes) -> None:
    termination = sound.termination.clone()
    termination[60 + 17] = True
    finding = found(replace(sound, termination=termination))["termination_inside"]
    assert finding.numbers == {"terminations": 21, "inside": 1}


def test_a_limit_that_is_reached_for_long_is_no_stuck_sensor(sound: Episodes) -> None:
    limit = with_state(sound, "joint_torque", lambda values: values.clamp(-1.0, 1.0))
    assert (limit.state[1:, STATE_LAYOUT["joint_torque"]] == limit.state[:-1, STATE_LAYOUT["joint_torque"]]).sum() > 1000
    assert "stuck_state" not in found(limit)


def test_single_copies_are_a_note_when_few_and_a_warning_when_many(sound: Episodes) -> None:
    for number, severity in ((3, "note"), (30, "warning")):
        state = sound.state.clone()
        state[60 * torch.arange(1, number + 1) + 7] = state[4700 : 4700 + 3 * number : 3][:number]
        finding = found(replace(sound, state=state))["duplicated_rows"]
        assert finding.severity == severity
        assert finding.numbers["count"] == number


def test_equal_starts_are_no_copies(sound: Episodes) -> None:
    """A simulator may always begin in the same state."""
    state = sound.state.clone()
    state[sound.offsets] = state[0].clone()
    assert not {"duplicated_rows", "repeated_stretches", "duplicated_episodes"} & set(found(replace(sound, state=state)))


def test_hashes_are_of_bits() -> None:
    rows = np.zeros((4, 3), dtype=np.float32)
    rows[1, 2] = np.nextafter(np.float32(0.0), np.float32(1.0))
    rows[2, 1] = rows[1, 2]
    first, second, third, fourth = row_hashes(rows).tolist()
    assert first == fourth
    assert len({first, second, third}) == 3


# -- action lag ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lag", LAGS)
def test_the_lag_of_the_simulated_robot_is_found(lag: int, simulated: Episodes) -> None:
    findings = {finding.name: finding for finding in said(action_lag, shifted(lag)(simulated))}
    if lag == 0:
        assert not findings
    else:
        assert findings["action_lag"].numbers["best_lag"] == lag
        assert findings["action_lag"].numbers["explained"] == "joint_torque"


def test_without_torques_velocities_tell_the_lag() -> None:
    """A velocity that follows the action by hand: v' = 0.9 v + a of the same row, so nothing is left unexplained at lag 0."""
    layout = StateLayout([Field("joint_pos", 1, "rad"), Field("joint_vel", 1, "rad/s")])
    robot = replace(ROBOT, state_layout=layout)
    action = torch.randn(700, 1, generator=torch.Generator().manual_seed(0))
    action[0] = 0.0
    velocity = torch.zeros(700, 1)
    for row in range(1, 700):
        velocity[row] = 0.9 * velocity[row - 1] + action[row]
    template = walking_episode(700, seed=0)
    episodes = replace(template, state=torch.cat([0.02 * velocity.cumsum(0), velocity], dim=-1), action=action)
    rows = regressed_rows(view(episodes, robot))
    assert (int(rows.min()), int(rows.max())) == (5, 695)
    target, by_lag = unexplained(view(episodes, robot), rows)
    assert target == "joint_vel"
    assert by_lag[0] < 1e-6
    assert all(by_lag[lag] > 0.9 for lag in LAGS if lag), "white noise tells nothing of its neighbours"
    for lag in (-1, 1):
        (finding,) = said(action_lag, shifted(lag)(episodes), robot)
        assert finding.numbers["best_lag"] == lag


def test_too_few_rows_for_a_lag_are_said(sound: Episodes) -> None:
    (finding,) = said(action_lag, sound.select(torch.arange(5)))
    assert (finding.name, finding.severity, finding.numbers) == ("action_lag_unknown", "note", {"rows": 5 * (60 - 9)})


# -- units --------------------------------------------------------------------------------------------------------------------


def test_factors_of_motion_by_hand() -> None:
    """Moved 2, 2, 4 where 1, 2, 2 was told: (2 + 4 + 8) / (1 + 4 + 4) and (4 + 4 + 16) / 14."""
    layout = StateLayout([Field("joint_pos", 1, "rad"), Field("joint_vel", 1, "rad/s")])
    robot = replace(ROBOT, state_layout=layout)
    state = torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 3.0], [8.0, 1.0], [5.0, 0.0]])
    still = torch.zeros(5, ROBOT.num_joints)
    template = replace(walking_episode(5, seed=0), action=still)
    episodes = replace(template, state=state, lengths=torch.tensor([4, 1]), levels=["a", "b"], seeds=torch.tensor([0, 1]))
    low, high = motion_scale(view(episodes, robot), 1.0)
    assert (low, high) == pytest.approx((14 / 9, 24 / 14))


@pytest.mark.parametrize(("truth", "moved"), [(0.02, None), (0.025, 1.25), (1.0 / 60.0, 0.83)])
def test_a_step_a_quarter_off_is_told_by_the_joints(truth: float, moved: float | None, sound: Episodes) -> None:
    """Data of 50 Hz are said to have another step: joints move by 0.02 s of their velocities, and 1 % for a swing's curve."""
    (low, high) = motion_scale(view(sound), truth)
    assert low <= high
    findings = found(replace(sound, attributes={**sound.attributes, "step_dt": truth}))
    assert ("step_dt" in findings) == (moved is not None)
    if moved is not None:
        assert findings["step_dt"].numbers["moved_per_travel_low"] == pytest.approx(1.0 / moved, rel=0.03)


def test_another_step_than_the_tasks_is_an_error(sound: Episodes) -> None:
    rounded = AuditSettings(step_dt=0.02 * (1.0 + 1e-7))
    assert examine(sound, ROBOT, rounded) == []
    finding = found(sound, AuditSettings(step_dt=0.01))["step_dt_of_the_task"]
    assert finding.severity == "error"


def test_torques_divided_by_their_limit_are_found(sound: Episodes) -> None:
    """Motors at their limit give exactly 1."""
    limited = with_state(sound, "joint_torque", lambda values: (values / 10.0).clamp(-1.0, 1.0))
    assert found(limited)["units_joint_torque"].numbers["quantile_99"] == 1.0


def test_slow_turning_in_degrees_is_told_by_gravity() -> None:
    """The base rolls by 0.3 rad at 0.5 Hz, which no threshold on rates in degrees per second would tell."""
    time = STEP_DT * torch.arange(200, dtype=torch.float64)
    roll, rate = 0.3 * torch.sin(torch.pi * time), 0.3 * torch.pi * torch.cos(torch.pi * time)
    nothing = torch.zeros_like(time)
    walk = walking_episode(200, seed=0)
    turned = torch.stack([nothing, -torch.sin(roll), -torch.cos(roll)], dim=-1).float()
    for factor, name in ((1.0, None), (15.0, None), (180.0 / torch.pi, "units_base_ang_vel")):
        state = walk.state.clone()
        state[:, STATE_LAYOUT["projected_gravity"]] = turned
        state[:, STATE_LAYOUT["base_ang_vel"]] = factor * torch.stack([rate, nothing, nothing], dim=-1).float()
        names = set(found(replace(walk, state=state)))
        assert ("units_base_ang_vel" in names) == (name is not None or factor * 0.3 * torch.pi > 20.0)


# -- coverage -----------------------------------------------------------------------------------------------------------------


def test_cells_by_hand() -> None:
    """Four cells an axis, none for yaw, which is never asked for: 16 in all."""
    points = torch.tensor([[-1.0, -1.0, 0.0], [-0.6, -0.9, 0.0], [0.1, 0.1, 0.0], [1.0, 1.0, 0.0], [1.2, 0.0, 0.0]])
    assert cell_share(points, (1.0, 1.0, 0.0)) == pytest.approx((3 / 16, 1 / 5))
    assert cell_share(points, (1.0, 1.0, 0.0), fewest=2)[0] == 1 / 16
    assert cell_share(10.0 * points[2:3], (1.0, 1.0, 1.0)) == pytest.approx((1 / 64, 0.0))


def test_commands_of_a_corner_and_beyond_the_range(sound: Episodes) -> None:
    corner = found(replace(sound, command=sound.command.abs()))["command_coverage"]
    assert corner.severity == "warning"
    assert corner.numbers["command_cells"] == 8 / 64
    beyond = found(replace(sound, command=2.0 * sound.command))["command_beyond"]
    assert beyond.numbers["beyond"] == pytest.approx(7 / 8, abs=0.02)
    assert "command_beyond" not in found(replace(sound, command=2.0 * sound.command), AuditSettings(command_range=(2.0, 2.0, 2.0)))


def test_rewards_that_nobody_gave_are_found(sound: Episodes) -> None:
    assert found(replace(sound, reward=torch.zeros(sound.num_rows)))["constant_reward"].severity == "warning"


def test_short_and_few_episodes(sound: Episodes) -> None:
    assert found(sound, AuditSettings(window=61))["short_episodes"].severity == "error"
    mixed = concatenate([sound, sound_episodes(4, 30)])
    assert found(mixed)["short_episodes"].severity == "note"
    few = found(sound.select(torch.arange(10)))["few_episodes"]
    assert few.numbers["splits"] == {"train": 8, "validation": 1, "test": 1, "calibration": 1}
    whole = found(sound, AuditSettings(fractions={"train": 0.8, "validation": 0.1, "test": 0.1, "calibration": 0.0}))
    assert whole["no_calibration_split"].severity == "note"


# -- normalisers --------------------------------------------------------------------------------------------------------------


def test_a_fitting_normaliser_is_passed_and_a_foreign_one_is_not(sound: Episodes) -> None:
    own = Normalizer.fit(sound.state, STATE_LAYOUT)
    assert examine(sound, ROBOT, AuditSettings(normalizer=own)) == []
    raw = Normalizer(torch.zeros(45), torch.ones(45), STATE_LAYOUT.names())
    finding = found(sound, AuditSettings(normalizer=raw))["normalizer_mismatch"]
    assert finding.severity == "warning"
    assert finding.numbers["worst"].startswith("base_lin_vel")
    assert finding.numbers["deviation"] == pytest.approx(0.01, rel=0.05), "as tests/data/walking.py has it"
    other = Normalizer(torch.zeros(45), torch.ones(45), ["height", *STATE_LAYOUT.names()[1:]])
    columns = found(sound, AuditSettings(normalizer=other))["normalizer_columns"]
    assert columns.severity == "error"


def test_a_constant_column_is_an_error_only_if_a_normaliser_is_to_be_fitted(sound: Episodes) -> None:
    given = AuditSettings(normalizer=Normalizer.fit(sound.state, STATE_LAYOUT))
    assert found(constant_gravity(sound), given)["constant_state"].severity == "warning"


# -- what stops ---------------------------------------------------------------------------------------------------------------


def test_values_that_are_no_numbers_and_another_robot_are_errors(sound: Episodes) -> None:
    state = sound.state.clone()
    state[65, 0] = float("nan")
    findings = found(replace(sound, state=state))
    assert set(findings) == {"non_finite", "not_checked"}
    assert "base_lin_vel[0] of episode 1, row 5" in findings["non_finite"].sentence
    other: Robot = replace(ROBOT, name="other")
    (finding, _) = examine(sound, other)
    assert (finding.name, finding.severity) == ("robot", "error")
    with pytest.raises(DataError, match="anymal_d"):
        audit(sound, other)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_hardly_any_rows_are_said_to_be_too_few(length: int) -> None:
    assert {"short_episodes", "few_episodes", "action_lag_unknown"} <= set(found(walking_episode(length, seed=0)))


def test_a_layout_without_joints_is_said(sound: Episodes) -> None:
    blind = StateLayout([Field("everything", 45, "1")])
    robot = replace(ROBOT, state_layout=blind)
    findings = examine(replace(sound, attributes={"step_dt": STEP_DT, "layout": blind.describe()}), robot)
    assert [finding.name for finding in findings] == ["joints_unknown"]


def test_errors_stop_with_one_sentence_and_warnings_do_not() -> None:
    warning, note = Finding("b", "warning", "B is odd."), Finding("c", "note", "C.")
    require_sound([warning, note], "data.h5")
    with pytest.raises(DataError) as stop:
        require_sound([warning, Finding("a", "error", "A is wrong; mend A."), Finding("d", "error", "D.")], "data.h5")
    assert "A is wrong" in str(stop.value)
    assert "1 more" in str(stop.value)
    assert "D." not in str(stop.value)
    assert brief([note], "data.h5") is None
    assert " b " in str(brief([warning, note], "data.h5"))


def test_the_table_puts_the_gravest_first_and_wraps() -> None:
    lines = table([Finding("note_name", "note", "word " * 30), Finding("e", "error", "Wrong.")]).splitlines()
    assert lines[0].split() == ["error", "e", "Wrong."]
    assert lines[1].startswith("note     note_name  word")
    assert lines[2].startswith(" " * 20 + "word")
    assert max(map(len, lines)) <= 132
