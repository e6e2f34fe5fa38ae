"""A YAML that names a source and says what it does not say itself: ``data.path=mine.yaml``.

::

    source: recordings/*.hdf5      # beside the YAML; the episodes of several files are joined
    format: isaaclab               # where the content does not tell
    robot: go1                     # or the dotted name of a function that makes one
    rate: 50                       # Hz, to take fewer rows than there are
    joint_names: [...]             # and whatever else the format's reader takes
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rwmu.data.episodes import Episodes, concatenate
from rwmu.data.formats.recordings import NOTES
from rwmu.data.formats.registry import Format, existing
from rwmu.data.formats.registry import load as load_source
from rwmu.data.rates import resampled
from rwmu.errors import ConfigError, DataError
from rwmu.robots import robot_called
from rwmu.robots.robot import Robot


def load(path: Path, robot: Robot | None = None) -> Episodes:
    """Read the source that a YAML describes."""
    options = _read(existing(path))
    named, rate, name = (options.pop(key, None) for key in ("robot", "rate", "format"))
    own = None if named is None else robot_called(str(named))
    if own is not None and robot is not None and own.name != robot.name:
        raise DataError(f"{path} is of the robot '{own.name}', but this run is for '{robot.name}'; give data of the same robot.")
    parts = [load_source(source, robot or own, name, **options) for source in _sources(path, options.pop("source"))]
    episodes = concatenate(parts)
    for key in ("unknown", NOTES):
        values = list(dict.fromkeys(value for part in parts for value in part.attributes.get(key, ())))
        episodes = episodes.with_attributes(**{key: values}) if values else episodes
    return episodes if rate is None else resampled(episodes, rate, str(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is no YAML ({' '.join(str(error).split())}); mend it.") from error
    if not isinstance(said, dict) or not isinstance(said.get("source"), str) or not all(isinstance(key, str) for key in said):
        raise ConfigError(f"{path} names no data; give 'source' (a path beside it).")
    return said


def _sources(path: Path, source: str) -> list[Path]:
    if not any(letter in source for letter in "*?["):
        return [path.parent / Path(source).expanduser()]
    pattern = Path(source).expanduser()
    folder, relative = (
        (Path(pattern.anchor), pattern.relative_to(pattern.anchor)) if pattern.is_absolute() else (path.parent, pattern)
    )
    found = sorted(folder.glob(str(relative)))
    if not found:
        raise DataError(f"No file is at {source}, which {path} names; mend 'source'.")
    return found


FORMAT = Format("yaml", (".yaml", ".yml"), load)
