from __future__ import annotations

import pytest
import torch

from rwmu.errors import ConfigError
from rwmu.robots.anymal_d import CONTACT_LAYOUT, JOINTS, OBSERVATION_LAYOUT, STATE_LAYOUT, anymal_d
from rwmu.robots.layout import Field, StateLayout

LAYOUT = StateLayout([Field("velocity", 2, "m/s"), Field("height", 1, "m"), Field("angle", 3, "rad")])


def test_fields_follow_one_another() -> None:
    vector = torch.arange(6.0)
    assert LAYOUT.size == 6
    assert LAYOUT.part(vector, "velocity").tolist() == [0.0, 1.0]
    assert LAYOUT.part(vector, "height").tolist() == [2.0]
    assert LAYOUT.part(vector, "angle").tolist() == [3.0, 4.0, 5.0]


def test_part_is_a_view_of_any_leading_axes() -> None:
    vectors = torch.zeros(4, 5, 6)
    LAYOUT.part(vectors, "height")[...] = 7.0
    assert vectors[..., 2].eq(7.0).all()
    assert vectors.sum() == 7.0 * 20


def test_names_say_field_and_index() -> None:
    assert LAYOUT.names() == ["velocity[0]", "velocity[1]", "height", "angle[0]", "angle[1]", "angle[2]"]


def test_unknown_field_is_named_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"no field 'heigth'; it has \['velocity', 'height', 'angle'\]"):
        LAYOUT["heigth"]


def test_field_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="names a field twice"):
        StateLayout([Field("a", 1, "m"), Field("a", 2, "m")])


def test_description_rebuilds_the_layout() -> None:
    rebuilt = StateLayout.from_description(LAYOUT.describe())
    assert rebuilt == LAYOUT
    assert hash(rebuilt) == hash(LAYOUT)


@pytest.mark.parametrize("change", [Field("angle", 3, "deg"), Field("angle", 4, "rad"), Field("angles", 3, "rad")])
def test_layouts_differ_by_name_size_or_unit(change: Field) -> None:
    assert StateLayout([*LAYOUT.fields[:2], change]) != LAYOUT


def test_anymal_has_the_published_sizes() -> None:
    robot = anymal_d()
    assert (STATE_LAYOUT.size, OBSERVATION_LAYOUT.size, CONTACT_LAYOUT.size, robot.num_joints) == (45, 48, 8, 12)
    assert STATE_LAYOUT["joint_torque"] == slice(33, 45)


def test_anymal_joints_are_type_major_and_bend_outwards_on_both_ends() -> None:
    posture = dict(zip(JOINTS, anymal_d().default_joint_pos.tolist(), strict=True))
    assert JOINTS[:5] == ("LF_HAA", "LH_HAA", "RF_HAA", "RH_HAA", "LF_HFE")
    assert posture["LF_HFE"] == pytest.approx(0.4)
    assert posture["RH_HFE"] == pytest.approx(-0.4)
    assert posture["RF_KFE"] == pytest.approx(-0.8)
    assert posture["LH_KFE"] == pytest.approx(0.8)
