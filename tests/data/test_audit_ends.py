"""Time-outs among the terminations, falls that nobody marked, contacts of other limbs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rwmu.data.audit.recording import time_outs, unmarked_falls, upright_time_outs
from rwmu.data.episodes import Episodes
from rwmu.robots.anymal_d import STATE_LAYOUT
from tests.data.planted import found, said
from tests.data.walking import walking_episodes


def last_rows(episodes: Episodes) -> torch.Tensor:
    return episodes.offsets + episodes.lengths - 1


def fallen(episodes: Episodes, which: torch.Tensor) -> Episodes:
    """Lay the robot on its side in the last row of the episodes ``which``."""
    state = episodes.state.clone()
    state[last_rows(episodes)[which], STATE_LAYOUT["projected_gravity"]] = torch.tensor([0.0, -1.0, 0.0])
    return replace(episodes, state=state)


def terminated(episodes: Episodes, which: torch.Tensor) -> Episodes:
    termination = torch.zeros(episodes.num_rows, dtype=torch.bool)
    termination[last_rows(episodes)[which]] = True
    return replace(episodes, termination=termination)


def test_time_outs_marked_as_terminations_are_found(sound: Episodes) -> None:
    finding = found(terminated(sound, torch.arange(80)))["time_outs_as_terminations"]
    assert finding.severity == "warning"
    assert finding.numbers == {"terminated": 80, "in_the_longest": 80, "episodes": 80}


def test_falls_of_all_lengths_and_few_episodes_are_no_time_outs(sound: Episodes) -> None:
    """Data of falls alone, and nine episodes, of which no regularity can be told."""
    falls = walking_episodes([50 + i for i in range(20)], falling=range(20))
    assert said(time_outs, falls) == []
    assert said(time_outs, terminated(sound, torch.arange(80)).select(torch.arange(9))) == []


def test_a_part_of_the_time_outs_marked_as_terminations_is_found(sound: Episodes) -> None:
    """A third of the episodes were recorded by somebody who marks every end; a few falls in the last step are chance."""
    finding = found(terminated(sound, torch.arange(0, 80, 3)))["time_outs_as_terminations"]
    assert finding.numbers == {"terminated": 20, "of": 80}, "of 27, every fourth has fallen"
    assert said(upright_time_outs, terminated(sound, torch.tensor([1, 2, 3, 4, 8, 12, 16, 20]))) == []


def test_unmarked_falls_are_found_and_named(sound: Episodes) -> None:
    tilted = fallen(sound, torch.arange(0, 80, 4))
    assert found(tilted).keys() <= {"repeated_stretches"}, "every fourth falls and is marked"
    finding = found(terminated(tilted, torch.arange(0, 80, 8)))["unmarked_falls"]
    assert finding.severity == "warning"
    assert finding.numbers == {"unmarked": 10, "fallen": 20, "episodes": list(range(4, 80, 8))}


def test_a_recording_that_stops_amid_falls_leaves_a_few(sound: Episodes) -> None:
    tilted = fallen(sound, torch.arange(0, 80, 2))
    assert said(unmarked_falls, terminated(tilted, torch.arange(0, 72, 2))) == [], "4 of 40"
    assert said(unmarked_falls, terminated(tilted, torch.arange(0, 70, 2))), "5 of 40"
    assert said(unmarked_falls, fallen(terminated(sound, torch.arange(0)), torch.arange(2))) == [], "two may be chance"


def test_a_gravity_that_points_up_is_said_once(sound: Episodes) -> None:
    state = sound.state.clone()
    state[:, STATE_LAYOUT["projected_gravity"]] *= -1.0
    assert said(unmarked_falls, replace(sound, state=state)) == []


@pytest.mark.parametrize("plant", [lambda contact: contact.roll(4, dims=-1), torch.logical_not])
def test_thighs_that_touch_more_often_than_feet_are_found(plant: object, sound: Episodes) -> None:
    assert callable(plant)
    finding = found(replace(sound, contact=plant(sound.contact)))["contact_order"]
    assert finding.severity == "warning"
