"""Data files damaged in a few hundred ways, generated: each is refused in one sentence, or reads as what was written."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rwmu.data import formats
from rwmu.data.episodes import Episodes
from rwmu.errors import DataError
from tests.data.walking import ROBOT, walking_episodes

# Instead of an array or an attribute.
OTHERS: dict[str, Any] = {
    "a word": "word",
    "bytes": b"\xff\xfe",
    "a negative number": -1,
    "a huge number": 10**12,
    "half a number": 2.5,
    "no number": np.nan,
    "a list": [1.0, 2.0],
    "nothing": h5py.Empty("f"),
    "complex numbers": np.zeros((39, 45), np.complex64),
    "half of JSON": '{"layout": [[',
}


def recorded() -> Episodes:
    return walking_episodes([40, 30], falling=[1])


def places(file: h5py.File) -> Iterator[tuple[str, str | None]]:
    """Yield the path of each group, dataset and attribute (path and name)."""
    found: list[tuple[str, str | None]] = [("/", name) for name in file.attrs]

    def visit(path: str, node: Any) -> None:
        found.append((path, None))
        found.extend((path, name) for name in node.attrs)

    file.visititems(visit)
    yield from found


def altered(path: Path, place: tuple[str, str | None], other: Any) -> None:
    """Replace a node or an attribute, or remove it (``other`` is None)."""
    node, name = place
    with h5py.File(path, "r+") as file:
        if name is not None:
            del file[node].attrs[name]
            if other is not None:
                file[node].attrs[name] = other
        else:
            del file[node]
            if other is not None:
                file[node] = other


def outcome(path: Path, expected: Episodes) -> str:
    """Return how reading a file ended: ``refused``, ``whole``, ``other`` data, or what was wrong with the refusal."""
    try:
        found = formats.load(path, ROBOT)
    except DataError as error:
        sentence = str(error)
        clear = "\n" not in sentence and len(sentence) < 600 and path.name in sentence and not re.search("delete|collect", sentence)
        return "refused" if clear else f"unclear: {sentence}"
    return "whole" if found.content_hash() == expected.content_hash() else "other"


def test_a_part_that_is_missing_or_of_another_kind(tmp_path: Path) -> None:
    source, path, expected = tmp_path / "whole.h5", tmp_path / "data.h5", recorded()
    formats.save(expected, source)
    with h5py.File(source) as file:
        every = [(place, other) for place in places(file) for other in (None, *OTHERS)]
    wrong = {}
    for place, other in every[::2]:  # an odd number of damages, so that each comes up at every second place
        path.write_bytes(source.read_bytes())
        altered(path, place, None if other is None else OTHERS[other])
        ended = outcome(path, expected)
        if ended not in ("refused", "whole"):
            wrong[f"{place} {other}"] = ended
    assert wrong == {}


@pytest.mark.parametrize(("ending", "accepted"), [(".h5", {"refused", "whole"}), (".csv", {"refused", "whole", "other"})])
def test_bytes_that_are_missing_or_flipped(ending: str, accepted: set[str], tmp_path: Path) -> None:
    """Of a table nobody can know which digit was another; our own files have a hash."""
    path, draw = tmp_path / f"data{ending}", random.Random(0)
    formats.save(recorded(), path)
    expected, content, wrong = formats.load(path, ROBOT), path.read_bytes(), {}
    for case in range(120):
        damaged = bytearray(content)
        if case % 3:
            damaged[draw.randrange(len(content) if case % 2 else 3000)] ^= 1 << draw.randrange(8)  # near the head, or anywhere
        else:
            del damaged[draw.randrange(len(content)) :]
        path.write_bytes(damaged)
        ended = outcome(path, expected)
        if ended not in accepted:
            wrong[case] = ended
    assert wrong == {}
