"""Sensors that hung, glitches and sentinels are found and named; coarse values, falls and other units are none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rwmu.data.audit import examine
from rwmu.data.audit.values import gravity, outliers, stuck_columns, typical, without_outliers
from rwmu.data.episodes import Episodes
from rwmu.robots.anymal_d import STATE_LAYOUT
from tests.data.planted import found, noisy, said, scaled, sound_episodes, view, with_state
from tests.data.walking import ROBOT

Z = STATE_LAYOUT["projected_gravity"].stop - 1


def rounded(episodes: Episodes, decimals: int = 3) -> Episodes:
    return replace(episodes, state=episodes.state.round(decimals=decimals))


def upright(episodes: Episodes, sway: float) -> Episodes:
    """Let gravity sway by a sine: z is 1 but for its square."""
    angle = sway * torch.sin(0.02 * torch.arange(episodes.num_rows, dtype=torch.float64))
    state = episodes.state.clone()
    state[:, STATE_LAYOUT["projected_gravity"]] = torch.stack([angle.sin(), 0.0 * angle, -angle.cos()], dim=-1).float()
    state[::500, Z] = -0.99  # or the value that repeats would be the least of the column, which is left out anyway
    state[250::500, Z] = -1.01
    return replace(episodes, state=state)


def repeats(episodes: Episodes) -> int:
    """Return the longest run of equal values of the z of gravity."""
    same = (episodes.state[1:, Z] == episodes.state[:-1, Z]).tolist()
    longest = run = 0
    for equal in same:
        run = run + 1 if equal else 0
        longest = max(longest, run)
    return longest + 1


@pytest.mark.parametrize("change", [lambda e: rounded(upright(e, 0.03)), lambda e: upright(e, 1e-4)])
def test_coarse_values_are_no_stuck_sensor(change: object) -> None:
    """Three decimals; and a sway that a float32 does not resolve in z."""
    assert callable(change)
    episodes = change(sound_episodes(5, 400))
    assert repeats(episodes) > 50
    assert said(stuck_columns, episodes) == []


def test_a_robot_that_stands_is_no_stuck_sensor() -> None:
    """All columns move a thousandth of what they do elsewhere; one is at rest, and leaves it in a jump."""
    episodes = sound_episodes(5, 400)
    state = episodes.state.clone()
    state[900:1000] = state[900] + 1e-3 * (state[900:1000] - state[900])
    state[901:1000, 5] = state[901, 5]
    assert said(stuck_columns, replace(episodes, state=state)) == []


@pytest.mark.parametrize("column", [0, Z, STATE_LAYOUT["joint_torque"].start + 7])
@pytest.mark.parametrize(("first", "rows"), [(100, 60), (0, 60), (340, 60), (0, 400)])
def test_a_sensor_that_hung_is_found(column: int, first: int, rows: int) -> None:
    """Amid an episode, from its start, to its end, and throughout."""
    episodes = sound_episodes(5, 400)
    state = episodes.state.clone()
    start = 400 + first
    state[start : start + rows, column] = state[start, column]
    (finding,) = said(stuck_columns, replace(episodes, state=state))
    assert finding.severity == "warning"
    assert finding.numbers["columns"] == [STATE_LAYOUT.names()[column]]
    assert finding.numbers["longest_rows"] == [rows]
    assert f"row {first} of episode 1" in finding.sentence


def test_a_hung_sensor_of_rounded_data_is_found() -> None:
    episodes = rounded(sound_episodes(5, 400))
    state = episodes.state.clone()
    state[500:560, 36] = state[500, 36]
    (finding,) = said(stuck_columns, replace(episodes, state=state))
    assert "row 100 of episode 1" in finding.sentence


def with_values(episodes: Episodes, array: str, column: int, rows: slice, value: float) -> Episodes:
    values = getattr(episodes, array).clone()
    values[rows, column] = value
    return replace(episodes, **{array: values})


@pytest.mark.parametrize(
    ("array", "column", "rows", "value", "name"),
    [
        ("state", 0, slice(190, 191), 1e4, "base_lin_vel[0]"),
        ("state", STATE_LAYOUT["joint_vel"].start + 2, slice(65, 66), -1e5, "joint_vel[2]"),
        ("state", STATE_LAYOUT["joint_torque"].start + 7, slice(1000, 1200), -9999.0, "joint_torque[7]"),
        ("action", 4, slice(62, 63), 1e6, "action[4]"),
    ],
)
def test_absurd_values_are_found_and_spoil_no_other_check(
    array: str, column: int, rows: slice, value: float, name: str, sound: Episodes
) -> None:
    findings = examine(with_values(sound, array, column, rows, value), ROBOT)
    names = {finding.name for finding in findings if finding.severity != "note"}
    assert "outliers" in names
    assert names <= {"outliers", "stuck_state"}, "a mark of missing values stands still, and that is all"
    (finding,) = (finding for finding in findings if finding.name == "outliers")
    assert finding.severity == "warning"
    count = rows.stop - rows.start
    assert finding.numbers == {"count": count, "columns": [{"column": name, "value": value, "row": rows.start, "count": count}]}


def test_the_episodes_come_back_without_them(sound: Episodes) -> None:
    episodes = with_values(sound, "state", 0, slice(190, 192), 1e4)
    (finding,), tame = said(outliers, episodes), without_outliers(view(episodes))
    assert finding.numbers["columns"] == [{"column": "base_lin_vel[0]", "value": 1e4, "row": 190, "count": 2}]
    median = sound.state[:, 0].median()
    assert tame.state[190:192, 0].tolist() == pytest.approx([float(median)] * 2, abs=0.01)
    kept = torch.ones(sound.num_rows, dtype=torch.bool)
    kept[190:192] = False
    assert torch.equal(tame.state[kept], sound.state[kept])
    assert without_outliers(view(sound)) is sound


def test_an_extension_is_looked_at_too(sound: Episodes) -> None:
    """Of a column at rest for most of the time nobody knows how far it reaches; of another one does."""
    extension = torch.randn(sound.num_rows, 2, generator=torch.Generator().manual_seed(0))
    extension[:, 1] = 0.0
    extension[::300, 1] = 1e4
    assert "outliers" not in found(replace(sound, extension=extension))
    finding = found(with_values(replace(sound, extension=extension), "extension", 0, slice(7, 8), 1e4))["outliers"]
    assert finding.numbers["columns"] == [{"column": "extension[0]", "value": 1e4, "row": 7, "count": 1}]


def test_a_fall_of_a_robot_that_stands_is_no_outlier(sound: Episodes) -> None:
    """Columns that hardly vary (1e-3 of a walk), but for a few rows of a fall of ordinary size."""
    state = 1e-3 * sound.state
    state[:, STATE_LAYOUT["projected_gravity"]] = torch.tensor([0.0, 0.0, -1.0])
    state[100:110] = sound.state[100:110]
    assert said(outliers, replace(sound, state=state)) == []


@pytest.mark.parametrize(
    ("factor", "every", "key", "value"), [(0.5, 3, "share", 1 / 3), (9.81, 50, "share", 0.02), (1.05, 1, "median_length", 1.05)]
)
def test_a_gravity_of_another_length_is_found(factor: float, every: int, key: str, value: float, sound: Episodes) -> None:
    """In a third of the rows, in one of fifty, and a little everywhere."""
    odd = (torch.arange(sound.num_rows) % every == every - 1).unsqueeze(-1)
    episodes = with_state(sound, "projected_gravity", lambda gravity: torch.where(odd, factor * gravity, gravity))
    finding = found(episodes)["units_projected_gravity"]
    assert finding.severity == "warning"
    assert finding.numbers[key] == pytest.approx(value, abs=1e-3)


def test_noise_of_the_sensors_makes_no_other_length(sound: Episodes) -> None:
    assert said(gravity, noisy(sound)) == []


@pytest.mark.parametrize("name", ["joint_pos", "joint_vel", "joint_torque"])
def test_other_units_are_no_outliers(name: str, sound: Episodes) -> None:
    assert "outliers" not in found(scaled(name, 1000.0)(sound))


def test_spreads_by_hand() -> None:
    """Medians 3 and 0, median distances 1 and 0; a floor holds where it is higher, the central 98 % where there is none."""
    values = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0], [100.0, 9.3]])
    middle, spread = typical(values, torch.tensor([0.5, 2.0]))
    assert middle.tolist() == [3.0, 0.0]
    assert spread.tolist() == pytest.approx([1.4826, 2.0])
    high = 9.3 * 0.96  # the quantile of 0.99 lies 0.96 of the way between the last two of five
    assert typical(values, torch.tensor([0.5, torch.nan]))[1].tolist() == pytest.approx([1.4826, high / 4.65])
