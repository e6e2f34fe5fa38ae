"""A planted fault of each kind is found, with its name and severity, in data and in tables; sound data give nothing."""

from __future__ import annotations

import pytest

from rwmu.data.audit import examine
from rwmu.data.episodes import Episodes
from tests.data.planted import FAULTS, Plant, copied_stretch, found, hung, sound_episodes, stuck_torque, table_of, thinned
from tests.data.walking import ROBOT

# Of the table's form: what it cannot say is said, not held against it.
NOTES_OF_A_TABLE = {"command_unknown", "reward_unknown"}


@pytest.fixture(scope="module")
def sound() -> Episodes:
    return sound_episodes()


def test_sound_data_give_nothing(sound: Episodes) -> None:
    assert examine(sound, ROBOT) == []


def test_sound_tables_give_only_what_the_form_cannot_say(sound: Episodes) -> None:
    findings = found(table_of(sound))
    assert set(findings) == NOTES_OF_A_TABLE
    assert all(finding.severity == "note" for finding in findings.values())
    assert "cannot be told" in findings["command_unknown"].sentence
    assert "Rewards are unknown" in findings["reward_unknown"].sentence


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("form", ["data", "table"])
def test_a_planted_fault_is_found(fault: str, form: str, sound: Episodes) -> None:
    plant, name, severity, words = FAULTS[fault]
    episodes = plant(sound)
    findings = found(table_of(episodes) if form == "table" else episodes)
    assert name in findings, sorted(findings)
    assert findings[name].severity == severity
    assert words in findings[name].sentence
    # A table is split where its joints jump: where these are spoilt, only falls split it, every fourth episode of equal ones.
    split = {"few_episodes", "time_outs_as_terminations"}
    allowed = {name} | split if form == "table" and "degrees" in fault else {name}
    grave = {other for other, finding in findings.items() if finding.severity != "note"}
    assert grave <= allowed, "a single fault is not taken for several"


@pytest.mark.parametrize("form", ["data", "table"])
@pytest.mark.parametrize(
    ("plant", "name", "words"),
    [
        (copied_stretch, "repeated_stretches", "1 stretches (30 rows)"),
        (hung, "frozen_rows", "480 rows (10.00%)"),
        (stuck_torque, "stuck_state", "joint_torque[2] for 50 rows from row 10 of episode 1 on"),
        (thinned, "step_dt", "times as far as their velocities say in a step of 0.02 s"),
    ],
)
def test_a_fault_that_also_breaks_the_motion_is_found(form: str, plant: Plant, name: str, words: str, sound: Episodes) -> None:
    episodes = plant(sound)
    finding = found(table_of(episodes) if form == "table" else episodes)[name]
    assert finding.severity == "warning"
    assert words in finding.sentence
