from __future__ import annotations

import pytest
import torch

from rwmu.errors import ConfigError
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
    with pytest.raises(KeyError, match="heigth"):
        LAYOUT["heigth"]


def test_field_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="twice"):
        StateLayout([Field("a", 1, "m"), Field("a", 2, "m")])


def test_description_rebuilds_the_layout() -> None:
    rebuilt = StateLayout.from_description(LAYOUT.describe())
    assert rebuilt == LAYOUT
    assert hash(rebuilt) == hash(LAYOUT)


@pytest.mark.parametrize("change", [Field("angle", 3, "deg"), Field("angle", 4, "rad"), Field("angles", 3, "rad")])
def test_layouts_differ_by_name_size_or_unit(change: Field) -> None:
    assert StateLayout([*LAYOUT.fields[:2], change]) != LAYOUT
