"""The formats that episodes are read from and written to, found by name, or by a source's content and ending."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from rwmu.data.episodes import Episodes
from rwmu.errors import ConfigError, DataError
from rwmu.files import replacing
from rwmu.robots.robot import Robot
from rwmu.settings import choose


@dataclass(frozen=True)
class Format:
    """One format of files or folders.

    Attributes:
        name: by which it is asked for.
        suffixes: endings in lower case, with the dot; none where only the name or the content tells.
        read: path and robot (None for the one that the file names) -> episodes that have passed
            :func:`rwmu.data.fitness.audit`; raises :class:`~rwmu.errors.DataError`. Its further arguments are what a YAML may say
            of a source (:mod:`rwmu.data.formats.described`).
        write: writes episodes whole or not at all; None where the format is only read.
        recognises: tells by its content whether an existing source is of this format.
        lost: what of the episodes the format cannot hold, in words.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[..., Episodes]
    write: Callable[[Episodes, Path], None] | None = None
    recognises: Callable[[Path], bool] | None = None
    lost: str = ""


# Modules of this package, imported when the first file is looked at; of equals the first is taken.
_BUILT_IN = ("hdf5", "csv", "isaaclab", "robomimic", "minari", "lerobot", "table", "described")
_FORMATS: list[Format] = []  # added by users, the latest first


def register(added: Format) -> None:
    """Add a format, or replace the one of its name; of formats that fit a file equally well the latest is taken."""
    _FORMATS[:] = [added, *(known for known in _FORMATS if known.name != added.name)]


def known_formats() -> dict[str, Format]:
    """Return every format by its name, users' own first."""
    built_in = [import_module(f"rwmu.data.formats.{name}").FORMAT for name in _BUILT_IN]
    own = {known.name for known in _FORMATS}
    return {known.name: known for known in (*_FORMATS, *(each for each in built_in if each.name not in own))}


def format_of(path: str | Path, name: str | None = None) -> Format:
    """Return the format of that name, or that of a source: by ending and content, else by either alone, content first.

    Raises:
        ConfigError: there is none of that name. DataError: none fits.
    """
    path, every = Path(path), known_formats()
    if name is not None:
        choose("The format", name, every)
        return every[name]

    def fit(known: Format) -> int:
        by_content = known.recognises is not None and path.exists() and known.recognises(path)
        return 2 * by_content + (path.suffix.lower() in known.suffixes)

    best = max(every.values(), key=fit)
    if fit(best):
        return best
    known_ones = ", ".join(
        f"{known.name} ({', '.join(known.suffixes)})" if known.suffixes else known.name for known in every.values()
    )
    what = "is a folder" if path.is_dir() else f"ends in '{path.suffix}'"
    raise DataError(f"The data file {path} {what}, and is of no known format; there are {known_ones}.")


def load(path: str | Path, robot: Robot | None = None, name: str | None = None, **options: Any) -> Episodes:
    """Read a source of any known format, for ``robot`` if one is given.

    Args:
        name: of the format; None to find it. options: further arguments of its reader.
    """
    source = format_of(path, name)
    for option in options:
        known = list(signature(source.read).parameters)[2:]
        if not known:
            raise ConfigError(f"The format '{source.name}' of {path} takes no '{option}'; leave it out.")
        choose(f"What is said of {path}", option, known)
    return source.read(Path(path), robot, **options)


def save(episodes: Episodes, path: str | Path, name: str | None = None) -> None:
    """Write a source in the format of that name, or in the one that its ending names, whole or not at all."""
    target = format_of(path, name)
    if target.write is None:
        raise DataError(f"{target.name} is only read, so {path} cannot be written; give a path of another ending.")
    target.write(episodes, Path(path))


def existing(path: Path) -> Path:
    """Return the path of a file, or raise :class:`DataError` where there is none."""
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the path of a data file.")
    if not path.is_file():
        raise DataError(f"The data file {path} does not exist; mend data.path, or collect it first (python -m rwmu.collect).")
    return path


@contextmanager
def in_layout(source: str, layout: str) -> Iterator[None]:
    """Tell in one sentence what goes wrong while a source is read in the layout of that name: it is of another."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        why = " ".join(str(error).strip("'\"").split())
        raise DataError(f"{source} is not in the layout of {layout} ({why}).") from error


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a neighbour to be written, which takes the name ``path`` once it is whole; one sentence where it cannot be."""
    try:
        with replacing(path) as partial:
            yield partial
    except OSError as error:
        raise DataError(f"The data file {path} cannot be written ({error.strerror or error}); choose a folder that can.") from error
