"""Write files whole or not at all, whatever writes them; JSON that is always valid (no NaN, no tensors).

Libraries that write a format of their own (torch, Lightning, HDF5) write it to memory, and :func:`write_bytes` puts it on the disk:
on a full one they would leave halves, or crash.
"""

from __future__ import annotations

import glob
import io
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from rwmu.errors import CheckpointError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a neighbour to be written, which takes the name ``path`` once it is whole; a failure leaves ``path`` as it was.

    The folder is made if there is none, and the neighbour goes with a failure.

    Raises:
        OSError: it names ``path``, whatever failed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        with partial.open("r+b") as written:  # a power cut after the renaming would leave an empty file
            os.fsync(written.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.filename in (None, str(partial), partial):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        partial.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes have left half written under a folder in which nobody else writes."""
    _remove(folder.rglob(".*.partial*"))


def _remove(partials: Iterable[Path]) -> None:
    for partial in partials:
        partial.unlink(missing_ok=True)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes waiting that want to make ``path`` as well, and remove what killed ones have left of it."""
    place = path.with_name(f".{path.name}.lock")
    lock = try_lock(place, wait=True)
    while lock is not None and not _lies_at(lock, place):  # whoever held it before has removed it
        lock.close()
        lock = try_lock(place, wait=True)
    with lock or nullcontext():
        _remove(path.parent.glob(f".{glob.escape(path.name)}.*.partial*"))
        try:
            yield
        finally:
            place.unlink(missing_ok=True)


def _lies_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def try_lock(path: Path, wait: bool = False) -> IO[str] | None:
    """Return an open file that holds the lock of ``path``, or None where somebody else holds it; it ends with its last process.

    Where there are no locks (Windows, some network file systems) nobody is kept off.

    Args:
        wait: until nobody else holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.close()
        return None
    except (ImportError, OSError):
        pass
    return file


def write_text(path: Path, text: str) -> None:
    """Write ``text``."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write ``content``."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write ``value`` as valid JSON."""
    write_text(path, json.dumps(json_ready(value), indent=indent, allow_nan=False) + "\n")


def write_torch(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` as ``torch.save`` does."""
    import torch  # only here: whoever writes no weights starts seconds earlier

    written = io.BytesIO()
    torch.save(content, written)
    write_bytes(path, written.getbuffer())


def read_torch(path: Path, what: str, example: str) -> Mapping[str, Any]:
    """Read a file of tensors and plain values; code in it is never run (``weights_only``).

    Args:
        what, example: how errors call it, and what they say to give.

    Raises:
        CheckpointError: one sentence.
    """
    import torch  # only here, see above

    if not path.is_file():
        raise CheckpointError(f"There is no {what} at {path}; give the path of {example}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read as a {what} ({type(error).__name__}); it may be truncated.") from error
    return content if isinstance(content, Mapping) else {}


def copy_file(source: Path, path: Path) -> None:
    """Copy a file."""
    with replacing(path) as partial:
        shutil.copyfile(source, partial)


def json_ready(value: Any) -> Any:
    """Turn tensors, arrays, paths and mappings into plain JSON values; what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    if hasattr(value, "tolist"):  # a tensor, an array, or a number of one
        return json_ready(value.tolist())
    if isinstance(value, bool) or value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
