"""A sensor that hung is told from values that repeat because they are coarse, or because the robot stands."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rwmu.data.audit.stuck import stuck_columns
from rwmu.data.episodes import Episodes
from rwmu.robots.anymal_d import STATE_LAYOUT
from tests.data.planted import CONTEXT, sound_episodes

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
    assert stuck_columns(episodes, CONTEXT) == []


def test_a_robot_that_stands_is_no_stuck_sensor() -> None:
    """All columns move a thousandth of what they do elsewhere; one is at rest, and leaves it in a jump."""
    episodes = sound_episodes(5, 400)
    state = episodes.state.clone()
    state[900:1000] = state[900] + 1e-3 * (state[900:1000] - state[900])
    state[901:1000, 5] = state[901, 5]
    assert stuck_columns(replace(episodes, state=state), CONTEXT) == []


@pytest.mark.parametrize("column", [0, Z, STATE_LAYOUT["joint_torque"].start + 7])
@pytest.mark.parametrize(("first", "rows"), [(100, 60), (0, 60), (340, 60), (0, 400)])
def test_a_sensor_that_hung_is_found(column: int, first: int, rows: int) -> None:
    """Amid an episode, from its start, to its end, and throughout."""
    episodes = sound_episodes(5, 400)
    state = episodes.state.clone()
    start = 400 + first
    state[start : start + rows, column] = state[start, column]
    (finding,) = stuck_columns(replace(episodes, state=state), CONTEXT)
    assert finding.severity == "warning"
    assert finding.numbers["columns"] == [STATE_LAYOUT.names()[column]]
    assert finding.numbers["longest_rows"] == [rows]
    assert f"row {first} of episode 1" in finding.sentence


def test_a_hung_sensor_of_rounded_data_is_found() -> None:
    episodes = rounded(sound_episodes(5, 400))
    state = episodes.state.clone()
    state[500:560, 36] = state[500, 36]
    (finding,) = stuck_columns(replace(episodes, state=state), CONTEXT)
    assert "row 100 of episode 1" in finding.sentence
