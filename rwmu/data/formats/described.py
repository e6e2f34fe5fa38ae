"""A YAML that names a source and says what it does not say itself: ``data.path=mine.yaml``.

::

    source: recordings/*.hdf5      # beside the YAML; the episodes of several files are joined
    format: isaaclab               # where the content does not tell
    robot: go1                     # or the dotted name of a function that makes one
    rate: 50                       # Hz, to take fewer rows than there are
    joint_names: [...]             # and whatever else the format's reader takes
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
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
from rwmu.settings import Positive, settings


@settings("")
class Description:
    """What a YAML says for every format."""

    source: str
    format: str | None = None
    robot: str | None = None
    rate: Positive | None = None


def load(path: Path, robot: Robot | None = None) -> Episodes:
    """Read the source that a YAML describes.

    Raises:
        DataError, ConfigError: one sentence.
    """
    said = _read(existing(path))
    own = {field.name for field in fields(Description)}
    general = Description(**{name: value for name, value in said.items() if name in own})
    options = {name: value for name, value in said.items() if name not in own}
    theirs = robot if general.robot is None else robot_called(general.robot)
    if robot is not None and theirs is not None and theirs.name != robot.name:
        raise DataError(f"{path} is of the robot '{theirs.name}', but this run is for '{robot.name}'; give data of the same robot.")
    sources = _sources(path, general.source)
    parts = (load_source(source, robot or theirs, general.format, **options) for source in sources)
    episodes = next(parts) if len(sources) == 1 else _joined(parts, path.parent)
    return episodes if general.rate is None else resampled(episodes, general.rate, str(path), path.parent)


def _joined(parts: Iterable[Episodes], folder: Path) -> Episodes:
    """Return all episodes; what is unknown of some, or was assumed of some, is said of all."""
    said = list[Mapping[str, Any]]()

    def heard() -> Iterator[Episodes]:
        for part in parts:
            said.append(part.attributes)
            yield part

    episodes = concatenate(heard(), folder)
    for key in ("unknown", NOTES):
        values = list(dict.fromkeys(value for attributes in said for value in attributes.get(key, ())))
        episodes = episodes.with_attributes(**{key: values}) if values else episodes
    return episodes


def _read(path: Path) -> dict[str, Any]:
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is no YAML ({' '.join(str(error).split())}); mend it.") from error
    if not isinstance(said, dict) or "source" not in said:
        raise ConfigError(f"{path} names no data; give 'source' (a path beside it).")
    return {str(name): value for name, value in said.items()}


def _sources(path: Path, source: str) -> list[Path]:
    pattern = Path(source).expanduser()
    if pattern.suffix.lower() in FORMAT.suffixes:
        raise ConfigError(f"The source of {path} is a YAML itself ({source}); name the data there.")
    if not any(letter in source for letter in "*?["):
        return [path.parent / pattern]
    folder, relative = (
        (Path(pattern.anchor), pattern.relative_to(pattern.anchor)) if pattern.is_absolute() else (path.parent, pattern)
    )
    found = sorted(folder.glob(str(relative)))
    if not found:
        raise DataError(f"No file is at {source}, which {path} names; mend 'source'.")
    return found


FORMAT = Format("yaml", (".yaml", ".yml"), load)
