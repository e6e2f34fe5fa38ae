"""Glitches and sentinels are found, named and kept from the other checks; falls and units of other sizes are none."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from rwmu.data.audit import examine
from rwmu.data.audit.outliers import outliers, typical, without_outliers
from rwmu.data.episodes import Episodes
from rwmu.robots.anymal_d import STATE_LAYOUT
from tests.data.planted import CONTEXT, found, scaled
from tests.data.walking import ROBOT


def with_values(episodes: Episodes, array: str, column: int, rows: slice, value: float) -> Episodes:
    values = getattr(episodes, array).clone()
    values[rows, column] = value
    return replace(episodes, **{array: values})


@pytest.mark.parametrize(
    ("array", "column", "rows", "value", "words"),
    [
        ("state", 0, slice(190, 191), 1e4, r"1 values .* the worst base_lin_vel\[0\] = 10000 in row 10 of episode 3"),
        ("state", STATE_LAYOUT["joint_vel"].start + 2, slice(65, 66), -1e5, r"joint_vel\[2\] = -100000 in row 5 of episode 1"),
        ("state", STATE_LAYOUT["joint_torque"].start + 7, slice(1000, 1200), -9999.0, r"200 values .* joint_torque\[7\] = -9999"),
        ("action", 4, slice(62, 63), 1e6, r"1 values .* action\[4\] = 1e\+06 in row 2 of episode 1"),
    ],
)
def test_absurd_values_are_found_and_spoil_no_other_check(
    array: str, column: int, rows: slice, value: float, words: str, sound: Episodes
) -> None:
    findings = examine(with_values(sound, array, column, rows, value), ROBOT)
    names = {finding.name for finding in findings if finding.severity != "note"}
    assert "outliers" in names
    assert names <= {"outliers", "stuck_state"}, "a mark of missing values stands still, and that is all"
    (finding,) = (finding for finding in findings if finding.name == "outliers")
    assert finding.severity == "warning"
    assert re.search(words, finding.sentence)
    assert finding.numbers["count"] == rows.stop - rows.start


def test_the_episodes_come_back_without_them(sound: Episodes) -> None:
    episodes = with_values(sound, "state", 0, slice(190, 192), 1e4)
    (finding,), tame = outliers(episodes, CONTEXT), without_outliers(episodes, CONTEXT)
    assert finding.numbers["columns"] == [{"column": "base_lin_vel[0]", "value": 1e4, "row": 190, "count": 2}]
    median = sound.state[:, 0].median()
    assert tame.state[190:192, 0].tolist() == pytest.approx([float(median)] * 2, abs=0.01)
    kept = torch.ones(sound.num_rows, dtype=torch.bool)
    kept[190:192] = False
    assert torch.equal(tame.state[kept], sound.state[kept])
    assert without_outliers(sound, CONTEXT) is sound


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
    assert outliers(replace(sound, state=state), CONTEXT) == []


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
