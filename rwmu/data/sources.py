"""Get a dataset: read it if it is there, else collect it once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rwmu.data.episodes import Episodes
from rwmu.data.formats import csv, hdf5
from rwmu.errors import DataError
from rwmu.robots.robot import Robot

_log = logging.getLogger(__name__)


def is_table(path: Path) -> bool:
    """Tell by its ending whether a file is a published table, which is always somebody's own data: none is collected as such."""
    return path.suffix.lower() == ".csv"


def obtain(
    path: str | Path,
    collect: Callable[[Path], None] | None = None,
    robot: Robot | None = None,
    expected: Mapping[str, Any] | None = None,
) -> Episodes:
    """Return the episodes in ``path``; if there is no such file, let ``collect(path)`` make it first.

    A damaged or unfit file is refused, never overwritten: it may be somebody's data. A partial file cannot be taken for a whole
    one, since writers give a file its name last (see :func:`rwmu.data.formats.hdf5.save`).

    Args:
        path: of the file: a published table if it ends in ``.csv``, else HDF5.
        collect: writes the file; None if there must be one already.
        robot: whose data are expected.
        expected: attributes that the data must have, such as the number of transitions and the seed of their collection.

    Raises:
        DataError: one sentence.
    """
    path = Path(path)
    if collect is not None and not path.exists() and not is_table(path):
        _log.info("There is no %s yet: collecting it.", path)
        collect(path)
    episodes = csv.load(path, robot) if is_table(path) else hdf5.load(path, robot)
    for key, wanted in (expected or {}).items():
        found = episodes.attributes.get(key)
        if found != wanted:
            raise DataError(
                f"The data file {path} was made with {key} = {found!r}, but this run asks for {wanted!r}; give another data.path, "
                "or delete the file to have it collected again."
            )
    return episodes
