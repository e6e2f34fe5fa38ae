"""Get a dataset: read it if it is there, else collect it once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rwmu.data import formats
from rwmu.data.episodes import Episodes
from rwmu.errors import DataError
from rwmu.robots.robot import Robot

_log = logging.getLogger(__name__)


def holds_collected(path: str | Path) -> bool:
    """Tell whether data that are collected here can lie in such a file: formats that lose something hold somebody's own data."""
    target = formats.format_of(path)
    return target.write is not None and not target.lost


def obtain(
    path: str | Path,
    collect: Callable[[Path], None] | None = None,
    robot: Robot | None = None,
    expected: Mapping[str, Any] | None = None,
) -> Episodes:
    """Return the episodes in ``path``; if there is no such file, let ``collect(path)`` make it first.

    A damaged or unfit file is refused, never overwritten: it may be somebody's data. A partial file cannot be taken for a whole
    one, since writers give a file its name last.

    Args:
        path: of the file, in a format of :mod:`rwmu.data.formats`. robot: whose data are expected.
        collect: writes the file; None if there must be one already.
        expected: attributes that the data must have, such as the recipe and the seed of their collection.
    """
    path = Path(path)
    if collect is not None and not path.exists() and holds_collected(path):
        _log.info("There is no %s yet: collecting it.", path)
        collect(path)
    episodes = formats.load(path, robot)
    report = episodes.attributes.get("import_report")
    if isinstance(report, Mapping):
        _log.info("%s is a table, split at %d unmarked seams into %d episodes.", path, report["num_seams"], episodes.num_episodes)
    for note in episodes.attributes.get("import_notes", ()):
        _log.info("%s: %s", path, note)
    for key, wanted in (expected or {}).items():
        found = episodes.attributes.get(key)
        if found != wanted and "recipe" not in episodes.attributes:
            raise DataError(
                f"The data file {path} was not collected here, but a recipe is asked for; give data.recipe=null to use it."
            )
        if key == "collected_under" and found is None:  # before it was noted
            continue
        if found != wanted:
            name, there, asked = next(differences(key, found, wanted))
            raise DataError(
                f"The data file {path} was collected with {name} = {there!r}, but this run asks for {asked!r}; collect others "
                "(python -m rwmu.collect) to another data.path, or give data.recipe=null to use these."
            )
    return episodes


def differences(name: str, found: Any, wanted: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted name and both values of every leaf in which two nested mappings differ."""
    if not isinstance(found, Mapping) or not isinstance(wanted, Mapping):
        if found != wanted:
            yield name, found, wanted
        return
    for key in dict.fromkeys((*found, *wanted)):
        yield from differences(key if name == "collected_under" else f"{name}.{key}", found.get(key), wanted.get(key))
