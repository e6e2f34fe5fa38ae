"""The formats that episodes are read from and written to, found by a file's content and ending."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from rwmu.data.episodes import Episodes
from rwmu.errors import DataError
from rwmu.files import replacing
from rwmu.robots.robot import Robot


@dataclass(frozen=True)
class Format:
    """One format of files.

    Attributes:
        name: for messages.
        suffixes: endings in lower case, with the dot.
        read: path and robot (None for the one that the file names) -> episodes that have passed
            :func:`rwmu.data.fitness.audit`; raises :class:`~rwmu.errors.DataError`.
        write: writes episodes whole or not at all; None where the format is only read.
        recognises: tells by its content whether an existing file is of this format, where several share an ending.
        lost: what of the episodes the format cannot hold, in words.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path, Robot | None], Episodes]
    write: Callable[[Episodes, Path], None] | None = None
    recognises: Callable[[Path], bool] | None = None
    lost: str = ""


_BUILT_IN = ("hdf5", "csv")  # modules of this package, imported when the first file is looked at
_FORMATS: list[Format] = []  # added by users, the latest first


def register(added: Format) -> None:
    """Add a format, or replace the one of its name; of formats that fit a file equally well the latest is taken."""
    _FORMATS[:] = [added, *(known for known in _FORMATS if known.name != added.name)]


def _known() -> list[Format]:
    own = {known.name for known in _FORMATS}
    built_in = [import_module(f"rwmu.data.formats.{name}").FORMAT for name in _BUILT_IN]
    return [*_FORMATS, *(known for known in built_in if known.name not in own)]


def format_of(path: str | Path) -> Format:
    """Return the format of a file: by ending and content, else by its ending alone, else by its content alone.

    Raises:
        DataError: none is known.
    """
    path, every = Path(path), _known()

    def fit(known: Format) -> int:
        by_content = known.recognises is not None and path.exists() and known.recognises(path)
        return 2 * (path.suffix.lower() in known.suffixes) + by_content

    best = max(every, key=fit)
    if fit(best):
        return best
    known_ones = ", ".join(f"{known.name} ({', '.join(known.suffixes)})" for known in every)
    what = "is a folder" if path.is_dir() else f"ends in '{path.suffix}'"
    raise DataError(f"The data file {path} {what}, and is of no known format; there are {known_ones}.")


def load(path: str | Path, robot: Robot | None = None) -> Episodes:
    """Read a file of any known format, for ``robot`` if one is given."""
    return format_of(path).read(Path(path), robot)


def save(episodes: Episodes, path: str | Path) -> None:
    """Write a file in the format that its ending names, whole or not at all."""
    target = format_of(path)
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
def writing(path: Path) -> Iterator[Path]:
    """Give a neighbour to be written, which takes the name ``path`` once it is whole; one sentence where it cannot be."""
    try:
        with replacing(path) as partial:
            yield partial
    except OSError as error:
        raise DataError(f"The data file {path} cannot be written ({error.strerror or error}); choose a folder that can.") from error
